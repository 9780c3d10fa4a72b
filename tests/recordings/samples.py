"""What a writer of a sample gives: `layout_samples` has images, `timed_samples` a time axis."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Sample(NamedTuple):
    """What is opened, what it must hold by the name of a variable, and as which session."""

    path: Path
    truth: dict[str, Any]
    session: str | None = None


def save(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
