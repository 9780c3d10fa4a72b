"""Twins on disk: a folder of weights, words and neurons, in which nothing can be executed.

``weights.safetensors`` holds the tensors, ``twin.json`` what to build, and ``neurons.nc``
whose responses it predicts.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from twinlab import __version__
from twinlab.files import write_whole
from twinlab.schema import InputError, netcdf_bytes
from twinlab.twins.classical import NormalizationTwin, QuadraticTwin, SubunitTwin
from twinlab.twins.contract import StimulusSpec, Twin
from twinlab.twins.deep import DeepTwin
from twinlab.twins.ensemble import EnsembleTwin
from twinlab.twins.linear import LinearNonlinearTwin
from twinlab.twins.sessions import SessionsTwin

__all__ = ["KINDS", "check_twin_target", "load_twin", "save_twin"]

FORMAT = 1
FILES = ("twin.json", "weights.safetensors", "neurons.nc")
KINDS: dict[str, Any] = {
    kind.kind: kind
    for kind in (DeepTwin, LinearNonlinearTwin, QuadraticTwin, SubunitTwin, NormalizationTwin)
}


COMPOSED = [EnsembleTwin.kind, SessionsTwin.kind]


def save_twin(twin: Twin, path: str | PathLike[str]) -> Path:
    """Write a twin as a folder, whole or not at all, and return where it is.

    Parameters
    ----------
    twin : Twin of a kind in `KINDS`, EnsembleTwin or SessionsTwin
    path : path
        Folder to write; an existing twin there is replaced.

    Raises
    ------
    InputError
        If `path` holds something that is not a twin.

    """
    path = Path(path)
    check_twin_target(path)
    description = {
        "format": FORMAT,
        "twinlab_version": __version__,
        "identity": twin.identity,
        "spec": asdict(twin.spec),
        "context": twin.context,
        "origin": twin.origin,
        "tied": _tied(twin),
        **_describe(twin),
    }
    with write_whole(path) as partial:
        partial.mkdir()
        tied = description["tied"]
        state = {
            name: value.contiguous()
            for name, value in twin.state_dict().items()
            if not any(name.startswith(f"{copy}.") for copy in tied)
        }
        (partial / "weights.safetensors").write_bytes(save(state))
        (partial / "twin.json").write_text(json.dumps(description, indent=1))
        (partial / "neurons.nc").write_bytes(netcdf_bytes(twin.neurons))
    return path


def check_twin_target(path: Path) -> None:
    """Refuse to replace anything but a twin or an empty folder."""
    replaceable = (
        not path.exists()
        or (path / "twin.json").is_file()
        or (path.is_dir() and not any(path.iterdir()))
    )
    if not replaceable:
        msg = f"{path}: exists and is not a twin; choose another name or remove it yourself."
        raise InputError(msg)


def load_twin(path: str | PathLike[str]) -> Twin:
    """Read a twin from its folder, in evaluation mode.

    Raises
    ------
    InputError
        If a file is missing, damaged, or from a newer version; the message names the file.

    """
    path = Path(path)
    if not (path / "twin.json").is_file():
        msg = f"{path}: is not a twin (no twin.json in it); expected a folder `twinlab fit` wrote."
        raise InputError(msg)
    absent = [name for name in FILES if not (path / name).is_file()]
    if absent:
        msg = f"{path}: {', '.join(absent)} is missing; copy the whole twin folder again."
        raise InputError(msg)
    try:
        description = json.loads((path / "twin.json").read_text())
        if description["format"] > FORMAT:
            msg = (
                f"{path}: was written by twinlab {description['twinlab_version']} in a newer "
                f"format; update twinlab ({__version__})."
            )
            raise InputError(msg)
        with xr.open_dataset(path / "neurons.nc", engine="h5netcdf") as stored:
            neurons = stored.load()
        twin = _build(description, neurons)
        tied = description.get("tied", {})
        for copy, original in tied.items():
            twin.set_submodule(copy, twin.get_submodule(original))
        state = load_file(path / "weights.safetensors")
        for copy, original in tied.items():
            state |= {
                f"{copy}.{name.removeprefix(f'{original}.')}": value
                for name, value in state.items()
                if name.startswith(f"{original}.")
            }
        if any(value.dtype == torch.float64 for value in state.values()):
            twin = twin.double()
        twin.load_state_dict(state)
        if twin.identity != description["identity"]:
            msg = (
                f"{path}: the weights or neurons are not those twin.json describes; copy the "
                "whole twin folder again."
            )
            raise InputError(msg)
    except InputError:
        raise
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: is damaged or incomplete ({reason}); copy the whole twin folder again."
        raise InputError(msg) from error
    return twin.eval()


def _tied(twin: Twin) -> dict[str, str]:
    """Modules that are one and the same, as a core of several sessions is: copy -> first name."""
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, module in twin.named_modules(remove_duplicate=False):
        original = first.setdefault(id(module), name)
        if original != name and not any(name.startswith(f"{copy}.") for copy in tied):
            tied[name] = original
    return tied


def _describe(twin: Twin) -> dict[str, Any]:
    if isinstance(twin, EnsembleTwin):
        members = [
            {
                **_describe(member),
                "spec": asdict(member.spec),
                "context": member.context,
                "origin": member.origin,
            }
            for member in twin.each
        ]
        return {"kind": twin.kind, "members": members}
    if isinstance(twin, SessionsTwin):
        parts = [
            {
                **_describe(part),
                "session": part.sessions[0],
                "spec": asdict(part.spec),
                "context": part.context,
                "origin": part.origin,
            }
            for part in twin.each
        ]
        return {"kind": twin.kind, "parts": parts}
    if not isinstance(twin, tuple(KINDS.values())):
        msg = f"A {type(twin).__name__} cannot be saved; these can: {COMPOSED + list(KINDS)}."
        raise InputError(msg)
    return {"kind": twin.kind, "settings": twin.settings}


def _build(description: dict[str, Any], neurons: xr.Dataset) -> Twin:
    kind = description["kind"]
    origin = description["origin"]
    if kind == EnsembleTwin.kind:
        members = [_build(member, neurons) for member in description["members"]]
        return EnsembleTwin(members, origin)
    if kind == SessionsTwin.kind:
        session = neurons.session.values.astype(str)
        parts = [
            _build(part, neurons.isel(neuron=session == part["session"]))
            for part in description["parts"]
        ]
        return SessionsTwin(parts, origin)
    if kind not in KINDS:
        msg = f"Unknown kind of twin {kind!r}; known: {COMPOSED + list(KINDS)}."
        raise InputError(msg)
    return KINDS[kind].from_settings(
        description["settings"],
        spec=StimulusSpec(**description["spec"]),
        neurons=neurons,
        context=description["context"],
        origin=origin,
    )
