"""One tiny whole sample of each layout with a time axis, and what a reader must find in it.

As in `layout_samples`: a writer gets an empty folder; `Sample.path` is what is opened,
`Sample.truth` what the recording must hold by the name of a variable or coordinate.
"""

import datetime
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
import yaml
from pynwb.base import ImageReferences, Images
from pynwb.image import GrayscaleImage, ImageSeries, IndexSeries
from samples import Sample, save

RATE = 30.0  # of the traces


def slow_traces(times, n_neuron):
    """Straight lines: the mean over any window is the value in its middle."""
    return np.arange(1, n_neuron + 1) * times[:, None] + np.arange(n_neuron)


def write_sensorium_dynamic(folder: Path) -> Sample:
    """Seven trials of five videos: one is shown twice in a tier, one in two tiers."""
    rng = np.random.default_rng(0)
    root = folder / "dynamic11-2-3-Video-tiny"
    tiers = np.array(["train", "oracle", "train", "oracle", "train", "live_test_main", "train"])
    which, length = [0, 1, 2, 1, 3, 4, 0], [8, 10, 10, 10, 6, 10, 8]
    videos = rng.integers(0, 256, (5, 3, 4, 10)).astype(np.float64)
    response = rng.exponential(size=(7, 5, 10)).astype(np.float32)
    behavior, pupil = rng.normal(size=(2, 7, 2, 10))
    response[5] = 0  # withheld
    for trial in range(7):
        for values in (videos[which[trial]][None], response[trial], behavior[trial], pupil[trial]):
            values[..., length[trial] :] = np.nan
        save(root / f"data/videos/{trial}.npy", videos[which[trial]])
        save(root / f"data/responses/{trial}.npy", response[trial])
        save(root / f"data/behavior/{trial}.npy", behavior[trial])
        save(root / f"data/pupil_center/{trial}.npy", pupil[trial])
    response[5] = np.nan
    save(root / "meta/trials/tiers.npy", tiers)
    save(root / "meta/trials/trial_idx.npy", np.arange(7)[::-1])
    save(root / "meta/neurons/unit_ids.npy", np.array([7, 3, 9, 4, 1], np.uint16))
    save(root / "meta/neurons/cell_motor_coordinates.npy", rng.normal(size=(5, 3)))
    save(root / "meta/neurons/area.npy", np.full(5, "V1"))
    (root / "config.json").write_text(json.dumps({"links": {"targets": "responses"}}))
    filled = np.moveaxis(videos, -1, 1)[:, None].copy()
    for video in filled:
        video[np.isnan(video)] = np.rint(np.nanmean(video))
    truth = {
        "stimulus": filled,
        "stimulus_index": which,
        "response": response,
        "behavior": behavior,
        "pupil_center": pupil,
        "split": ["train", "validation", "train", "validation", "train", "test", "train"],
        "neuron_id": [7, 3, 9, 4, 1],
        "n_frame": [8, 10, 10, 6, 10],
    }
    return Sample(root, truth)


def write_allen_nwb1(folder: Path, stimulus: str = "natural_scenes") -> Sample:
    """Images (with a blank sweep) and a movie, on traces that are straight lines."""
    rng = np.random.default_rng(1)
    path = folder / "510514474.nwb"
    times = 10 + np.arange(400) / RATE
    traces = slow_traces(times, 3)
    scenes = rng.integers(0, 256, (4, 3, 5)).astype(np.float32)
    movie = rng.integers(0, 256, (6, 3, 5)).astype(np.uint8)
    pipeline = "processing/brain_observatory_pipeline"
    index = np.array([2, 0, -1, 3, 2, 0])
    start = 20 + 8 * np.arange(6)
    frames = np.tile(np.arange(6), 3)
    frame_start = 150 + np.concatenate([k * 20 + 2 * np.arange(6) for k in range(3)])
    with h5py.File(path, "w") as file:
        file["nwb_version"] = "NWB-1.0.5"
        file["general/session_id"] = "510514474"
        file["general/optophysiology/imaging_plane_1/location"] = "VISp"
        file["general/optophysiology/imaging_plane_1/imaging depth"] = "175 microns"
        file[f"{pipeline}/DfOverF/imaging_plane_1/data"] = traces.T
        file[f"{pipeline}/DfOverF/imaging_plane_1/timestamps"] = times
        file[f"{pipeline}/ImageSegmentation/cell_specimen_ids"] = [517, 512, 519]
        running = f"{pipeline}/BehavioralTimeSeries/running_speed"
        file[f"{running}/data"] = 2 * times[:, None]
        file[f"{running}/timestamps"] = times
        presented, templates = "stimulus/presentation", "stimulus/templates"
        file[f"{presented}/natural_scenes_stimulus/data"] = index
        file[f"{presented}/natural_scenes_stimulus/frame_duration"] = np.stack(
            [start, start + 7], 1
        )
        file[f"{presented}/natural_movie_one_stimulus/data"] = frames
        file[f"{presented}/natural_movie_one_stimulus/frame_duration"] = np.stack(
            [frame_start, frame_start + 1], 1
        )
        file[f"{presented}/drifting_gratings_stimulus/data"] = np.ones((4, 2))
        file[f"{templates}/natural_scenes_image_stack/data"] = scenes
        file[f"{templates}/natural_movie_one_image_stack/data"] = movie
    if stimulus == "natural_scenes":
        seen = index >= 0
        middle = times[start[seen]] + 3.5 / RATE
        truth = {
            "stimulus": scenes[[0, 2, 3], None],
            "stimulus_index": [1, 0, 2, 1, 0],
            "image_id": index[seen],
            "response": slow_traces(middle + 0.1, 3),
            "behavior": 2 * middle[:, None],
        }
    else:
        middle = times[frame_start].reshape(3, 6) + 1 / RATE
        truth = {
            "stimulus": movie[None, None],
            "stimulus_index": [0, 0, 0],
            "response": np.moveaxis(slow_traces((middle + 0.1).ravel(), 3).reshape(3, 6, 3), 2, 1),
            "behavior": 2 * middle[:, None],
        }
    truth |= {"neuron_id": [517, 512, 519], "area": ["VISp"] * 3}
    return Sample(path, truth, stimulus)


def new_nwb():
    file = pynwb.NWBFile(
        session_description="a test",
        identifier="tiny",
        session_start_time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        session_id="ses-1",
    )
    file.subject = pynwb.file.Subject(subject_id="1", species="Mus musculus", age="P90D", sex="F")
    return file


def add_traces(file, series, times, n_plane=1):
    """Put named traces (time, roi) into `file`, the rois of each plane numbered from 40."""
    device = file.create_device(name="microscope")
    module = file.create_processing_module(name="ophys", description="traces")
    segmentation = pynwb.ophys.ImageSegmentation()
    module.add(segmentation)
    boxes = {}
    for number in range(n_plane):
        plane = file.create_imaging_plane(
            name=f"plane{number}",
            optical_channel=pynwb.ophys.OpticalChannel(
                name="channel", description="green", emission_lambda=500.0
            ),
            description="a plane",
            device=device,
            excitation_lambda=920.0,
            indicator="GCaMP6",
            location="VISp",
        )
        table = segmentation.create_plane_segmentation(
            name=f"cells{number}", description="cells", imaging_plane=plane
        )
        n_roi = next(iter(series.values())).shape[1]
        for roi in range(n_roi):
            table.add_roi(pixel_mask=[(roi, 0, 1.0)], id=40 + roi)
        for name, traces in series.items():
            box = pynwb.ophys.DfOverF if name.startswith("DfOverF") else pynwb.ophys.Fluorescence
            if box not in boxes:
                boxes[box] = box(name=box.__name__)
                module.add(boxes[box])
            boxes[box].create_roi_response_series(
                name=name + (str(number) if n_plane > 1 else ""),
                data=traces + 1000 * number,
                rois=table.create_roi_table_region(description="all", region=list(range(n_roi))),
                unit="a.u.",
                timestamps=times,
            )


def write(file, path):
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def write_nwb2(folder: Path, stimulus: str = "natural_scenes") -> Sample:
    """As the Allen Institute's 2-photon copies: an IndexSeries into images, one into a movie."""
    rng = np.random.default_rng(2)
    path = folder / "sub-1_ses-1.nwb"
    times = 10 + np.arange(400) / RATE
    file = new_nwb()
    traces = slow_traces(times, 3)
    add_traces(file, {"DfOverF": traces, "Corrected": 2 * traces}, times)
    # twelve images: in HDF5, image 10 comes before image 2
    pixels = rng.integers(0, 256, (12, 3, 5)).astype(np.uint8)
    images = [GrayscaleImage(name=f"scene{i}", data=pixels[i]) for i in range(12)]
    template = Images(name="natural_scenes_template", images=images, description="scenes")
    file.add_stimulus_template(template)
    index = np.array([10, 2, 2**32 - 1, 10, 11], np.uint32)
    onset = 11 + 0.25 * np.arange(5)
    file.add_stimulus(
        IndexSeries(
            name="natural_scenes_stimulus",
            data=index,
            indexed_images=template,
            unit="N/A",
            timestamps=onset,
        )
    )
    frames = rng.integers(0, 256, (6, 3, 5)).astype(np.uint8)
    movie = ImageSeries(
        name="natural_movie_one", data=frames, unit="n.a.", starting_time=0.0, rate=30.0
    )
    file.add_stimulus_template(movie)
    frame_onset = 15 + np.concatenate([2 * k + np.arange(6) / 20 for k in range(3)])
    file.add_stimulus(
        IndexSeries(
            name="natural_movie_one_stimulus",
            data=np.tile(np.arange(6, dtype=np.uint32), 3),
            indexed_images=template,  # see below
            unit="N/A",
            timestamps=frame_onset,
        )
    )
    behavior = file.create_processing_module(name="behavior", description="running")
    speed = pynwb.TimeSeries(name="speed", data=0.02 * times, unit="m/s", timestamps=times)
    behavior.add(pynwb.behavior.BehavioralTimeSeries(time_series=speed))
    write(file, path)
    with h5py.File(path, "a") as again:  # an index into frames is read, but written no more
        series = again["stimulus/presentation/natural_movie_one_stimulus"]
        del series["indexed_images"]
        series["indexed_timeseries"] = h5py.SoftLink("/stimulus/templates/natural_movie_one")
    if stimulus == "natural_scenes":
        middle = onset[[0, 1, 3, 4]] + 0.125
        truth = {
            "stimulus": pixels[[2, 10, 11], None],
            "image_id": ["scene10", "scene2", "scene10", "scene11"],
            "response": slow_traces(middle + 0.1, 3),
            "behavior": 2 * middle[:, None],
        }
    else:
        middle = frame_onset.reshape(3, 6) + 0.025
        truth = {
            "stimulus": frames[None, None],
            "response": np.moveaxis(slow_traces((middle + 0.1).ravel(), 3).reshape(3, 6, 3), 2, 1),
            "behavior": 2 * middle[:, None],
        }
    truth |= {"neuron_id": [40, 41, 42], "area": ["VISp"] * 3}
    return Sample(path, truth, stimulus)


def write_nwb2_units(folder: Path) -> Sample:
    """As OpenScope's Neuropixels files: spikes, and a table with the frame of a template."""
    rng = np.random.default_rng(3)
    path = folder / "units.nwb"
    file = new_nwb()
    file.add_unit_column(name="location", description="area")
    trains = [np.sort(rng.uniform(0, 20, n)) for n in (400, 90, 0)]
    for number, train in enumerate(trains):
        file.add_unit(spike_times=train, location="VISl", id=70 + number)
    pixels = rng.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    images = [GrayscaleImage(name=f"image{i}", data=pixels[i]) for i in range(3)]
    template = Images(
        name="contours_presentations",
        images=images,
        description="contours",
        order_of_images=ImageReferences(name="order_of_images", data=images[::-1]),
    )
    file.add_stimulus_template(template)
    table = pynwb.epoch.TimeIntervals(name="contours_presentations", description="shown")
    table.add_column(name="frame", description="which image")
    index = [1, 0, 2, 1, -1, 0]
    onset = 2 + 0.5 * np.arange(6)
    for start, frame in zip(onset[::-1], index[::-1], strict=True):  # in no order
        table.add_interval(start_time=start, stop_time=start + 0.4, frame=float(frame))
    file.add_time_intervals(table)
    write(file, path)
    counts = [
        [np.sum((train >= t + 0.05) & (train < t + 0.45)) for train in trains]
        for t, frame in zip(onset, index, strict=True)
        if frame >= 0
    ]
    truth = {
        "stimulus": pixels[::-1, None],
        "stimulus_index": [1, 0, 2, 1, 0],
        "response": np.array(counts),
        "neuron_id": [70, 71, 72],
        "area": ["VISl"] * 3,
    }
    return Sample(path, truth)


def write_nwb2_clips(folder: Path) -> Sample:
    """As MICrONS: fields of one scan, trials with a hash beside one long series of frames."""
    rng = np.random.default_rng(4)
    path = folder / "clips.nwb"
    times = np.arange(200) / 6.3
    file = new_nwb()
    add_traces(file, {"RoiResponseSeries": slow_traces(times, 2)}, times, n_plane=2)
    clock = 1 + np.arange(500) / 20
    pixels = rng.integers(0, 256, (500, 3, 4)).astype(np.uint8)
    file.add_stimulus(ImageSeries(name="screen", data=pixels, unit="n.a.", timestamps=clock))
    table = pynwb.epoch.TimeIntervals(name="Clip", description="clips")
    table.add_column(name="condition_hash", description="which clip")
    first, hashes = np.array([20, 60, 100, 140]), ["b", "a", "b", "c"]
    length = np.array([10, 12, 10, 8])
    pixels[100:110] = pixels[20:30]
    for start, n, name in zip(first, length, hashes, strict=True):
        table.add_interval(
            start_time=clock[start], stop_time=clock[start] + n / 20, condition_hash=name
        )
    file.add_time_intervals(table)
    write(file, path)
    response = np.full((4, 4, 12), np.nan)
    for trial, (start, n) in enumerate(zip(first, length, strict=True)):
        found = slow_traces(clock[start : start + n] + 0.025 + 0.1, 2)
        response[trial, :, :n] = np.concatenate([found, found + 1000], axis=1).T
    stimulus = np.zeros((3, 1, 12, 3, 4), np.uint8)
    for video, (start, n) in enumerate([(60, 12), (20, 10), (140, 8)]):
        stimulus[video, 0] = np.rint(pixels[start : start + n].mean())
        stimulus[video, 0, :n] = pixels[start : start + n]
    truth = {
        "stimulus": stimulus,
        "stimulus_index": [1, 0, 1, 2],
        "image_id": hashes,
        "response": response,
        "n_frame": [12, 10, 8],
        "neuron_id": ["cells0-40", "cells0-41", "cells1-40", "cells1-41"],
    }
    return Sample(path, truth)


def write_experanto(folder: Path, session: str = "videos", shift: bool = False) -> Sample:
    """Images, blanks and videos in turn; memory-mapped responses, pupil and treadmill."""
    rng = np.random.default_rng(5)
    root = folder / "experiment_7"
    images = rng.integers(0, 256, (2, 3, 4)).astype(np.uint8)
    videos = rng.integers(0, 256, (2, 5, 3, 4)).astype(np.float32)
    order = ["v0", "i0", "blank", "v1", "i1", "i0", "blank", "v0"]
    stamps, first, now = [], [], 0.5
    for number, name in enumerate(order):
        meta: dict[str, Any] = {"first_frame_idx": len(stamps), "image_size": [3, 4]}
        first.append(len(stamps))
        n = 5 if name[0] == "v" else 1
        stamps += [now + k / 25 for k in range(n)]
        now += n / 25 if name[0] == "v" else 0.5
        if name == "blank":
            meta |= {"modality": "blank", "interleave_value": 128}
        else:
            kind = "video" if name[0] == "v" else "image"
            meta |= {"modality": kind, "tier": "val" if number > 5 else "train"}
            meta |= {"num_frames": n, "condition_hash": name}
            source = videos if kind == "video" else images
            save(root / f"screen/data/{number:05d}.npy", source[int(name[1])])
        (root / "screen/meta").mkdir(parents=True, exist_ok=True)
        (root / f"screen/meta/{number:05d}.yml").write_text(yaml.safe_dump(meta))
    (root / "screen/meta.yml").write_text("modality: screen\n")
    stamps = np.array(stamps)
    save(root / "screen/timestamps.npy", stamps)
    times = np.arange(60) / 10
    shifts = np.array([0.0, 0.03]) if shift else np.zeros(2)
    devices = {
        "responses": slow_traces(times, 2) + shifts * [1, 2],
        "eye_tracker": np.stack([times, -times], 1),
        "treadmill": 2 * times[:, None],
    }
    for name, values in devices.items():
        mapped = name == "responses"
        meta = {
            "modality": "sequence",
            "start_time": 0.0,
            "end_time": 6.0,
            "sampling_rate": 10.0,
            "phase_shift_per_signal": shift and mapped,
            "is_mem_mapped": mapped,
            "n_signals": values.shape[1],
            "n_timestamps": 60,
            "dtype": "float64",
        }
        (root / name / "meta").mkdir(parents=True)
        (root / name / "meta.yml").write_text(yaml.safe_dump(meta))
        if mapped:
            values.tofile(root / name / "data.mem")
            save(root / name / "meta/phase_shifts.npy", shifts)
            save(root / name / "meta/unit_ids.npy", np.array([31, 30]))
        else:
            save(root / name / "data.npy", values)
    if session == "videos":
        rows = [k for k, name in enumerate(order) if name[0] == "v"]
        onset = np.array([stamps[first[k] : first[k] + 5] for k in rows])
        middle = onset + 0.02
        response = np.moveaxis(slow_traces((middle + 0.1).ravel(), 2).reshape(3, 5, 2), 2, 1)
        truth = {
            "stimulus": videos[:, None],
            "stimulus_index": [0, 1, 0],
            "response": response,
            "split": ["train", "train", "validation"],
        }
    else:
        rows = [k for k, name in enumerate(order) if name[0] == "i"]
        middle = stamps[[first[k] for k in rows]] + 0.25
        truth = {
            "stimulus": images[:, None],
            "stimulus_index": [0, 1, 0],
            "response": slow_traces(middle + 0.1, 2),
            "split": ["train"] * 3,
        }
    truth["behavior"] = np.stack([middle, -middle, 2 * middle], axis=1)
    truth["neuron_id"] = [31, 30]
    return Sample(root, truth, session)


def write_one_allen_nwb1(folder: Path) -> Sample:
    sample = write_allen_nwb1(folder)
    with h5py.File(sample.path, "a") as file:
        del file["stimulus/templates/natural_movie_one_image_stack"]
    return sample


def write_one_experanto(folder: Path) -> Sample:
    sample = write_experanto(folder)
    for name in ("00001", "00004", "00005"):  # the images
        (sample.path / f"screen/meta/{name}.yml").unlink()
    return sample


# By the name of the layout; each with one session, so that it need not be named.
TIMED_SAMPLES = {
    "sensorium-dynamic": write_sensorium_dynamic,
    "allen-nwb1": write_one_allen_nwb1,
    "nwb2": write_nwb2_units,
    "experanto": write_one_experanto,
}
