"""A table of a YAML file held against a dataclass: what is missing, unknown or mistyped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

__all__ = ["table_faults"]


def table_faults(
    table: Any, kind: type, where: str = "", given: Collection[str] = ()
) -> Iterator[str]:
    """Say everything that keeps a table from being made into a dataclass.

    Parameters
    ----------
    table : object
        As a YAML file has it.
    kind : type
        A dataclass whose fields are text, whole numbers, None, tables of these, or other
        dataclasses (which are judged by themselves).
    where : str
        Name of the table in its file; empty for the whole file.
    given : collection of str
        Fields that come from elsewhere.

    Yields
    ------
    str
        One fault.

    """
    if not isinstance(table, dict):
        yield f"{where or 'the file'} is not a table of fields"
        return
    known = {entry.name: entry for entry in fields(kind) if entry.name not in given}
    required = {name for name, entry in known.items() if entry.default is MISSING}
    of, dot = (f"{where} ", f"{where}.") if where else ("", "")
    if missing := sorted(required - set(table)):
        yield f"{of}lacks {', '.join(missing)}"
    if unknown := sorted(str(key) for key in table if key not in known):
        yield f"{of}has unknown {', '.join(unknown)}"
    hints = get_type_hints(kind)
    for name in known:
        if name in table and not _is_of(table[name], hints[name]):
            found = repr(table[name])
            found = found if len(found) < 40 else found[:40] + "..."
            yield f"{dot}{name} must be {_in_words(hints[name])}, but is {found}"


def _is_of(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_is_of(value, part) for part in get_args(hint))
    if hint is type(None):
        return value is None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if hint is str:
        return isinstance(value, str) and bool(value.strip())
    if get_origin(hint) is dict:
        inner = get_args(hint)[1]
        return isinstance(value, dict) and all(
            isinstance(key, str) and _is_of(item, inner) for key, item in value.items()
        )
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if inner is str:
            return isinstance(value, list) and all(_is_of(item, str) for item in value)
        return isinstance(value, list | dict)
    return isinstance(value, dict)


def _in_words(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(map(_in_words, get_args(hint)))
    if hint in (str, int, type(None)):
        return {str: "text", int: "a whole number", type(None): "null"}[hint]
    if get_origin(hint) is dict:
        return f"a table of {_in_words(get_args(hint)[1])}"
    return "a list" if get_origin(hint) is tuple else "a table"
