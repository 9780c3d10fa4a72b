"""Reader of Du et al. 2024 ("minimodel"): mouse V1, natural images, npz and MATLAB files.

A session is ``<mouse>_nat60k_<date>.npz``, with ``nat60k_text16.mat`` beside it.
Source: ``data/README.md`` and ``minimodel/data.py`` of MouseLand/minimodel.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import named
from twinlab.recordings.array_files import read_npz
from twinlab.recordings.arrays import read_arrays, whole_numbers
from twinlab.recordings.matlab import read_matlab
from twinlab.recordings.reading import Layout, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

FILE = re.compile(r"\w+_nat60k_\w+\.npz", re.ASCII)
IMAGES = "nat60k_text16.mat"
ARRAYS = ("sp", "istim_sp", "ss_all", "istim_ss", "xpos", "ypos", "iplane")
# Columns of the screens that the authors keep for each mouse, where its neurons look.
COLUMNS = dict.fromkeys(("L1_A5", "L1_A1", "FX9", "FX10", "FX8"), (0, 130)) | {"FX20": (46, 176)}
FLIPPED = {"L1_A1": (30000, 30500)}  # mirrored test images shown in training: left out
VALIDATED = 10  # every tenth training image, as the authors take them


def _recognise(path: Path) -> bool:
    return bool(_sessions(path))


def _list_sessions(path: Path) -> list[str]:
    return sorted(_sessions(path))


def _sessions(path: Path) -> dict[str, Path]:
    """Files of sessions, called as these are."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return {}
    return {file.stem: file for file in files if FILE.fullmatch(file.name) and file.is_file()}


def _read(path: Path, session: str, job: Job) -> Reading:
    file = _sessions(path)[session]
    mouse = file.name.partition("_nat60k_")[0]
    if mouse not in COLUMNS:
        msg = f"{file}: mouse {mouse} is not among {', '.join(COLUMNS)}, whose crops are known."
        raise InputError(msg)
    job.report(0, "responses")
    arrays = read_npz(file, ARRAYS)
    job.report(0.5, "images")
    pixels = read_matlab(file.parent / IMAGES, ["img"]).get("img", np.zeros(0))
    with named(file):
        left, right = COLUMNS[mouse]
        if pixels.ndim != 3 or pixels.shape[1] < right:
            msg = f"`img` of {IMAGES} has shape {pixels.shape}; expected (66, 264, images)."
            raise InputError(msg)
        trained, tested = arrays["sp"], arrays["ss_all"]
        n_neuron, n_shown = trained.shape if trained.ndim == 2 else (-1, -1)
        if tested.ndim != 3 or tested.shape[2] != n_neuron:
            msg = (
                f"`sp` has shape {trained.shape} and `ss_all` {tested.shape}; expected (neuron, "
                "image) and (image, repeat, neuron) of as many neurons."
            )
            raise InputError(msg)
        number = _numbers(arrays, "istim_sp", n_shown, pixels.shape[2])
        test_number = _numbers(arrays, "istim_ss", len(tested), pixels.shape[2])
        first, last = FLIPPED.get(mouse, (-1, -1))
        kept = (number < first) | (number > last)
        number, trained = number[kept], trained.T[kept]

        shown, index = np.unique(np.concatenate([number, test_number]), return_inverse=True)
        split = np.full(len(shown), "train", "<U10")
        split[index[: len(number) : VALIDATED]] = "validation"
        split[index[len(number) :]] = "test"
        # (image, repeat, neuron) -> one row a presentation
        n_repeat = tested.shape[1]
        job.report(0.8, "images")
        reading = read_arrays(
            pixels[:, left:right, shown].transpose(2, 0, 1),
            np.concatenate([trained, tested.reshape(-1, n_neuron)]),
            stimulus_index=np.concatenate(
                [index[: len(number)], np.repeat(index[len(number) :], n_repeat)]
            ),
            image_id=shown,
            split=split,
            split_source=(
                "the authors' test images, and every tenth training image for validation, as "
                "theirs; an image shown in two splits is in the stricter one"
            ),
            neuron={
                "area": np.full(n_neuron, "V1"),
                **{
                    name: _one_each(arrays, source, n_neuron)
                    for name, source in (
                        ("cortical_x", "xpos"),
                        ("cortical_y", "ypos"),
                        ("imaging_plane", "iplane"),
                    )
                },
            },
            session=session,
            recording_id=file.stem,
            response_units="calcium activity, a.u.",
            stimulus_units="as published",
            species="mouse",
            columns=f"{left} to {right} of the screens, as the authors crop them",
        )
    if not kept.all():
        reading.parts["left_out"] = (
            f"{(~kept).sum()} mirrored test images (numbers {first} to {last}) among the training "
            "images, as the authors leave them out"
        )
    return reading


def _numbers(arrays: dict[str, np.ndarray], name: str, length: int, n_image: int) -> np.ndarray:
    """Numbers of images in the image file, from 0."""
    return whole_numbers(name, _one_each(arrays, name, length), 0, n_image - 1)


def _one_each(arrays: dict[str, np.ndarray], name: str, length: int) -> np.ndarray:
    values = arrays[name].ravel()
    if values.size != length or values.dtype.kind not in "iuf":
        msg = f"`{name}` has shape {arrays[name].shape}; expected {length} numbers."
        raise InputError(msg)
    return values


LAYOUT = Layout(_recognise, _list_sessions, _read)
