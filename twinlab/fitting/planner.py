"""How much recording is enough: a twin's learning curve, measured, fitted, extrapolated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from twinlab.evaluation import score_prediction
from twinlab.files import write_whole
from twinlab.fitting.settings import FitSettings, default_settings
from twinlab.fitting.training import fit_twin
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, fingerprint, make_result, validate_recording
from twinlab.twins import Architecture, Twin, predict_responses

__all__ = ["fit_learning_curve", "measure_learning_curve"]

MINEAULT = "Mineault et al. (2024), NeuroAI for AI Safety, arXiv 2411.18526"
# Power that makes a score a fraction of variance, as FEVE is one already.
MEASURES = {
    "feve": 1,
    "correlation_to_average": 2,
    "single_trial_correlation": 2,
    "cc_norm": 2,
}
SLOPE, CEILING, MIDPOINT = 0, 1, 2  # log slope, ceiling, log10 of the midpoint
SLOPES = (0.1, 30.0)  # per decade: outside, the curve is a line or a step


def fit_learning_curve(
    minutes: np.ndarray | xr.DataArray,
    score: np.ndarray | xr.DataArray,
    *,
    planned_minutes: Sequence[float] = (),
    shares: Sequence[float] = (0.8, 0.9, 0.95),
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Fit score = L sigmoid(a (log10 T - b)) to scores after T minutes of recording.

    L is the ceiling, a the slope per decade and 10^b the midpoint, where half the ceiling is
    reached. Least squares, every point weighing the same. Points below the midpoint cannot
    tell a near ceiling from a far one, so a ceiling is given, and anything beyond the data
    predicted, only if the data pass the midpoint: the whole interval of the midpoint must lie
    below the longest recording. Otherwise these are NaN and the attribute `refused` says why.

    Parameters
    ----------
    minutes : array of shape (n_point,)
        Minutes of recording; several points may share one.
    score : array of shape (n_point,)
        Fraction of variance: FEVE, or a squared correlation. Points with NaN are left out.
    planned_minutes : sequence of float
        Where to predict the score.
    shares : sequence of float
        Shares of the ceiling, between 0 and 1, for which to tell the minutes needed.
    confidence : float
        Of all intervals. Those of the three parameters are profile intervals (F test), those
        of what is predicted are percentiles of a bootstrap of the residuals.
    n_bootstrap : int
        Resamples; with 0 the intervals of predictions are NaN.
    seed : int
        Of the resamples.

    Returns
    -------
    xarray.Dataset
        `minutes`, `score` (point); `ceiling`, `slope`, `midpoint` (in minutes) and
        `predicted_score` (planned), `minutes_needed` (share) and `curve` (curve_point), each
        with `<name>_interval` (..., bound). Attribute `refused`: why there is no ceiling, or
        empty.

    Raises
    ------
    InputError
        If there are scores at fewer than four different durations, or a value is out of range.

    References
    ----------
    Mineault et al. (2024), arXiv 2411.18526: the form. Its parameters are not taken from there.

    """
    given, scored = np.asarray(minutes, float), np.asarray(score, float)
    planned, wanted = np.asarray(planned_minutes, float), np.asarray(shares, float)
    _check(given, scored, planned, wanted, confidence, n_bootstrap)
    seen = np.isfinite(scored)
    recorded, y = given[seen], scored[seen]
    x = np.log10(recorded)

    best = _fit(x, y[None])[0]
    error = _error(x, y[None], best[None])[0]
    degrees = len(x) - len(best)
    worst = error * (1 + stats.f.ppf(confidence, 1, degrees) / degrees)
    bounds = np.array([_profile(x, y, best, which, worst) for which in range(3)])
    longest = float(recorded.max())
    refused = _refusal(10 ** bounds[MIDPOINT], 10 ** best[MIDPOINT], longest)

    fits = np.full((1, 3), np.nan)
    if n_bootstrap:
        # widened as the t distribution is: a handful of points does not know its own noise
        tail = (1 + confidence) / 2
        wider = stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
        residual = (y - _curve(x, best[None])[0]) * math.sqrt(len(x) / degrees) * wider
        drawn = np.random.default_rng(check_seed(seed)).integers(
            len(x), size=(n_bootstrap, len(x))
        )
        fits = _fit(x, _curve(x, best[None]) + residual[drawn])
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]

    def predicted(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        allowed = (at <= longest) | (not refused)
        with np.errstate(divide="ignore"):
            where = np.log10(at)
        value = np.where(allowed, _curve(where, best[None])[0], np.nan)
        interval = np.quantile(_curve(where, fits), tails, axis=0).T
        return value, np.where(allowed[:, None], interval, np.nan)

    def needed(parameters: np.ndarray) -> np.ndarray:
        slope, midpoint = np.exp(parameters[:, SLOPE]), parameters[:, MIDPOINT]
        with np.errstate(over="ignore"):
            return 10 ** (midpoint[:, None] + np.log(wanted / (1 - wanted)) / slope[:, None])

    told = np.nan if refused else 1.0
    enough = needed(best[None])[0] * told
    reach = [longest, *planned, *enough[np.isfinite(enough)]] if not refused else [longest]
    drawn_minutes = np.geomspace(recorded.min() / 1.5, max(reach) * (1 if refused else 1.2), 120)
    curve, curve_interval = predicted(drawn_minutes)
    planned_score, planned_interval = predicted(planned)
    variables: dict[str, tuple[Any, Any, str, str]] = {
        "minutes": ("point", recorded, "recording", "min"),
        "score": ("point", y, "score, as a fraction of variance", "1"),
        "ceiling": ((), best[CEILING] * told, "score with unlimited recording", "1"),
        "ceiling_interval": ("bound", bounds[CEILING] * told, "interval of the ceiling", "1"),
        "slope": ((), math.exp(best[SLOPE]), "slope of the sigmoid", "1/decade"),
        "slope_interval": ("bound", np.exp(bounds[SLOPE]), "interval of the slope", "1/decade"),
        "midpoint": ((), 10 ** best[MIDPOINT] * told, "recording for half the ceiling", "min"),
        "midpoint_interval": (
            "bound", 10 ** bounds[MIDPOINT] * told, "interval of the midpoint", "min",
        ),
        "predicted_score": ("planned", planned_score, "predicted score", "1"),
        "predicted_score_interval": (
            ("planned", "bound"), planned_interval, "interval of the predicted score", "1",
        ),
        "minutes_needed": ("share", enough, "recording for a share of the ceiling", "min"),
        "minutes_needed_interval": (
            ("share", "bound"), np.quantile(needed(fits), tails, axis=0).T * told,
            "interval of the recording needed", "min",
        ),
        "curve": ("curve_point", curve, "fitted score", "1"),
        "curve_interval": (
            ("curve_point", "bound"), curve_interval, "interval of the fitted score", "1",
        ),
    }  # fmt: skip
    result = xr.Dataset(
        {
            name: (dimensions, value, {"long_name": words, "units": units})
            for name, (dimensions, value, words, units) in variables.items()
        },
        {
            "bound": ["low", "high"],
            "planned_minutes": ("planned", planned, {"long_name": "recording", "units": "min"}),
            "share": wanted,
            "curve_minutes": (
                "curve_point", drawn_minutes, {"long_name": "recording", "units": "min"},
            ),
        },
    )  # fmt: skip
    settings = {"confidence": confidence, "n_bootstrap": n_bootstrap}
    stamped = make_result(
        result, experiment="learning_curve", seed=seed, settings=settings, source=MINEAULT
    )
    return stamped.assign_attrs(refused=refused)


def _check(
    minutes: np.ndarray,
    score: np.ndarray,
    planned: np.ndarray,
    shares: np.ndarray,
    confidence: float,
    n_bootstrap: int,
) -> None:
    if minutes.ndim != 1 or minutes.shape != score.shape:
        msg = f"`minutes` and `score` need one shape (point,): {minutes.shape}, {score.shape}."
        raise InputError(msg)
    if not ((minutes > 0).all() and np.isfinite(minutes).all() and (planned > 0).all()):
        msg = "`minutes` and `planned_minutes` must all be above 0 and finite."
        raise InputError(msg)
    if not ((shares > 0) & (shares < 1)).all() or not 0 < confidence < 1 or n_bootstrap < 0:
        msg = (
            "`shares` and `confidence` must lie between 0 and 1 and `n_bootstrap` must not be "
            f"negative: {shares.tolist()}, {confidence}, {n_bootstrap}."
        )
        raise InputError(msg)
    different = len(np.unique(minutes[np.isfinite(score)]))
    if different < 4:
        msg = (
            f"A learning curve has three parameters and needs scores at 4 different durations or "
            f"more, but there are {different}; fit twins to more subsets of the recording."
        )
        raise InputError(msg)


def _refusal(interval: np.ndarray, midpoint: float, longest: float) -> str:
    """Why no ceiling can be given, or empty."""
    if interval[1] < longest:
        return ""
    return (
        f"the data do not pass the midpoint: it may lie anywhere above {interval[0]:.3g} min, and "
        f"the longest recording has {longest:.3g} min. Below the midpoint a near ceiling cannot "
        "be told from a far one; record more before planning further"
    )


def _curve(x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Score (fit, point) of each fit's parameters (fit, 3) at log10 minutes."""
    slope = np.exp(parameters[:, SLOPE, None])
    drive = slope * (x - parameters[:, MIDPOINT, None])
    return parameters[:, CEILING, None] / (1 + np.exp(-drive.clip(-60, 60)))


def _error(x: np.ndarray, score: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    return ((score - _curve(x, parameters)) ** 2).sum(axis=1)


def _limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest parameters; beyond, curves differ on no data that span `x`."""
    low, high = np.log(SLOPES)
    return np.array([low, 0.0, x.min() - 2]), np.array([high, np.inf, x.max() + 3])


def _fit(x: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Least-squares parameters (fit, 3) of each row of scores (fit, point).

    Given slope and midpoint the ceiling is linear, so a grid over those two finds the valley.
    """
    low, high = _limits(x)
    slope, midpoint = np.meshgrid(
        np.linspace(low[SLOPE], high[SLOPE], 40), np.linspace(low[MIDPOINT], high[MIDPOINT], 80)
    )
    grid = np.stack([slope.ravel(), np.ones(slope.size), midpoint.ravel()], axis=1)
    shape = _curve(x, grid)
    size = (shape**2).sum(axis=1)
    fit = score @ shape.T
    gain = np.where(fit > 0, fit**2 / size, 0)
    chosen = gain.argmax(axis=1)
    start = grid[chosen]
    start[:, CEILING] = (fit[np.arange(len(score)), chosen] / size[chosen]).clip(0)
    return _descend(x, score, start, np.ones(3, bool))


def _descend(
    x: np.ndarray, score: np.ndarray, start: np.ndarray, free: np.ndarray, steps: int = 200
) -> np.ndarray:
    """Levenberg-Marquardt on every row at once; parameters that are not `free` stay."""
    low, high = _limits(x)
    now, damping = start.copy(), np.full(len(start), 1e-2)
    error = _error(x, score, now)
    for _ in range(steps):
        value = _curve(x, now)
        ceiling = np.maximum(now[:, CEILING, None], 1e-12)
        rise = value * (1 - value / ceiling) * np.exp(now[:, SLOPE, None])
        jacobian = np.stack([rise * (x - now[:, MIDPOINT, None]), value / ceiling, -rise], axis=2)
        jacobian = jacobian[:, :, free]
        square = np.einsum("bij,bik->bjk", jacobian, jacobian)
        diagonal = np.einsum("bjj->bj", square)
        damped = square + (damping[:, None] * diagonal + 1e-15)[:, None] * np.eye(free.sum())
        slope = np.einsum("bij,bi->bj", jacobian, score - value)
        step = np.zeros_like(now)
        step[:, free] = np.linalg.solve(damped, slope[..., None])[..., 0]
        tried = (now + step).clip(low, high)
        reached = _error(x, score, tried)
        better = reached < error
        if not better.any() and (damping > 1e8).all():
            break
        now[better], error[better] = tried[better], reached[better]
        damping = np.where(better, damping / 5, damping * 4).clip(1e-12, 1e10)
    return now


def _profile(
    x: np.ndarray, score: np.ndarray, best: np.ndarray, which: int, worst: float
) -> list[float]:
    """Lowest and highest value of one parameter at which the fit is not worse than `worst`."""
    low, high = _limits(x)
    high[CEILING] = max(5 * float(np.abs(score).max()), 1e-12)
    bounds = []
    for limit in (low[which], max(high[which], best[which])):
        inside, outside = float(best[which]), float(limit)
        for _ in range(2):  # coarse, then within the step in which the error crosses
            values = np.linspace(inside, outside, 60)
            beyond = _error(x, score, _held(x, score, which, values)) > worst + 1e-15
            beyond[0] = False  # the best fit itself
            if not beyond.any():
                inside = outside
                break
            first = int(beyond.argmax())
            inside, outside = values[first - 1], values[first]
        bounds.append(inside)
    return bounds


def _held(x: np.ndarray, score: np.ndarray, which: int, values: np.ndarray) -> np.ndarray:
    """Best parameters (value, 3) with one of them held at each value."""
    low, high = _limits(x)
    axes = {
        SLOPE: np.linspace(low[SLOPE], high[SLOPE], 40),
        MIDPOINT: np.linspace(low[MIDPOINT], high[MIDPOINT], 80),
    }
    if which != CEILING:
        axes[which] = values
    slope, midpoint = np.meshgrid(axes[SLOPE], axes[MIDPOINT], indexing="ij")
    grid = np.stack([slope.ravel(), np.ones(slope.size), midpoint.ravel()], axis=1)
    shape = _curve(x, grid)
    fit, size = shape @ score, (shape**2).sum(axis=1)
    if which == CEILING:
        chosen = (values[:, None] ** 2 * size - 2 * values[:, None] * fit).argmin(axis=1)
        start = grid[chosen]
        start[:, CEILING] = values
    else:
        grid[:, CEILING] = (fit / size).clip(0)
        error = (-grid[:, CEILING] * fit).reshape(slope.shape)
        other = error.argmin(axis=1 if which == SLOPE else 0)
        mine = np.arange(len(values))
        first, second = (mine, other) if which == SLOPE else (other, mine)
        start = grid.reshape(*slope.shape, 3)[first, second]
    every = np.repeat(score[None], len(values), axis=0)
    return _descend(x, every, start, np.arange(3) != which, steps=60)


def measure_learning_curve(
    recording: xr.Dataset,
    folder: str | PathLike[str] | None = None,
    *,
    fractions: Sequence[float] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),
    seeds: Sequence[int] = (0, 1, 2),
    seconds_per_trial: float | None = None,
    measure: str = "feve",
    fit: Callable[..., Twin] | None = None,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    device: str = "cpu",
    job: Job | None = None,
) -> xr.Dataset:
    """Fit twins to more and more of the training images, and score each on all test trials.

    The subsets of one seed are nested. Validation trials, which end a fit, are the same for
    all and are not counted as recording.

    Parameters
    ----------
    recording : xarray.Dataset
    folder : path, optional
        Where each finished point is kept; a stopped run goes on from there.
    fractions : sequence of float
        Shares of the training images, above 0 and at most 1.
    seeds : sequence of int
        Each draws its own images and starts its fits with its own seed.
    seconds_per_trial : float, optional
        What one trial costs; the recording's attribute of this name where absent.
    measure : {"feve", "correlation_to_average", "single_trial_correlation", "cc_norm"}
        Mean over neurons, as `evaluation.score_prediction` gives it; correlations are squared
        to be fractions of variance.
    fit : callable, optional
        ``fit(recording, seed=..., job=...)`` returns a twin; `fit_twin` with `architecture`,
        `settings` and `device` where absent.
    architecture, settings, device
        As in `fit_twin`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `point`: `minutes`, `score`, `n_image`, `n_trial`, `subset_seed`; for
        `fit_learning_curve`.

    Raises
    ------
    InputError
        If a setting is out of range, the duration of a trial is unknown, or the folder holds
        points of another learning curve.
    Cancelled
        If the job was cancelled; finished points are kept.

    """
    validate_recording(recording)
    seconds = seconds_per_trial or recording.attrs.get("seconds_per_trial")
    if not seconds or not float(seconds) > 0:
        msg = (
            "The recording does not say how long a trial takes; give `seconds_per_trial` "
            "(stimulus and pause together), above 0."
        )
        raise InputError(msg)
    if measure not in MEASURES:
        msg = f"`measure` is {measure!r}; known: {', '.join(MEASURES)}."
        raise InputError(msg)
    if not fractions or not seeds or not all(0 < share <= 1 for share in fractions):
        msg = f"`fractions` must lie above 0 and at most 1, with a seed or more: {fractions}."
        raise InputError(msg)
    suited, job = default_settings(recording), job or Job()
    architecture, settings = architecture or suited[0], settings or suited[1]
    chosen = _subsets(recording, fractions, seeds)
    made_by: dict[str, Any] = {
        "recording": fingerprint(recording),
        "measure": measure,
        "fit": "fit_twin" if fit is None else getattr(fit, "__qualname__", type(fit).__name__),
        "architecture": asdict(architecture) if fit is None else {},
        "settings": asdict(settings) if fit is None else {},
    }
    folder = None if folder is None else Path(folder)
    points = []
    for number, (seed, images) in enumerate(chosen):
        part = job.part(
            number / len(chosen), (number + 1) / len(chosen), f"{len(images)} images, seed {seed}"
        )
        path = None if folder is None else folder / f"images-{len(images)}-seed-{seed}.json"
        point = _read_point(path, made_by)
        if point is None:
            part.report(0.0, "fitting")
            point = _measure(
                _only_images(recording, images), recording, seed, measure, fit,
                architecture, settings, path, device, part,
            )  # fmt: skip
            if path is not None:
                with write_whole(path) as partial:
                    partial.write_text(json.dumps(point | {"made_by": made_by}, indent=1))
        points.append(point | {"n_image": len(images), "subset_seed": seed})
    job.report(1.0, f"{len(points)} points")
    columns = {
        "minutes": ([point["n_trial"] * float(seconds) / 60 for point in points],
                    "recording", "min"),
        "score": ([point["score"] for point in points],
                  measure.replace("_", " ") + " squared" * (MEASURES[measure] == 2), "1"),
        "n_image": ([point["n_image"] for point in points], "training images", "1"),
        "n_trial": ([point["n_trial"] for point in points], "training trials", "1"),
        "subset_seed": ([point["subset_seed"] for point in points], "seed", "1"),
    }  # fmt: skip
    result = xr.Dataset(
        {
            name: ("point", np.asarray(values), {"long_name": words, "units": units})
            for name, (values, words, units) in columns.items()
        }
    )
    return make_result(
        result,
        experiment="learning_curve_points",
        recording=made_by["recording"],
        settings={**made_by, "seconds_per_trial": float(seconds), "seeds": list(seeds)},
        source=MINEAULT,
    )


def _subsets(
    recording: xr.Dataset, fractions: Sequence[float], seeds: Sequence[int]
) -> list[tuple[int, np.ndarray]]:
    """Seed and training images of each point, smallest first, so that a stop costs little."""
    train = recording.split.values == "train"
    images = np.unique(recording.stimulus_index.values[train])
    sizes = sorted({max(1, round(share * len(images))) for share in fractions})
    orders = {seed: np.random.default_rng(check_seed(seed)).permutation(images) for seed in seeds}
    return [(seed, orders[seed][:size]) for size in sizes for seed in seeds]


def _only_images(recording: xr.Dataset, images: np.ndarray) -> xr.Dataset:
    """The recording with only those of its training trials that showed one of these images."""
    kept = (recording.split.values != "train") | np.isin(recording.stimulus_index.values, images)
    return recording.isel(trial=kept)


def _read_point(path: Path | None, made_by: dict[str, Any]) -> dict[str, Any] | None:
    if path is None or not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        point = {"n_trial": int(stored["n_trial"]), "score": float(stored["score"])}
        differs = [name for name in made_by if made_by[name] != stored["made_by"][name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: is damaged ({error}); remove it to measure this point anew."
        raise InputError(msg) from error
    if differs:
        msg = (
            f"{path}: is of another learning curve (differs in {', '.join(differs)}); name "
            "another folder or remove this one."
        )
        raise InputError(msg)
    return point


def _measure(
    subset: xr.Dataset,
    recording: xr.Dataset,
    seed: int,
    measure: str,
    fit: Callable[..., Twin] | None,
    architecture: Architecture | None,
    settings: FitSettings,
    path: Path | None,
    device: str,
    job: Job,
) -> dict[str, Any]:
    checkpoint = None if path is None else path.with_suffix(".safetensors")
    if fit is None:
        twin: Twin = fit_twin(
            subset, architecture, replace(settings, seed=seed),
            checkpoint=checkpoint, device=device, job=job.part(0.0, 0.95),
        )[0]  # fmt: skip
    else:
        twin = fit(subset, seed=seed, job=job.part(0.0, 0.95))
    job.report(0.95, "scoring")
    prediction = predict_responses(twin, recording, split="test")
    scores = score_prediction(recording, prediction, n_bootstrap=0)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    trained = subset.response.values[subset.split.values == "train"]
    shown = int((~np.isnan(trained).all(axis=1)).sum())
    return {
        "n_trial": shown,
        "score": float(scores[f"mean_{measure}"]) ** MEASURES[measure],
    }
