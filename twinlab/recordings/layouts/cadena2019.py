"""Reader of Cadena et al. 2019: macaque V1, natural images and textures, one pickle.

The file is ``cadena_ploscb_data.pkl``, alone, in a folder, or in the zip it is published in.
Source: the README and ``data.py`` of sacadena/Cadena2019PlosCB.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import (
    ZIP_ERRORS,
    DamagedError,
    check_member,
    named,
    one_line,
    open_archive,
)
from twinlab.recordings.arrays import as_float32, read_arrays, whole_numbers
from twinlab.recordings.drawing import hold_out
from twinlab.recordings.reading import Layout, Reading
from twinlab.recordings.unpickling import load_pickle, unpickle
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SESSION = "cadena2019"  # the authors' own sessions are read together, as they fit them
FILE = "cadena_ploscb_data.pkl"
PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
LONGEST_WORD, LARGEST = 64, 2**53
TRAINED_ON = 0.8  # of the images, the first ones: the rest are the authors' test


def _recognise(path: Path) -> bool:
    try:
        if path.is_dir():
            return _in_folder(path) is not None
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            if stream.read(2) in PICKLES:
                return True
        if not zipfile.is_zipfile(path):
            return False
        with open_archive(path) as archive:
            return _in_archive(archive) is not None
    except (OSError, InputError):
        return False


def _list_sessions(path: Path) -> list[str]:
    del path
    return [SESSION]


def _in_folder(folder: Path) -> Path | None:
    found = (file for above in ("", "*/", "*/*/") for file in folder.glob(f"{above}{FILE}"))
    return next((file for file in found if file.is_file()), None)


def _in_archive(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    return next((it for it in archive.infolist() if f"/{it.filename}".endswith(f"/{FILE}")), None)


def _load(path: Path) -> Any:
    """Content of the pickle, wherever it is."""
    inside = _in_folder(path) if path.is_dir() else path
    if inside is None:
        msg = f"{path}: holds no {FILE}."
        raise InputError(msg)
    if not zipfile.is_zipfile(inside):
        return load_pickle(inside)
    with open_archive(inside) as archive, named(inside):
        member = _in_archive(archive)
        if member is None:
            msg = f"holds no {FILE}."
            raise InputError(msg)
        check_member(archive, member)
        try:
            with archive.open(member) as stream:
                return unpickle(stream, member.file_size)  # type: ignore[arg-type]
        except ZIP_ERRORS as error:
            msg = f"{FILE}: damaged in the zip ({one_line(error)})"
            raise DamagedError(msg) from error


def _read(path: Path, session: str, job: Job) -> Reading:
    job.report(0, "unpickling")
    content = _load(path)
    with named(path):
        if not isinstance(content, dict):
            msg = f"holds one {type(content).__name__}; expected a dict of arrays."
            raise InputError(msg)
        images = _array(content, "images", 3)
        response = _array(content, "responses", 3)
        n_repeat, n_image, n_neuron = response.shape
        if len(images) != n_image:
            msg = f"{len(images)} `images` but `responses` to {n_image}."
            raise InputError(msg)
        job.report(0.3, "responses")
        repetitions = whole_numbers(
            "repetitions", _labels(content, "repetitions", n_neuron), 1, n_repeat
        )
        response, n_copied = _blank_copies(response, repetitions)
        image = {"image_type": _labels(content, "image_types", n_image)}
        for name in ("image_ids", "image_numbers"):
            if name in content:
                image[f"source_{name[:-1]}"] = _labels(content, name, n_image)
        subject, own, unit = (
            _labels(content, name, n_neuron).astype(str)
            for name in ("subject_id", "session_id", "unit_id")
        )
        split = np.full(n_image, "train", "<U10")
        split[int(n_image * TRAINED_ON) :] = "test"
        job.report(0.5, "images")
        reading = read_arrays(
            images,
            response,
            split=hold_out(split, share=0.2),
            split_source=(
                "the authors' test images (the last 20 %); 20 % of the others drawn for "
                "validation with seed 0, as the authors draw theirs with an unpublished seed"
            ),
            image=image,
            neuron={
                "neuron_id": _join(subject, own, unit),
                "area": np.full(n_neuron, "V1"),
                "subject": subject,
                "recorded_in": _join(subject, own),
                "n_repeat": repetitions.astype(np.int64),
            },
            session=session,
            recording_id=session,
            response_units="spike count",
            species="macaque",
            source="10.1371/journal.pcbi.1006897",
            license="CC BY-NC-ND 4.0; contact the authors before use in your own research",
            pooled="neurons of several sessions side by side; their trials are not simultaneous",
        )
    if n_copied:
        reading.parts["copied_repeats"] = (
            f"repeats of {n_copied} neurons are copies of their first ones, and are missing here"
        )
    return reading


def _array(content: dict[Any, Any], name: str, n_axis: int) -> np.ndarray:
    values = content.get(name)
    if (
        not isinstance(values, np.ndarray)
        or values.ndim != n_axis
        or not values.size
        or values.dtype.kind not in "biuf"
    ):
        found = type(values).__name__
        if isinstance(values, np.ndarray):
            found = f"an array of {values.dtype} with shape {values.shape}"
        msg = f"`{name}` is {found}; expected an array of numbers with {n_axis} axes."
        raise InputError(msg)
    return values


def _labels(content: dict[Any, Any], name: str, length: int) -> np.ndarray:
    """Return a number or word for each neuron or image, of an array of any shape."""
    values = content.get(name)
    if isinstance(values, np.ndarray) and values.size == length:
        items = values.reshape(length).tolist()
        if all(isinstance(item, str) and len(item) <= LONGEST_WORD for item in items):
            return np.array(items)
        if values.dtype.kind in "iuf":
            return whole_numbers(name, items, 0, LARGEST)
    msg = f"`{name}` is not an array of {length} whole numbers or short words."
    raise InputError(msg)


def _join(*parts: np.ndarray) -> np.ndarray:
    return np.array(["-".join(words) for words in zip(*parts, strict=True)])


def _blank_copies(response: np.ndarray, repetitions: np.ndarray) -> tuple[np.ndarray, int]:
    """Take away repeats beyond those that were made, which may be copies of the first ones.

    The authors fill rows 2 and 3 of neurons that were shown each image twice with rows 0 and
    1. A copy is no repeat: a noise ceiling would rise by it.

    Returns
    -------
    response : ndarray of shape (n_repeat, n_image, n_neuron)
    n_copied : int
        Neurons of which values were taken away.

    """
    n_repeat = len(response)
    response = as_float32(response).copy()
    half = n_repeat // 2
    first, second = response[:half], response[half : 2 * half]
    alike = (first == second) | (np.isnan(first) & np.isnan(second))
    copied = alike.all((0, 1)) & (np.nan_to_num(first) != 0).any((0, 1))  # not silent or unseen
    made = np.where(copied, np.minimum(repetitions, half), repetitions)
    surplus = (np.arange(n_repeat)[:, None] >= made)[:, None, :]
    n_copied = (~np.isnan(response) & surplus).any((0, 1)).sum()
    response[np.broadcast_to(surplus, response.shape)] = np.nan
    return response, int(n_copied)


LAYOUT = Layout(_recognise, _list_sessions, _read)
