"""A session's responses in each of the formats, as the tests spoil them.

A table holds columns by name: `trial`, `code`, `onset_s`, `on_s` and `frame_rate_hz` a row,
`unit`, and `response` (row, unit).
"""

import csv
import datetime

import numpy as np
import pynwb

KINDS = ("csv", "npz", "nwb")


def write(kind, folder, table):
    path = folder / f"responses.{kind}"
    {"csv": write_csv, "npz": write_npz, "nwb": write_nwb}[kind](path, table)
    return path


def write_csv(path, table):
    names = [
        name for name in ("trial", "code", "onset_s", "on_s", "frame_rate_hz") if name in table
    ]
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([*names, *table["unit"]])
        for i, row in enumerate(table["response"]):
            values = ["" if np.isnan(value) else value for value in row]
            out.writerow([*(table[name][i] for name in names), *values])


def write_npz(path, table):
    np.savez(path, **{name: np.array(values) for name, values in table.items()})


def new_nwb(table):
    file = pynwb.NWBFile(
        session_description="loop", identifier="1",
        session_start_time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    )  # fmt: skip
    file.trials = shown_trials(table, "trials")
    return file


def shown_trials(table, name):
    shown = pynwb.epoch.TimeIntervals(name=name, description="stimuli")
    columns = [name for name in ("trial", "code", "frame_rate_hz") if name in table]
    for name in columns:
        shown.add_column(name=name, description=name)
    numbered = all(number.isdecimal() for number in table.get("trial", ["x"]))
    for i, onset in enumerate(table["onset_s"]):
        row = {name: table[name][i] for name in columns}
        if numbered:
            row["trial"] = int(row["trial"])
        shown.add_interval(start_time=onset, stop_time=onset + table["on_s"][i], **row)
    return shown


def add_series(file, table, name="DfOverF", gain=1.0, pixels=None, **plane):
    """Traces that keep the response of a trial from its onset to the next one."""
    onset, order = np.sort(table["onset_s"]), np.argsort(table["onset_s"])
    step = np.min(np.diff(onset, append=onset[-1] + 1)[:5]) / 20
    times = np.arange(onset[0] - 1, onset[-1] + 2, step)
    which = np.clip(np.searchsorted(onset, times + 1.01 * step, "right") - 1, 0, None)
    if "plane" not in file.imaging_planes:
        device = file.create_device(name="microscope")
        channel = pynwb.ophys.OpticalChannel(name="c", description="c", emission_lambda=500.0)
        file.create_imaging_plane(
            name="plane", optical_channel=channel, description="p", device=device,
            excitation_lambda=900.0, indicator="GCaMP", location="VISp", **plane,
        )  # fmt: skip
        module = file.create_processing_module(name="ophys", description="traces")
        segmentation = pynwb.ophys.ImageSegmentation()
        module.add(segmentation)
        module.add(pynwb.ophys.Fluorescence(name="Fluorescence"))
        cells = segmentation.create_plane_segmentation(
            name="cells", description="cells", imaging_plane=file.imaging_planes["plane"]
        )
        for i, unit in enumerate(table["unit"]):
            mask = [(i, 2 * i, 1.0)] if pixels is None else pixels[i]
            cells.add_roi(id=int(unit), pixel_mask=mask)
    module = file.processing["ophys"]
    cells = module["ImageSegmentation"].plane_segmentations["cells"]
    region = cells.create_roi_table_region(
        description="all", region=list(range(len(table["unit"])))
    )
    module["Fluorescence"].create_roi_response_series(
        name=name, data=gain * table["response"][order][which], rois=region, unit="dF/F",
        timestamps=times,
    )  # fmt: skip


def add_spikes(file, table, observed=None):
    for i, unit in enumerate(table["unit"]):
        counts = table["response"][:, i].astype(int)
        inside = [
            onset + np.linspace(0.06, 0.54, n)
            for onset, n in zip(table["onset_s"], counts, strict=True)
        ]
        outside = table["onset_s"] + 0.7  # after the window
        times = np.sort(np.concatenate([*inside, outside]))
        stated = {} if observed is None else {"obs_intervals": observed[i]}
        file.add_unit(id=int(unit), spike_times=times, **stated)


def save(file, path):
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def write_nwb(path, table):
    file = new_nwb(table)
    add_series(file, table)
    save(file, path)


def spoiled(table, **changes):
    return {**table, **changes}


def rows(table, keep):
    """Some rows of a table."""
    keep = np.asarray(keep)
    some = {}
    for name, values in table.items():
        if name == "unit":
            some[name] = values
        else:
            some[name] = [values[i] for i in keep] if isinstance(values, list) else values[keep]
    return some
