"""Live viewers of a twin, the same in JupyterLab and in a browser, with or without a network.

A `LabState` holds a twin, its recording, and what is chosen; explorers show it, any number at
once. `TwinBench` is the whole of them: where the neurons are, how well they are predicted, what
they respond to, and, live, what they would respond to. In a notebook call `notebook()` once
and show an explorer as the last line of a cell; from the command line `serve` puts it on a
local web page.
"""

import os

# Before Panel is imported, by us or through HoloViews: scripts come from the installed
# package, never from the internet.
os.environ.setdefault("PANEL_INLINE", "true")

from twinlab.explorers.bench import TwinBench  # noqa: E402
from twinlab.explorers.fit_monitor import FitMonitor  # noqa: E402
from twinlab.explorers.inception_loop import InceptionLoop  # noqa: E402
from twinlab.explorers.lab import EXPLORERS, Lab  # noqa: E402
from twinlab.explorers.matching import average_clip, average_repeats, raster_of_clip  # noqa: E402
from twinlab.explorers.mei_studio import MEIStudio  # noqa: E402
from twinlab.explorers.neuron_map import NeuronMap  # noqa: E402
from twinlab.explorers.population import Population  # noqa: E402
from twinlab.explorers.progress import show_progress  # noqa: E402
from twinlab.explorers.recording_page import RecordingPage  # noqa: E402
from twinlab.explorers.scorecard import Scorecard  # noqa: E402
from twinlab.explorers.serving import notebook, serve  # noqa: E402
from twinlab.explorers.state import LabState  # noqa: E402
from twinlab.explorers.stimulus_bench import StimulusBench  # noqa: E402
from twinlab.explorers.tuning_lab import TuningLab  # noqa: E402
from twinlab.explorers.unit_page import UnitPage  # noqa: E402
from twinlab.explorers.videos import Videos  # noqa: E402
from twinlab.twins.familiarity import (  # noqa: E402
    image_statistics,
    training_range,
    unfamiliar_features,
)

__all__ = [
    # what they share, and they
    "EXPLORERS",
    "FitMonitor",
    "InceptionLoop",
    "Lab",
    "LabState",
    "MEIStudio",
    "NeuronMap",
    "Population",
    "RecordingPage",
    "Scorecard",
    "StimulusBench",
    "TuningLab",
    "TwinBench",
    "UnitPage",
    "Videos",
    # where they are shown
    "notebook",
    "serve",
    "show_progress",
    # what they compute
    "average_clip",
    "average_repeats",
    "image_statistics",
    "raster_of_clip",
    "training_range",
    "unfamiliar_features",
]
