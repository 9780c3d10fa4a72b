"""The state of an unfinished fit: one safetensors file, from which it goes on exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from twinlab.files import write_whole
from twinlab.schema import InputError

__all__ = ["read_checkpoint", "write_checkpoint"]


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
    try:
        with safe_open(path, framework="pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
            kinds = ("weights", "average", "best", "optimizer")
            tensors: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
            for key in stored.keys():  # noqa: SIM118 - not a mapping
                kind, name = key.split("/", 1)
                tensors[kind][name] = stored.get_tensor(key)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: the checkpoint is damaged ({error}); remove it to start the fit anew."
        raise InputError(msg) from error
    changed = [name for name in fit if fit[name] != progress["fit"].get(name)]
    if changed:
        msg = (
            f"{path}: is the checkpoint of another fit (differs in {', '.join(changed)}); "
            "fit with the settings it was begun with, write to another place, or remove it."
        )
        raise InputError(msg)
    return tensors, progress


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
