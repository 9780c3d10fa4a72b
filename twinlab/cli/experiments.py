"""Experiments as words on a command line: names, settings, sweeps, neurons."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import xarray as xr

from twinlab import stimuli, twins
from twinlab.cli.sources import open_source, open_twin
from twinlab.fitting import read_value
from twinlab.insilico import (
    EXPERIMENTS,
    IMAGE_EXPERIMENTS,
    PAIR_EXPERIMENTS,
    RELIABLE,
    cross_examine,
    cut_clips,
)
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = [
    "describe_experiments",
    "open_experiment",
    "read_neurons",
    "read_settings",
    "read_sweep",
]

N_NATURAL = 100  # controls cost one evaluation each for every neuron
N_FRAME = 60  # of videos of dead leaves

KNOWN = EXPERIMENTS | PAIR_EXPERIMENTS | IMAGE_EXPERIMENTS
JUDGED = {name: EXPERIMENTS[name] for name in ("mei", "lei")}  # by twins that did not make them

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
    lines, width = [], max(map(len, KNOWN))
    for name, function in KNOWN.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        settings = ", ".join(f"{key}={value}" for key, (_, value) in settings_of(function).items())
        lines += [f"{name:<{width}} {summary}", f"{'':<{width}} {settings}"]
    return lines


def read_settings(experiment: str, assignments: dict[str, str]) -> dict[str, Any]:
    """Typed settings of an experiment, or `InputError` listing what is known."""
    if experiment not in KNOWN:
        msg = f"unknown experiment {experiment!r}; known: {', '.join(KNOWN)}."
        raise InputError(msg)
    function = KNOWN[experiment]
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
    return settings


def read_sweep(experiment: str, assignments: dict[str, str]) -> dict[str, list[Any]]:
    """Values of each swept setting, from ``contrast`` and ``0.2,0.4,0.8``."""
    read: dict[str, list[Any]] = {}
    for name, words in assignments.items():
        values = [read_settings(experiment, {name: word})[name] for word in words.split(",")]
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


def open_experiment(
    experiment: str,
    twin: str,
    device: str,
    *,
    other: str = "",
    recording: str = "",
    image: str = "",
) -> tuple[twins.ConditionedTwin, Callable[..., xr.Dataset], dict[str, str]]:
    """Open the twin, and bind to the experiment what else it needs: another twin, an image.

    The identities of what was bound come third, since what lies at a path may change.
    """
    if experiment in JUDGED:
        return _open_judged(JUDGED[experiment], twin, device, other, recording)
    if experiment in PAIR_EXPERIMENTS:
        _, own, judge = _open_two(twin, other)
        if judge is None:
            msg = (
                f"{experiment} compares two twins of the same neurons; name one with --other, or "
                "give an ensemble."
            )
            raise InputError(msg)
        function = PAIR_EXPERIMENTS[experiment]
        rival = judge.condition().to(device)

        def compared(
            model: twins.ConditionedTwin, neurons: list[int] | None, **settings: Any
        ) -> xr.Dataset:
            return function(model, rival, neurons, **settings)

        return own.condition().to(device), compared, {"judge": rival.identity}
    model = open_twin(twin).condition().to(device)
    if experiment not in IMAGE_EXPERIMENTS:
        return model, EXPERIMENTS[experiment], {}
    function, shown = IMAGE_EXPERIMENTS[experiment], _open_image(model.spec, recording, image)

    def looked(
        model: twins.ConditionedTwin, neurons: list[int] | None, **settings: Any
    ) -> xr.Dataset:
        return function(model, shown, neurons, **settings)

    return model, looked, {"shown": _digest(shown.tobytes())}


def _digest(content: bytes) -> str:
    """Content hash: of images, or of a file that is read beside a twin."""
    return hashlib.sha256(content).hexdigest()[:16]


def _open_two(twin: str, other: str) -> tuple[twins.Twin, twins.Twin, twins.Twin | None]:
    """The twin, its first member or itself, and another: the one named, or the second member."""
    whole = own = open_twin(twin)
    judge = open_twin(other) if other else None
    if isinstance(whole, twins.EnsembleTwin):
        members = [member for member in whole.members if isinstance(member, twins.Twin)]
        own = members[0]
        judge = judge or (members[1] if len(members) > 1 else None)
    return whole, own, judge


def _open_image(spec: twins.StimulusSpec, recording: str, image: str) -> np.ndarray:
    """The image of a file, or the test image of this number, or the first dead leaves."""
    if image and not image.isdecimal():
        size = {"height": spec.height, "width": spec.width, "channel": spec.channel}
        loaded: np.ndarray = stimuli.load_images(image, **size).values[0]
        return loaded
    natural = _open_natural(spec, recording)
    number = int(image or 0)
    if number >= len(natural):
        msg = f"--image {image}: there are {len(natural)} images, numbered from 0."
        raise InputError(msg)
    return natural[number].astype(np.float32)


def _open_natural(spec: twins.StimulusSpec, recording: str) -> np.ndarray:
    """Test images (or videos) of a recording, or dead leaves."""
    if not recording:
        asked: dict[str, Any] = {"seed": 0, "channel": spec.channel}
        if spec.frame_rate is None:
            leaves = stimuli.make_dead_leaves(N_NATURAL, spec.height, spec.width, **asked)
        else:
            leaves = stimuli.make_dead_leaves_video(
                N_NATURAL // 2, spec.height, spec.width, **asked, n_frame=N_FRAME,
                frame_rate_hz=spec.frame_rate,
            )  # fmt: skip
        # dead leaves span 0 to 255; the twin may see other units
        return spec.low + leaves.values / 255 * (spec.high - spec.low)
    source = open_source(recording)
    shown = np.unique(source.stimulus_index.values[source.split.values == "test"])
    natural: np.ndarray = source.stimulus.values[shown[:N_NATURAL]]
    return natural


def _clips(videos: np.ndarray, n_frame: int) -> np.ndarray:
    """Clips of videos, evenly from all of them where there are many."""
    clips = cut_clips(videos, n_frame)
    return clips[np.unique(np.linspace(0, len(clips) - 1, N_NATURAL).round().astype(int))]


def _open_judged(
    function: Callable[..., xr.Dataset], twin: str, device: str, other: str, recording: str
) -> tuple[twins.ConditionedTwin, Callable[..., xr.Dataset], dict[str, str]]:
    """Open the twin that makes images, and add their judgement by others to `function`.

    Without another twin (one that is named, or the second member of an ensemble) they are made
    and not judged. Where a fitted twin's folder holds its linear baseline and what was familiar
    to it, these have their say too; the latter not of videos, which are shorter than those shown.
    """
    whole, made_on, judge = _open_two(twin, other)
    own, video = made_on.condition().to(device), made_on.spec.is_video
    if judge is None:
        return own, function, {}
    folder = Path(twin)
    third, familiar, known = None, None, folder / "familiarity.safetensors"
    if (folder / "linear_nonlinear").is_dir():
        third = twins.load_twin(folder / "linear_nonlinear").condition().to(device)
    if known.is_file() and not video:
        familiar = twins.load_familiarity(folder, whole)
    judging = judge.condition().to(device)
    natural = _open_natural(made_on.spec, recording)

    def judged(
        model: twins.ConditionedTwin, neurons: list[int] | None, *, job: Job, **settings: Any
    ) -> xr.Dataset:
        made = function(model, neurons, job=job.part(0.0, 0.5), **settings)
        return cross_examine(
            made, model, judging, _clips(natural, made.sizes["frame"]) if video else natural,
            architecture=third, familiarity=familiar, job=job.part(0.5, 1.0),
        )  # fmt: skip

    judges = {"judge": judging.identity, "natural": _digest(natural.tobytes())}
    if third is not None:
        judges["architecture"] = third.identity
    if familiar is not None:
        judges["familiarity"] = _digest(known.read_bytes())
    return own, judged, judges
