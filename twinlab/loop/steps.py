"""The steps of a loop, one after the other: what is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from pathlib import Path

from twinlab.files import keep_alone, remove_unfinished
from twinlab.jobs import Job
from twinlab.loop.answering import answer_loop
from twinlab.loop.folder import open_loop, steps_of
from twinlab.loop.judging import compare_loop
from twinlab.loop.making import export_loop, fit_loop, record_loop, verify_loop
from twinlab.loop.picking import choose_units
from twinlab.loop.plan import Plan
from twinlab.loop.rounds import run_round
from twinlab.loop.synthesizing import synthesize_stimuli
from twinlab.schema import InputError

__all__ = ["run_loop"]


def run_loop(
    folder: str | PathLike[str], *, until: str = "comparison", job: Job | None = None
) -> list[str]:
    """Do all steps that are not done, as far as they can go without the rig.

    A recording of the simulated cortex is answered by that cortex; of others the loop waits
    after each export for `bring_responses`.

    Parameters
    ----------
    folder : path
        Of `new_loop`.
    until : str
        Last of `STEPS` to do, or a round ("round 1") of the plan.
    job : Job, optional
        A loop that was stopped goes on after the last step that was done, a fit after its last
        epoch, the making of stimuli after the last neurons that have theirs.

    Returns
    -------
    list of str
        What was done, and what is waited for.

    Raises
    ------
    InputError
        As `open_loop`, as the steps do, or if another process works on the loop.

    """
    plan, folder, job = open_loop(folder), Path(folder), job or Job()
    steps = steps_of(plan)
    if until not in steps:
        msg = f"`until` is {until!r}; known steps: {', '.join(steps)}."
        raise InputError(msg)
    work: dict[str, Callable[[Path, Plan, Job], str]] = {
        "recording": record_loop, "fit": fit_loop, "verifier": verify_loop, "units": choose_units,
        "stimuli": synthesize_stimuli, "export": export_loop, "responses": answer_loop,
        "comparison": compare_loop,
    }  # fmt: skip
    for number in range(1, plan.rounds.number + 1):
        work[f"round {number}"] = partial(run_round, number=number)
    lines = []
    share = {name: i / len(steps) for i, name in enumerate(steps)}
    with _alone(folder):
        for name, made in steps.items():
            if not (folder / made).exists():
                part = job.part(share[name], share[name] + 1 / len(steps), name)
                words = work[name](folder, plan, part)
                lines.append(f"{name}: {words}")
                if not (folder / made).exists():
                    break
            if name == until:
                break
    return lines


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from a loop, and remove what one that was killed left half-written."""
    with ExitStack() as alone:
        try:
            alone.enter_context(keep_alone(folder))
        except BlockingIOError as error:
            msg = f"{folder}: another process is working on this loop; wait for it, or stop it."
            raise InputError(msg) from error
        remove_unfinished(folder)
        yield
