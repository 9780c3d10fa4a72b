"""Which unit of a later session is which neuron: by a table, by place, or by what it answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy import stats
from scipy.optimize import linear_sum_assignment

from twinlab.schema import InputError

__all__ = [
    "LEAST_IMAGES",
    "make_match",
    "match_by_fingerprint",
    "match_by_position",
    "match_by_table",
    "name_units",
]

LEAST_IMAGES = 10  # of a fingerprint
ROUNDS = 10  # of moving one field of view onto the other, and of estimating how many are lost


def match_by_table(table: Mapping[str, str], neuron: list[str], unit: list[str]) -> xr.Dataset:
    """Match neurons to units as a table says.

    Parameters
    ----------
    table : mapping of str to str
        Name of the unit for each neuron that was found again.
    neuron, unit : list of str
        Names of those the twin has, and of those that were recorded.

    Returns
    -------
    xarray.Dataset
        Along `neuron`, named by its coordinate: `position` of its unit, -1 where it has none,
        and `confidence`, 1 for those the table names and 0 for others.

    Raises
    ------
    InputError
        If the table names a neuron or unit that does not exist, or a unit twice.

    """
    faults = [f"neuron {name!r} is not the twin's" for name in table if name not in neuron]
    faults += [f"unit {name!r} was not recorded" for name in table.values() if name not in unit]
    given = list(table.values())
    faults += [f"unit {name!r} has several neurons" for name in sorted({*given})
               if given.count(name) > 1]  # fmt: skip
    if faults:
        msg = "The table of units cannot be used: " + "; ".join(faults) + "."
        raise InputError(msg)
    position = np.array([unit.index(table[name]) if name in table else -1 for name in neuron])
    return make_match(neuron, position, (position >= 0).astype(float))


def match_by_position(
    neuron_um: np.ndarray,
    unit_um: np.ndarray,
    neuron: list[str],
    *,
    spread_um: float = 3.0,
    min_confidence: float = 0.9,
) -> xr.Dataset:
    """Match neurons to the units that lie where they lay, up to a shift of the whole field.

    Parameters
    ----------
    neuron_um : ndarray of shape (n_neuron, n_axis)
        Positions in micrometres of the first session.
    unit_um : ndarray of shape (n_unit, n_axis)
        Of the later one. The shift between the two is estimated: the one that most pairs of a
        neuron and a unit agree on.
    neuron : list of str
        Names.
    spread_um : float
        Standard deviation along each axis of what positions differ by once shifted.
    min_confidence : float
        Least for a match.

    Returns
    -------
    xarray.Dataset
        As of `match_by_table`; `confidence` is the probability that the unit is this neuron, not
        another neuron, nor the neuron another unit, nor lost with a unit there by chance:
        distances of true pairs are normally distributed, other units uniformly, and the share of
        neurons that are lost is estimated. `shift_um` (axis) is the shift found.

    Raises
    ------
    InputError
        If positions are not finite or of different axes.

    """
    if (
        neuron_um.ndim != 2
        or unit_um.ndim != 2
        or neuron_um.shape[1] != unit_um.shape[1]
        or not (np.isfinite(neuron_um).all() and np.isfinite(unit_um).all())
    ):
        msg = (
            f"Positions of neurons have shape {neuron_um.shape} and of units {unit_um.shape}; "
            "expected (n, axis) with the same axes, all finite."
        )
        raise InputError(msg)
    shift = _common_shift(unit_um[None] - neuron_um[:, None], 4 * spread_um)
    for _ in range(ROUNDS):
        away = unit_um[None] - (neuron_um + shift)[:, None]
        nearest = (away**2).sum(-1).argmin(1)
        shift = shift + np.median(away[np.arange(len(away)), nearest], axis=0)
    away = unit_um[None] - (neuron_um + shift)[:, None]
    evidence = -(away**2).sum(-1) / (2 * spread_um**2)
    row, column = linear_sum_assignment(evidence, maximize=True)
    likely = np.exp(evidence[row, column])
    others = np.exp(evidence)[row].sum(1) + np.exp(evidence)[:, column].sum(0) - 2 * likely
    # Units that lie there by chance, where the neuron is lost: their density, in units of that
    # of the normal distribution at its middle, and the odds of being lost, found by iteration.
    density = len(unit_um) / np.prod(np.ptp(unit_um, axis=0) + spread_um)
    by_chance = density * (2 * np.pi * spread_um**2) ** (away.shape[-1] / 2)
    confidence, lost = np.zeros(len(neuron)), 0.5
    for _ in range(ROUNDS):
        odds = lost / (1 - lost)
        confidence[row] = likely / (likely + others + by_chance * odds)
        lost = float(np.clip(1 - confidence.mean(), 0.01, 0.99))
    position = np.full(len(neuron), -1)
    position[row] = column
    position[confidence < min_confidence] = -1
    found = make_match(neuron, position, confidence)
    return found.assign(
        shift_um=("axis", shift, {"long_name": "shift of the field of view", "units": "um"})
    )


def match_by_fingerprint(
    neuron_response: np.ndarray,
    unit_response: np.ndarray,
    neuron: list[str],
    *,
    min_confidence: float = 0.95,
) -> xr.Dataset:
    """Match neurons to the units that answer to the same images alike.

    Responses are compared by their ranks (normal scores), so that a few large ones do not decide.
    Neurons and units are assigned one to one so that the evidence is largest.

    Parameters
    ----------
    neuron_response : ndarray of shape (n_image, n_neuron)
        Mean response of each neuron to images, in the first session or predicted by its twin.
    unit_response : ndarray of shape (n_image, n_unit)
        Mean response of each unit to the same ones.
    neuron : list of str
        Names.
    min_confidence : float
        Least for a match.

    Returns
    -------
    xarray.Dataset
        As of `match_by_table`, with `correlation` of the pair; `confidence` is the probability
        that the unit is this neuron, not another neuron, nor the neuron another unit, nor lost:
        of each pair the evidence that it correlates is the Bayes factor (by its Bayesian
        information criterion) of the correlation found against none, and the share of neurons
        that are lost is estimated.

    Raises
    ------
    InputError
        If the images differ in number or are fewer than 10, or responses are not finite.

    """
    n_image = len(neuron_response)
    if len(unit_response) != n_image or n_image < LEAST_IMAGES:
        msg = (
            f"Fingerprints are of {n_image} and {len(unit_response)} images; expected the same, "
            f"at least {LEAST_IMAGES}."
        )
        raise InputError(msg)
    if not (np.isfinite(neuron_response).all() and np.isfinite(unit_response).all()):
        msg = "Fingerprints have responses that are not finite; leave those images out."
        raise InputError(msg)
    correlation = _standardised(neuron_response).T @ _standardised(unit_response)
    known = np.clip(correlation, 0, 0.999999)
    evidence = -(n_image - 3) / 2 * np.log1p(-(known**2)) - np.log(n_image) / 2
    row, column = linear_sum_assignment(evidence, maximize=True)
    largest = evidence.max(initial=0.0)  # so that nothing overflows
    factor, none = np.exp(evidence - largest), np.exp(-largest)
    likely = factor[row, column]
    others = factor[row].sum(1) + factor[:, column].sum(0) - 2 * likely
    confidence, position = np.zeros(len(neuron)), np.full(len(neuron), -1)
    lost = 0.5
    for _ in range(ROUNDS):
        odds = max(factor.shape) * lost / (1 - lost)  # any of them might have been the pair
        confidence[row] = likely / (likely + others + none * odds)
        lost = float(np.clip(1 - confidence.mean(), 0.01, 0.99))
    agreement = np.full(len(neuron), np.nan)
    position[row] = column
    agreement[row] = correlation[row, column]
    position[confidence < min_confidence] = -1
    return make_match(neuron, position, confidence).assign(
        correlation=(
            "neuron",
            agreement,
            {"long_name": "rank correlation of the fingerprints", "units": "1"},
        )
    )


def name_units(responses: xr.Dataset, match: xr.Dataset) -> xr.Dataset:
    """Responses of the units that were matched, under the names of their neurons.

    Parameters
    ----------
    responses : xarray.Dataset
        Of `import_responses`, along `unit`.
    match : xarray.Dataset
        Of one of the functions above; neurons are named as by "session/neuron_id".

    Returns
    -------
    xarray.Dataset
        `responses` along `neuron` in place of `unit`, with `unit` and `confidence` as coordinates.
        Attributes `unmatched_neurons` and `unmatched_units` name those left out.

    Raises
    ------
    InputError
        If there is no match.

    """
    found = np.flatnonzero(match.position.values >= 0)
    position = match.position.values[found]
    if not len(found):
        msg = (
            f"None of {match.sizes['neuron']} neurons has a unit; match them in another way, or "
            "lower `min_confidence`."
        )
        raise InputError(msg)
    units = responses.unit.values.astype(str)
    names = match.neuron.values.astype(str)
    named = responses.isel(unit=position).rename(unit="neuron")
    return named.assign_coords(
        neuron=names[found],
        unit=("neuron", units[position], {"long_name": "unit of the later session"}),
        confidence=("neuron", match.confidence.values[found], match.confidence.attrs),
    ).assign_attrs(
        unmatched_neurons=", ".join(np.delete(names, found)),
        unmatched_units=", ".join(np.delete(units, position)),
    )


def _common_shift(away: np.ndarray, step: float) -> np.ndarray:
    """Shift that most of the differences (neuron, unit, axis) share, to within steps of a grid."""
    place = np.round(away.reshape(-1, away.shape[-1]) / step).astype(int)
    found, count = np.unique(place, axis=0, return_counts=True)
    # of shifts that as many share the shortest
    best = np.lexsort(((found**2).sum(1), -count))[0]
    return step * found[best].astype(float)


def _standardised(response: np.ndarray) -> np.ndarray:
    """Normal scores of columns, of zero mean and unit norm; zero where a response is constant."""
    score = stats.norm.ppf((stats.rankdata(response, axis=0) - 0.5) / len(response))
    centred = np.where(np.ptp(response, axis=0) > 0, score - score.mean(0), 0.0)
    norm = np.linalg.norm(centred, axis=0)
    return centred / np.where(norm > 0, norm, np.inf)


def make_match(neuron: list[str], position: np.ndarray, confidence: np.ndarray) -> xr.Dataset:
    """Label which unit each neuron is, as the functions above return it."""
    return xr.Dataset(
        {
            "position": (
                "neuron",
                position,
                {"long_name": "position of the unit, -1 for none", "units": "1"},
            ),
            "confidence": (
                "neuron",
                confidence,
                {"long_name": "probability that the match is right", "units": "1"},
            ),
        },
        {"neuron": neuron},
    )
