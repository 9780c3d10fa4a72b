"""The named tuning experiments, made from their protocols."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.curves import CURVES, evaluate_curve, fit_curve
from twinlab.insilico.intervals import bootstrap_tuning
from twinlab.insilico.parametric import AXES, N_PHASE, measure_tuning
from twinlab.insilico.preferences import patch_settings
from twinlab.insilico.protocols import PROTOCOLS, Protocol, Span
from twinlab.insilico.responses import Neurons
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["TUNING_EXPERIMENTS", "axis_values"]

N_FINE = 65  # points at which a fitted curve is drawn

END = {"x": "the edge of the screen", "radius": "half the screen's diagonal"}
SETTINGS = """
    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_point : int, optional
        Values of `{axis}`; {n} where absent.
    low, high : float, optional
        Limits of `{axis}`{units}; {low:g} and {high} where absent.{circle}
    contrast : float
        Michelson contrast of the grating, and the highest of what varies in contrast.
    n_phase : int
        Phases averaged over.
    duration_s : float
        Of videos.
    n_bootstrap : int
        Resamplings of the members of an ensemble, from which come the intervals of indices.
    seed : int
        Of the resampling.
    preferences : Dataset or sequence of Dataset
        Results in which own values are looked for, see `measure_tuning`.
    batch_size : int
        Images, or frames of videos, at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        {found}

    Raises
    ------
    InputError
        As `measure_tuning`.
"""


CURVE = """As of `measure_tuning`, and of each neuron `curve`, what is evoked along
        `{axis}`{where};{fit}
        and {indices}.
        Of an ensemble, indices of the curve that are no angles have an `_interval` (bound): 95 %
        bootstrap over members, which says how far refits agree. Neurons that are not `valid` have
        NaN."""
MAP = """As of `measure_tuning`, and of a Gaussian fitted to each neuron's map of `evoked` its
        centre `center_x` and `center_y`, `fit_base`, `fit_height`, `fit_size_x`, `fit_size_y` and
        `fit_r2`. A map that is flat has NaN."""


def _limits(
    spec: StimulusSpec, protocol: Protocol, name: str, contrast: float
) -> tuple[float, float]:
    """Where an axis begins and ends if nothing is said."""
    span = protocol.axes[name]
    last = {
        "x": spec.width - 1.0,
        "y": spec.height - 1.0,
        "radius": float(np.hypot(spec.height, spec.width)) / 2,
    }.get(name, contrast)
    return (0.0 if span.low is None else span.low), (last if span.high is None else span.high)


def axis_values(
    spec: StimulusSpec,
    name: str,
    *,
    n_point: int | None = None,
    low: float | None = None,
    high: float | None = None,
    contrast: float = 0.8,
) -> np.ndarray:
    """Values of a parameter of gratings, spaced as the protocol for it does.

    Parameters
    ----------
    spec : StimulusSpec
        Of the twin they are shown to.
    name : str
        An axis of one of `PROTOCOLS`.
    n_point : int, optional
        How many; the protocol's own where absent.
    low, high : float, optional
        Limits; the protocol's own where absent. A circle is whole.
    contrast : float
        Highest of what varies in contrast.

    Returns
    -------
    ndarray of shape (n_point,)

    Raises
    ------
    InputError
        If no protocol varies it, or nothing lies between the limits.

    """
    varied = [each for each in PROTOCOLS.values() if name in each.axes]
    varied.sort(key=lambda each: list(each.axes).index(name))  # where it is the main axis first
    if not varied:
        known = sorted({axis for each in PROTOCOLS.values() for axis in each.axes})
        msg = f"No protocol varies {name!r}; they vary {', '.join(known)}."
        raise InputError(msg)
    return _lay_out(spec, varied[0], name, contrast, n_point, low, high)


def _lay_out(
    spec: StimulusSpec,
    protocol: Protocol,
    name: str,
    contrast: float,
    n_point: int | None,
    low: float | None,
    high: float | None,
) -> np.ndarray:
    """Values of an axis, by the protocol where nothing else is said."""
    span = protocol.axes[name]
    begin, end = _limits(spec, protocol, name, contrast)
    around = end - begin
    begin = begin if low is None else low
    if high is not None:
        end = high
    elif span.spacing == "circle":
        end = begin + around
    n = span.n if n_point is None else n_point
    # The protocol's own values of a further axis may be as few as two.
    if name == next(iter(protocol.axes)) or (n_point, low, high) != (None, None, None):
        _check_span(name, span, n, begin, end)
    return span.values(n, begin, end)


def _make(name: str, protocol: Protocol) -> Callable[..., xr.Dataset]:
    """Make the experiment of a protocol."""
    main = next(iter(protocol.axes))

    def measure(
        twin: ConditionedTwin,
        neurons: Neurons = None,
        *,
        n_point: int | None = None,
        low: float | None = None,
        high: float | None = None,
        contrast: float = 0.8,
        n_phase: int = N_PHASE,
        duration_s: float = 1.0,
        n_bootstrap: int = 200,
        seed: int = 0,
        preferences: Any = (),
        batch_size: int = 256,
        job: Job | None = None,
    ) -> xr.Dataset:
        job = job or Job()
        span = protocol.axes[main]
        axes = {
            axis: _lay_out(
                twin.spec, protocol, axis, contrast,
                *((n_point, low, high) if axis == main else (None, None, None)),
            )
            for axis in protocol.axes
        }  # fmt: skip
        if protocol.read_at and span.high is not None:  # a circle, from 0
            _check_angles(main, axes[main], protocol.read_at, span.high)
        fixed = dict(protocol.fixed)
        if "contrast" not in axes:
            fixed["contrast"] = contrast
        if name == "position":
            fixed["radius"], fixed["spatial_frequency"] = patch_settings(twin.spec)
        result = measure_tuning(
            twin,
            neurons,
            axes=axes,
            fixed=fixed,
            average=protocol.average,
            preferences=preferences,
            n_phase=n_phase,
            duration_s=duration_s,
            batch_size=batch_size,
            job=job.part(0.0, 0.9),
        )
        result = _summarise(result, protocol, n_bootstrap, seed, job.part(0.9, 1.0))
        result.attrs |= {"experiment": f"{name}_tuning", "source": protocol.source}
        if "member" in result.dims:
            settings = json.loads(result.attrs["settings"]) | {"n_bootstrap": n_bootstrap}
            result.attrs |= {"seed": seed, "settings": json.dumps(settings, sort_keys=True)}
        return result

    measure.__name__ = measure.__qualname__ = f"measure_{name}_tuning"
    fit = (CURVES[protocol.curve].source or "a Gaussian") if protocol.curve else ""
    fitted = [f"`fit_{key}`" for key in (CURVES[protocol.curve].parameters if fit else ())]
    span = protocol.axes[main]
    units = AXES[main][1]
    where = " at the best of the other axes" if len(protocol.axes) > 1 else ""
    if protocol.at:
        where = "".join(f" at the `{key}` nearest {value:g}" for key, value in protocol.at.items())
    shown = ["f1_f0", *protocol.indices, *protocol.from_fit]
    found = CURVE.format(
        axis=main,
        where=where,
        fit=f"\n        its fit, {', '.join(fitted)} and `fit_r2`\n        ({fit});"
        if fit
        else "",
        indices=", ".join(f"`{key}`" for key in shown),
    )
    measure.__doc__ = f"{protocol.summary}\n" + SETTINGS.format(
        axis=main,
        n=span.n,
        units="" if units == "1" else f" in {units}",
        low=0.0 if span.low is None else span.low,
        circle=" A circle is whole." if span.spacing == "circle" else "",
        high=END.get(main, "`contrast`") if span.high is None else f"{span.high:g}",
        found=MAP if protocol.curve == "gaussian_patch" else found,
    )
    measure.__kwdefaults__ = {**(measure.__kwdefaults__ or {}), **protocol.defaults}
    return measure


def _check_span(name: str, span: Span, n: int, low: float, high: float) -> None:
    """Raise `InputError` unless an axis can be laid out between its limits."""
    if n < 3:
        msg = f"`n_point`, the number of values of `{name}`, must be at least 3, but got {n}."
        raise InputError(msg)
    if not low < high or (span.spacing.startswith("log") and low <= 0):
        msg = (
            f"`low` and `high`, the limits of `{name}`, must satisfy "
            f"{'0 < ' if span.spacing.startswith('log') else ''}low < high, but got {low:g} and "
            f"{high:g}."
        )
        raise InputError(msg)
    if span.spacing == "circle" and span.high is not None:
        around = span.high - (span.low or 0.0)
        if not np.isclose(high - low, around):
            msg = (
                f"`{name}` must go once around, {around:g} deg, but `low` and `high` are {low:g} "
                f"and {high:g}; leave out `high`."
            )
            raise InputError(msg)


def _check_angles(name: str, values: np.ndarray, needed: tuple[float, ...], period: float) -> None:
    """Raise `InputError` unless the angles that an index is read at are shown."""
    half = period / 2
    if all(np.isclose((values - angle + half) % period, half).any() for angle in needed):
        return
    msg = (
        f"`{name}` must hold {' and '.join(f'{angle:g}' for angle in needed)} deg, at which the "
        f"index is read, but is {', '.join(f'{value:g}' for value in values)}; take an even "
        "`n_point` and leave out `low`."
    )
    raise InputError(msg)


def _summarise(
    result: xr.Dataset, protocol: Protocol, n_bootstrap: int, seed: int, job: Job
) -> xr.Dataset:
    """Add the curve, its fit, and the indices with their intervals."""
    dims = list(protocol.axes)
    if protocol.curve == "gaussian_patch":
        return result.assign(_fit_patch(result, job))
    main = dims[0]
    x = result[main].values
    evoked = result.evoked.values.astype(float)  # (neuron, main, ...)
    others = evoked.reshape(*evoked.shape[:2], -1)
    if protocol.at:
        away = [np.abs(result[name].values - protocol.at.get(name, 0.0)) for name in dims[1:]]
        best = np.full(len(evoked), int(np.argmin(away[0])))
    else:
        best = np.nan_to_num(others).max(1).argmax(1)
    each = np.arange(len(evoked))
    valid = result.valid.values == 1
    curve = np.where(valid[:, None], others[each, :, best], np.nan)
    peak = np.where(valid, np.nan_to_num(curve).argmax(1), 0)
    rate = {"units": "rate"}
    found: dict[str, Any] = {
        "curve": (("neuron", main), curve, {"long_name": "response above blank"} | rate)
    }
    # The first harmonic is of the rate itself, what divides it of the rate above blank.
    if main == "phase":
        first = 2 * np.abs(np.fft.fft(result.response.values, axis=1)[:, 1]) / len(x)
        height = curve.mean(1)
    else:
        first = result.modulation.values.reshape(others.shape)[each, peak, best]
        height = curve[each, peak]
    found["f1_f0"] = (
        "neuron",
        first / np.where(height > 0, height, np.nan),
        {"long_name": "modulation by phase (F1/F0)", "units": "1"},
    )
    for key, (index, long_name, units) in protocol.indices.items():
        attrs = {"long_name": long_name, "units": units}
        found[key] = ("neuron", index(x, np.nan_to_num(curve)) * np.where(valid, 1, np.nan), attrs)
    if "evoked_of_member" in result:
        members = result.evoked_of_member.values.astype(float)
        members = members.reshape(len(members), *others.shape)[:, each, :, best].swapaxes(0, 1)
        # Angles have no percentiles: where 179 and 1 degrees lie together is not known to them.
        for key, (index, long_name, units) in protocol.indices.items():
            if units == "deg":
                continue
            bounds = bootstrap_tuning(
                members, partial(index, x), n_bootstrap=n_bootstrap, seed=seed, paired=True
            )
            attrs = {"long_name": f"{long_name}, interval over members", "units": units}
            found[f"{key}_interval"] = (("neuron", "bound"), bounds.T, attrs)
    result = result.assign(found)
    if "bound" in result.dims:
        result = result.assign_coords(bound=["lower", "upper"])
    if not protocol.curve:
        return result
    return _add_fit(result, protocol, x, curve, job)


def _add_fit(
    result: xr.Dataset, protocol: Protocol, x: np.ndarray, curve: np.ndarray, job: Job
) -> xr.Dataset:
    """Add the parameters of the fit, what follows from them, and the curve itself."""
    main = next(iter(protocol.axes))
    form, fit = CURVES[protocol.curve], fit_curve(protocol.curve, x, curve, job=job)
    found: dict[str, Any] = {}
    for key, (long_name, units, _) in form.parameters.items():
        units = {"x": AXES[main][1], "y": "rate"}.get(units, units)
        attrs = {"long_name": f"fit: {long_name}", "units": units}
        found[f"fit_{key}"] = ("neuron", fit[key], attrs)
    attrs = {"long_name": "share of the curve's variance that the fit explains", "units": "1"}
    found["fit_r2"] = ("neuron", fit["r2"], attrs)
    for key, (derive, long_name, units) in protocol.from_fit.items():
        found[key] = ("neuron", derive(x, fit), {"long_name": long_name, "units": units})
    span = protocol.axes[main]
    end = x.max()
    if span.spacing == "circle" and span.high is not None:
        end = x.min() + span.high - (span.low or 0.0)
    fine = (np.geomspace if span.spacing == "log" else np.linspace)(x.min(), end, N_FINE)
    name = f"fine_{main}"
    found["fitted"] = (
        ("neuron", name),
        evaluate_curve(protocol.curve, fine, fit),
        {"long_name": "fitted response above blank", "units": "rate"},
    )
    long_name, units = AXES[main]
    return result.assign(found).assign_coords(
        {name: (name, fine, {"long_name": long_name, "units": units})}
    )


def _fit_patch(result: xr.Dataset, job: Job) -> dict[str, Any]:
    """Gaussian fitted to the map of places."""
    grid = np.meshgrid(result.x.values, result.y.values, indexing="ij")
    places = np.stack(grid, -1).reshape(-1, 2)
    maps = result.evoked.transpose("neuron", "x", "y").values.reshape(result.sizes["neuron"], -1)
    fit = fit_curve("gaussian_patch", places, maps, job=job)
    found: dict[str, Any] = {}
    for key, (long_name, units, _) in CURVES["gaussian_patch"].parameters.items():
        units = "rate" if units == "y" else units
        name = key if key.startswith("center") else f"fit_{key}"
        found[name] = ("neuron", fit[key], {"long_name": f"fit: {long_name}", "units": units})
    attrs = {"long_name": "share of the map's variance that the fit explains", "units": "1"}
    return found | {"fit_r2": ("neuron", fit["r2"], attrs)}


TUNING_EXPERIMENTS: dict[str, Callable[..., xr.Dataset]] = {
    f"{name}_tuning": _make(name, protocol) for name, protocol in PROTOCOLS.items()
}
