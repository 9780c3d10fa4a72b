"""Which recorded unit is which neuron of the twin, in the way that the plan or the user says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.loop.gathering import neuron_names
from twinlab.loop.matching import (
    make_match,
    match_by_fingerprint,
    match_by_position,
    match_by_table,
)
from twinlab.loop.response_files import AXES, read_rows
from twinlab.loop.sharing import mean_shared
from twinlab.schema import InputError

__all__ = ["identify_units", "say_match"]

MOST_TOLD = 5  # least sure matches that are named
MOST_NAMED = 20  # of those without a match
SURE = 0.99  # confidence from which a match is not named


def identify_units(
    responses: xr.Dataset,
    recording: xr.Dataset,
    way: str,
    *,
    table: Path | None = None,
    units: Path | None = None,
) -> xr.Dataset:
    """Match the units that answered to the neurons of the recording.

    Parameters
    ----------
    responses : xarray.Dataset
        Of `import_responses`.
    recording : xarray.Dataset
    way : str
        Of `MATCHES`: units have the names or the `neuron_id` of the neurons; or a table says; or
        they lie where those lay; or they answer to the shared images as those did.
    table : Path, optional
        CSV of two columns, `neuron` (its name, "session/neuron_id", or `neuron_id` where no
        other has it) and `unit`.
    units : Path, optional
        CSV of the columns `unit`, `x_um`, `y_um` and perhaps `z_um`; needed to match by position
        where the file of responses has none.

    Returns
    -------
    xarray.Dataset
        As of `match_by_table`, along all neurons of the recording.

    Raises
    ------
    InputError
        If what the way needs is not there, or as the functions of `matching`.

    """
    names = neuron_names(recording.session.values, recording.neuron_id.values)
    given = responses.unit.values.astype(str).tolist()
    if (table is not None) != (way == "table") or (units is not None and way != "position"):
        msg = (
            f"Units are matched by {way}, with a table {table} and a list of units {units}; a "
            "table of neurons and units is for matching by table, a list of units by position."
        )
        raise InputError(msg)
    if table is not None:
        known = _full_names(_table_of(table), names, recording.neuron_id.values, table)
        return match_by_table(known, names, given)
    if way == "position":
        return _by_position(responses, recording, names, units)
    if way == "fingerprint":
        return _by_fingerprint(responses, recording, names)
    return match_by_table(_by_name(names, recording.neuron_id.values, given), names, given)


def say_match(match: xr.Dataset, unit: list[str], way: str) -> list[str]:
    """Say how many were found again, how surely, and who was not, a line each."""
    position, confidence = match.position.values, match.confidence.values
    names = match.neuron.values.astype(str)
    found = np.flatnonzero(position >= 0)
    lines = []
    if way in ("position", "fingerprint"):
        lines.append(
            f"matched by {way}: {len(found)} of {len(names)} neurons, {len(found)} of "
            f"{len(unit)} units, mean confidence {confidence[found].mean():.3f}"
        )
        unsure = found[np.argsort(confidence[found], kind="stable")][:MOST_TOLD]
        told = [f"{names[i]} as unit {unit[position[i]]} ({confidence[i]:.3f})"
                for i in unsure if confidence[i] < SURE]  # fmt: skip
        if told:
            lines.append(f"least sure: {', '.join(told)}")
    left = {
        "neurons": np.delete(names, found),
        "units": np.delete(np.array(unit), position[found]),
    }
    for kind, without in left.items():
        if len(without):
            named = ", ".join(without[:MOST_NAMED])
            more = f" and {len(without) - MOST_NAMED} more" * (len(without) > MOST_NAMED)
            lines.append(f"without a match, {kind}: {named}{more}")
    return lines


def _by_name(names: list[str], neuron_id: np.ndarray, units: list[str]) -> dict[str, str]:
    """Units that bear the names of neurons, if all do."""
    ids = neuron_id.astype(str).tolist()
    for known in (names, ids):
        if set(units) <= set(known) and len(set(known)) == len(known):
            return {name: one for name, one in zip(names, known, strict=True) if one in units}
    strange = next((unit for unit in units if unit not in {*names, *ids}), units[0])
    msg = (
        f"Unit {strange!r} has not the name of a neuron of the twin ({names[0]!r}, say); give a "
        "table of neurons and units, or match them by position or fingerprint."
    )
    raise InputError(msg)


def _table_of(path: Path) -> dict[str, str]:
    """Unit of each neuron, of a CSV file of two columns."""
    head, rows = read_rows(path, "a table of neurons and units (CSV)")
    if sorted(head) != ["neuron", "unit"]:
        msg = f"{path}: has the columns {head}; expected `neuron` and `unit`."
        raise InputError(msg)
    table = {row[head.index("neuron")]: row[head.index("unit")] for row in rows}
    if len(table) < len(rows):
        msg = f"{path}: has a neuron twice; expected each once."
        raise InputError(msg)
    return table


def _full_names(
    table: dict[str, str], names: list[str], neuron_id: np.ndarray, path: Path
) -> dict[str, str]:
    """A table whose neurons are named in full, or by their `neuron_id` where that is enough."""
    ids = neuron_id.astype(str).tolist()
    of_id = dict(zip(ids, names, strict=True)) if len(set(ids)) == len(ids) else {}
    strange = [one for one in table if one not in names and one not in of_id]
    if strange:
        msg = (
            f"{path}: {len(strange)} neurons are not the twin's, first {strange[0]!r}; expected "
            f"names such as {names[0]!r}."
        )
        raise InputError(msg)
    return {one if one in names else of_id[one]: unit for one, unit in table.items()}


def _by_position(
    responses: xr.Dataset, recording: xr.Dataset, names: list[str], units: Path | None
) -> xr.Dataset:
    """Match on the axes that both sides know; what has no position has no match.

    A depth that is that of the whole plane tells no units apart, and is left out.
    """
    places = (
        {name: responses[name].values for name in AXES if name in responses.coords}
        if units is None
        else _places_of(units, responses)
    )
    axes = [name for name in AXES if name in recording.coords and name in places]
    if axes[:2] != list(AXES[:2]):
        which = "recording" if "x_um" in places else "file of responses"
        msg = (
            f"The {which} has no positions `x_um` and `y_um`; give a list of units that has them "
            "(--units), or match in another way."
        )
        raise InputError(msg)
    neuron_um = np.stack([recording[name].values.astype(float) for name in axes], axis=1)
    unit_um = np.stack([places[name].astype(float) for name in axes], axis=1)
    neuron, unit = (np.flatnonzero(np.isfinite(um).all(1)) for um in (neuron_um, unit_um))
    if not (neuron.size and unit.size):
        msg = (
            f"{neuron.size} neurons and {unit.size} units have a position; expected some of each."
        )
        raise InputError(msg)
    before, after = neuron_um[neuron], unit_um[unit]
    tells = (np.ptp(before, axis=0) > 0) & (np.ptp(after, axis=0) > 0) | (np.arange(len(axes)) < 2)
    match = match_by_position(before[:, tells], after[:, tells], [names[i] for i in neuron])
    return _among_all(match, names, neuron, unit)


def _places_of(path: Path, responses: xr.Dataset) -> dict[str, np.ndarray]:
    """Positions of the units of the responses, as a list of units says; NaN where it does not."""
    head, rows = read_rows(path, "a list of units with their positions (CSV)")
    if head not in (["unit", *AXES[:2]], ["unit", *AXES]):
        msg = f"{path}: has the columns {head}; expected `unit`, `x_um`, `y_um`, perhaps `z_um`."
        raise InputError(msg)
    given = responses.unit.values.astype(str).tolist()
    listed = [row[0] for row in rows]
    faults = [f"unit {name!r} was not recorded" for name in listed if name not in given]
    faults += [f"unit {name!r} comes twice" for name in sorted({*listed})
               if listed.count(name) > 1]  # fmt: skip
    if faults:
        msg = f"{path}: cannot be used: {'; '.join(faults)}; correct it."
        raise InputError(msg)
    place = np.full((len(given), len(head) - 1), np.nan)
    for line, row in enumerate(rows, 2):
        try:
            place[given.index(row[0])] = [float(cell) for cell in row[1:]]
        except ValueError as error:
            msg = f"{path}: line {line} is {row}; expected numbers after the unit."
            raise InputError(msg) from error
    return dict(zip(head[1:], place.T, strict=True))


def _by_fingerprint(responses: xr.Dataset, recording: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Match by the mean responses to the shared images; who lacks one has no match."""
    before, after = mean_shared(recording, responses)
    if not len(before):
        msg = (
            "The session has no responses to images of the recording; plan `presentation.shared` "
            "images, or match in another way."
        )
        raise InputError(msg)
    neuron, unit = (np.flatnonzero(np.isfinite(one).all(0)) for one in (before, after))
    match = match_by_fingerprint(before[:, neuron], after[:, unit], [names[i] for i in neuron])
    return _among_all(match, names, neuron, unit)


def _among_all(
    match: xr.Dataset, names: list[str], neuron: np.ndarray, unit: np.ndarray
) -> xr.Dataset:
    """A match of some neurons and units as one of all; the others have none."""
    position, confidence = np.full(len(names), -1), np.zeros(len(names))
    found = match.position.values >= 0
    position[neuron[found]] = unit[match.position.values[found]]
    confidence[neuron] = match.confidence.values
    return make_match(names, position, confidence)
