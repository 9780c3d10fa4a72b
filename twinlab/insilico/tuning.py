"""Tuning to full-field gratings of every orientation, spatial frequency and phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    neuron_labels,
    provenance,
    rates_of_batches,
)
from twinlab.insilico.selectivity import FLAT, vector_sum
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.stimuli import make_gratings
from twinlab.twins import ConditionedTwin

__all__ = ["measure_orientation_tuning"]

# Share of a neuron's largest rate below which a difference from blank is rounding.
ROUNDING = 1e-5


def measure_orientation_tuning(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_orientation: int = 16,
    n_spatial_frequency: int = 6,
    n_phase: int = 8,
    min_spatial_frequency: float = 0.04,
    max_spatial_frequency: float = 0.25,
    contrast: float = 0.8,
    batch_size: int = 32,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Responses to full-field gratings of every orientation, spatial frequency and phase.

    A twin of images has no time: a drifting grating is to it the sequence of its phases,
    and directions of drift cannot be told apart. With rate :math:`r(p)` at phase p and
    :math:`r_0` for a blank screen, summed up over phases as

    - F0, the mean rate: `tuning_curve` and `spatial_frequency_curve`;
    - F1, the amplitude of the first harmonic;
    - the evoked response :math:`R = \overline{\max(r(p) - r_0, 0)}`: `evoked_curve`. A
      complex neuron evokes F0 minus blank; of a simple neuron, whose rate goes below
      blank as much as above, the half above counts.

    Preferences and selectivity are taken from R: preferred spatial frequency and
    orientation at its peak on the grid, the orientation then refined to the angle of the
    vector sum over orientations at that frequency. `f1_f0` is F1 / R at the peak: equal to
    the usual F1 / (F0 - blank) wherever the rate stays above blank, above 1 for the same
    sinusoids, but finite (:math:`\pi` at most for a sinusoid) where F0 hardly differs from blank.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_orientation : int
        Evenly spaced over 180 degrees from 0 (horizontal bars).
    n_spatial_frequency : int
        Logarithmically spaced between the two limits.
    n_phase : int
        Evenly spaced over a cycle.
    min_spatial_frequency, max_spatial_frequency : float
        In cycles per pixel; at most 0.5, beyond which a grating looks like a coarser one.
    contrast : float
        Michelson contrast about the mean of the training images. At 0.8 the root mean
        square contrast is near that of natural images.
    batch_size : int
        Gratings drawn and shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `response` (neuron, orientation, spatial_frequency, phase), `blank_response` (neuron);
        `tuning_curve` and `evoked_curve` (neuron, orientation) at the preferred spatial
        frequency, `spatial_frequency_curve` (neuron, spatial_frequency) at the best
        orientation of the grid; `preferred_orientation` (deg), `preferred_spatial_frequency`
        (cycles/px), `osi` and `f1_f0` (neuron), NaN where nothing is evoked.

    Raises
    ------
    InputError
        If the grid is empty, a frequency or contrast is out of range, the gratings cannot
        be shown, or `neurons` are not the twin's.

    References
    ----------
    Skottun et al. (1991), Vision Research 31: 1079-1086.

    """
    spec = twin.spec
    shape = (n_orientation, n_spatial_frequency, n_phase)
    _check_grid(shape, min_spatial_frequency, max_spatial_frequency)
    if spec.mean * (1 + contrast) > spec.high or spec.mean * (1 - contrast) < spec.low:
        most = min(spec.high / spec.mean - 1, 1 - spec.low / spec.mean)
        msg = (
            f"`contrast` {contrast:g} about the mean of {spec.mean:.4g} leaves the range of "
            f"grey levels, {spec.low:g} to {spec.high:g}; it can be {most:.3g} at most."
        )
        raise InputError(msg)
    positions = chosen_positions(len(twin), neurons)
    axes = (
        np.arange(n_orientation) * 180 / n_orientation,
        np.geomspace(min_spatial_frequency, max_spatial_frequency, n_spatial_frequency),
        np.arange(n_phase) * 360 / n_phase,
    )
    parameters = [values.ravel() for values in np.meshgrid(*axes, indexing="ij")]
    n_image = len(parameters[0])

    def draw() -> Iterator[np.ndarray]:
        yield np.full((1, *spec.shape), spec.mean, np.float32)
        for start in range(0, n_image, batch_size):
            yield make_gratings(
                *(values[start : start + batch_size] for values in parameters),
                height=spec.height,
                width=spec.width,
                channel=spec.channel,
                mean=spec.mean,
                contrast=contrast,
            ).values

    rates = rates_of_batches(twin.neurons(positions), draw(), n_image + 1, job)
    blank, response = rates[0], rates[1:].T.reshape(-1, *shape)
    result = neuron_labels(twin, positions).assign_coords(
        orientation=("orientation", axes[0], {"long_name": "orientation", "units": "deg"}),
        spatial_frequency=(
            "spatial_frequency",
            axes[1],
            {"long_name": "spatial frequency", "units": "cycles/px"},
        ),
        phase=("phase", axes[2], {"long_name": "phase", "units": "deg"}),
    )
    return make_result(
        result.assign(_summarise(response, blank, axes[0], axes[1])),
        experiment="tuning",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        settings={
            "n_orientation": n_orientation,
            "n_spatial_frequency": n_spatial_frequency,
            "n_phase": n_phase,
            "min_spatial_frequency": min_spatial_frequency,
            "max_spatial_frequency": max_spatial_frequency,
            "contrast": contrast,
            **provenance(twin),
        },
        source="Skottun et al. (1991), Vision Research 31: 1079-1086",
    )


def _check_grid(shape: tuple[int, int, int], lowest: float, highest: float) -> None:
    """Raise `InputError` unless the grid has curves to speak of and frequencies to draw."""
    if shape[0] < 3 or shape[1] < 1 or shape[2] < 3:
        msg = (
            "A tuning grid needs at least 3 orientations, 1 spatial frequency and 3 phases, but "
            f"got `n_orientation`, `n_spatial_frequency`, `n_phase` = {shape}."
        )
        raise InputError(msg)
    if not 0 < lowest <= highest <= 0.5:
        msg = (
            "Spatial frequencies must satisfy 0 < `min_spatial_frequency` <= "
            f"`max_spatial_frequency` <= 0.5 cycles per pixel, but got {lowest:g} and {highest:g}."
        )
        raise InputError(msg)


def _summarise(
    response: np.ndarray, blank: np.ndarray, orientation: np.ndarray, frequency: np.ndarray
) -> dict[str, Any]:
    """Curves, preferences and indices of responses (neuron, orientation, frequency, phase)."""
    rounding = ROUNDING * response.max((1, 2, 3), initial=0.0)
    above = response - blank[:, None, None, None]
    above = np.where(above > rounding[:, None, None, None], above, 0)
    evoked = above.mean(3, dtype=np.float64)  # (neuron, orientation, frequency)
    f0 = response.mean(3, dtype=np.float64)
    f1 = 2 * np.abs(np.fft.fft(response, axis=3)[..., 1]) / response.shape[3]

    each = np.arange(len(response))
    best_orientation, best_frequency = np.unravel_index(
        evoked.reshape(len(response), -1).argmax(1), evoked.shape[1:]
    )
    peak = evoked[each, best_orientation, best_frequency]
    undefined = np.where(peak > 0, 1.0, np.nan)
    curve = evoked[each, :, best_frequency]
    vector = vector_sum(curve, 2 * orientation)
    # A flat curve has no preferred orientation; what is left of its vector is rounding.
    angle = np.where(np.abs(vector) > FLAT, np.rad2deg(np.angle(vector)) / 2 % 180, np.nan)

    rate, by_orientation = {"units": "rate"}, ("neuron", "orientation")
    return {
        "response": (
            ("neuron", "orientation", "spatial_frequency", "phase"),
            response,
            {"long_name": "response"} | rate,
        ),
        "blank_response": ("neuron", blank, {"long_name": "response to a blank screen"} | rate),
        "tuning_curve": (
            by_orientation,
            f0[each, :, best_frequency],
            {"long_name": "mean response over phases (F0)"} | rate,
        ),
        "evoked_curve": (
            by_orientation,
            curve,
            {"long_name": "response above blank, mean over phases"} | rate,
        ),
        "spatial_frequency_curve": (
            ("neuron", "spatial_frequency"),
            f0[each, best_orientation],
            {"long_name": "mean response over phases (F0)"} | rate,
        ),
        "preferred_orientation": (
            "neuron",
            angle,
            {"long_name": "preferred orientation", "units": "deg"},
        ),
        "preferred_spatial_frequency": (
            "neuron",
            frequency[best_frequency] * undefined,
            {"long_name": "preferred spatial frequency", "units": "cycles/px"},
        ),
        "osi": (
            "neuron",
            np.abs(vector),
            {"long_name": "orientation selectivity index", "units": "1"},
        ),
        "f1_f0": (
            "neuron",
            f1[each, best_orientation, best_frequency] / np.where(peak > 0, peak, np.nan),
            {"long_name": "modulation by phase (F1/F0)", "units": "1"},
        ),
    }
