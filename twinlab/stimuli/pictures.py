"""A user's own images, from files to the size of a twin's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.stimuli.parameters import label, pixels

__all__ = ["load_images", "resize"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
MOST_PIXELS = 50_000_000  # of one file: more is no photograph, but a mistake, or meant to harm
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
WHITE = 255.0
ORIENTATION = 0x0112  # of EXIF


def load_images(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
) -> xr.DataArray:
    """Read images and bring them to one size, without aliasing.

    Each is cut at its middle to the shape asked for, then resized with a triangular filter as
    wide as the pixels it makes, so that detail too fine for them is averaged and not aliased,
    and no grey level leaves the range of those averaged.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files, or one folder whose images are taken in the order of their names. PNG, JPEG and
        TIFF become grey levels of 0 to 255, whatever their bit depth, turned upright where a
        camera noted how it was held (EXIF). An NPY file holds grey levels as they are, of shape
        (y, x), (channel, y, x) or (image, channel, y, x).
    height, width : int
        Size to bring them to.
    channel : int
        1 takes the luma of a coloured image (BT.601), 3 its red, green and blue. A grey image
        is alike in all channels, however many.
    mean : float
        Grey level behind the transparent parts of a PNG.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels, with along `image` the file as
        `image_id`, the share of its pixels cut off as `cropped_fraction`, and the size it had as
        `source_height` and `source_width`.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, has more than 50 million pixels, or has channels that
        do not fit. The size is read from the head of the file, before anything is decoded.

    """
    pixels(height, width, channel)
    images, names, sizes, cropped = [], [], [], []
    for path in _files(paths):
        for number, image in enumerate(stack := _read(path, channel, mean)):
            cut = _cropped(image, height, width)
            images.append(resize(cut, height, width))
            names.append(path.name if len(stack) == 1 else f"{path.name}[{number}]")
            sizes.append(image.shape[1:])
            cropped.append(1 - cut[0].size / image[0].size)
    stimulus = label(np.stack(images).astype(np.float32), {})
    stimulus.attrs["kind"] = "user images"
    tall, wide = np.array(sizes).T
    return stimulus.assign_coords(
        image_id=("image", names, {"long_name": "file"}),
        cropped_fraction=(
            "image",
            cropped,
            {"long_name": "share of the image cut off", "units": "1"},
        ),
        source_height=("image", tall, {"long_name": "height before", "units": "px"}),
        source_width=("image", wide, {"long_name": "width before", "units": "px"}),
    )


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images (..., y, x) at another size, linearly interpolated, averaged where they shrink.

    The same as `torch.nn.functional.interpolate` with `mode="bilinear"` and `antialias=True`.
    """
    down = _mixing(values.shape[-2], height)
    right = _mixing(values.shape[-1], width)
    return down @ values @ right.T


def _mixing(n: int, n_made: int) -> np.ndarray:
    """Weights (made, given) by which each pixel made is a mean of those given."""
    scale = n / n_made
    middle = (np.arange(n_made) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(n) - middle[:, None]) / max(scale, 1.0)
    weight = np.clip(1 - distance, 0, None)
    return weight / weight.sum(1, keepdims=True)


def _cropped(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest middle part (channel, y, x) of the shape asked for, to a whole pixel."""
    tall, wide = image.shape[1:]
    rows = min(tall, max(1, round(wide * height / width)))
    columns = min(wide, max(1, round(tall * width / height)))
    top, left = (tall - rows) // 2, (wide - columns) // 2
    return image[:, top : top + rows, left : left + columns]


def _files(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[Path]:
    """Every file meant, each there and of a known kind, or `InputError`."""
    given = [Path(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]
    if len(given) == 1 and given[0].is_dir():
        folder = given[0]
        given = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not given:
            msg = f"{folder}: has no images; expected files that end in {', '.join(SUFFIXES)}."
            raise InputError(msg)
    if not given:
        msg = "There are no images to load; `paths` is empty."
        raise InputError(msg)
    for path in given:
        if not path.is_file():
            msg = f"{path}: no such file; expected an image ({', '.join(SUFFIXES)})."
            raise InputError(msg)
        if path.suffix.lower() not in SUFFIXES:
            msg = f"{path}: unknown kind of image; expected one of {', '.join(SUFFIXES)}."
            raise InputError(msg)
    return given


def _read(path: Path, channel: int, mean: float) -> np.ndarray:
    """Grey levels (image, channel, y, x) of one file."""
    is_array = path.suffix.lower() == ".npy"
    try:
        size = _array_size(path) if is_array else _picture_size(path)
        if np.prod([float(length) for length in size]) > MOST_PIXELS:
            msg = f"{path}: has {' x '.join(map(str, size))} pixels; make it smaller."
            raise InputError(msg)
        values = np.load(path) if is_array else _decoded(path, mean)
    except InputError:  # says already what to do
        raise
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        msg = f"{path}: cannot be read as an image ({error}); save it again."
        raise InputError(msg) from error
    numeric = np.issubdtype(values.dtype, np.number) and not np.iscomplexobj(values)
    if not numeric or values.ndim not in (2, 3, 4) or not values.size:
        msg = (
            f"{path}: holds {values.dtype} of shape {values.shape}; expected grey levels of shape "
            "(y, x), (channel, y, x) or (image, channel, y, x)."
        )
        raise InputError(msg)
    values = values.astype(float)
    if not np.isfinite(values).all():
        msg = f"{path}: has grey levels that are not finite; replace them."
        raise InputError(msg)
    images = values.reshape(-1, *values.shape[-3:]) if values.ndim > 2 else values[None, None]
    found = images.shape[1]
    if found == 3 and channel == 1:
        return np.tensordot(LUMA, images, (0, 1))[:, None]
    if found in (1, 3) and found != channel and (images == images[:, :1]).all():  # grey
        return np.repeat(images[:, :1], channel, axis=1)
    if found != channel:
        msg = f"{path}: has {found} channels; expected 1 or {channel}, or 3 to make 1 of."
        raise InputError(msg)
    return images


def _array_size(path: Path) -> tuple[int, ...]:
    """Shape of the array in an NPY file, by its head."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)[0]
        return np.lib.format.read_array_header_2_0(file)[0]


def _picture_size(path: Path) -> tuple[int, ...]:
    """Width and height of a picture, by its head."""
    from PIL import Image

    with warnings.catch_warnings():
        # Of large ones, which are refused here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=["PNG", "JPEG", "TIFF"]) as image:
                pages = getattr(image, "n_frames", 1)
                if image.format == "TIFF" and (pages > 1 or image.mode in ("F", "I")):
                    msg = f"a TIFF of {pages} pages, mode {image.mode}; one of 8 or 16 bits is"
                    raise ValueError(msg)
                return image.size
        except Image.DecompressionBombError as error:
            msg = f"{path}: is far too large; make it smaller."
            raise InputError(msg) from error


def _upright(values: np.ndarray, turned: int) -> np.ndarray:
    """Pixels (y, x, ...) as they are to be seen, by the orientation that a camera noted.

    From 1, as they are, to 8, each a way of turning and mirroring.
    """
    if turned >= 5:
        values = values.swapaxes(0, 1)
    if turned in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if turned in (3, 4, 7, 8) else values


def _decoded(path: Path, mean: float) -> np.ndarray:
    """Grey levels (channel, y, x) of a PNG or JPEG."""
    from matplotlib.image import imread  # slow to import, and few need it
    from PIL import Image

    with Image.open(path) as image:
        turned = image.getexif().get(ORIENTATION, 1)
    values = _upright(imread(path), turned)
    if np.issubdtype(values.dtype, np.integer):
        levels = values.astype(float) * (WHITE / np.iinfo(values.dtype).max)
    else:
        levels = values.astype(float) * WHITE  # matplotlib's, from 0 to 1
    if levels.ndim == 2:
        return levels[None]
    if levels.shape[-1] == 4:
        opaque = levels[..., -1:] / WHITE
        levels = opaque * levels[..., :-1] + (1 - opaque) * mean
    return levels.transpose(2, 0, 1)
