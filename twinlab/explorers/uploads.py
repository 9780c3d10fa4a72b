"""A person's own picture, from the browser onto the canvas of a twin."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import panel as pn
import param

from twinlab import stimuli
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["PictureChooser", "read_upload"]

KINDS = ".png,.jpg,.jpeg,.tif,.tiff,.npy"
MOST_BYTES = 8_000_000


class PictureChooser(pn.custom.JSComponent):
    """Choice of a file, which is sent unless it is too large.

    A message larger than a server takes ends the connection of the page: that of
    `pn.widgets.FileInput` is as large as the file, and there is nowhere to stop it.

    Parameters
    ----------
    take : callable
        Called with the name of a file, its content, and its size in bytes. The content is None
        where it was not sent: it is too large, or the browser cannot read it.
    **params
        Such as the width.

    """

    accept = param.String(KINDS, doc="What the browser offers.")
    most_bytes = param.Integer(MOST_BYTES, doc="Of a file that is sent.")

    _esm = """
export function render({ model }) {
  const chooser = document.createElement("input")
  chooser.type = "file"
  chooser.accept = model.accept
  chooser.style.width = "100%"
  chooser.onclick = () => { chooser.value = "" }  // the same file may have changed since
  chooser.onchange = async () => {
    const [file] = chooser.files
    if (!file) return
    const { name, size } = file
    const small = size <= model.most_bytes
    const content = small ? await file.arrayBuffer().catch(() => null) : null
    model.send_msg({ name, size, content })
  }
  return chooser
}
"""

    def __init__(self, take: Callable[[str, bytes | None, int], None], **params: Any) -> None:
        super().__init__(**params)
        self.on_msg(
            lambda event: take(event.data["name"], event.data["content"], event.data["size"])
        )


def read_upload(
    name: str, content: bytes | None, canvas: StimulusSpec, *, size: int | None = None
) -> tuple[np.ndarray, str]:
    """Bring an uploaded picture to the size a twin sees, and say what was done to it.

    Parameters
    ----------
    name : str
        Of the file.
    content : bytes, optional
        PNG, JPEG, TIFF, or NPY of grey levels; see `stimuli.load_images`. None where the
        browser did not send it.
    canvas : StimulusSpec
    size : int, optional
        Of the file, in bytes, as the browser says; that of the content where absent.

    Returns
    -------
    image : ndarray of shape (channel, y, x), float32
        In grey levels, which are not changed but where the twin cannot be shown them.
    said : str

    Raises
    ------
    InputError
        If it is no picture, damaged, too large, or was not sent.

    """
    name = PurePath(name.replace("\\", "/")).name or "picture"
    size = max(size or 0, len(content or b""))
    if size > MOST_BYTES:
        msg = (
            f"{name}: has {size / 1e6:.0f} MB, but at most {MOST_BYTES / 1e6:.0f} are "
            f"read; make it smaller, {canvas.width} x {canvas.height} pixels are enough."
        )
        raise InputError(msg)
    if content is None:
        msg = f"{name}: your browser cannot read it; is it still there, and a file?"
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
