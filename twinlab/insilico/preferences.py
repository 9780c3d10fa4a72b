"""Where each neuron looks and what it prefers: what stimuli of its own are made for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.curves import fit_curve
from twinlab.insilico.drawing import DEFAULTS, highest_contrast
from twinlab.insilico.grids import show_grid
from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    find_neurons,
    neuron_labels,
    provenance,
)
from twinlab.insilico.selectivity import preferred_angle
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["OWN", "drift_frequency", "known_preferences", "measure_preferences", "patch_settings"]

# Variable in which a neuron's own value of a stimulus parameter is found.
OWN = {
    "orientation": "preferred_orientation",
    "direction": "preferred_direction",
    "spatial_frequency": "preferred_spatial_frequency",
    "x": "center_x",
    "y": "center_y",
    "radius": "preferred_radius",
}
LABELS = {
    "preferred_orientation": ("preferred orientation", "deg"),
    "preferred_direction": ("preferred direction of drift", "deg"),
    "preferred_spatial_frequency": ("preferred spatial frequency", "cycles/px"),
    "center_x": ("receptive field centre, x", "px"),
    "center_y": ("receptive field centre, y", "px"),
    "preferred_radius": ("smallest aperture radius that evokes 95 % of the peak", "px"),
}
TEMPORAL_FREQUENCY = 4.0  # Hz, at which videos of enough frames drift where nothing is said
N_RADIUS = 12
# An odd number: the mean of a half-rectified cosine over 5 phases is as even as over 10.
FEW_PHASES = np.arange(5) * 72.0


def measure_preferences(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_orientation: int = 16,
    n_spatial_frequency: int = 6,
    n_phase: int = 8,
    min_spatial_frequency: float = 0.04,
    max_spatial_frequency: float = 0.25,
    contrast: float = 0.8,
    radius: bool = True,
    duration_s: float = 1.0,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    """Each neuron's centre, preferred orientation (or direction), frequency and size.

    - Orientation and spatial frequency: the peak of what full-field gratings evoke, the
      orientation refined to the angle of the vector sum at that frequency. Of a twin of
      videos, gratings drift at 4 Hz (a quarter of the frame rate at most), and of the two
      directions of that orientation the one that evokes more is preferred.
    - Centre: that of a Gaussian fitted to what small patches at places all over the screen
      evoke, averaged over four orientations; where no fit settles on the screen, the centre of
      mass of what is above half the peak.
    - Radius: the smallest aperture, at the neuron's own centre and preference, that evokes 95 %
      of the most that any aperture does.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_orientation, n_spatial_frequency, n_phase : int
        Size of the grid of full-field gratings.
    min_spatial_frequency, max_spatial_frequency : float
        In cycles per pixel.
    contrast : float
        Michelson contrast of all gratings.
    radius : bool
        Whether to measure the radius, which costs stimuli of each neuron's own.
    duration_s : float
        Of videos.
    batch_size : int
        Images, or frames of videos, at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `center_x`, `center_y`, `preferred_radius` (px), `preferred_orientation` (deg; of a
        twin of videos `preferred_direction` too) and `preferred_spatial_frequency`
        (cycles/px), along `neuron`; NaN where nothing is evoked.

    Raises
    ------
    InputError
        If the gratings cannot be shown, or `neurons` are not the twin's.

    """
    job = job or Job()
    job.check()
    positions = chosen_positions(len(twin), neurons)
    settings: dict[str, Any] = {
        "n_orientation": n_orientation,
        "n_spatial_frequency": n_spatial_frequency,
        "n_phase": n_phase,
        "min_spatial_frequency": min_spatial_frequency,
        "max_spatial_frequency": max_spatial_frequency,
        "contrast": contrast,
        "duration_s": duration_s,
    }
    if min(n_orientation, n_phase) < 3 or n_spatial_frequency < 1:
        msg = (
            "Preferences need at least 3 orientations, 3 phases and 1 spatial frequency, but got "
            f"{n_orientation}, {n_phase} and {n_spatial_frequency}."
        )
        raise InputError(msg)
    if not 0 < min_spatial_frequency <= max_spatial_frequency <= 0.5:
        msg = (
            "Spatial frequencies must satisfy 0 < `min_spatial_frequency` <= "
            "`max_spatial_frequency` <= 0.5 cycles per pixel, but got "
            f"{min_spatial_frequency:g} and {max_spatial_frequency:g}."
        )
        raise InputError(msg)
    shown = {"contrast": contrast, "duration_s": duration_s, "batch_size": batch_size}
    found = _gratings(
        twin,
        positions,
        n_orientation,
        np.geomspace(min_spatial_frequency, max_spatial_frequency, n_spatial_frequency),
        np.arange(n_phase) * 360 / n_phase,
        job=job.part(0.0, 0.3, "gratings"),
        **shown,
    )
    found |= _centers(
        twin, positions, job=job.part(0.3, 0.7 if radius else 1.0, "places"), **shown
    )
    if radius:
        found |= _radius(twin, positions, found, job=job.part(0.7, 1.0, "sizes"), **shown)
    result = neuron_labels(twin, positions).assign(
        {
            name: ("neuron", values, {"long_name": LABELS[name][0], "units": LABELS[name][1]})
            for name, values in found.items()
        }
    )
    return make_result(
        result,
        experiment="preferences",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        settings={**settings, "radius": radius, **provenance(twin)},
    )


def _gratings(
    twin: ConditionedTwin,
    positions: np.ndarray,
    n_orientation: int,
    frequency: np.ndarray,
    phase: np.ndarray,
    *,
    contrast: float,
    **how: Any,
) -> dict[str, np.ndarray]:
    """Preferred orientation and spatial frequency, of videos also direction."""
    moving = twin.spec.is_video
    angle = np.arange(n_orientation) * (360 if moving else 180) / n_orientation
    fixed: dict[str, Any] = {"contrast": contrast}
    if moving:
        fixed["temporal_frequency"] = drift_frequency(twin.spec)
    grid = show_grid(
        twin,
        positions,
        {"direction" if moving else "orientation": angle, "spatial_frequency": frequency},
        average={} if moving else {"phase": phase},
        fixed=fixed,
        **how,
    )
    evoked = grid.evoked[0].astype(float)
    each = np.arange(len(evoked))
    _, best = np.unravel_index(evoked.reshape(len(evoked), -1).argmax(1), evoked.shape[1:])
    curve = evoked[each, :, best]
    undefined = np.where(curve.max(1) > 0, 1.0, np.nan)
    found = {"preferred_spatial_frequency": frequency[best] * undefined}
    if not moving:
        return found | {"preferred_orientation": preferred_angle(curve, angle)}
    axis = preferred_angle(curve, angle)  # of motion, 0 to 180
    # Of the two ways along it, the one whose side of the circle evokes more.
    side = np.cos(np.deg2rad(angle - np.nan_to_num(axis)[:, None]))
    direction = np.where((curve * side).sum(1) >= 0, axis, axis + 180)
    return found | {
        "preferred_direction": direction,
        "preferred_orientation": (direction - 90) % 180,
    }


def drift_frequency(spec: StimulusSpec) -> float:
    """Temporal frequency of videos in Hz where none is said: 4, or a quarter of the frame rate."""
    return min(TEMPORAL_FREQUENCY, (spec.frame_rate or np.inf) / 4)


def patch_settings(spec: StimulusSpec) -> tuple[float, float]:
    """Radius in pixels and spatial frequency of patches that find receptive fields."""
    radius = max(min(spec.height, spec.width) / 9, 2.0)
    return radius, 0.5 / radius


def _centers(
    twin: ConditionedTwin, positions: np.ndarray, *, contrast: float, **how: Any
) -> dict[str, np.ndarray]:
    """Centre of the receptive field, from patches at places all over the screen."""
    radius, frequency = patch_settings(twin.spec)
    size = (twin.spec.width, twin.spec.height)
    x, y = (np.linspace(0, s - 1, max(round((s - 1) / (0.75 * radius)) + 1, 2)) for s in size)
    moving = twin.spec.is_video
    fixed = {"contrast": contrast, "radius": radius, "spatial_frequency": frequency}
    turns = np.arange(4) * 45.0
    grid = show_grid(
        twin,
        positions,
        {"x": x, "y": y},
        average={"orientation": turns} | ({} if moving else {"phase": FEW_PHASES}),
        fixed=fixed | ({"temporal_frequency": drift_frequency(twin.spec)} if moving else {}),
        **how,
    )
    places = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    maps = grid.evoked[0].reshape(len(positions), -1).astype(float)
    fit = fit_curve("gaussian_patch", places, maps)
    weight = np.clip(maps - maps.max(1, keepdims=True) / 2, 0, None)
    mass = weight.sum(1)
    mean = weight @ places / np.where(mass > 0, mass, np.nan)[:, None]
    center = np.stack([fit["center_x"], fit["center_y"]], -1)
    on_screen = ((center >= 0) & (center <= np.array(size) - 1)).all(1)
    center = np.where((on_screen & (mass > 0))[:, None], center, mean)
    return {"center_x": center[:, 0], "center_y": center[:, 1]}


def _radius(
    twin: ConditionedTwin,
    positions: np.ndarray,
    own: dict[str, np.ndarray],
    *,
    contrast: float,
    **how: Any,
) -> dict[str, np.ndarray]:
    """Smallest radius of an aperture that evokes 95 % of the most any does."""
    radius = np.geomspace(1.0, np.hypot(twin.spec.height, twin.spec.width) / 2, N_RADIUS)
    found = np.full(len(positions), np.nan)
    fixed: dict[str, Any] = {
        name: own[OWN[name]] for name in ("orientation", "spatial_frequency", "x", "y")
    }
    known = np.isfinite(np.stack(list(fixed.values()))).all(0)
    if known.any():
        fixed = {name: value[known] for name, value in fixed.items()} | {"contrast": contrast}
        average = {"phase": FEW_PHASES}
        if twin.spec.is_video:
            fixed |= {"temporal_frequency": drift_frequency(twin.spec)}
            fixed["direction"] = own["preferred_direction"][known]
            del fixed["orientation"]
            average = {}
        grid = show_grid(
            twin, positions[known], {"radius": radius}, average=average, fixed=fixed, **how
        )
        evoked = grid.evoked[0]
        enough = evoked >= 0.95 * evoked.max(1, keepdims=True)
        some = np.where(evoked.max(1) > 0, 1.0, np.nan)
        found[known] = radius[enough.argmax(1)] * some
    return {"preferred_radius": found}


def known_preferences(
    twin: ConditionedTwin,
    positions: np.ndarray,
    parameters: Iterable[str],
    given: Iterable[xr.Dataset],
    **how: Any,
) -> dict[str, np.ndarray]:
    """Each neuron's own value of the parameters, taken from results or measured.

    Parameters
    ----------
    twin : ConditionedTwin
    positions : ndarray of int
    parameters : iterable of str
        Some of `OWN`.
    given : iterable of Dataset
        Results along `neuron`, in any order of neurons; the first that has a variable counts.
    **how
        `duration_s`, `batch_size` and `job` of `measure_preferences`; the contrast is 0.8, or
        the highest that can be shown.

    """
    parameters = list(parameters)
    labels = neuron_labels(twin, positions)
    found: dict[str, np.ndarray] = {}
    for result in given:
        held = [it for it in parameters if it not in found and OWN[it] in result]
        if held:
            place = find_neurons(labels, result, "A result given as preferences")
            found |= {parameter: result[OWN[parameter]].values[place] for parameter in held}
    missing = [parameter for parameter in parameters if parameter not in found]
    if missing:
        contrast = min(DEFAULTS["contrast"], highest_contrast(twin.spec))
        measured = measure_preferences(
            twin, positions, contrast=contrast, radius="radius" in missing, **how
        )
        found |= {parameter: measured[OWN[parameter]].values for parameter in missing}
    return found
