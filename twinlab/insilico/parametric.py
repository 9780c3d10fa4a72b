"""Tuning to any parameters of gratings, alone or jointly, at each neuron's own preference."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.grids import Grid, check_grid, members_of, show_grid
from twinlab.insilico.preferences import (
    LABELS,
    OWN,
    drift_frequency,
    known_preferences,
)
from twinlab.insilico.responses import Neurons, chosen_positions, neuron_labels, provenance
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["AXES", "measure_tuning"]

# Long name and units of every parameter that can span a grid.
AXES = {
    "orientation": ("orientation", "deg"),
    "direction": ("direction of drift", "deg"),
    "spatial_frequency": ("spatial frequency", "cycles/px"),
    "temporal_frequency": ("temporal frequency", "Hz"),
    "phase": ("phase", "deg"),
    "contrast": ("Michelson contrast", "1"),
    "x": ("horizontal place", "px"),
    "y": ("vertical place", "px"),
    "radius": ("aperture radius", "px"),
    "mask_orientation": ("mask orientation", "deg"),
    "mask_contrast": ("mask contrast", "1"),
    "mask_phase": ("mask phase", "deg"),
    "surround_orientation": ("surround orientation", "deg"),
    "surround_direction": ("surround direction", "deg"),
    "surround_contrast": ("surround contrast", "1"),
    "surround_radius": ("surround radius", "px"),
}
# What each of these needs to be seen at all.
NEEDS = {
    "mask_orientation": "mask_contrast",
    "mask_phase": "mask_contrast",
    "surround_orientation": "surround_contrast",
    "surround_direction": "surround_contrast",
    "surround_radius": "surround_contrast",
}
MOST_AXES = 3
# Of a half-rectified cosine 8 phases give F0 to 3 % at any offset, and F1 exactly.
N_PHASE = 8


def measure_tuning(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    axes: Mapping[str, Sequence[float] | np.ndarray],
    fixed: Mapping[str, float | str | Sequence[float] | np.ndarray] | None = None,
    average: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    preferences: xr.Dataset | Sequence[xr.Dataset] = (),
    n_phase: int = N_PHASE,
    duration_s: float = 1.0,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Response to gratings over one, two or three parameters jointly.

    What spans the grid is in `axes`. Every other parameter is fixed: at what `fixed` says; at
    each neuron's own preference or centre where that is "own"; else orientation and spatial
    frequency at the neuron's own, and the rest at `drawing.DEFAULTS` (full field, contrast 0.8,
    no mask, no surround). Where nothing is a neuron's own, all neurons see the same images,
    which costs an evaluation of the twin per image instead of one per neuron and image.

    Phases are averaged over, unless the phase is an axis or fixed; of a mask, its phase too. A
    twin of videos is shown gratings that drift, or rest where the phase is asked about; its
    rates are averaged over time after the first half second. With rate :math:`r` and rate
    :math:`r_0` at a blank screen,

    - `response` is the mean of :math:`r` (F0);
    - `evoked` is the mean of :math:`\max(r - r_0, 0)`, as in `measure_orientation_tuning`;
    - `modulation` is the amplitude of the first harmonic (F1), NaN of a single phase.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    axes : mapping of str to sequence of float
        One to three of `orientation`, `direction` (deg, videos), `spatial_frequency`
        (cycles/px), `temporal_frequency` (Hz, videos), `phase` (deg), place `x` and `y` (px),
        aperture `radius` (px), `contrast`, `mask_orientation` (deg from the grating),
        `mask_contrast`, `mask_phase`, `surround_orientation` (deg from the centre),
        `surround_direction` (deg from the centre's, videos), `surround_contrast`,
        `surround_radius`.
    fixed : mapping of str to float, "own", or sequence of float of shape (n_neuron,)
        The others. "own" is known for `orientation`, `direction`, `spatial_frequency`, `x`,
        `y` and `radius`.
    average : mapping of str to sequence of float
        Parameters to average over.
    preferences : Dataset or sequence of Dataset
        Results in which own values are looked for (`measure_preferences`, but also
        `measure_orientation_tuning` and `measure_receptive_field`); missing ones are measured.
    n_phase : int
        Phases averaged over, evenly spaced.
    duration_s : float
        Of videos, after the onset that is left out. Whole cycles make F1 exact.
    batch_size : int
        Images, or frames of videos, at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `response`, `evoked` and `modulation` (neuron, \*axes), `blank_response` and `valid`
        (neuron): 0 where nothing is evoked or an own value is undefined. Of an ensemble
        `evoked_of_member` (member, neuron, \*axes) as well. Frequencies above Nyquist, where a
        grating looks like a coarser or slower one, have the coordinate `aliased` 1, or
        `aliased_in_time`: along their axis, `neuron` where each has its own, or of all.

    Warns
    -----
    UserWarning
        If a frequency is above Nyquist.

    Raises
    ------
    InputError
        If a parameter is unknown, said twice or without effect, there are no or more than three
        axes, a value is out of range, or the stimulus cannot be shown to this twin.

    """
    job = job or Job()
    job.check()
    positions = chosen_positions(len(twin), neurons)
    spans = _spans(axes)
    asked: dict[str, Any] = {
        name: _fixed(name, value, len(positions)) for name, value in (fixed or {}).items()
    }
    means = {name: _listed("Averaged", name, values) for name, values in (average or {}).items()}
    _complete(twin, spans, asked, means, n_phase)
    wanted = [name for name, value in asked.items() if isinstance(value, str)]
    unknown = [name for name in wanted if name not in OWN or asked[name] != "own"]
    if unknown:
        msg = (
            f"`{unknown[0]}` is {asked[unknown[0]]!r}, but must be a number, or 'own' for one of "
            f"{', '.join(OWN)}."
        )
        raise InputError(msg)
    numbers = {name: value for name, value in asked.items() if name not in wanted}
    check_grid(twin, {**numbers, **means, **spans}, duration_s)
    if "direction" in wanted and not twin.spec.is_video:
        check_grid(twin, {"direction": 0.0}, duration_s)
    _check_effects(spans, asked, means)
    given = [preferences] if isinstance(preferences, xr.Dataset) else list(preferences)
    shown: dict[str, Any] = {"duration_s": duration_s, "batch_size": batch_size}
    stage = job.part(0.0, 0.5 if wanted else 0.0, "preferences")
    own = known_preferences(twin, positions, wanted, given, job=stage, **shown) if wanted else {}
    drawn = {**numbers, **own}
    known = np.ones(len(positions), bool)
    for value in drawn.values():
        known &= ~np.isnan(value)
    grid = _show(
        twin,
        positions,
        known,
        spans,
        drawn,
        average=means,
        job=job.part(0.5 if wanted else 0.0, 1.0, "tuning"),
        **shown,
    )
    # Of what is averaged over, one mark for all.
    pooled = {name: np.max(values) for name, values in means.items()}
    result = neuron_labels(twin, positions).assign_coords(
        {name: (name, values, _attrs(AXES[name])) for name, values in spans.items()}
    )
    result = result.assign(_variables(grid, list(spans), known)).assign(
        {OWN[name]: ("neuron", value, _attrs(LABELS[OWN[name]])) for name, value in own.items()}
    )
    if "radius" in spans:
        x, y = drawn.get("x", 0.0), drawn.get("y", 0.0)
        if "x" not in spans and "y" not in spans:
            edge = _to_edge(twin, np.asarray(x, float), np.asarray(y, float), len(positions))
            label = ("radius beyond which the edge of the screen cuts the aperture", "px")
            result = result.assign(radius_on_screen=("neuron", edge, _attrs(label)))
    return make_result(
        _mark_aliased(result, twin, {**drawn, **pooled, **spans}, spans),
        experiment="parametric_tuning",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        settings={
            "axes": {name: values.tolist() for name, values in spans.items()},
            "fixed": {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in asked.items()
            },
            "average": {name: values.tolist() for name, values in means.items()},
            "duration_s": duration_s,
            **provenance(twin),
        },
        source="Skottun et al. (1991), Vision Research 31: 1079-1086",
    )


def _attrs(label: tuple[str, str]) -> dict[str, str]:
    return {"long_name": label[0], "units": label[1]}


def _to_edge(twin: ConditionedTwin, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Distance of centres from the nearest edge of the screen, in pixels."""
    right, below = twin.spec.width - 0.5 - x, twin.spec.height - 0.5 - y
    edge = np.minimum(np.minimum(x + 0.5, right), np.minimum(y + 0.5, below))
    return np.broadcast_to(edge, (n,)).copy()


def _spans(axes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Axes as arrays, or `InputError` naming the one that is none."""
    if not 1 <= len(axes) <= MOST_AXES:
        msg = f"`axes` must name 1 to {MOST_AXES} of {', '.join(AXES)}, but got {list(axes)}."
        raise InputError(msg)
    for name in axes:
        if name not in AXES:
            msg = f"`axes` has {name!r}; known: {', '.join(AXES)}."
            raise InputError(msg)
    return {name: _listed("Axis", name, values) for name, values in axes.items()}


def _listed(what: str, name: str, given: Any) -> np.ndarray:
    """Values of an axis, or of what is averaged over."""
    values = _floats(given)
    if values is None or values.ndim != 1 or not values.size or not np.isfinite(values).all():
        msg = (
            f"{what} `{name}` must be a list of one or more finite numbers, but is "
            f"{_shortly(given)}."
        )
        raise InputError(msg)
    return values


def _fixed(name: str, given: Any, n_neuron: int) -> float | str | np.ndarray:
    """One value for all neurons or one of each; a word is left to be looked up."""
    if isinstance(given, str):
        return given
    values = _floats(given)
    if values is None or values.shape not in ((), (n_neuron,)):
        msg = (
            f"`{name}` in `fixed` must be a number, 'own' or a list with a number of each of the "
            f"{n_neuron} neurons, but is {_shortly(given)}."
        )
        raise InputError(msg)
    return values if values.ndim else float(values)


def _floats(given: Any) -> np.ndarray | None:
    try:
        return np.asarray(given, float)
    except (TypeError, ValueError):
        return None


def _shortly(given: Any) -> str:
    return " ".join(repr(given).split())[:60]


def _complete(
    twin: ConditionedTwin,
    spans: dict[str, np.ndarray],
    asked: dict[str, Any],
    means: dict[str, np.ndarray],
    n_phase: int,
) -> None:
    """Fill in what was not said: own preference, own centre, phases to average over."""
    if n_phase < 1:
        msg = f"`n_phase` must be at least 1, but got {n_phase}."
        raise InputError(msg)

    def said(*names: str) -> bool:
        return any(name in part for name in names for part in (spans, asked, means))

    phases = np.arange(n_phase) * 360 / n_phase
    if twin.spec.is_video:
        if not said("temporal_frequency"):
            # What drifts goes through all phases: one of them is seen at rest.
            still = ("phase" in spans or "phase" in asked) and not said("direction")
            asked["temporal_frequency"] = 0.0 if still else drift_frequency(twin.spec)
        if not said("orientation", "direction"):
            asked["direction"] = "own"
    else:
        if not said("orientation"):
            asked["orientation"] = "own"
        if not said("phase"):
            means["phase"] = phases
    if not said("spatial_frequency"):
        asked["spatial_frequency"] = "own"
    if said("mask_contrast") and not said("mask_phase"):
        means["mask_phase"] = phases
    if said("radius"):
        for name in ("x", "y"):
            if not said(name):
                asked[name] = "own"


def _check_effects(
    spans: dict[str, np.ndarray], asked: dict[str, Any], means: dict[str, np.ndarray]
) -> None:
    """Raise `InputError` where something that was said would change nothing that is seen."""
    said = {**asked, **means, **spans}
    if len(said) < len(asked) + len(means) + len(spans):
        twice = next(
            name for name in said if (name in asked) + (name in means) + (name in spans) > 1
        )
        msg = f"`{twice}` is said twice; it can be in one of `axes`, `fixed` and `average`."
        raise InputError(msg)
    for which in ("", "surround_"):
        both = [which + name for name in ("orientation", "direction")]
        if set(both) <= set(said):
            msg = f"`{both[0]}` and `{both[1]}` of a grating are the same thing; say one of them."
            raise InputError(msg)
    if "phase" in spans and np.any(said.get("temporal_frequency", 0.0)):
        msg = (
            "`phase` cannot be an axis of gratings that drift, which go through all phases; fix "
            "`temporal_frequency` at 0."
        )
        raise InputError(msg)
    for name, needed in NEEDS.items():
        # With the other fixed at 0 it is as asked, unless it should span a grid.
        if name in said and (
            needed not in said or (name in spans and not np.max(said[needed]) > 0)
        ):
            msg = f"`{name}` needs a `{needed}` above 0, or nothing of it is seen."
            raise InputError(msg)
    if isinstance(said.get("radius"), str) or np.isfinite(said.get("radius", np.inf)).any():
        return
    moot: list[str] = [
        name for name in ("x", "y") if name in spans and "phase" not in {**spans, **asked}
    ]
    if np.max(said.get("surround_contrast", 0.0)) > 0:
        moot.append("surround_contrast")
    if moot:
        msg = f"`{moot[0]}` needs a finite `radius`: a full field has no place and no surround."
        raise InputError(msg)


def _show(
    twin: ConditionedTwin,
    positions: np.ndarray,
    known: np.ndarray,
    spans: dict[str, np.ndarray],
    drawn: dict[str, Any],
    **how: Any,
) -> Grid:
    """Grid of all neurons, NaN for those whose own values are not known."""
    if not known.any():
        n_voice = 1 + len(members_of(twin))
        shape = (n_voice, len(positions), *(len(values) for values in spans.values()))
        empty = np.full(shape, np.nan, np.float32)
        return Grid(empty, empty.copy(), empty.copy(), np.full(shape[:2], np.nan, np.float32))
    fixed = {name: value[known] if np.ndim(value) else value for name, value in drawn.items()}
    grid = show_grid(twin, positions[known], spans, fixed=fixed, **how)
    if known.all():
        return grid

    def spread(values: np.ndarray) -> np.ndarray:
        whole = np.full((len(values), len(positions), *values.shape[2:]), np.nan, np.float32)
        whole[:, known] = values
        return whole

    return Grid(*(spread(v) for v in (grid.response, grid.evoked, grid.modulation, grid.blank)))


def _variables(grid: Grid, dims: list[str], known: np.ndarray) -> dict[str, Any]:
    rate = {"units": "rate"}
    by = ("neuron", *dims)
    most = np.nan_to_num(grid.evoked[0]).reshape(len(known), -1).max(1, initial=0)
    found: dict[str, Any] = {
        "response": (by, grid.response[0], {"long_name": "mean response (F0)"} | rate),
        "evoked": (by, grid.evoked[0], {"long_name": "mean response above blank"} | rate),
        "modulation": (
            by,
            grid.modulation[0],
            {"long_name": "amplitude of the first harmonic (F1)"} | rate,
        ),
        "blank_response": (
            "neuron",
            grid.blank[0],
            {"long_name": "response to a blank screen"} | rate,
        ),
        "valid": (
            "neuron",
            (known & (most > 0)).astype(np.int8),
            {"long_name": "answers, and was shown what it prefers", "units": "1"},
        ),
    }
    if len(grid.evoked) > 1:
        found["evoked_of_member"] = (
            ("member", *by),
            grid.evoked[1:],
            {"long_name": "response above blank of each member of the ensemble"} | rate,
        )
    return found


def _mark_aliased(
    result: xr.Dataset, twin: ConditionedTwin, shown: dict[str, Any], spans: Collection[str]
) -> xr.Dataset:
    """Mark, and warn of, frequencies that the pixels or frames cannot carry."""
    limits = {
        "spatial_frequency": (0.5, "cycles/px", "aliased"),
        "temporal_frequency": ((twin.spec.frame_rate or 0.0) / 2, "Hz", "aliased_in_time"),
    }
    for name, (limit, units, coordinate) in limits.items():
        above = np.asarray(shown.get(name, 0.0)) > limit
        if not above.any():
            continue
        warnings.warn(
            f"{above.sum()} of {above.size} values of `{name}` are above Nyquist ({limit:g} "
            f"{units}): these gratings look like coarser or slower ones, and are marked.",
            stacklevel=3,
        )
        mark = {"long_name": "above Nyquist, looks like another frequency", "units": "1"}
        dims = (name,) if name in spans else ("neuron",) * above.ndim
        result = result.assign_coords({coordinate: (dims, above.astype(np.int8), mark)})
    return result
