"""Reader of Cowley et al. 2023: macaque V4, natural colour images, zips of JPEGs and npy.

The folder ``data_V4_responses`` holds ``images/images_<yymmdd>.zip`` and, for each session,
``responses_raw/responses_<yymmdd>.npy`` or ``responses_repeat_averaged/...``.
Source: ``data_V4_responses/readme.txt`` of cowleygroup/V4_compact_models, and measured.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import DamagedError, named, open_archive, unpack
from twinlab.recordings.array_files import read_jpeg, read_npy
from twinlab.recordings.arrays import read_arrays
from twinlab.recordings.reading import Layout, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SIZE = (112, 112)
IMAGE = re.compile(r"image(\d{1,6})\.jpg", re.ASCII)
ARCHIVE = re.compile(r"images_(\d{6})\.zip", re.ASCII)
# What the authors use a session for; all others they train on.
TESTED = ("190923", "201025", "210225", "210325", "211022")
VALIDATED = ("210224",)
SHARED = {"210322": "210325", "210325": "210322"}  # 600 images are the same


def _recognise(path: Path) -> bool:
    try:
        return bool(_sessions(path))
    except OSError:
        return False


def _list_sessions(path: Path) -> list[str]:
    return sorted(_sessions(path))


def _sessions(path: Path) -> dict[str, tuple[Path, Path]]:
    """Images and responses of each session that has both; single repeats before averages."""
    found: dict[str, tuple[Path, Path]] = {}
    for archive in sorted(path.glob("images/images_*.zip")) if path.is_dir() else []:
        named_so = ARCHIVE.fullmatch(archive.name)
        if named_so and archive.is_file():
            for kind in ("raw", "repeat_averaged"):
                file = path / f"responses_{kind}" / f"responses_{named_so[1]}.npy"
                if file.is_file():
                    found.setdefault(named_so[1], (archive, file))
    return found


def _read(path: Path, session: str, job: Job) -> Reading:
    archive, file = _sessions(path)[session]
    response = read_npy(file)
    averaged = file.parent.name == "responses_repeat_averaged"
    with named(file):
        if response.ndim != 3 - averaged or not response.size:
            expected = "(neuron, image)" if averaged else "(neuron, image, repeat)"
            msg = f"responses have shape {response.shape}; expected {expected}."
            raise InputError(msg)
    stimulus = _read_images(archive, job.part(0, 0.9, "images"))
    with named(file):
        if len(stimulus) != response.shape[1]:
            msg = f"responses to {response.shape[1]} images, but {archive} holds {len(stimulus)}."
            raise InputError(msg)
        use = "validate" if session in VALIDATED else "test" if session in TESTED else "train"
        reading = read_arrays(
            stimulus,
            response.T if not averaged else response.T[None],
            image_id=np.arange(1, len(stimulus) + 1),
            neuron={"area": np.full(len(response), "V4")},
            session=session,
            recording_id=f"cowley2023-{session}",
            response_units=(
                "mean spike count in 100 ms over repeats" if averaged else "spike count in 100 ms"
            ),
            species="macaque",
            subject={"19": "WE", "20": "PE"}.get(session[:2], "PE" if session < "2106" else "RA"),
            authors_use=f"a session the authors {use} on as a whole",
        )
    if session in SHARED:
        reading.parts["shared_images"] = (
            f"600 images are also in session {SHARED[session]}: use both in one split only"
        )
    return reading


def _read_images(path: Path, job: Job) -> np.ndarray:
    """Photographs in the order of the numbers in their names, which count from 1.

    Returns
    -------
    ndarray of shape (n_image, 3, y, x) and type uint8

    """
    with open_archive(path) as archive, named(path):
        members = {}
        for member in archive.infolist():
            matched = IMAGE.fullmatch(member.filename.rpartition("/")[2])
            if matched and not member.filename.startswith("__MACOSX/"):
                if int(matched[1]) in members:
                    msg = f"holds image {int(matched[1])} more than once."
                    raise InputError(msg)
                members[int(matched[1])] = member
        if sorted(members) != list(range(1, len(members) + 1)) or not members:
            msg = f"holds {len(members)} images, not numbered from 1 without a gap."
            raise InputError(msg)
        stimulus = np.empty((len(members), 3, *SIZE), np.uint8)
        for number, member in sorted(members.items()):
            job.report(number / len(members))
            try:
                stimulus[number - 1] = read_jpeg(unpack(archive, member), SIZE)
            except DamagedError as error:
                msg = f"image {number}: {error}."
                raise DamagedError(msg) from error
    return stimulus


LAYOUT = Layout(_recognise, _list_sessions, _read)
