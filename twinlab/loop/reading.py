"""A plan from its TOML file: everything that is wrong with it said at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from os import PathLike
from pathlib import Path
from typing import Any, get_type_hints

from twinlab.loop.formats import check_formats
from twinlab.loop.matching import LEAST_IMAGES
from twinlab.loop.plan import DEAD_LEAVES, MATCHES, Plan
from twinlab.schema import InputError

__all__ = ["parse_plan", "read_plan", "write_template"]

EXPECTED = {
    str: "text",
    int: "a whole number",
    float: "a number",
    tuple[str, ...]: "a list of text",
}


def read_plan(path: str | PathLike[str]) -> Plan:
    """Read a plan from its TOML file.

    Parameters
    ----------
    path : path

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If there is no such file, it is not TOML, or the plan has faults: all in one line.

    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; expected the TOML file of a plan."
        raise InputError(msg)
    try:
        return parse_plan(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        msg = f"{path}: is not text ({error}); expected the TOML file of a plan."
        raise InputError(msg) from error


def parse_plan(text: str, where: str = "the plan") -> Plan:
    """Make a plan of the text of its TOML file.

    Raises
    ------
    InputError
        As `read_plan`; `where` names the source.

    Examples
    --------
    >>> plan = parse_plan('''
    ... recording = "simulated"
    ... units.number = 40
    ... [rig]
    ... width_px = 1920
    ... height_px = 1080
    ... degrees_per_pixel = 0.07
    ... image_degrees_per_pixel = 2.0
    ... ''')
    >>> plan.n_stimulus, round(plan.minutes)
    (120, 21)

    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{where}: is not TOML: {error}; correct it there."
        raise InputError(msg) from error
    faults = list(_faults(table, Plan, ""))
    if not faults:
        plan: Plan = _build(table, Plan)
        faults = list(_misfits(plan))
    if faults:
        msg = f"{where}: cannot be used: " + "; ".join(faults) + "."
        raise InputError(msg)
    return plan


def write_template() -> str:
    """Write a plan with every entry there is, its default, and what it may be, as TOML text.

    What has no default is to be filled in; until then it is no plan.
    """
    top, tables = [], []
    hints = get_type_hints(Plan)
    for entry in fields(Plan):
        if hints[entry.name] in EXPECTED:
            top.append(_line(entry, hints[entry.name]))
            continue
        kind = hints[entry.name]
        own = get_type_hints(kind)
        tables += ["", f"[{entry.name}]"]
        tables += [_line(one, own[one.name]) for one in fields(kind)]
    return "\n".join([*top, *tables, ""])


def _line(entry: Field[Any], hint: Any) -> str:
    """One entry of a template; a comment where it has no default."""
    rule = dict(entry.metadata)
    allowed = EXPECTED[hint]
    if "low" in rule:
        allowed += f" from {rule['low']:g} to {rule['high']:g}"
    if "known" in rule:
        allowed = f"of {', '.join(repr(one) for one in rule['known'])}"
    if entry.default is MISSING:
        return f"# {entry.name} =   # {allowed}; needed"
    value = list(entry.default) if isinstance(entry.default, tuple) else entry.default
    return f"{entry.name} = {json.dumps(value)}   # {allowed}"


def _faults(table: Any, kind: type, where: str) -> Iterator[str]:
    """Say everything that keeps a table from being made into a dataclass."""
    if not isinstance(table, dict):
        yield f"`{where}` must be a table, but is {table!r}"
        return
    known = {entry.name: entry for entry in fields(kind)}
    hints = get_type_hints(kind)
    dot = f"{where}." if where else ""
    for name, entry in known.items():
        if name not in table and entry.default is MISSING:
            yield f"`{dot}{name}` is missing"
    for name, value in table.items():
        if name not in known:
            yield f"`{dot}{name}` is unknown; known: {', '.join(known)}"
        elif hints[name] not in EXPECTED:
            yield from _faults(value, hints[name], f"{dot}{name}")
        elif fault := _fault(value, hints[name], dict(known[name].metadata)):
            yield f"`{dot}{name}` must be {fault}, but is {value!r}"


def _fault(value: Any, hint: Any, rule: dict[str, Any]) -> str:
    """What a value must be, or nothing where it is."""
    if not _is_of(value, hint):
        return EXPECTED[hint]
    if "low" in rule and not rule["low"] <= value <= rule["high"]:  # NaN is not either
        return f"{EXPECTED[hint]} from {rule['low']:g} to {rule['high']:g}"
    if hint is str and "known" in rule:
        return "" if value in rule["known"] else f"one of {list(rule['known'])}"
    if "known" in rule and (set(value) - set(rule["known"]) or len(set(value)) < len(value)):
        return f"different ones of {list(rule['known'])}"
    return ""


def _is_of(value: Any, hint: Any) -> bool:
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _build(table: dict[str, Any], kind: Any) -> Any:
    hints = get_type_hints(kind)
    made = {}
    for name, value in table.items():
        if isinstance(value, dict):
            made[name] = _build(value, hints[name])
        else:
            made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def _misfits(plan: Plan) -> Iterator[str]:
    """What is wrong although each value by itself is right."""
    if not plan.recording.strip():
        yield "`recording` is empty"
    if not plan.stimuli.objectives:
        yield "`stimuli.objectives` is empty; expected at least one"
    compared = sorted({"diverse", "discriminating"} & set(plan.stimuli.objectives))
    if compared and "mei" not in plan.stimuli.objectives:
        yield (
            f"`stimuli.objectives` has {compared[0]!r}, which is compared with the MEI; add 'mei'"
        )
    rig, budget = plan.rig, plan.presentation
    if rig.gamma_table and rig.gamma != 1:
        yield "`rig.gamma` and `rig.gamma_table` are both given; keep one"
    if rig.image_degrees_per_pixel < rig.degrees_per_pixel:
        yield (
            f"`rig.image_degrees_per_pixel` ({rig.image_degrees_per_pixel:g}) is less than "
            f"`rig.degrees_per_pixel` ({rig.degrees_per_pixel:g}): the screen is too coarse"
        )
    yield from check_formats(rig.formats, rig.bits)
    frames = budget.on_s * rig.frame_rate_hz
    if abs(frames - round(frames)) > 0.01 * frames:
        yield (
            f"`presentation.on_s` ({budget.on_s:g}) is {frames:g} frames of the rig "
            f"({rig.frame_rate_hz:g} Hz); expected a whole number"
        )
    if plan.match == "fingerprint" and budget.shared < LEAST_IMAGES:
        yield (
            f"`match` is 'fingerprint', but `presentation.shared` is {budget.shared}; expected at "
            f"least {LEAST_IMAGES} images to match by"
        )
    if plan.later.day and plan.match == "name":
        yield (
            f"`later.day` is {plan.later.day}, when units have new names, but `match` is 'name'; "
            f"expected one of {list(MATCHES[1:])}"
        )
    if budget.n_blank > plan.n_stimulus:
        yield (
            f"`presentation.n_blank` ({budget.n_blank}) is more than the {plan.n_stimulus} stimuli"
        )
    if plan.minutes > budget.minutes:
        yield (
            f"the session takes {plan.minutes:.0f} minutes, but `presentation.minutes` is "
            f"{budget.minutes:g}; plan fewer units, controls or repeats"
        )
    if plan.rounds.number:
        yield from _misfits_of_rounds(plan)


def _misfits_of_rounds(plan: Plan) -> Iterator[str]:
    rounds, budget = plan.rounds, plan.presentation
    if plan.round_minutes > budget.minutes:
        yield (
            f"a round takes {plan.round_minutes:.0f} minutes, but `presentation.minutes` is "
            f"{budget.minutes:g}; plan fewer `rounds.images` or `rounds.n_repeat`"
        )
    if rounds.by != "random" and plan.fit.members < 2:
        yield f"`rounds.by` is {rounds.by!r}, but `fit.members` is 1; expected at least 2"
    if rounds.images == 1 and rounds.n_repeat > 1:
        yield "`rounds.images` is 1, which cannot be repeated without being shown twice in a row"
    wanted = rounds.number * rounds.images
    if rounds.pool == DEAD_LEAVES and wanted > rounds.candidates:
        yield (
            f"{rounds.number} rounds show {wanted} images, but `rounds.candidates` is "
            f"{rounds.candidates}"
        )
