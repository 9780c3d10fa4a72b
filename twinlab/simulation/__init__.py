"""A visual cortex whose right answers are known, recorded like a real one."""

from twinlab.simulation.cortex import SimulatedCortex
from twinlab.simulation.example import EXAMPLE, load_example, record_example
from twinlab.simulation.neurons import KINDS, SimulatedTwin
from twinlab.simulation.noise import NOISES, draw_responses
from twinlab.simulation.recorded import record_twin
from twinlab.simulation.settings import COMPOSITION
from twinlab.simulation.truth import (
    compare_mei,
    compare_suppressor,
    compare_tuning,
    suppressive_filters,
)
from twinlab.simulation.video_cortex import SimulatedVideoCortex
from twinlab.simulation.video_neurons import SimulatedVideoTwin

__all__ = [
    # the population
    "COMPOSITION",
    "SimulatedCortex",
    "SimulatedVideoCortex",
    "record_twin",
    # a twin of it, fitted
    "EXAMPLE",
    "load_example",
    "record_example",
    # found and planted
    "compare_mei",
    "compare_suppressor",
    "compare_tuning",
    "suppressive_filters",
    # its parts
    "KINDS",
    "NOISES",
    "SimulatedTwin",
    "SimulatedVideoTwin",
    "draw_responses",
]
