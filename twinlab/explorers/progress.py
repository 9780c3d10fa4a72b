"""Progress of long work as a line below a notebook cell."""

from __future__ import annotations

import math
from html import escape

from IPython.display import HTML, display

from twinlab.jobs import Job

__all__ = ["show_progress"]


def show_progress(title: str) -> Job:
    """Give a job that shows, below the cell, how far it is and how long it will take.

    Parameters
    ----------
    title : str

    Returns
    -------
    Job
        Pass it as ``job=`` to whatever takes long.

    """
    handle = display(HTML(_line(title, Job())), display_id=True)

    def draw(job: Job) -> None:
        handle.update(HTML(_line(title, job)))

    return Job(draw, interval=0.5)


def _line(title: str, job: Job) -> str:
    left = f", about {job.eta:.0f} s left" if math.isfinite(job.eta) and job.fraction < 1 else ""
    words = f"{title}: {job.fraction:.0%}{left}. {job.message}"
    return (
        f'<progress max="1" value="{job.fraction:.3f}" style="width: 16em"></progress> '
        f"{escape(words)}"
    )
