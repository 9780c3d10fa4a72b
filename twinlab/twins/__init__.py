"""What a twin is: condition first, then an ordinary module from stimulus to rate."""

from twinlab.twins.adapters import (
    CallableTwin,
    EncoderTwin,
    NoGradientError,
    load_sensorium_checkpoint,
    wrap_callable,
    wrap_firing_rate_encoder,
)
from twinlab.twins.contract import (
    ConditionedTwin,
    StimulusSpec,
    Twin,
    check_twin,
    match_neurons,
    predict_responses,
)
from twinlab.twins.cores import Core, VideoCore
from twinlab.twins.deep import CORES, READOUTS, Architecture, DeepTwin
from twinlab.twins.distributions import (
    ResponseDistribution,
    predict_distribution,
    response_distribution,
)
from twinlab.twins.ensemble import EnsembleTwin
from twinlab.twins.familiarity import Familiarity, fit_familiarity
from twinlab.twins.likelihoods import LIKELIHOODS, Likelihood
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
    # beyond the rate: distributions of responses, distance from training
    "LIKELIHOODS",
    "Familiarity",
    "Likelihood",
    "ResponseDistribution",
    "fit_familiarity",
    "predict_distribution",
    "response_distribution",
    # kinds of twin
    "CORES",
    "KINDS",
    "READOUTS",
    "Architecture",
    "DeepTwin",
    "EnsembleTwin",
    "LinearNonlinearTwin",
    "SessionsTwin",
    # what parts of a deep twin must offer
    "Core",
    "VideoCore",
    # neuralpredictors' parts
    "import_peer",
    "load_peer_core",
    "load_peer_readout",
    # other people's models
    "CallableTwin",
    "EncoderTwin",
    "NoGradientError",
    "load_sensorium_checkpoint",
    "wrap_callable",
    "wrap_firing_rate_encoder",
    # on disk
    "check_twin_target",
    "load_twin",
    "save_twin",
]
