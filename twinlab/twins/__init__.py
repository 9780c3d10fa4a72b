"""What a twin is: condition first, then an ordinary module from stimulus to rate."""

from twinlab.twins.classical import NormalizationTwin, QuadraticTwin, SubunitTwin
from twinlab.twins.contract import (
    ConditionedTwin,
    StimulusSpec,
    Twin,
    check_twin,
    match_neurons,
    predict_responses,
)
from twinlab.twins.deep import CORES, READOUTS, Architecture, DeepTwin
from twinlab.twins.ensemble import EnsembleTwin
from twinlab.twins.linear import LinearNonlinearTwin
from twinlab.twins.peers import import_peer, load_peer_core, load_peer_readout
from twinlab.twins.sessions import SessionsTwin
from twinlab.twins.storing import KINDS, check_twin_target, load_twin, save_twin

__all__ = [
    # the contract
    "ConditionedTwin",
    "StimulusSpec",
    "Twin",
    "check_twin",
    "match_neurons",
    "predict_responses",
    # kinds of twin
    "CORES",
    "KINDS",
    "READOUTS",
    "Architecture",
    "DeepTwin",
    "EnsembleTwin",
    "LinearNonlinearTwin",
    "NormalizationTwin",
    "QuadraticTwin",
    "SessionsTwin",
    "SubunitTwin",
    # neuralpredictors' parts
    "import_peer",
    "load_peer_core",
    "load_peer_readout",
    # on disk
    "check_twin_target",
    "load_twin",
    "save_twin",
]
