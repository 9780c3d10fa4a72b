"""The state of an unfinished fit: one safetensors file, from which it goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from twinlab.files import keep_alone, write_whole
from twinlab.schema import InputError

__all__ = ["NOTE", "announce_fit", "read_checkpoint", "read_progress", "write_checkpoint"]

NOTE = "fit.json"  # beside checkpoints: what is being fitted, see `announce_fit`


@contextmanager
def announce_fit(folder: Path, begun: dict[str, Any]) -> Iterator[None]:
    """Keep the folder of a fit's checkpoints to oneself, and say in it what is being fitted.

    Parameters
    ----------
    folder : Path
        Made if need be.
    begun : dict
        JSON-able. If the fit diverges without a result, `failure` is added and says so.

    Raises
    ------
    InputError
        If another process fits there.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as alone:
        try:
            alone.enter_context(keep_alone(folder))
        except BlockingIOError as error:
            msg = f"{folder}: another process is fitting here; wait for it, or write elsewhere."
            raise InputError(msg) from error
        _write_note(folder, begun)
        try:
            yield
        except FloatingPointError as error:
            _write_note(folder, begun | {"failure": str(error)})
            raise


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    with write_whole(folder / NOTE) as partial:
        partial.write_text(json.dumps(note), encoding="utf-8")


def write_checkpoint(
    path: Path,
    *,
    weights: dict[str, Tensor],
    average: dict[str, Tensor],
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Write weights, their average, the best, optimiser moments and progress (JSON-able)."""
    kinds = {"weights": weights, "average": average, "best": best}
    tensors = {f"{kind}/{name}": value for kind, of in kinds.items() for name, value in of.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    data = save(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
        metadata={"progress": json.dumps(progress)},
    )
    with write_whole(path) as partial:
        partial.write_bytes(data)


def read_checkpoint(
    path: Path, fit: dict[str, Any]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors by kind, and progress, of the unfinished fit at `path`.

    Parameters
    ----------
    path : Path
    fit : dict
        What identifies the fit (settings, recording); it must equal the checkpoint's.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another fit.

    """
    progress = read_progress(path)
    try:
        with safe_open(path, framework="pt") as stored:
            kinds = ("weights", "average", "best", "optimizer")
            tensors: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
            for key in stored.keys():  # noqa: SIM118 - not a mapping
                kind, name = key.split("/", 1)
                tensors[kind][name] = stored.get_tensor(key)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    changed = [name for name in fit if fit[name] != progress["fit"].get(name)]
    if changed:
        msg = (
            f"{path}: is the checkpoint of another fit (differs in {', '.join(changed)}); "
            "fit with the settings it was begun with, write to another place, or remove it."
        )
        raise InputError(msg)
    return tensors, progress


def read_progress(path: Path) -> dict[str, Any]:
    """Read how far an unfinished fit is, without its weights.

    Raises
    ------
    InputError
        If the file is damaged.

    """
    try:
        with safe_open(path, framework="pt") as stored:
            progress: dict[str, Any] = json.loads(stored.metadata()["progress"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return progress


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: the checkpoint is damaged ({error}); remove it to start the fit anew."
    )


def load_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Give an optimiser the moments a checkpoint holds."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split("/")
        like = parameters[int(number)].detach()
        if value.shape == like.shape:
            # fused Adam walks weights and moments in memory order: the layouts must agree
            value = torch.empty_like(like).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
