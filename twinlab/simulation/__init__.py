"""A visual cortex whose right answers are known, recorded like a real one."""

from twinlab.simulation.cortex import COMPOSITION, SimulatedCortex
from twinlab.simulation.neurons import KINDS, SimulatedTwin
from twinlab.simulation.noise import NOISES, draw_responses
from twinlab.simulation.recorded import record_twin
from twinlab.simulation.truth import compare_mei, compare_tuning

__all__ = [
    # the population
    "COMPOSITION",
    "SimulatedCortex",
    "record_twin",
    # found and planted
    "compare_mei",
    "compare_tuning",
    # its parts
    "KINDS",
    "NOISES",
    "SimulatedTwin",
    "draw_responses",
]
