"""Live viewers of a twin, the same in JupyterLab and in a browser, with or without a network.

`TwinBench` shows the neurons of one twin: where they are, how well they are predicted, what
they respond to, and, live, what they would respond to. In a notebook call `notebook()` once
and show the bench as the last line of a cell; from the command line `serve` puts it on a
local web page.
"""

import os

# Before Panel is imported, by us or through HoloViews: scripts come from the installed
# package, never from the internet.
os.environ.setdefault("PANEL_INLINE", "true")

from twinlab.explorers.bench import TwinBench  # noqa: E402
from twinlab.explorers.matching import average_repeats  # noqa: E402
from twinlab.explorers.progress import show_progress  # noqa: E402
from twinlab.explorers.serving import notebook, serve  # noqa: E402
from twinlab.twins.familiarity import (  # noqa: E402
    image_statistics,
    training_range,
    unfamiliar_features,
)

__all__ = [
    # explorers
    "TwinBench",
    # where they are shown
    "notebook",
    "serve",
    "show_progress",
    # what they show
    "average_repeats",
    "image_statistics",
    "training_range",
    "unfamiliar_features",
]
