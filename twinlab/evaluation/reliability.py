"""How reliable each neuron is, from repeats alone: what could be predicted at all."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.evaluation.frames import FORM, frame_images, kept_frames, unroll
from twinlab.evaluation.measures import MEASURES, TABLES, image_sums
from twinlab.evaluation.scores import CADENA, LABELS, LURZ, SCHOPPE, neuron_coords
from twinlab.jobs import Job
from twinlab.schema import make_result, stimulus_kind, validate_recording

__all__ = ["CEILINGS", "score_reliability"]

CEILINGS = ("oracle_correlation", "explainable_variance", "cc_max")
BLOCK = 256  # neurons at once


def score_reliability(
    recording: xr.Dataset, *, skip: int = 0, job: Job | None = None
) -> xr.Dataset:
    """Score each neuron by its repeats, over all trials whose stimulus was shown again.

    Parameters
    ----------
    recording : xarray.Dataset
        See `schema.make_recording`; a lazy one is read some neurons at a time.
    skip : int
        First frames of each video to leave out; images have none.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `oracle_correlation`, `explainable_variance` and `cc_max`, NaN where no
        stimulus was repeated, and the variance over trials that it is a share of,
        `repeated_variance`. Scalars: `mean_<name>` over the neurons where it is defined,
        `n_defined_<name>`, and `explainable_share`: of the variance of all neurons together,
        what the stimulus accounts for.

    Raises
    ------
    InputError
        If `recording` is not one, or `skip` leaves no frame.

    """
    job = job or Job()
    validate_recording(recording)
    kind = stimulus_kind(recording)
    index = recording.stimulus_index.values
    units = recording.response.attrs.get("units", "")
    n_frame = kept_frames(recording.sizes["frame"], skip) if kind == "video" else 1
    trials = np.flatnonzero(np.bincount(index)[index] > 1)
    scores = np.full((len(CEILINGS), recording.sizes["neuron"]), np.nan)
    variance = np.full(recording.sizes["neuron"], np.nan)
    image = index[trials]
    if kind == "video":
        image = frame_images(image, n_frame)
    for start in range(0, recording.sizes["neuron"] if len(trials) else 0, BLOCK):
        job.report(start / recording.sizes["neuron"], "comparing repeats")
        block = slice(start, start + BLOCK)
        response = recording.response.isel(trial=trials, neuron=block).values
        if kind == "video":
            response = unroll(response, skip)
        sums = image_sums(response, response, image)
        columns = {name: table(sums).sum(axis=1) for name, table in TABLES.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            for row, name in enumerate(CEILINGS):
                scores[row, block] = MEASURES[name].read(columns[MEASURES[name].table])
            _, n, r, rr, *_ = columns["variance"]
            variance[block] = (rr - r**2 / n) / (n - 1)
    variables: dict[str, xr.Variable] = {}
    for name, values in zip(CEILINGS, scores, strict=True):
        label, definition = LABELS[name]
        attrs = {"units": "1", "definition": definition + f" Of {FORM}." * (kind == "video")}
        n_defined = int(np.isfinite(values).sum())
        mean = np.nansum(values) / n_defined if n_defined else np.nan
        variables[name] = xr.Variable("neuron", values, attrs | {"long_name": label})
        variables[f"mean_{name}"] = xr.Variable((), mean, attrs | {"long_name": f"mean {label}"})
        variables[f"n_defined_{name}"] = xr.Variable(
            (), n_defined, {"units": "1", "long_name": f"neurons with {label}"}
        )
    explained = scores[CEILINGS.index("explainable_variance")] * variance
    there = np.isfinite(explained)
    variables["repeated_variance"] = xr.Variable(
        "neuron", variance, {"long_name": "variance over repeated trials", "units": f"({units})^2"}
    )
    variables["explainable_share"] = xr.Variable(
        (),
        explained[there].sum() / variance[there].sum() if there.any() else np.nan,
        {"long_name": "share of all neurons' variance that the stimulus explains", "units": "1"},
    )
    return make_result(
        xr.Dataset(variables, neuron_coords(recording)),
        experiment="reliability",
        recording=str(recording.attrs.get("fingerprint", "")),
        settings={"skip": skip},
        source="; ".join((LURZ, CADENA, SCHOPPE)),
    )
