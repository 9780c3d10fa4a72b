"""The training loop: recordings -> deep twins and the history of their fit."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, distributed, nn

from twinlab.evaluation import (
    batched_correlation,
    locate_receptive_fields,
    single_trial_correlation,
)
from twinlab.fitting.checkpoints import load_optimizer, read_checkpoint, write_checkpoint
from twinlab.fitting.losses import correlation_loss
from twinlab.fitting.memory import check_memory
from twinlab.fitting.settings import FitSettings, default_settings
from twinlab.fitting.stored import StoredTrials, read_ahead, stored_trials
from twinlab.fitting.summaries import ResponseSummary, as_rows
from twinlab.fitting.trials import (
    Trials,
    context_moments,
    image_spec,
    origin_of,
    recorded_neurons,
    take_trials,
)
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, fingerprint, is_lazy, make_result, validate_recording
from twinlab.twins import Architecture, DeepTwin, SessionsTwin, Twin
from twinlab.twins.seeding import seeded

__all__ = ["fit_sessions", "fit_twin"]

HISTORY = {
    "train_loss": ("training loss, per trial and neuron", "nat"),
    "validation_loss": ("validation loss, per trial and neuron", "nat"),
    "validation_correlation": ("validation single-trial correlation, mean over neurons", "1"),
    "learning_rate": ("learning rate", "1"),
    "seconds": ("duration of the epoch", "s"),
}
CHECKPOINT_EVERY = 120.0  # seconds between two checkpoints within an epoch

Recordings = xr.DataTree | Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Part:
    """A twin of one session, and the trials it learns from and is judged by."""

    twin: DeepTwin
    train: Trials | StoredTrials
    validation: Trials | StoredTrials


def fit_twin(
    recording: xr.Dataset,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    *,
    core: DeepTwin | None = None,
    checkpoint: str | PathLike[str] | None = None,
    device: str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    job: Job | None = None,
) -> tuple[DeepTwin, xr.Dataset]:
    """Fit a deep twin to the training trials of a recording.

    Adam minimises the negative log likelihood (of responses divided by each neuron's standard
    deviation) plus the two regularisers; after each epoch the single-trial correlation on
    validation trials decides about the learning rate and the end, and the weights with the
    best one are kept.

    Where `torch.distributed` runs (as under ``torchrun``), each process takes its share of every
    batch and all take the same step; batch norm then sees one share at a time.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images, or of videos for an architecture with a core for videos.
    architecture : Architecture, optional
        The published one if absent; with `core`, that twin's.
    settings : FitSettings, optional
    core : DeepTwin, optional
        A twin, of other neurons perhaps, whose core is taken as it is and stays so: only what is
        each neuron's own is fitted (Lurz et al. 2021, ICLR).
    checkpoint : path, optional
        File to which the state is written after each epoch, every two minutes within one, and on
        cancel. If it is there already, the fit goes on from it and ends, on the same machine, with
        the same numbers as one that was never stopped. It is left in place at the end.
    device : str
        Where to compute, e.g. "cpu" or "cuda".
    on_epoch : callable, optional
        Called after each epoch with its number (from 0) and the validation correlation. What it
        raises ends the fit; the checkpoint is written before.
    job : Job, optional

    Returns
    -------
    twin : DeepTwin
        In evaluation mode, on the CPU.
    history : xarray.Dataset
        Along `epoch`: losses, correlation, learning rate and seconds. Its attribute `notices`
        says what the user should know of the recording and the fit, in words.

    Raises
    ------
    InputError
        If the recording lacks training or validation trials or what the architecture uses, if
        there is too little memory, or if the checkpoint is of another fit.
    FloatingPointError
        If the fit diverged before the end of its first epoch; later, it ends with the weights of
        the best epoch and says so among the notices.
    Cancelled
        If the job was cancelled; the checkpoint holds the last step.

    """
    fitted, history = _fit(
        [recording], architecture, settings, core, checkpoint, device, on_epoch, job
    )
    return fitted[0], history


def fit_sessions(
    recordings: Recordings,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    *,
    core: DeepTwin | None = None,
    checkpoint: str | PathLike[str] | None = None,
    device: str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    job: Job | None = None,
) -> tuple[SessionsTwin, xr.Dataset]:
    """Fit one core to several sessions, each with a readout (and context) of its own.

    Each step adds up the gradients of one batch of every session that has one left.

    Parameters
    ----------
    recordings : xarray.DataTree or mapping of str to xarray.Dataset
        One recording a session.
    architecture, settings, core, checkpoint, device, on_epoch, job
        As in `fit_twin`.

    Returns
    -------
    twin : SessionsTwin
    history : xarray.Dataset
        As from `fit_twin`, over all sessions.

    """
    sources = list(by_session(recordings).values())
    fitted, history = _fit(
        sources, architecture, settings, core, checkpoint, device, on_epoch, job
    )
    return SessionsTwin(fitted), history


def by_session(recordings: Recordings) -> dict[str, xr.Dataset]:
    """Recordings by the name of their session, from a tree or a mapping."""
    if isinstance(recordings, xr.DataTree):
        recordings = {name: node.to_dataset() for name, node in recordings.children.items()}
    if not recordings:
        msg = "There is no session to fit; give at least one recording."
        raise InputError(msg)
    return dict(recordings)


def _fit(
    recordings: list[xr.Dataset],
    architecture: Architecture | None,
    settings: FitSettings | None,
    core: DeepTwin | None,
    checkpoint: str | PathLike[str] | None,
    device: str,
    on_epoch: Callable[[int, float], None] | None,
    job: Job | None,
) -> tuple[list[DeepTwin], xr.Dataset]:
    for recording in recordings:
        validate_recording(recording)
    suited = default_settings(*recordings)
    architecture = architecture or (core.architecture if core else suited[0])
    settings, job = settings or suited[1], job or Job()
    path = None if checkpoint is None else Path(checkpoint)
    where = torch.device(device)
    job.report(0.0, "looking for receptive fields")
    parts, notices = _prepare(recordings, architecture, settings, core, where)
    notices.append(check_memory(parts, settings))

    whole = nn.ModuleList([part.twin for part in parts])
    learning = [value for value in whole.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(
        learning, lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    shown = whole if settings.average == 0 else copy.deepcopy(whole)
    judged = [
        replace(part, twin=cast(DeepTwin, twin)) for part, twin in zip(parts, shown, strict=True)
    ]
    progress: dict[str, Any] = {
        "fit": {
            "architecture": asdict(architecture),
            "settings": asdict(settings),
            # of what is fitted: a selection keeps the attributes of the whole
            "recording": " ".join(fingerprint(recording) for recording in recordings),
            "core": "" if core is None else core.identity,
        },
        "epoch": 0, "step": 0, "total": 0.0, "best_epoch": -1, "best": -math.inf, "stale": 0,
        "decayed": 0, "lr": settings.lr, "diverged": False,
        "history": {name: [] for name in HISTORY},
    }  # fmt: skip
    best = _clone(shown)
    if path is not None and path.exists():
        tensors, progress = read_checkpoint(path, progress["fit"])
        whole.load_state_dict(tensors["weights"])
        if settings.average:
            shown.load_state_dict(tensors["average"])
        best = {name: value.to(where) for name, value in tensors["best"].items()}
        load_optimizer(optimizer, tensors["optimizer"])

    def save() -> None:
        if path is not None and _rank() == 0:
            write_checkpoint(
                path, weights=whole.state_dict(), best=best, optimizer=optimizer,
                average=shown.state_dict() if settings.average else {}, progress=progress,
            )  # fmt: skip

    while not _finished(progress, settings):
        began = time.perf_counter()
        train_loss = _run_epoch(parts, shown, optimizer, settings, progress, job, save)
        if not math.isfinite(train_loss):
            notices.append(_diverged(progress, settings))
            break
        loss, correlation = _validate(judged, settings)
        reached = correlation if math.isfinite(correlation) else -math.inf
        if reached > progress["best"] + 1e-6 or progress["best_epoch"] < 0:
            progress |= {"best": reached, "best_epoch": progress["epoch"], "stale": 0}
            best = _clone(shown)
        else:
            progress["stale"] += 1
        row = (train_loss, loss, correlation, progress["lr"], time.perf_counter() - began)
        for name, value in zip(HISTORY, row, strict=True):
            progress["history"][name].append(value)
        progress |= {"epoch": progress["epoch"] + 1, "step": 0, "total": 0.0}
        if settings.schedule == "plateau" and progress["stale"] >= settings.patience:
            progress["decayed"] += 1
            progress["stale"] = 0
            progress["lr"] = max(progress["lr"] * settings.decay_factor, settings.min_lr)
            whole.load_state_dict(best)
        save()
        if on_epoch is not None:
            on_epoch(progress["epoch"] - 1, correlation)

    whole.load_state_dict(best)
    job.report(1.0, f"validation correlation {progress['best']:.3f}")
    twins = [_finish(part.twin) for part in parts]
    history = _history(progress, twins[0] if len(twins) == 1 else SessionsTwin(twins))
    return twins, history.assign_attrs(notices=" ".join(notices))


def _prepare(
    recordings: list[xr.Dataset],
    architecture: Architecture,
    settings: FitSettings,
    source: DeepTwin | None,
    where: torch.device,
) -> tuple[list[Part], list[str]]:
    """Untrained twins, which share their core, beside their trials; and what is to be said."""
    parts: list[Part] = []
    notices: list[str] = []
    core = None
    if source is not None:
        core = copy.deepcopy(source.core).eval().requires_grad_(False)
    for recording in recordings:
        train, validation = _take(recording, where)
        twin = _start(recording, train, architecture, settings, core, source).to(where)
        twin.core_dtype = settings.core_dtype(where)
        core = twin.core
        notices += _peculiarities(recording, train.summary)
        parts.append(Part(twin, train, validation))
    return parts, notices


def _take(
    recording: xr.Dataset, where: torch.device
) -> tuple[Trials | StoredTrials, Trials | StoredTrials]:
    """Training and validation trials, left on the disk where the recording is."""
    if is_lazy(recording):
        return stored_trials(recording, "train", where), stored_trials(
            recording, "validation", where
        )
    train = take_trials(recording, "train", where)
    return train, take_trials(recording, "validation", where, train.images)


def _start(
    recording: xr.Dataset,
    train: Trials | StoredTrials,
    architecture: Architecture,
    settings: FitSettings,
    core: Any,
    source: DeepTwin | None,
) -> DeepTwin:
    position = None
    if settings.start == "data":
        position = locate_receptive_fields(*train.seen())
    typical, moments = context_moments(recording)
    spec = image_spec(recording)
    origin = origin_of(recording) | {"settings": asdict(settings)}
    if source is not None:
        # the core knows pixels in the units in which it has learnt
        spec = replace(spec, mean=source.spec.mean, std=source.spec.std)
        origin |= {"core": source.identity}
    neurons = recorded_neurons(recording)
    words = {"long_name": "whether its response varied in training"}
    twin = DeepTwin(
        architecture,
        spec,
        neurons.assign_coords(varied=("neuron", train.summary.varied, words)),
        typical,
        origin,
        position=position,
        response_mean=train.summary.mean,
        response_scale=train.summary.scale,
        context_scale=moments,
        seed=settings.seed,
        core=core,
    )
    twin.likelihood.initialise(as_rows(train.sample()), twin.response_scale)
    return twin


def _peculiarities(recording: xr.Dataset, summary: ResponseSummary) -> list[str]:
    """What of a recording's training responses is missing or never varies, in words."""
    found = []
    if summary.first_missing is not None and summary.n_missing:
        trial, neuron = summary.first_missing
        total = summary.n_missing + int(summary.count.sum())
        found.append(
            f"{summary.n_missing} of {total} training responses are missing (first: "
            f"neuron {recording.neuron_id.values[neuron]}, training trial {trial}); they are left "
            "out of the loss."
        )
    constant = ~summary.varied
    if constant.any():
        names = recording.neuron_id.values[constant].astype(str)
        found.append(
            f"{constant.sum()} of {len(constant)} neurons did not vary in training "
            f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}); they are kept, marked "
            "`varied=False`, and have no score (NaN)."
        )
    return found


def _learns(core: nn.Module) -> bool:
    """Whether anything in the core is fitted; one taken as it is keeps its statistics too."""
    return any(value.requires_grad for value in core.parameters())


def _finish(twin: DeepTwin) -> DeepTwin:
    twin.core_dtype = torch.float32
    return twin.cpu().eval()


def _clone(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _finished(progress: dict[str, Any], settings: FitSettings) -> bool:
    ended = settings.schedule == "plateau" and progress["decayed"] > settings.decays
    return progress["epoch"] >= settings.max_epochs or ended


def _run_epoch(
    parts: list[Part],
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: FitSettings,
    progress: dict[str, Any],
    job: Job,
    save: Callable[[], None],
) -> float:
    """Show every training trial once; everything random follows from seed, epoch and step alone.

    Returns the mean loss per trial and neuron, which is not finite where the fit diverged.
    """
    for part in parts:
        part.twin.train()
        part.twin.core.train(_learns(part.twin.core))
    batches = _batches(parts, settings, progress["epoch"])
    drawn = _draws(parts, batches, settings, progress["epoch"], progress["step"])
    if any(isinstance(part.train, StoredTrials) for part in parts):
        drawn = read_ahead(drawn)
    written = time.monotonic()
    for step in range(progress["step"], len(batches)):
        share = (progress["epoch"] + step / len(batches)) / settings.max_epochs
        lr = progress["lr"] if settings.schedule == "plateau" else _cosine(share, settings)
        for group in optimizer.param_groups:
            group["lr"] = lr
        try:
            job.report(
                max(share, progress["decayed"] / (settings.decays + 1)),
                _words(progress, settings),
            )
        except Cancelled:
            save()
            raise
        progress["total"] += _step(parts, islice(drawn, len(batches[step])), optimizer, settings)
        progress["step"] = step + 1
        if not math.isfinite(progress["total"]):
            return math.nan
        if settings.average:
            _follow(average, nn.ModuleList([part.twin for part in parts]), settings.average)
        if time.monotonic() - written > CHECKPOINT_EVERY:
            save()
            written = time.monotonic()
    if settings.schedule == "cosine":
        progress["lr"] = lr
    return progress["total"] / sum(int(part.train.summary.count.sum()) for part in parts)


def _batches(
    parts: list[Part], settings: FitSettings, epoch: int
) -> list[list[tuple[int, Tensor]]]:
    """For each step, the trials of each session that has some left: (session, trials)."""
    shuffled = []
    for number, part in enumerate(parts):
        seed = np.random.SeedSequence([settings.seed, epoch, number]).generate_state(1)[0]
        order = torch.Generator().manual_seed(int(seed))
        shuffled.append(
            torch.randperm(len(part.train), generator=order).split(settings.batch_size)
        )
    return [
        [(number, of[step]) for number, of in enumerate(shuffled) if step < len(of)]
        for step in range(max(map(len, shuffled)))
    ]


class _Draw(NamedTuple):
    """One batch of one session, and what its step draws its random numbers from."""

    number: int
    seed: int
    generator: torch.Generator
    images: Tensor
    response: Tensor
    context: dict[str, Tensor]


def _draws(
    parts: list[Part],
    batches: list[list[tuple[int, Tensor]]],
    settings: FitSettings,
    epoch: int,
    first: int,
) -> Iterator[_Draw]:
    """Batches of all sessions in the order of the steps, from a step on."""
    rank, world = _rank(), _world()
    for step in range(first, len(batches)):
        for number, trials in batches[step]:
            twin, train = parts[number].twin, parts[number].train
            place = (epoch, step, number, rank)
            seed = int(np.random.SeedSequence([settings.seed, *place]).generate_state(1)[0])
            generator = torch.Generator().manual_seed(seed)
            trials = trials[rank::world]
            clip = _clip(train, trials, settings, generator) if twin.spec.is_video else None
            batch = train.batch(trials.to(train.index.device), clip)
            yield _Draw(number, seed, generator, *batch)


def _step(
    parts: list[Part],
    drawn: Iterable[_Draw],
    optimizer: torch.optim.Optimizer,
    settings: FitSettings,
) -> float:
    """Take one step of the optimiser; return the summed loss."""
    optimizer.zero_grad()
    total, world = 0.0, _world()
    for number, seed, generator, images, response, context in drawn:
        twin, train = parts[number].twin, parts[number].train
        twin.readout.generator = generator
        with seeded(seed):
            rate = twin.relative_rate(images, **context, whole=False)  # type: ignore[arg-type]
        loss = twin_loss(twin, rate, response, settings)
        penalty = twin.regularizer(settings.core_weight, settings.readout_weight)
        weight = math.sqrt(len(train) / settings.batch_size)
        (weight * loss + penalty / world).backward()
        total += float(loss.detach())
    if world > 1:
        total = _add_up(optimizer, total)
    optimizer.step()
    return total


def _clip(
    train: Trials | StoredTrials, trials: Tensor, settings: FitSettings, generator: torch.Generator
) -> tuple[Tensor, int]:
    """First frames, drawn anew each time, and the length of the clips that are shown."""
    room = train.frames[trials]
    length = min(settings.clip_frames, int(room.min()))
    draws = torch.rand(len(trials), generator=generator)
    return (draws * (room - length + 1)).long(), length


def twin_loss(twin: DeepTwin, rate: Tensor, response: Tensor, settings: FitSettings) -> Tensor:
    """Loss summed over trials, neurons and frames; missing responses are left out.

    `rate` is in units of the twin's `response_scale`, `response` in those of the recording; of
    a video, the last frames of the response are compared.
    """
    if twin.spec.is_video:
        response = response[..., -rate.shape[-1] :].movedim(2, 1).flatten(0, 1)
        rate = rate.movedim(2, 1).flatten(0, 1)
    relative = response / twin.response_scale
    if settings.loss == "correlation":
        return correlation_loss(rate, relative) * relative.isfinite().sum()
    return twin.likelihood.loss(rate, relative).sum()


def _add_up(optimizer: torch.optim.Optimizer, total: float) -> float:
    """Sum gradients and loss over the processes, so that all take the same step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat(
        [value.reshape(-1) for value in gradients] + [gradients[0].new_tensor([total])]
    )
    distributed.all_reduce(flat)
    begin = 0
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = flat[begin : begin + gradient.numel()].view_as(gradient)
        begin += gradient.numel()
    return float(flat[-1])


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


@torch.no_grad()
def _follow(average: nn.Module, latest: nn.Module, share: float) -> None:
    """Move the running average of weights (and of batch-norm statistics) towards the latest."""
    new = latest.state_dict()
    old = average.state_dict()
    floating = [name for name, value in old.items() if value.is_floating_point()]
    torch._foreach_lerp_(
        [old[name] for name in floating], [new[name] for name in floating], 1 - share
    )
    for name in old.keys() - set(floating):
        old[name].copy_(new[name])


def _diverged(progress: dict[str, Any], settings: FitSettings) -> str:
    """Say what to try; raise where no good weights are left to go on with."""
    progress["diverged"] = True
    msg = (
        f"The fit diverged in epoch {progress['epoch'] + 1} (the loss is not finite); lower `lr`, "
        f"now {settings.lr:g}"
    )
    if progress["best_epoch"] < 0:
        raise FloatingPointError(msg + ".")
    return f"{msg}. The weights are those of epoch {progress['best_epoch'] + 1}."


def _cosine(share: float, settings: FitSettings) -> float:
    return settings.min_lr + (settings.lr - settings.min_lr) * (1 + math.cos(math.pi * share)) / 2


def _words(progress: dict[str, Any], settings: FitSettings) -> str:
    words = f"epoch {progress['epoch'] + 1}"
    if settings.schedule == "cosine":
        words += f" of {settings.max_epochs}"
    if progress["best_epoch"] >= 0:
        words += f", validation correlation {progress['best']:.3f}"
    if progress["decayed"]:
        words += f", rate lowered {progress['decayed']} of {settings.decays} times"
    return words


@torch.inference_mode()
def _validate(parts: list[Part], settings: FitSettings, images: int = 256) -> tuple[float, float]:
    """Loss per trial and neuron, and single-trial correlation averaged over neurons.

    Of videos, the frames whose whole history was shown count.
    """
    losses: list[tuple[float, int]] = []
    correlations = []
    for part in parts:
        twin, validation = part.twin.eval(), part.validation
        response = validation.response
        size = images if response.ndim == 2 else max(images // response.shape[2], 1)

        batches = _predicted(twin, validation, settings, size, losses)
        if isinstance(validation, StoredTrials):
            correlations.append(batched_correlation(batches))
        else:
            recorded, rates = map(np.concatenate, zip(*batches, strict=True))
            correlations.append(single_trial_correlation(recorded, rates))
    every = np.concatenate(correlations)
    defined = every[np.isfinite(every)]
    loss, count = map(sum, zip(*losses, strict=True))
    return loss / count, float(defined.mean()) if defined.size else math.nan


def _predicted(
    twin: DeepTwin,
    validation: Trials | StoredTrials,
    settings: FitSettings,
    size: int,
    losses: list[tuple[float, int]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Responses and rates, one row a trial or frame, `size` trials at a time.

    The loss of each batch, and over how many responses, is added to `losses`.
    """
    for chosen in torch.arange(len(validation), device=validation.index.device).split(size):
        shown, seen, context = validation.batch(chosen)
        rate = twin.relative_rate(shown, **context, whole=False)  # type: ignore[arg-type]
        loss = float(twin_loss(twin, rate, seen, settings))
        seen = seen[..., -rate.shape[-1] :] if twin.spec.is_video else seen
        recorded = as_rows(seen.cpu().numpy())
        losses.append((loss, int(np.isfinite(recorded).sum())))
        yield recorded, as_rows(rate.float().cpu().numpy())


def _history(progress: dict[str, Any], twin: Twin) -> xr.Dataset:
    variables = {
        name: ("epoch", np.asarray(progress["history"][name]), {"long_name": words, "units": unit})
        for name, (words, unit) in HISTORY.items()
    }
    history = xr.Dataset(variables, {"epoch": np.arange(1, progress["epoch"] + 1)})
    stamped = make_result(
        history,
        experiment="fit",
        twin=twin.identity,
        recording=progress["fit"]["recording"],
        seed=progress["fit"]["settings"]["seed"],
        settings={**progress["fit"]["architecture"], **progress["fit"]["settings"]},
        source="Willeke et al. (2022), arXiv 2206.08666",
    )
    return stamped.assign_attrs(best_epoch=progress["best_epoch"] + 1)
