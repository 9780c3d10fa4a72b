"""A loop is a folder: a plan that cannot change, and the files that its steps leave."""

from __future__ import annotations

import hashlib
import json
import shutil
from os import PathLike
from pathlib import Path

from twinlab.files import write_whole
from twinlab.loop.plan import DEAD_LEAVES, Plan
from twinlab.loop.reading import read_plan
from twinlab.recordings import list_recordings
from twinlab.schema import InputError

__all__ = [
    "COMPARED",
    "KEPT",
    "MARK",
    "STEPS",
    "began_in",
    "last_made",
    "loop_status",
    "new_loop",
    "open_loop",
    "round_folder",
    "steps_of",
    "waited_for",
]

KIND = "twinlab loop 1"
MARK = "loop.json"

# Name of each step, and the file or folder that is there once it is done. The rounds that a plan
# may ask for come after the fit; see `steps_of`.
STEPS = {
    "recording": "recording.zarr",
    "fit": "twin",
    "verifier": "verifier",
    "units": "units.nc",
    "stimuli": "stimuli.nc",
    "export": "export",
    "responses": "responses.nc",
    "comparison": "comparison.done",
}
KEPT = "loop.nc"  # all of a loop in one file, see `keep_loop`
# What the comparison and the report make of the responses: it falls with them.
COMPARED = (
    "confusion-*.nc", "controls-*.nc", "power-*.nc", "specificity.nc", "prediction.nc", KEPT,
)  # fmt: skip


def new_loop(plan: str | PathLike[str], folder: str | PathLike[str]) -> Plan:
    """Begin a loop: judge its plan, and keep it in a folder of its own.

    Parameters
    ----------
    plan : path
        TOML file, see `Plan`.
    folder : path
        Made; must not exist or be empty.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the plan has faults, or the folder holds something.

    """
    plan, folder = Path(plan), Path(folder)
    decided = read_plan(plan)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder}: exists and is not empty; begin a loop in a new folder."
        raise InputError(msg)
    _check_recording(plan, decided.recording)
    if decided.rig.gamma_table and not (plan.parent / decided.rig.gamma_table).is_file():
        msg = f"{plan.parent / decided.rig.gamma_table}: no such file; the plan's gamma table."
        raise InputError(msg)
    pool = decided.rounds.pool
    if decided.rounds.number and pool != DEAD_LEAVES and not (plan.parent / pool).is_dir():
        msg = f"{plan.parent / pool}: no such folder; the plan's pool of images for rounds."
        raise InputError(msg)
    with write_whole(folder) as unfinished:
        unfinished.mkdir()
        shutil.copyfile(plan, unfinished / "plan.toml")
        if decided.rig.gamma_table:
            target = unfinished / decided.rig.gamma_table
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.parent / decided.rig.gamma_table, target)
        mark = {"kind": KIND, "plan": _digest(plan), "began_in": str(plan.parent.resolve())}
        (unfinished / MARK).write_text(json.dumps(mark), encoding="utf-8")
    return decided


def _check_recording(plan: Path, recording: str) -> None:
    """Refuse a recording that is neither beside the plan nor known by its name."""
    name = recording.partition(":")[0]
    places = [one for part in (recording, name) for one in (plan.parent / part, Path(part))]
    if name not in ("simulated", *list_recordings()) and not any(p.exists() for p in places):
        msg = (
            f"{plan}: `recording` is {recording!r}, which is no file or folder there, nor one of "
            f"simulated, {', '.join(list_recordings())}."
        )
        raise InputError(msg)


def open_loop(folder: str | PathLike[str]) -> Plan:
    """Read the plan of a loop.

    Raises
    ------
    InputError
        If the folder holds no loop, or its plan was changed since it began.

    """
    folder = Path(folder)
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        known = mark["kind"] == KIND and mark["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder}: holds no loop; begin one with `twinlab loop new PLAN.toml {folder}`."
        raise InputError(msg) from error
    plan = read_plan(folder / "plan.toml")
    if known != _digest(folder / "plan.toml"):
        msg = (
            f"{folder / 'plan.toml'}: was changed since the loop began, so that what was made no "
            "longer follows from it; begin a new loop."
        )
        raise InputError(msg)
    return plan


def loop_status(folder: str | PathLike[str]) -> dict[str, bool]:
    """Which steps are done: `STEPS`, and the rounds of the plan.

    Raises
    ------
    InputError
        As `open_loop`.

    """
    steps = steps_of(open_loop(folder))
    return {step: (Path(folder) / name).exists() for step, name in steps.items()}


def steps_of(plan: Plan) -> dict[str, str]:
    """Name of each step of a plan, in their order, and what is there once it is done."""
    steps = {}
    for step, made in STEPS.items():
        steps[step] = made
        if step == "fit":
            for number in range(1, plan.rounds.number + 1):
                steps[f"round {number}"] = str(round_folder(Path(), number) / STEPS["fit"])
    return steps


def round_folder(folder: Path, number: int) -> Path:
    """Where a round, counted from 1, keeps what it makes, under the names of `STEPS`."""
    return folder / "rounds" / str(number)


def last_made(folder: Path, step: str) -> Path:
    """The recording or the twin ("fit") after the last round that made one."""
    made = sorted(folder.glob(f"rounds/*/{STEPS[step]}"), key=lambda path: int(path.parent.name))
    return made[-1] if made else folder / STEPS[step]


def waited_for(folder: Path, plan: Plan) -> Path:
    """Where the next session is exported to and its responses go: of a round, or the loop's."""
    every = (round_folder(folder, number) for number in range(1, plan.rounds.number + 1))
    return next((one for one in every if not (one / STEPS["fit"]).exists()), folder)


def began_in(folder: Path) -> Path:
    """Where the plan lay when the loop began: paths in it are relative to that folder."""
    return Path(json.loads((folder / MARK).read_text(encoding="utf-8"))["began_in"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
