"""Reader of Stringer et al. 2018b: mouse V1, 2,800 natural images, MATLAB files.

A session is ``natimg2800_<mouse>_<date>.mat``, with ``images_natimg2800_all.mat`` beside it.
Source: the README and ``loadProc2800.m`` of MouseLand/stringer-pachitariu-et-al-2018b.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import named
from twinlab.recordings.arrays import read_arrays, whole_numbers
from twinlab.recordings.matlab import read_matlab
from twinlab.recordings.reading import Layout, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

FILE = re.compile(r"(natimg2800|natimg32|ori32)_(\w+_\d{4}-\d\d-\d\d)\.mat", re.ASCII)
IMAGES = "images_natimg2800_all.mat"
PLACES = ("center_x", "center_y", "center_z")


def _recognise(path: Path) -> bool:
    return bool(_sessions(path))


def _list_sessions(path: Path) -> list[str]:
    return sorted(_sessions(path))


def _sessions(path: Path) -> dict[str, Path]:
    """Files of sessions by name; those of other stimuli carry these in the name."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return {}
    found = {}
    for file in files:
        named_so = FILE.fullmatch(file.name)
        if named_so and file.is_file():
            kind, session = named_so.groups()
            found[session if kind == "natimg2800" else f"{kind}_{session}"] = file
    return found


def _read(path: Path, session: str, job: Job) -> Reading:
    file = _sessions(path)[session]
    if not file.name.startswith("natimg2800"):
        msg = (
            f"{file}: the pixels of these stimuli are not published in a documented way; make "
            "the recording with `recordings.from_arrays` from your own."
        )
        raise InputError(msg)
    job.report(0, "responses")
    arrays = read_matlab(file, ["stim.resp", "stim.istim", "med"])
    job.report(0.6, "images")
    images = read_matlab(file.parent / IMAGES, ["imgs"])
    with named(file):
        for name, values in (arrays | images).items():
            if values.ndim != (3 if name == "imgs" else 2):
                msg = f"`{name}` has shape {values.shape}; expected another number of axes."
                raise InputError(msg)
        missing = {"stim.resp", "stim.istim", "imgs"} - set(arrays) - set(images)
        if missing:
            msg = f"lacks {', '.join(sorted(missing))} ({IMAGES} holds `imgs`)."
            raise InputError(msg)
        response = arrays["stim.resp"]
        n_image, grey = images["imgs"].shape[2], images["imgs"].shape[2] + 1
        number = whole_numbers("stim.istim", arrays["stim.istim"].ravel(), 1, grey)
        if len(number) != len(response):
            msg = f"`stim.istim` names {len(number)} presentations, `stim.resp` {len(response)}."
            raise InputError(msg)
        shown = number <= n_image  # the last number is the grey screen
        place = arrays.get("med", np.zeros((0, 0)))
        if len(place) not in (0, response.shape[1]) or place.shape[1] > len(PLACES):
            msg = f"`med` has shape {place.shape}; expected ({response.shape[1]}, 3)."
            raise InputError(msg)
        reading = read_arrays(
            images["imgs"].transpose(2, 0, 1),
            response[shown],
            stimulus_index=number[shown] - 1,
            image_id=np.arange(1, n_image + 1),
            trial={"presentation_order": np.flatnonzero(shown)},
            neuron={
                "area": np.full(response.shape[1], "V1"),
                **dict(zip(PLACES, place.T, strict=False)),
            },
            session=session,
            recording_id=file.stem,
            response_units="calcium activity, a.u.",
            stimulus_units="as published",
            species="mouse",
            pixels_per_degree=1.0,
            left_out=(
                f"{(~shown).sum()} presentations of the grey screen (image {grey}), whose pixels "
                "are not in the files; stim.spont; stat"
            ),
        )
    return reading


LAYOUT = Layout(_recognise, _list_sessions, _read)
