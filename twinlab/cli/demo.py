"""The main job on the simulated cortex, start to finish."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr

from twinlab import evaluation, fitting, insilico, recordings, schema, simulation, twins
from twinlab.cli.report import write_report
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["DEMO_ARCHITECTURE", "DEMO_SETTINGS", "run_demo"]

# Small and short enough for a laptop. The depth-separable core of the 2022 recipe, narrower;
# gaze and gain are modelled because the simulated animal moves its eyes and runs.
DEMO_ARCHITECTURE = twins.Architecture(layers=3, hidden=32, behavior="gain", shifter=True)
DEMO_SETTINGS = fitting.FitSettings(max_epochs=10, schedule="cosine")
MARK = "demo.json"


def run_demo(out: Path, *, seed: int = 0, job: Job | None = None) -> tuple[Path, list[str]]:
    """Record, fit two twins, score, experiment, compare with the truth, and report.

    Each step's result is kept in `out`; a demo that was stopped goes on after its last
    finished step (a fit after its last finished epoch).

    Parameters
    ----------
    out : Path
        Folder for everything; made if needed.
    seed : int
        Of the simulated cortex and of the first fit.
    job : Job, optional

    Returns
    -------
    report : Path
        A self-contained HTML page.
    lines : list of str
        What was found, and how to go on.

    Raises
    ------
    InputError
        If `out` holds something else, or a demo with another seed.

    """
    job = job or Job()
    _claim(out, seed)
    cortex = simulation.SimulatedCortex(seed)
    recording = _step(
        out / "recording.zarr",
        recordings.open_recording,
        lambda: cortex.record(job=job.part(0.0, 0.06, "recording the simulated cortex")),
        recordings.save_recording,
    )
    twin, history, linear = _fit(recording, out, seed, job.part(0.06, 0.72))
    own, other = (cast(twins.Twin, member).condition() for member in twin.members)

    job.report(0.72, "scoring")
    prediction = twins.predict_responses(twin, recording, split="test")
    scores = _result(
        out / "scores.nc",
        lambda: evaluation.score_prediction(
            recording, prediction, job=job.part(0.72, 0.74, "scoring")
        ),
    )
    tuning = _result(
        out / "tuning.nc",
        lambda: insilico.measure_orientation_tuning(own, job=job.part(0.74, 0.77, "tuning")),
    )
    held_out = recording.stimulus.values[
        np.unique(recording.stimulus_index.values[recording.split.values == "test"])
    ]

    def optimise() -> xr.Dataset:
        mei = insilico.synthesize_mei(
            own, seed=seed, job=job.part(0.77, 0.9, "most exciting inputs")
        )
        part = job.part(0.9, 0.97, "cross-examining them")
        return insilico.cross_examine(mei, own, other, held_out, job=part)

    mei = _result(out / "mei.nc", optimise)
    job.report(0.97, "writing the report")
    baselines = fitting.score_baselines(recording, {"linear_nonlinear": linear, "twin": twin})
    found = _compare(recording, twin, tuning, mei)
    lines = _findings(found, scores, baselines)
    how = f"twinlab serve {out / 'twin'} --recording {out / 'recording.zarr'}"
    report = write_report(
        out / "report.html",
        recording=recording, history=history, baselines=baselines, scores=scores,
        tuning=tuning, mei=mei, found=found, prediction=prediction, findings=lines, how=how,
    )  # fmt: skip
    job.report(1.0, "done")
    return report, [*lines, "", f"The report is in {report}", f"Open the explorer:  {how}"]


def _claim(out: Path, seed: int) -> None:
    """Make the folder ours, or refuse one that is somebody else's."""
    mark = out / MARK
    if mark.is_file():
        if mark.read_text() != f'{{"seed": {seed}}}\n':
            msg = f"{out}: holds a demo with another seed; choose another --out or remove it."
            raise InputError(msg)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: exists and is not a demo; choose another --out."
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(f'{{"seed": {seed}}}\n')


def _step(
    path: Path,
    read: Callable[[Path], Any],
    make: Callable[[], Any],
    write: Callable[[Any, Path], Any],
) -> Any:  # noqa: ANN401 - whatever the step makes
    """Read what an earlier run has made, or make and write it."""
    if not path.exists():
        write(make(), path)
    return read(path)


def _result(path: Path, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    return _step(path, schema.open_result, make, schema.save_result)


def _fit(
    recording: xr.Dataset, out: Path, seed: int, job: Job
) -> tuple[twins.EnsembleTwin, xr.Dataset, twins.Twin]:
    linear = _step(
        out / "linear_nonlinear",
        twins.load_twin,
        lambda: fitting.fit_linear_nonlinear(recording, job=job.part(0.0, 0.05, "baseline")),
        twins.save_twin,
    )
    if not (out / "twin").exists():
        settings = fitting.FitSettings(**vars(DEMO_SETTINGS) | {"seed": seed})
        twin, history = fitting.fit_ensemble(
            recording,
            DEMO_ARCHITECTURE,
            settings,
            members=2,
            checkpoints=out / "fitting",
            job=job.part(0.05, 1.0, "fitting"),
        )
        schema.save_result(history, out / "history.nc")
        twins.save_twin(twin, out / "twin")
        shutil.rmtree(out / "fitting", ignore_errors=True)
    loaded = twins.load_twin(out / "twin")
    if not isinstance(loaded, twins.EnsembleTwin):
        msg = f"{out / 'twin'}: is not the demo's ensemble; remove {out} to start anew."
        raise InputError(msg)
    return loaded, schema.open_result(out / "history.nc"), linear


def _compare(
    recording: xr.Dataset, twin: twins.Twin, tuning: xr.Dataset, mei: xr.Dataset
) -> xr.Dataset:
    """Found against planted, along `neuron`."""
    index = np.unique(recording.stimulus_index.values[recording.split.values == "test"])
    shown = torch.as_tensor(recording.stimulus.values[index]).float()
    with torch.inference_mode():
        predicted = twin.condition()(shown).numpy()
    # both at the typical state, so that only the image differs between columns
    truth = evaluation.single_trial_correlation(recording.true_rate.values[index], predicted)
    words = "correlation with the noise-free response, held-out images"
    return xr.Dataset(
        {
            "truth_correlation": tuning.osi.copy(data=truth).assign_attrs(
                long_name=words, units="1"
            ),
            "preferred_orientation": tuning.preferred_orientation,
            "orientation_error": simulation.compare_tuning(tuning),
            "filter_correlation": simulation.compare_mei(mei, recording),
        }
    )


def _findings(found: xr.Dataset, scores: xr.Dataset, baselines: xr.Dataset) -> list[str]:
    simple = found.true_type.values == "simple"
    correlation = baselines.validation_correlation
    near = float((found.orientation_error <= 10).mean())
    ceiling = float(scores.mean_cc_max)
    linear, deep = (float(correlation.sel(model=name)) for name in ("linear_nonlinear", "twin"))
    similarity = float(np.nanmedian(np.abs(found.filter_correlation.values[simple])))
    found_words = {
        "correlation with the noise-free response, held-out images": (
            f"{float(found.truth_correlation.mean()):.3f}"
        ),
        "correlation with the average of 10 repeats": (
            f"{float(scores.mean_correlation_to_average):.3f} (ceiling {ceiling:.3f})"
        ),
        "single-trial correlation, validation": f"{deep:.3f} (linear-nonlinear {linear:.3f})",
        "preferred orientation within 10 degrees": f"{near:.0%} of neurons",
        "most exciting input against the true filter, simple cells": (
            f"r = {similarity:.2f} (median)"
        ),
    }
    return [
        "Found on the simulated cortex, where the answer is known:",
        *(f"  {what:<59}{words}" for what, words in found_words.items()),
    ]
