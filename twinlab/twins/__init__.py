"""What a twin is: condition first, then an ordinary module from stimulus to rate."""

from twinlab.twins.adapters import (
    CallableTwin,
    EncoderTwin,
    NoGradientError,
    load_sensorium_checkpoint,
    wrap_callable,
    wrap_firing_rate_encoder,
)
from twinlab.twins.classical import NormalizationTwin, QuadraticTwin, SubunitTwin
from twinlab.twins.contract import (
    ConditionedTwin,
    StimulusSpec,
    Twin,
    check_twin,
    match_neurons,
    predict_responses,
    recorded_by,
)
from twinlab.twins.cores import Core, VideoCore
from twinlab.twins.deep import CORES, READOUTS, Architecture, DeepTwin
from twinlab.twins.distributions import (
    ResponseDistribution,
    predict_distribution,
    response_distribution,
)
from twinlab.twins.ensemble import EnsembleTwin
from twinlab.twins.equivariant import load_peer_rotation_equivariant
from twinlab.twins.familiarity import (
    Familiarity,
    fit_familiarity,
    load_familiarity,
    save_familiarity,
)
from twinlab.twins.features import BACKBONES, FeatureCore, load_backbone, timm_backbone
from twinlab.twins.likelihoods import LIKELIHOODS, Likelihood
from twinlab.twins.linear import LinearNonlinearTwin
from twinlab.twins.peers import import_peer, load_peer_core, load_peer_readout
from twinlab.twins.sessions import SessionsTwin
from twinlab.twins.squeeze import load_peer_squeeze_excitation
from twinlab.twins.storing import KINDS, check_twin_target, load_twin, save_twin

__all__ = [
    # the contract
    "ConditionedTwin",
    "StimulusSpec",
    "Twin",
    "check_twin",
    "match_neurons",
    "predict_responses",
    "recorded_by",
    # beyond the rate: distributions of responses, distance from training
    "LIKELIHOODS",
    "Familiarity",
    "Likelihood",
    "ResponseDistribution",
    "fit_familiarity",
    "load_familiarity",
    "save_familiarity",
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
    "NormalizationTwin",
    "QuadraticTwin",
    "SessionsTwin",
    "SubunitTwin",
    # what parts of a deep twin must offer
    "Core",
    "VideoCore",
    # networks to read features from
    "BACKBONES",
    "FeatureCore",
    "load_backbone",
    "timm_backbone",
    # neuralpredictors' parts
    "import_peer",
    "load_peer_core",
    "load_peer_readout",
    "load_peer_rotation_equivariant",
    "load_peer_squeeze_excitation",
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
