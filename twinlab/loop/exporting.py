"""Stimuli and schedule as the files a rig shows, and those files read back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.loop.formats import Pictures, read_levels, write_levels
from twinlab.loop.gathering import neuron_names
from twinlab.loop.plan import Rig
from twinlab.loop.protocol import write_protocol
from twinlab.loop.schedule import BLANK
from twinlab.loop.screen import Place, fit_screen, from_screen, onto_screen, to_grey, to_levels
from twinlab.schema import InputError, netcdf_bytes

__all__ = ["export_stimuli", "read_key", "read_manifest", "read_schedule", "read_stimuli"]

KIND = "twinlab loop export 2"
TRIAL_COLUMNS = ("trial", "code", "file", "onset_s", "on_s", "off_s")
PLACES = ("x_deg", "y_deg", "diameter_deg")  # of a mask on the screen
MOST_TOLD = 5  # faults in one message


def export_stimuli(
    stimuli: xr.Dataset,
    schedule: xr.Dataset,
    rig: Rig,
    folder: str | PathLike[str],
    *,
    mean: float,
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
        `stimulus` (stimulus, channel[, frame], y, x) in grey levels of 0 to 255, proportional to
        luminance, with `stimulus_id` along `stimulus`; whatever else it holds goes into the key.
        The frames of a video fill the time that the schedule gives to a stimulus.
    schedule : xarray.Dataset
        Of `make_schedule`, of these stimuli.
    rig : Rig
        Its `formats` are written. All hold levels of the screen: what is sent to it, gamma
        corrected. Only MP4 files repeat a picture for each frame of the rig.
    folder : path
        Written whole; must not exist.
    mean : float
        Grey level of blanks and of the screen around the image.
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
        If stimuli are missing from the schedule or the other way round, not finite, as
        `fit_screen`, or the folder exists.

    """
    job = job or Job()
    folder = Path(folder)
    planned, code_of = _check(stimuli, schedule)
    if folder.exists():
        msg = f"{folder}: exists; export to a new folder, so that no other session's files mix in."
        raise InputError(msg)
    shape = planned.shape[1:]
    luminance, place, hold = fit_screen(rig, shape, schedule.attrs["on_s"], gamma_folder)
    names = stimuli.stimulus_id.values.astype(str).tolist()
    grey_of = dict(zip(names, planned, strict=True)) | {BLANK: np.full(shape, mean, np.float32)}
    # In the order of the codes, which tells nothing.
    shown = sorted((code, grey_of[name]) for name, code in code_of.items())
    background = int(to_levels(np.array([mean]), luminance)[0][0])
    pictures = Pictures(
        [code for code, _ in shown], (*shape[:-2], rig.height_px, rig.width_px), rig.bits, hold,
        rig.frame_rate_hz,
    )  # fmt: skip
    largest, entries = 0.0, []
    with write_whole(folder) as partial:
        partial.mkdir()
        with write_levels(partial, rig.formats, pictures) as write:
            for i, (code, grey) in enumerate(shown):
                job.report(0.9 * i / len(shown), f"writing {code}")
                levels, clipped = to_levels(grey[None], luminance)
                error = np.abs(to_grey(levels[0], luminance) - grey)[(grey >= 0) & (grey <= 255)]
                largest = max(largest, float(error.max(initial=0.0)))
                screen = onto_screen(levels[0], place, rig, background)
                write(i, screen)
                entries.append(
                    {
                        "code": code,
                        "sha256": checksum(screen),
                        "clipped_fraction": float(clipped[0]),
                    }
                )
        table = _schedule_table(schedule, rig.formats, is_video=len(shape) == 4)
        (partial / "schedule.csv").write_bytes(table)
        codes = ("stimulus", [code_of[name] for name in names], {"long_name": "code"})
        key = stimuli.assign_coords(code=codes, **_places_of(stimuli, rig))
        secret = netcdf_bytes(key)
        (partial / "key.nc").write_bytes(secret)
        manifest = {
            "kind": KIND,
            "twinlab_version": version("twinlab-cortex"),
            "formats": list(rig.formats),
            "rig": asdict(rig),
            "luminance": luminance.tolist(),
            "background_level": background,
            "image": {
                **{name: stimuli.sizes[name] for name in ("channel", "frame", "y", "x")
                   if name in stimuli.stimulus.dims},
                "hold": hold,
                "place": asdict(place),
            },
            "largest_error": largest,
            "schedule": {
                "sha256": hashlib.sha256(table).hexdigest(),
                "n_trial": schedule.sizes["trial"],
                **{name: schedule.attrs[name] for name in ("on_s", "off_s", "n_repeat")},
            },
            "key": {"sha256": hashlib.sha256(secret).hexdigest()},
            "units": _units_of(key),
            "stimuli": entries,
        }  # fmt: skip
        manifest["sha256"] = _digest(manifest)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        write_protocol(partial / "protocol.html", manifest)
    job.report(1.0, "exported")
    return manifest


def checksum(levels: np.ndarray) -> str:
    """SHA-256 of a stimulus: of the levels (channel[, frame], y, x) shown, whatever holds them."""
    digest = hashlib.sha256(str(levels.shape).encode())
    digest.update(np.ascontiguousarray(levels).data)
    return digest.hexdigest()


def read_manifest(folder: str | PathLike[str]) -> dict[str, Any]:
    """Read and check the manifest of an exported folder.

    Raises
    ------
    InputError
        If it is missing, was altered, is of another version of twinlab, or the schedule beside
        it was altered.

    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        kind, stated = manifest["kind"], manifest.get("sha256")
    except FileNotFoundError as error:
        msg = f"{path}: no such file; expected a folder written by `export_stimuli`, whole."
        raise InputError(msg) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: is not a manifest ({error!r}); export again."
        raise InputError(msg) from error
    if kind != KIND:
        msg = (
            f"{path}: is of kind {kind!r}, written by twinlab {manifest.get('twinlab_version')}; "
            f"expected {KIND!r}: export again, or use that version."
        )
        raise InputError(msg)
    if stated != _digest(manifest):
        msg = f"{path}: was altered after the export; put the exported file back."
        raise InputError(msg)
    _read_exported(path.parent / "schedule.csv", manifest["schedule"]["sha256"])
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
        `stimulus` (image, channel, y, x), or (video, channel, frame, y, x), in grey levels, with
        the code of each as `image_id`.

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
    image, rig = manifest["image"], manifest["rig"]
    place, luminance = Place(**image["place"]), np.array(manifest["luminance"])
    codes = [entry["code"] for entry in manifest["stimuli"]]
    leading = [image[name] for name in ("channel", "frame") if name in image]
    pictures = Pictures(
        codes, (*leading, rig["height_px"], rig["width_px"]), rig["bits"], image["hold"],
        rig["frame_rate_hz"],
    )  # fmt: skip
    images, faults = [], []
    for entry, screen in zip(
        manifest["stimuli"], read_levels(folder, file_format, pictures), strict=True
    ):
        if screen is None:
            faults.append(f"{entry['code']} is missing or cannot be read")
        elif checksum(screen) != entry["sha256"]:
            faults.append(f"{entry['code']} was altered")
        else:
            size = (image["y"], image["x"])
            grey = [  # a picture at a time: a video of whole screens is large
                from_screen(to_grey(picture, luminance), place, *size)
                for picture in screen.reshape(-1, *screen.shape[-2:])
            ]
            images.append(np.reshape(grey, (*leading, *size)).astype(np.float32))
    if faults:
        shown = "; ".join(faults[:MOST_TOLD])
        shown += f"; and {len(faults) - MOST_TOLD} more" if faults[MOST_TOLD:] else ""
        msg = (
            f"{folder}: {len(faults)} stimuli are not those exported: {shown}; put the exported "
            "files back."
        )
        raise InputError(msg)
    kind = "video" if "frame" in image else "image"
    return xr.DataArray(
        np.stack(images),
        dims=(kind, "channel", *(["frame"] if kind == "video" else []), "y", "x"),
        coords={"image_id": (kind, codes, {"long_name": "code"})},
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

    Where masks tell where a stimulus has its contrast, `x_deg` and `y_deg` along `stimulus` are
    the middle of it on the screen, and `diameter_deg` its size; NaN for others.

    """
    path = Path(folder) / "key.nc"
    data = _read_exported(path, read_manifest(folder)["key"]["sha256"])
    return xr.load_dataset(io.BytesIO(data), engine="h5netcdf")


def _read_exported(path: Path, sha256: str) -> bytes:
    """Content of a file of the export, or `InputError` if it is not as it was exported."""
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); copy all of the exported folder."
        raise InputError(msg) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        msg = (
            f"{path}: was altered after the export (its checksum is not that of the manifest); "
            "put the exported file back."
        )
        raise InputError(msg)
    return data


def _digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of all that a manifest says, itself left out."""
    said = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _check(stimuli: xr.Dataset, schedule: xr.Dataset) -> tuple[np.ndarray, dict[str, str]]:
    """Stimuli, and the code of each name, if they can be exported."""
    names = stimuli.stimulus_id.values.astype(str).tolist()
    frame = ["frame"] if "frame" in stimuli.stimulus.dims else []
    planned = stimuli.stimulus.transpose("stimulus", "channel", *frame, "y", "x").values
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
    finite = np.isfinite(planned).reshape(len(planned), -1).all(1)
    if not finite.all():
        which = names[int(np.flatnonzero(~finite)[0])]
        faults.append(f"stimulus {which!r} has pixels that are not finite; leave it out")
    if faults:
        msg = "These stimuli cannot be exported: " + "; ".join(faults) + "."
        raise InputError(msg)
    return planned, code_of


def _places_of(stimuli: xr.Dataset, rig: Rig) -> dict[str, Any]:
    """Where each mask lies on the screen and how large it is, in degrees."""
    if "mask" not in stimuli:
        return {}
    mask = stimuli.mask.transpose("stimulus", "y", "x").values
    area, degrees = mask.sum((1, 2)), rig.image_degrees_per_pixel
    with np.errstate(invalid="ignore"):
        x, y = (
            (mask.sum(other) * np.arange(size)).sum(1) / area - (size - 1) / 2
            for other, size in ((1, mask.shape[2]), (2, mask.shape[1]))
        )
    found = {
        "x_deg": (rig.center_x_deg + degrees * x, "middle of the mask, rightward of the screen's"),
        "y_deg": (rig.center_y_deg + degrees * y, "middle of the mask, downward of the screen's"),
        "diameter_deg": (degrees * np.sqrt(4 * area / np.pi), "diameter of a disk of its area"),
    }
    return {
        name: ("stimulus", values, {"long_name": words, "units": "deg"})
        for name, (values, words) in found.items()
    }


def _units_of(key: xr.Dataset) -> list[dict[str, Any]]:
    """Where the first stimulus of each neuron lies that has a mask; it tells nothing of codes."""
    if not {"x_deg", "session", "neuron_id"} <= set(key.coords):
        return []
    places = np.stack([key[name].values for name in PLACES], 1).astype(float).round(3)
    names = neuron_names(key.session.values, key.neuron_id.values)
    found: dict[str, dict[str, Any]] = {}
    for name, place in zip(names, places, strict=True):
        if np.isfinite(place).all():
            found.setdefault(name, dict(zip(PLACES, place.tolist(), strict=True)))
    return [{"neuron": name, **found[name]} for name in sorted(found)]


def _schedule_table(schedule: xr.Dataset, formats: tuple[str, ...], *, is_video: bool) -> bytes:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(TRIAL_COLUMNS)
    on_s, off_s = schedule.attrs["on_s"], schedule.attrs["off_s"]
    # In a file each, of which the PNG files of a video lie in a folder; or all in one.
    alone = next((name for name in ("png", "mp4") if name in formats), None)
    ending = "" if alone == "png" and is_video else f".{alone}"
    for trial, code, onset in zip(
        schedule.trial.values, schedule.code.values, schedule.onset_s.values, strict=True
    ):
        file = f"stimuli/{code}{ending}" if alone else ""
        table.writerow([int(trial), code, file, f"{onset:.4f}", on_s, off_s])
    return out.getvalue().encode()
