"""Everything that decides how a twin is fitted, in one saved place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.schema import InputError, stimulus_kind
from twinlab.twins import Architecture

__all__ = ["FitSettings", "default_settings", "parse_settings"]

# Steps at least, however few the trials: what a core needs to learn its filters.
STEPS = {"image": 2000, "video": 300}


@dataclass(frozen=True)
class FitSettings:
    """How to fit; with `Architecture`, what `twinlab fit --set` can change.

    `default_settings` suits both to a recording.

    Attributes
    ----------
    seed : int
        Decides the random start, the order of the trials and the drawn positions.
    max_epochs, batch_size : int
        An epoch shows every training trial once.
    lr, min_lr : float
        Learning rate of Adam at the start, and where its fall ends.
    schedule : {"cosine", "plateau"}
        Let the rate fall along a half cosine over `max_epochs`, or lower it when validation
        correlation stops rising (the published way, several times longer; it wants a
        `max_epochs` of about 200).
    patience, decays, decay_factor
        For "plateau": epochs without progress before the rate is multiplied by
        `decay_factor` and the best weights are taken up again, and how often that may happen;
        the next time, the fit ends. For "cosine", `patience` is not used.
    core_weight, readout_weight : float
        Strength of the smoothness of the first filters and of the sparseness of the
        readout, for the loss summed over trials and neurons and multiplied by
        sqrt(n_trial / batch_size).
    weight_decay : float
        Of Adam, decoupled from the gradient.
    average : float
        Share that is kept of the running average of the weights at each step; the average is
        what is validated and returned. 0 takes the weights as they are.
    loss : {"likelihood", "correlation"}
        What is minimised: the negative log likelihood that the architecture names, or 1 minus
        the correlation over a batch.
    start : {"data", "center"}
        Where readouts start to look: where the responses say, or the centre.
    clip_frames : int
        Frames of the clips of videos that are shown while learning, drawn anew in each epoch.
    precision : {"auto", "float32", "bfloat16"}
        Of the core while learning; "auto" takes bfloat16 where the processor has it.

    References
    ----------
    Willeke et al. (2022), arXiv 2206.08666, for the recipe and its weights.

    """

    seed: int = 0
    max_epochs: int = 30
    batch_size: int = 32
    lr: float = 0.005
    min_lr: float = 1e-4
    schedule: str = "cosine"
    patience: int = 5
    decays: int = 4
    decay_factor: float = 0.3
    core_weight: float = 6.3831
    readout_weight: float = 0.0076
    weight_decay: float = 0.0
    average: float = 0.0
    loss: str = "likelihood"
    start: str = "data"
    precision: str = "auto"
    clip_frames: int = 80

    def __post_init__(self) -> None:
        choices = {
            "schedule": ("plateau", "cosine"),
            "loss": ("likelihood", "correlation"),
            "start": ("data", "center"),
            "precision": ("auto", "float32", "bfloat16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                msg = f"`{name}` is {getattr(self, name)!r}; known: {', '.join(known)}."
                raise InputError(msg)
        for name in ("seed", "decays", "core_weight", "readout_weight", "weight_decay"):
            if not getattr(self, name) >= 0:
                msg = f"`{name}` must not be negative, but is {getattr(self, name)}."
                raise InputError(msg)
        if not 0 < self.decay_factor < 1:
            msg = f"`decay_factor` must be between 0 and 1, but is {self.decay_factor}."
            raise InputError(msg)
        if not 0 <= self.average < 1:
            msg = f"`average` must be at least 0 and below 1, but is {self.average}."
            raise InputError(msg)
        for name in ("max_epochs", "batch_size", "patience", "lr", "min_lr", "clip_frames"):
            if not getattr(self, name) > 0:
                msg = f"`{name}` must be above 0, but is {getattr(self, name)}."
                raise InputError(msg)

    def core_dtype(self, device: torch.device) -> torch.dtype:
        """Precision of the core on this device."""
        if self.precision != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.precision]
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if fast else torch.float32


def default_settings(*recordings: xr.Dataset) -> tuple[Architecture, FitSettings]:
    """What fits these recordings well, from what was recorded in all of them.

    Gain by behaviour and shift by pupil where there are any (a fit that knows them predicts
    better also without), readouts placed by the cortical map where neurons have places, a core
    for videos if they are videos, and epochs enough for 2,000 steps (300 of clips).

    Parameters
    ----------
    *recordings : xarray.Dataset
        Of sessions that share a core.

    """
    architecture, settings = Architecture(), FitSettings()

    def all_have(name: str) -> bool:
        return all(
            name in recording and np.isfinite(recording[name].values).any(0).all()
            for recording in recordings
        )

    placed = all(
        name in recording.coords and np.isfinite(recording[name].values).all()
        for recording in recordings
        for name in ("x_um", "y_um")
    )
    kind = stimulus_kind(recordings[0])
    if kind == "video":  # the baseline of 2023
        architecture = replace(
            architecture,
            core="factorized_3d",
            layers=3,
            hidden=32,
            input_kernel=11,
            hidden_kernel=5,
        )
        settings = replace(settings, batch_size=8)
    trials = sum(int((recording.split.values == "train").sum()) for recording in recordings)
    steps = max(1, trials // settings.batch_size)
    return replace(
        architecture,
        behavior="gain" if all_have("behavior") else "none",
        shifter=all_have("pupil_center"),
        positions="cortical" if placed else "free",
    ), replace(settings, max_epochs=max(settings.max_epochs, -(-STEPS[kind] // steps)))


def parse_settings(
    assignments: dict[str, str],
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
) -> tuple[Architecture, FitSettings]:
    """Apply ``key=value`` words, as typed on a command line, to the settings they name.

    Parameters
    ----------
    assignments : dict of str to str
    architecture, settings
        What to start from; the defaults where absent.

    Raises
    ------
    InputError
        Naming every unknown key and every value that cannot be read, all at once.

    """
    parts: list[Any] = [architecture or Architecture(), settings or FitSettings()]
    known = {field.name: part for part in parts for field in fields(part)}
    faults = [
        f"unknown setting `{name}` (known: {', '.join(sorted(known))})"
        for name in assignments
        if name not in known
    ]
    changes: dict[type, dict[str, Any]] = {type(part): {} for part in parts}
    for name, word in assignments.items():
        if name in known:
            kind = type(asdict(known[name])[name])
            try:
                changes[type(known[name])][name] = read_value(word, kind)
            except ValueError:
                faults.append(f"`{name}` needs {_WORDS[kind]}, but got {word!r}")
    if faults:
        msg = "; ".join(faults) + "."
        raise InputError(msg)
    changed = [replace(part, **changes[type(part)]) for part in parts]
    return changed[0], changed[1]


_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}


def read_value(word: str, kind: type) -> Any:  # noqa: ANN401 - as typed as its caller
    """Read a typed word as a value of `kind`, or raise ValueError."""
    if kind is bool:
        if word.lower() not in ("true", "false"):
            raise ValueError
        return word.lower() == "true"
    return kind(word)
