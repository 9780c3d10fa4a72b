"""The files that hold levels of a screen: PNG, NPY, HDF5 and MP4, written and read exactly."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
from PIL import Image

from twinlab.schema import InputError

__all__ = ["FORMATS", "Pictures", "check_formats", "import_av", "read_levels", "write_levels"]

FORMATS = ("png", "npy", "hdf5", "mp4")
# Lossless, and RGB also for grey stimuli: how a player turns the luma of YUV into levels of a
# screen depends on the player, while RGB is shown as it is.
CODEC, PIXELS, OPTIONS = "libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"}


@dataclass(frozen=True)
class Pictures:
    """What the files of an export hold.

    Attributes
    ----------
    codes : sequence of str
        Names of the stimuli, in their order in files that hold all of them.
    shape : tuple of int
        Of each, (channel[, frame], y, x) on the screen.
    bits : int
        Of a level: up to 8 are stored in bytes, more in 16 bits.
    hold : int
        Frames of the rig for which each picture is shown: an image for the whole time.
    frame_rate_hz : float
        Of the rig.

    """

    codes: Sequence[str]
    shape: tuple[int, ...]
    bits: int = 8
    hold: int = 1
    frame_rate_hz: float = 60.0

    @property
    def dtype(self) -> np.dtype:
        """How a level is stored."""
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    @property
    def n_frame(self) -> int:
        """Pictures in a stimulus: 1 of an image."""
        return self.shape[1] if len(self.shape) == 4 else 1


def check_formats(formats: Sequence[str], bits: int, channel: int = 1) -> Iterator[str]:
    """Say which formats are none, or cannot hold stimuli of so many channels and bits."""
    if not formats or set(formats) - set(FORMATS):
        yield f"`rig.formats` is {list(formats)}; known: {', '.join(FORMATS)}"
    if {"png", "mp4"} & set(formats) and channel not in (1, 3):
        yield f"PNG and MP4 files have 1 or 3 channels, but stimuli have {channel}: use hdf5"
    if "mp4" in formats and bits > 8:
        yield f"MP4 files have 8 bits, but the rig has {bits}: use png or hdf5"
    if "png" in formats and bits > 8 and channel == 3:
        yield "PNG files of more than 8 bits have 1 channel, but stimuli have 3: use hdf5"


def import_av() -> ModuleType:
    """PyAV, which reads and writes MP4 files, or `InputError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        msg = 'MP4 files need PyAV; run `pip install "twinlab-cortex[mp4]"`.'
        raise InputError(msg) from error
    return av


@contextmanager
def write_levels(
    folder: Path, formats: Sequence[str], pictures: Pictures
) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Give what writes stimulus i, of `pictures.shape`, to the files of all formats.

    They are written in order, one at a time, so that no more than one is in memory.
    """
    shape = (len(pictures.codes), *pictures.shape)
    with ExitStack() as stack:
        write: list[Callable[[int, np.ndarray], None]] = []
        if {"png", "mp4"} & set(formats):
            (folder / "stimuli").mkdir()
        if "png" in formats:
            write.append(lambda i, screen: _save_png(folder, pictures.codes[i], screen))
        if "mp4" in formats:
            write.append(lambda i, screen: _save_mp4(folder, pictures, i, screen))
        if "npy" in formats:
            # Not through a memory map: a disk that fills up would end the process.
            array = stack.enter_context((folder / "stimuli.npy").open("wb"))
            head = np.lib.format.dtype_to_descr(pictures.dtype)
            np.lib.format.write_array_header_1_0(
                array, {"descr": head, "fortran_order": False, "shape": shape}
            )
            write.append(lambda _, screen: screen.tofile(array))
        if "hdf5" in formats:
            file = stack.enter_context(h5py.File(folder / "stimuli.h5", "w"))
            file["code"] = np.array(pictures.codes, dtype=h5py.string_dtype())
            data = file.create_dataset(
                "stimuli", shape, pictures.dtype, compression="gzip", compression_opts=1,
                chunks=(*([1] * (len(shape) - 2)), *shape[-2:]),
            )  # fmt: skip
            write.append(data.__setitem__)

        def write_all(i: int, screen: np.ndarray) -> None:
            for one in write:
                one(i, screen)

        yield write_all


def read_levels(folder: Path, file_format: str, pictures: Pictures) -> Iterator[np.ndarray | None]:
    """Levels (channel[, frame], y, x) of each stimulus, None for one that cannot be read.

    What is not of the shape or type written is read as an empty array.

    Raises
    ------
    InputError
        If the file that holds all of them cannot be read, or PyAV is not installed.

    """
    if file_format in ("png", "mp4"):
        read = {"png": _read_png, "mp4": _read_mp4}[file_format]
        for code in pictures.codes:
            try:
                yield read(folder, pictures, code)
            except (OSError, SyntaxError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                yield None
        return
    try:
        if file_format == "npy":
            every = np.load(folder / "stimuli.npy", mmap_mode="r")
            yield from (_like(pictures, every[i]) for i in range(len(pictures.codes)))
        else:
            with h5py.File(folder / "stimuli.h5") as file:
                data = file["stimuli"]
                yield from (_like(pictures, data[i]) for i in range(len(pictures.codes)))
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        msg = (
            f"{folder}: the {file_format} file of stimuli cannot be read ({error}); export again."
        )
        raise InputError(msg) from error


def _like(pictures: Pictures, screen: np.ndarray) -> np.ndarray:
    """A stimulus, or nothing if it is not like those that were written."""
    same = screen.shape == pictures.shape and screen.dtype == pictures.dtype
    return np.asarray(screen) if same else np.empty(0, pictures.dtype)


def _frames(screen: np.ndarray) -> Iterator[np.ndarray]:
    """Pictures (channel, y, x) of a stimulus."""
    yield from [screen] if screen.ndim == 3 else screen.swapaxes(0, 1)


def _stack(frames: list[np.ndarray], pictures: Pictures) -> np.ndarray:
    """Put pictures (channel, y, x) together to a stimulus."""
    return frames[0] if len(pictures.shape) == 3 else np.stack(frames, axis=1)


def _png_paths(folder: Path, code: str, pictures: Pictures) -> list[Path]:
    """Files of a stimulus: of a video a folder of its frames."""
    if len(pictures.shape) == 3:
        return [folder / "stimuli" / f"{code}.png"]
    return [folder / "stimuli" / code / f"{i:04d}.png" for i in range(pictures.n_frame)]


def _save_png(folder: Path, code: str, screen: np.ndarray) -> None:
    for path, frame in zip(
        _png_paths(folder, code, Pictures([code], screen.shape)), _frames(screen), strict=True
    ):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(frame[0] if len(frame) == 1 else frame.transpose(1, 2, 0)).save(path)


def _read_png(folder: Path, pictures: Pictures, code: str) -> np.ndarray:
    mode = "RGB" if pictures.shape[0] == 3 else "L" if pictures.bits == 8 else "I;16"
    frames = []
    for path in _png_paths(folder, code, pictures):
        with Image.open(path) as image:
            if image.mode != mode:  # its numbers are not levels
                return np.empty(0, pictures.dtype)
            values = np.asarray(image)
        frames.append(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))
        if frames[-1].shape != frames[0].shape:
            return np.empty(0, pictures.dtype)
    return _like(pictures, _stack(frames, pictures).astype(pictures.dtype))


def _save_mp4(folder: Path, pictures: Pictures, i: int, screen: np.ndarray) -> None:
    av = import_av()
    with av.open(str(folder / "stimuli" / f"{pictures.codes[i]}.mp4"), "w") as container:
        rate = Fraction(pictures.frame_rate_hz).limit_denominator(1001)
        stream = container.add_stream(CODEC, rate=rate, options=dict(OPTIONS))
        stream.height, stream.width = pictures.shape[-2:]
        stream.pix_fmt = PIXELS
        stream.codec_context.thread_count = 1  # the same bytes with any number of cores
        for frame in _frames(screen):
            rgb = np.ascontiguousarray(np.broadcast_to(frame.transpose(1, 2, 0), _rgb(frame)))
            for _ in range(pictures.hold):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, PIXELS)))
        container.mux(stream.encode(None))


def _rgb(frame: np.ndarray) -> tuple[int, int, int]:
    return (*frame.shape[1:], 3)


def _read_mp4(folder: Path, pictures: Pictures, code: str) -> np.ndarray:
    av = import_av()
    n = 0
    frames: list[np.ndarray] = []
    # Opened here, so that a missing file is an `OSError` as of the other formats.
    data = io.BytesIO((folder / "stimuli" / f"{code}.mp4").read_bytes())
    with av.open(data) as container:
        for n, frame in enumerate(container.decode(video=0), 1):
            rgb = frame.to_ndarray(format=PIXELS).transpose(2, 0, 1)
            held = (n - 1) % pictures.hold and np.array_equal(rgb, frames[-1])
            if not held:
                frames.append(rgb)
    channel = pictures.shape[0]
    if (
        n != pictures.n_frame * pictures.hold
        or len(frames) != pictures.n_frame
        or any((frame != frame[:1]).any() for frame in frames if channel == 1)
    ):
        return np.empty(0, pictures.dtype)
    return _like(pictures, _stack([frame[:channel] for frame in frames], pictures))
