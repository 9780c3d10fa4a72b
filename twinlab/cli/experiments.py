"""Experiments as words on a command line: names, settings, neurons."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import xarray as xr

from twinlab.fitting import read_value
from twinlab.insilico import EXPERIMENTS
from twinlab.schema import InputError

__all__ = ["describe_experiments", "read_neurons", "read_settings"]

SIMPLE = (bool, int, float, str)


def settings_of(function: Callable[..., xr.Dataset]) -> dict[str, tuple[type, Any]]:
    """Type and default of each setting a person can type, by name."""
    hints = get_type_hints(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = [kind for kind in _kinds(hints.get(name)) if kind in SIMPLE]
        if parameter.kind is parameter.KEYWORD_ONLY and kinds:
            found[name] = (kinds[0], parameter.default)
    return found


def _kinds(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation
    return get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def describe_experiments() -> list[str]:
    """Each experiment's name, first line, and settings with their defaults."""
    lines = []
    for name, function in EXPERIMENTS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        settings = ", ".join(f"{key}={value}" for key, (_, value) in settings_of(function).items())
        lines += [f"{name:<18} {summary}", f"{'':<18} {settings}"]
    return lines


def read_settings(
    experiment: str, assignments: dict[str, str]
) -> tuple[Callable[..., xr.Dataset], dict[str, Any]]:
    """Return the experiment and its typed settings, or `InputError` listing what is known."""
    if experiment not in EXPERIMENTS:
        msg = f"unknown experiment {experiment!r}; known: {', '.join(EXPERIMENTS)}."
        raise InputError(msg)
    function = EXPERIMENTS[experiment]
    known = settings_of(function)
    faults, settings = [], {}
    for name, word in assignments.items():
        if name not in known:
            faults.append(f"unknown setting `{name}` of {experiment} (known: {', '.join(known)})")
            continue
        kind = known[name][0]
        try:
            settings[name] = read_value(word, kind)
        except ValueError:
            faults.append(f"`{name}` needs a value of type {kind.__name__}, but got {word!r}")
    if faults:
        msg = "; ".join(faults) + "."
        raise InputError(msg)
    return function, settings


def read_neurons(words: str, count: int) -> list[int] | None:
    """Positions from ``0:50``, ``3,17`` or both; None (all) from nothing."""
    if not words:
        return None
    chosen: list[int] = []
    try:
        for word in words.split(","):
            ends = [int(end) if end else None for end in word.split(":")]
            if len(ends) > 3:
                raise ValueError
            if len(ends) == 1:
                position = int(word)
                if not -count <= position < count:
                    msg = f"--neurons {words}: neurons run from 0 to {count - 1}."
                    raise InputError(msg)
                chosen.append(position % count)
            else:
                chosen += range(count)[slice(*ends)]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        msg = f"--neurons needs positions such as 0:50 or 3,17, but got {words!r}."
        raise InputError(msg) from error
    if not chosen:
        msg = f"--neurons {words}: selects none of the {count} neurons."
        raise InputError(msg)
    return chosen
