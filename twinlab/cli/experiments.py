"""Experiments as words on a command line: names, settings, sweeps, neurons."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import xarray as xr

from twinlab import cli, stimuli, twins
from twinlab.fitting import read_value
from twinlab.insilico import EXPERIMENTS, RELIABLE, cross_examine
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["describe_experiments", "open_pair", "read_neurons", "read_settings", "read_sweep"]

N_NATURAL = 100  # controls cost one evaluation each for every neuron

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
    lines, width = [], max(map(len, EXPERIMENTS))
    for name, function in EXPERIMENTS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        settings = ", ".join(f"{key}={value}" for key, (_, value) in settings_of(function).items())
        lines += [f"{name:<{width}} {summary}", f"{'':<{width}} {settings}"]
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


def read_sweep(experiment: str, assignments: dict[str, str]) -> dict[str, list[Any]]:
    """Values of each swept setting, from ``contrast`` and ``0.2,0.4,0.8``."""
    read: dict[str, list[Any]] = {}
    for name, words in assignments.items():
        values = [read_settings(experiment, {name: word})[1][name] for word in words.split(",")]
        read[name] = values
    return read


def read_reliable(words: str) -> float:
    """Smallest explainable variance, from ``reliable`` or ``reliable:0.3``."""
    _, _, cut = words.partition(":")
    try:
        return float(cut) if cut else RELIABLE
    except ValueError as error:
        msg = f"--neurons {words}: needs a number after `reliable:`, such as 0.3."
        raise InputError(msg) from error


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


def open_pair(
    twin: str, other: str, recording: str, function: Callable[..., xr.Dataset], device: str
) -> tuple[twins.ConditionedTwin, Callable[..., xr.Dataset]]:
    """Open the twin that makes images, and add their judgement by others to `function`.

    Without another twin (one that is named, or the second member of an ensemble), or of videos,
    they are made and not judged. Where a fitted twin's folder holds its linear baseline and
    what was familiar to it, these have their say too.
    """
    whole = made_on = cli.open_twin(twin)
    judge = cli.open_twin(other) if other else None
    if isinstance(made_on, twins.EnsembleTwin):
        members = [member for member in made_on.members if isinstance(member, twins.Twin)]
        made_on = members[0]
        judge = judge or (members[1] if len(members) > 1 else None)
    own = made_on.condition().to(device)
    if judge is None or made_on.spec.is_video:
        return own, function
    folder = Path(twin)
    third, familiar = None, None
    if (folder / "linear_nonlinear").is_dir():
        third = twins.load_twin(folder / "linear_nonlinear").condition().to(device)
    if (folder / "familiarity.safetensors").is_file():
        familiar = twins.load_familiarity(folder, whole)
    judging = judge.condition().to(device)
    if recording:
        source = cli.open_source(recording)
        shown = np.unique(source.stimulus_index.values[source.split.values == "test"])
        natural = source.stimulus.values[shown[:N_NATURAL]]
    else:
        spec = made_on.spec
        leaves = stimuli.make_dead_leaves(
            N_NATURAL, spec.height, spec.width, seed=0, channel=spec.channel
        )
        natural = leaves.values

    def judged(
        model: twins.ConditionedTwin, neurons: list[int] | None, *, job: Job, **settings: Any
    ) -> xr.Dataset:
        made = function(model, neurons, job=job.part(0.0, 0.5), **settings)
        if not made.valid.any():
            return made
        return cross_examine(
            made, model, judging, natural,
            architecture=third, familiarity=familiar, job=job.part(0.5, 1.0),
        )  # fmt: skip

    return own, judged
