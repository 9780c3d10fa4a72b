"""Stimuli and schedule as the files a rig shows, and those files read back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from PIL import Image

from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.loop.plan import Rig
from twinlab.loop.protocol import write_protocol
from twinlab.loop.schedule import BLANK
from twinlab.loop.screen import (
    Place,
    find_place,
    from_screen,
    luminance_of_levels,
    onto_screen,
    to_grey,
    to_levels,
)
from twinlab.schema import InputError, netcdf_bytes

__all__ = [
    "FORMATS",
    "export_stimuli",
    "read_key",
    "read_manifest",
    "read_schedule",
    "read_stimuli",
]

FORMATS = ("png", "npy", "hdf5")
KIND = "twinlab loop export 1"
TRIAL_COLUMNS = ("trial", "code", "file", "onset_s", "on_s", "off_s")


def export_stimuli(
    stimuli: xr.Dataset,
    schedule: xr.Dataset,
    rig: Rig,
    folder: str | PathLike[str],
    *,
    mean: float,
    formats: Sequence[str] = ("png",),
    gamma_folder: str | PathLike[str] = ".",
    job: Job | None = None,
) -> dict[str, Any]:
    """Write what a rig needs to show the stimuli, and what the experimenter needs to know.

    The folder gets `manifest.json`, with a checksum for each stimulus; `schedule.csv`;
    `protocol.html`, to be read at the rig; the stimuli under their codes; and `key.nc`, which
    alone tells what each code is and for whom it was made, and is opened after the session.

    Parameters
    ----------
    stimuli : xarray.Dataset
        `stimulus` (stimulus, channel, y, x) in grey levels of 0 to 255, proportional to luminance,
        with `stimulus_id` along `stimulus`; whatever else it holds goes into the key.
    schedule : xarray.Dataset
        Of `make_schedule`, of these stimuli.
    rig : Rig
    folder : path
        Written whole; must not exist.
    mean : float
        Grey level of blanks and of the screen around the image.
    formats : sequence of str
        Of `FORMATS`: PNG files of 8 bits, one array of levels (stimulus, channel, y, x) in
        `stimuli.npy`, or the same in `stimuli.h5`. All hold levels of the screen: what is sent
        to it, gamma corrected.
    gamma_folder : path
        In which `rig.gamma_table` lies.
    job : Job, optional

    Returns
    -------
    dict
        The manifest. `largest_error`: in grey levels, between what was planned and what the files
        say, pixels that had to be clipped left out; `clipped_fraction` of each stimulus.

    Raises
    ------
    InputError
        If stimuli are missing from the schedule or the other way round, not finite, do not fit
        on the screen or into a format, or the folder exists.

    """
    job = job or Job()
    folder = Path(folder)
    planned, code_of = _check(stimuli, schedule, formats)
    if folder.exists():
        msg = f"{folder}: exists; export to a new folder, so that no other session's files mix in."
        raise InputError(msg)
    luminance = luminance_of_levels(rig, gamma_folder)
    blank = np.full((1, *planned.shape[1:]), mean)
    names = [*stimuli.stimulus_id.values.astype(str), BLANK]
    rows = [i for i, name in enumerate(names) if name in code_of]
    rows.sort(key=lambda i: code_of[names[i]])  # in the order of the codes, which tells nothing
    grey = np.concatenate([planned, blank])[rows]
    codes = [code_of[names[i]] for i in rows]
    levels, clipped = to_levels(grey, luminance)
    place = find_place(rig, *planned.shape[2:])
    background = int(to_levels(np.array([mean]), luminance)[0][0])
    error = np.abs(to_grey(levels, luminance) - grey)[(grey >= 0) & (grey <= 255)]
    shape = (len(codes), planned.shape[1], rig.height_px, rig.width_px)
    with write_whole(folder) as partial:
        partial.mkdir()
        entries = []
        with _open_files(partial, formats, shape, codes) as write:
            for i, code in enumerate(codes):
                job.report(0.9 * i / len(codes), f"writing {code}")
                screen = onto_screen(levels[i], place, rig, background)
                write(i, screen)
                entries.append(
                    {
                        "code": code,
                        "sha256": checksum(screen),
                        "clipped_fraction": float(clipped[i]),
                    }
                )
        table = _schedule_table(schedule, formats)
        (partial / "schedule.csv").write_bytes(table)
        key_codes = [code_of[name] for name in names[:-1]]
        key = netcdf_bytes(
            stimuli.assign_coords(
                code=("stimulus", key_codes, {"long_name": "code"}), **_places_of(stimuli, rig)
            )
        )
        (partial / "key.nc").write_bytes(key)
        manifest = {
            "kind": KIND,
            "twinlab_version": version("twinlab-cortex"),
            "formats": list(formats),
            "rig": asdict(rig),
            "luminance": luminance.tolist(),
            "background_level": background,
            "image": {
                **dict(zip(("channel", "height", "width"), planned.shape[1:], strict=True)),
                "place": asdict(place),
            },
            "largest_error": float(error.max(initial=0.0)),
            "schedule": {
                "sha256": hashlib.sha256(table).hexdigest(),
                "n_trial": schedule.sizes["trial"],
                **{name: schedule.attrs[name] for name in ("on_s", "off_s", "n_repeat")},
            },
            "key": {"sha256": hashlib.sha256(key).hexdigest()},
            "stimuli": entries,
        }
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        write_protocol(partial / "protocol.html", manifest)
    job.report(1.0, "exported")
    return manifest


def checksum(levels: np.ndarray) -> str:
    """SHA-256 of a stimulus: of the levels (channel, y, x) shown, whatever file holds them."""
    digest = hashlib.sha256(str(levels.shape).encode())
    digest.update(np.ascontiguousarray(levels, np.uint8).data)
    return digest.hexdigest()


def read_manifest(folder: str | PathLike[str]) -> dict[str, Any]:
    """Read and check the manifest of an exported folder.

    Raises
    ------
    InputError
        If it is missing, is not one, or the schedule beside it was altered.

    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["kind"] != KIND:
            msg = f"{path}: is of kind {manifest['kind']!r}; expected {KIND!r}."
            raise InputError(msg)
        stated = manifest["schedule"]["sha256"]
        found = hashlib.sha256((path.parent / "schedule.csv").read_bytes()).hexdigest()
    except FileNotFoundError as error:
        msg = f"{error.filename}: no such file; expected a folder written by `export_stimuli`."
        raise InputError(msg) from error
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path}: is not a manifest ({error!r}); export again."
        raise InputError(msg) from error
    if found != stated:
        msg = (
            f"{path.parent / 'schedule.csv'}: was altered after the export (its checksum is not "
            "that of the manifest); put the exported file back."
        )
        raise InputError(msg)
    return dict(manifest)


def read_stimuli(folder: str | PathLike[str], file_format: str | None = None) -> xr.DataArray:
    """Read exported stimuli as the twin sees them, each held against its checksum.

    Parameters
    ----------
    folder : path
        Of `export_stimuli`.
    file_format : str, optional
        Of those exported; the first where absent.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x) in grey levels, with the code of each as `image_id`.

    Raises
    ------
    InputError
        Naming every stimulus that is missing or was altered, in one line.

    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    file_format = file_format or manifest["formats"][0]
    if file_format not in manifest["formats"]:
        msg = f"{folder}: has no {file_format!r}; exported were {manifest['formats']}."
        raise InputError(msg)
    image = manifest["image"]
    place, luminance = Place(**image["place"]), np.array(manifest["luminance"])
    codes = [entry["code"] for entry in manifest["stimuli"]]
    images, faults = [], []
    for entry, screen in zip(
        manifest["stimuli"], _read_levels(folder, file_format, codes), strict=True
    ):
        if screen is None:
            faults.append(f"{entry['code']} is missing or cannot be read")
        elif checksum(screen) != entry["sha256"]:
            faults.append(f"{entry['code']} was altered")
        else:
            grey = to_grey(screen, luminance)
            images.append(from_screen(grey, place, image["height"], image["width"]))
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if faults[5:] else "")
        msg = f"{folder}: {len(faults)} stimuli are not those exported: {shown}; export again."
        raise InputError(msg)
    return xr.DataArray(
        np.stack(images).astype(np.float32),
        dims=("image", "channel", "y", "x"),
        coords={"image_id": ("image", codes, {"long_name": "code"})},
        name="stimulus",
        attrs={"long_name": "stimulus", "units": "grey level"},
    )


def read_schedule(folder: str | PathLike[str]) -> xr.Dataset:
    """Read the blinded schedule of an exported folder: `code` and `onset_s` along `trial`."""
    manifest = read_manifest(folder)
    text = (Path(folder) / "schedule.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    return xr.Dataset(
        coords={
            "trial": [int(row["trial"]) for row in rows],
            "code": ("trial", [row["code"] for row in rows], {"long_name": "stimulus shown"}),
            "onset_s": (
                "trial",
                [float(row["onset_s"]) for row in rows],
                {"long_name": "planned onset", "units": "s"},
            ),
        },
        attrs={name: manifest["schedule"][name] for name in ("on_s", "off_s", "n_repeat")},
    )


def read_key(folder: str | PathLike[str]) -> xr.Dataset:
    """Read what each code is: the stimuli as planned, with `code` along `stimulus`.

    Raises
    ------
    InputError
        If the key is missing or was altered, or is that of another export.

    """
    path = Path(folder) / "key.nc"
    stated = read_manifest(folder).get("key", {}).get("sha256")
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if stated not in (found, None):  # a key of an earlier version bears no checksum
            msg = (
                f"{path}: is not the key of this export (its checksum is not that of the "
                "manifest); put the exported file back."
            )
            raise InputError(msg)
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path}: is missing or cannot be read ({error}); it was written by the export."
        raise InputError(msg) from error


def _check(
    stimuli: xr.Dataset, schedule: xr.Dataset, formats: Sequence[str]
) -> tuple[np.ndarray, dict[str, str]]:
    """Stimuli, and the code of each name, if they can be exported."""
    names = stimuli.stimulus_id.values.astype(str).tolist()
    planned = stimuli.stimulus.transpose("stimulus", "channel", "y", "x").values.astype(float)
    scheduled = schedule.stimulus_id.values.astype(str)
    code_of = dict(zip(scheduled.tolist(), schedule.code.values.astype(str).tolist(), strict=True))
    differing = sorted(set(names) ^ (set(code_of) - {BLANK}))
    faults = []
    if differing or len(set(names)) < len(names):
        faults.append(
            f"stimuli and schedule differ in {len(differing)} names, first {differing[:1]}"
            if differing
            else "`stimulus_id` has names twice"
        )
    if not np.isfinite(planned).all():
        which = names[int(np.flatnonzero(~np.isfinite(planned).all((1, 2, 3)))[0])]
        faults.append(f"stimulus {which!r} has pixels that are not finite; leave it out")
    if unknown := set(formats) - set(FORMATS) or ({"none"} if not formats else set()):
        faults.append(f"formats {sorted(unknown)} are unknown; known: {list(FORMATS)}")
    if "png" in formats and planned.shape[1] not in (1, 3):
        faults.append(f"PNG files have 1 or 3 channels, but stimuli have {planned.shape[1]}")
    if faults:
        msg = "These stimuli cannot be exported: " + "; ".join(faults) + "."
        raise InputError(msg)
    return planned, code_of


@contextmanager
def _open_files(
    folder: Path, formats: Sequence[str], shape: tuple[int, ...], codes: list[str]
) -> Iterator[Callable[[int, np.ndarray], None]]:
    """What writes one stimulus (channel, y, x) of `shape` into the files of all formats."""
    with ExitStack() as stack:
        write = []
        if "png" in formats:
            (folder / "stimuli").mkdir()
            write.append(lambda i, screen: _save_png(folder / "stimuli", codes[i], screen))
        if "npy" in formats:
            array = np.lib.format.open_memmap(folder / "stimuli.npy", "w+", np.uint8, shape)
            stack.callback(array.flush)
            write.append(array.__setitem__)
        if "hdf5" in formats:
            file = stack.enter_context(h5py.File(folder / "stimuli.h5", "w"))
            file["code"] = np.array(codes, dtype=h5py.string_dtype())
            chunk = {"chunks": (1, *shape[1:]), "compression": "gzip", "compression_opts": 1}
            data = file.create_dataset("stimuli", shape, np.uint8, **chunk)
            write.append(data.__setitem__)

        def write_all(i: int, screen: np.ndarray) -> None:
            for one in write:
                one(i, screen)

        yield write_all


def _save_png(folder: Path, code: str, screen: np.ndarray) -> None:
    picture = screen[0] if len(screen) == 1 else screen.transpose(1, 2, 0)
    Image.fromarray(picture).save(folder / f"{code}.png")


def _read_levels(folder: Path, file_format: str, codes: list[str]) -> Iterator[np.ndarray | None]:
    """Levels (channel, y, x) of each stimulus, None for one that cannot be read."""
    if file_format == "png":
        for code in codes:
            try:
                with Image.open(folder / "stimuli" / f"{code}.png") as image:
                    values = np.asarray(image)
            except (OSError, SyntaxError, ValueError):
                yield None
                continue
            yield values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        return
    try:
        if file_format == "npy":
            every = np.load(folder / "stimuli.npy", mmap_mode="r")
            yield from (np.asarray(every[i]) for i in range(len(codes)))
        else:
            with h5py.File(folder / "stimuli.h5") as file:
                yield from (file["stimuli"][i] for i in range(len(codes)))
    except (OSError, ValueError, KeyError, IndexError) as error:
        msg = (
            f"{folder}: the {file_format} file of stimuli cannot be read ({error}); export again."
        )
        raise InputError(msg) from error


def _places_of(stimuli: xr.Dataset, rig: Rig) -> dict[str, Any]:
    """Where on the screen the middle of each mask lies, in degrees from the screen's."""
    if "mask" not in stimuli:
        return {}
    mask = stimuli.mask.transpose("stimulus", "y", "x").values
    with np.errstate(invalid="ignore"):
        middle = [
            (mask.sum(other) * np.arange(size)).sum(1) / mask.sum((1, 2)) - (size - 1) / 2
            for other, size in ((1, mask.shape[2]), (2, mask.shape[1]))
        ]
    origin = {"x": rig.center_x_deg, "y": rig.center_y_deg}
    words = {"x": "rightward", "y": "downward"}
    return {
        f"{axis}_deg": (
            "stimulus",
            origin[axis] + rig.image_degrees_per_pixel * away,
            {"long_name": f"middle of the mask, {words[axis]} of the screen's", "units": "deg"},
        )
        for axis, away in zip("xy", middle, strict=True)
    }


def _schedule_table(schedule: xr.Dataset, formats: Sequence[str]) -> bytes:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(TRIAL_COLUMNS)
    on_s, off_s = schedule.attrs["on_s"], schedule.attrs["off_s"]
    for trial, code, onset in zip(
        schedule.trial.values, schedule.code.values, schedule.onset_s.values, strict=True
    ):
        file = f"stimuli/{code}.png" if "png" in formats else ""
        table.writerow([int(trial), code, file, f"{onset:.4f}", on_s, off_s])
    return out.getvalue().encode()
