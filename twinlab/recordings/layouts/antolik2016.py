"""Reader of Antolik et al. 2016: mouse V1, small natural images, npy files of one region each.

A session is a folder ``region<n>`` with ``training_inputs.npy`` and ``training_set.npy``,
``validation_inputs.npy`` and ``raw_validation_set.npy`` (single repeats) or
``validation_set.npy`` (their mean); either half may be absent.
Source: the supplement of 10.1371/journal.pcbi.1004927, and measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import named
from twinlab.recordings.array_files import read_npy
from twinlab.recordings.arrays import hold_out, read_arrays
from twinlab.recordings.reading import Layout, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SIZE = (31, 31)
SCALE = 1e6  # pixels are stored as grey levels times 1e-6
PARTS = (
    ("training_inputs", "training_set"),
    ("validation_inputs", "raw_validation_set"),
    ("validation_inputs", "validation_set"),
)


def _recognise(path: Path) -> bool:
    try:
        return bool(_regions(path))
    except OSError:
        return False


def _list_sessions(path: Path) -> list[str]:
    return sorted(_regions(path))


def _regions(path: Path) -> dict[str, Path]:
    """Folders that hold images and responses to them."""
    if not path.is_dir():
        return {}
    return {
        folder.resolve().name: folder
        for folder in (path, *sorted(path.glob("*/")))
        if folder.name.isprintable()
        and any(all((folder / f"{name}.npy").is_file() for name in part) for part in PARTS)
    }


def _read(path: Path, session: str, job: Job) -> Reading:
    folder = _regions(path)[session]

    def has(part: tuple[str, str]) -> bool:
        return all((folder / f"{name}.npy").is_file() for name in part)

    trained, raw, mean = (has(part) for part in PARTS)
    images, responses, index, split, note = [], [], [], [], ""
    with named(folder):
        job.report(0, "training images")
        if trained:
            images.append(_images(folder / "training_inputs.npy"))
            responses.append(_responses(folder / "training_set.npy", 2, len(images[0])))
            index.append(np.arange(len(images[0])))
            split += ["train"] * len(images[0])
        job.report(0.5, "repeated images")
        if raw or mean:
            shown = _images(folder / "validation_inputs.npy")
            name = "raw_validation_set.npy" if raw else "validation_set.npy"
            rates = _responses(folder / name, 3 if raw else 2, len(shown))
            n_repeat = rates.shape[0] if raw else 1
            index.append(len(split) + np.tile(np.arange(len(shown)), n_repeat))
            images.append(shown)
            responses.append(rates.reshape(-1, rates.shape[-1]))
            split += ["test"] * len(shown)
            note = "" if raw else "test responses are means over repeats, which are not there"
        if len({rates.shape[1] for rates in responses}) > 1:
            msg = "training and validation responses are of different numbers of neurons."
            raise InputError(msg)
        reading = read_arrays(
            np.concatenate(images),
            np.concatenate(responses),
            stimulus_index=np.concatenate(index),
            split=hold_out(np.array(split, "<U10")),
            split_source="the authors' repeated images are the test"
            + "; 10 % of their training images drawn for validation with seed 0" * trained,
            neuron={"area": np.full(responses[0].shape[1], "V1")},
            session=session,
            recording_id=f"antolik2016-{session}",
            response_units="calcium response, a.u.",
            species="mouse",
        )
    if note:
        reading.parts["averaged"] = note
    return reading


def _images(path: Path) -> np.ndarray:
    """Grey levels from 0 to 255.

    Returns
    -------
    ndarray of shape (n_image, y, x) and type uint8

    """
    stored = read_npy(path)
    if stored.ndim != 2 or stored.shape[1] != SIZE[0] * SIZE[1] or stored.dtype.kind != "f":
        msg = f"{path}: {stored.dtype} of shape {stored.shape}, expected (images, 961) fractions."
        raise InputError(msg)
    levels = np.where(np.isfinite(stored), stored, -1).astype(np.float64) * SCALE
    grey = np.round(levels)
    if not ((grey >= 0) & (grey <= 255) & (np.abs(levels - grey) < 0.01)).all():
        msg = f"{path}: expected whole grey levels from 0 to 255 times 1e-6, as published."
        raise InputError(msg)
    return grey.astype(np.uint8).reshape(-1, *SIZE)


def _responses(path: Path, n_axis: int, n_image: int) -> np.ndarray:
    """Responses of shape ([n_repeat,] n_image, n_neuron)."""
    rates = read_npy(path)
    if rates.ndim != n_axis or rates.shape[-2] != n_image or rates.dtype.kind not in "biuf":
        msg = (
            f"{path}: {rates.dtype} of shape {rates.shape}, expected "
            f"{'(repeat, image, neuron)' if n_axis == 3 else '(image, neuron)'} of numbers with "
            f"{n_image} images."
        )
        raise InputError(msg)
    return rates


LAYOUT = Layout(_recognise, _list_sessions, _read)
