"""A person's own picture, from the browser onto the canvas of a twin."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePath

import numpy as np

from twinlab import stimuli
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["KINDS", "read_upload"]

KINDS = ".png,.jpg,.jpeg,.tif,.tiff,.npy"
MOST_BYTES = 8_000_000


def read_upload(name: str, content: bytes, canvas: StimulusSpec) -> tuple[np.ndarray, str]:
    """Bring an uploaded picture to the size a twin sees, and say what was done to it.

    Parameters
    ----------
    name : str
        Of the file.
    content : bytes
        PNG, JPEG, TIFF, or NPY of grey levels; see `stimuli.load_images`.
    canvas : StimulusSpec

    Returns
    -------
    image : ndarray of shape (channel, y, x), float32
        In grey levels, which are not changed but where the twin cannot be shown them.
    said : str

    Raises
    ------
    InputError
        If it is no picture, damaged, or too large.

    """
    name = PurePath(name.replace("\\", "/")).name or "picture"
    if len(content) > MOST_BYTES:
        msg = (
            f"{name}: has {len(content) / 1e6:.0f} MB, but at most {MOST_BYTES / 1e6:.0f} are "
            f"read; make it smaller, {canvas.width} x {canvas.height} pixels are enough."
        )
        raise InputError(msg)
    if PurePath(name).suffix.lower() not in KINDS.split(","):  # or too long for a file's name
        msg = f"{name[:60]}: unknown kind of image; expected one of {KINDS.replace(',', ', ')}."
        raise InputError(msg)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{PurePath(name).suffix}"
        path.write_bytes(content)
        try:
            found = stimuli.load_images(
                path,
                height=canvas.height,
                width=canvas.width,
                channel=canvas.channel,
                mean=canvas.mean,
            )
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
    shown = stimuli.clip_stimulus(found, canvas.low, canvas.high).isel(image=0)
    first = "" if len(found) == 1 else f"the first of {len(found)} images, "
    cropped, cut = float(shown.cropped_fraction), float(shown.clipped_fraction)
    said = (
        f"{name}: {first}{int(shown.source_width)} × {int(shown.source_height)} px"
        + (f", {100 * cropped:.0f} % cut off at the edges" if cropped else "")
        + f", resized to {canvas.width} × {canvas.height}; "
        + (f"{100 * cut:.1f} % of pixels beyond what can be shown" if cut else "contrast kept")
    )
    return shown.values, said
