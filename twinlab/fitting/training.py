"""The training loop: recording -> deep twin and the history of its fit."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.evaluation import single_trial_correlation
from twinlab.fitting.checkpoints import load_optimizer, read_checkpoint, write_checkpoint
from twinlab.fitting.positions import locate_receptive_fields
from twinlab.fitting.settings import FitSettings
from twinlab.fitting.trials import (
    Trials,
    context_moments,
    image_spec,
    origin_of,
    recorded_neurons,
    response_moments,
    take_trials,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, fingerprint, make_result, validate_recording
from twinlab.twins import Architecture, DeepTwin

__all__ = ["fit_twin", "poisson_loss"]

HISTORY = {
    "train_loss": ("training loss, Poisson, per trial and neuron", "nat"),
    "validation_loss": ("validation loss, Poisson, per trial and neuron", "nat"),
    "validation_correlation": ("validation single-trial correlation, mean over neurons", "1"),
    "learning_rate": ("learning rate", "1"),
    "seconds": ("duration of the epoch", "s"),
}


def poisson_loss(rate: Tensor, response: Tensor) -> Tensor:
    """Poisson negative log likelihood without its constant, summed; missing responses left out.

    Parameters
    ----------
    rate, response : Tensor of shape (batch, neuron)
        `response` may be NaN where missing.

    """
    missing = torch.isnan(response)
    loss = rate - response.nan_to_num() * torch.log(rate + 1e-8)
    return loss.masked_fill(missing, 0).sum()


def fit_twin(
    recording: xr.Dataset,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    *,
    checkpoint: str | PathLike[str] | None = None,
    device: str = "cpu",
    job: Job | None = None,
) -> tuple[DeepTwin, xr.Dataset]:
    """Fit a deep twin to the training trials of a recording.

    Adam minimises the Poisson loss (on responses divided by each neuron's standard
    deviation) plus the two regularisers; after each epoch the single-trial correlation on
    validation trials decides about the learning rate and the end, and the weights with the
    best one are kept.

    Parameters
    ----------
    recording : xarray.Dataset
    architecture : Architecture, optional
    settings : FitSettings, optional
    checkpoint : path, optional
        File to which the state is written after each epoch. If it is there already, the fit
        goes on from it and ends, on the same machine, with the same numbers as one that was
        never stopped. It is left in place at the end.
    device : str
        Where to compute, e.g. "cpu" or "cuda".
    job : Job, optional

    Returns
    -------
    twin : DeepTwin
        In evaluation mode, on the CPU.
    history : xarray.Dataset
        Along `epoch`: losses, correlation, learning rate and seconds.

    Raises
    ------
    InputError
        If the recording lacks training or validation trials or what the architecture uses,
        or if the checkpoint is of another fit.
    Cancelled
        If the job was cancelled; the checkpoint holds the last finished epoch.

    """
    architecture, settings = architecture or Architecture(), settings or FitSettings()
    job = job or Job()
    validate_recording(recording)
    where = torch.device(device)
    train = take_trials(recording, "train", where)
    validation = take_trials(recording, "validation", where, train.images)
    if len(validation) < 2:
        msg = (
            "The recording has 1 validation trial; a fit is stopped by the correlation over "
            "validation trials and needs at least 2."
        )
        raise InputError(msg)

    job.report(0.0, "looking for receptive fields")
    twin = _start(recording, train, architecture, settings).to(where)
    twin.core_dtype = settings.core_dtype(where)
    optimizer = torch.optim.Adam(twin.parameters(), lr=settings.lr, fused=True)
    progress: dict[str, Any] = {
        "fit": {
            "architecture": asdict(architecture),
            "settings": asdict(settings),
            # of what is fitted: a selection keeps the attributes of the whole
            "recording": fingerprint(recording),
        },
        "epoch": 0, "best_epoch": -1, "best": -math.inf, "stale": 0, "decayed": 0,
        "lr": settings.lr, "history": {name: [] for name in HISTORY},
    }  # fmt: skip
    best = {name: value.clone() for name, value in twin.state_dict().items()}
    if checkpoint is not None and Path(checkpoint).exists():
        tensors, progress = read_checkpoint(Path(checkpoint), progress["fit"])
        twin.load_state_dict(tensors["weights"])
        best = {name: value.to(where) for name, value in tensors["best"].items()}
        load_optimizer(optimizer, tensors["optimizer"])

    while not _finished(progress, settings):
        began = time.perf_counter()
        with torch.random.fork_rng():  # the caller's random numbers are left alone
            train_loss = _run_epoch(twin, train, optimizer, settings, progress, job)
        loss, correlation = _validate(twin, validation)
        reached = correlation if math.isfinite(correlation) else -math.inf
        if reached > progress["best"] + 1e-6 or progress["best_epoch"] < 0:
            progress |= {"best": reached, "best_epoch": progress["epoch"], "stale": 0}
            best = {name: value.clone() for name, value in twin.state_dict().items()}
        else:
            progress["stale"] += 1
        row = (train_loss, loss, correlation, progress["lr"], time.perf_counter() - began)
        for name, value in zip(HISTORY, row, strict=True):
            progress["history"][name].append(value)
        progress["epoch"] += 1
        if settings.schedule == "plateau" and progress["stale"] >= settings.patience:
            progress["decayed"] += 1
            progress["stale"] = 0
            progress["lr"] = max(progress["lr"] * settings.decay_factor, settings.min_lr)
            twin.load_state_dict(best)
        if checkpoint is not None:
            write_checkpoint(
                Path(checkpoint), weights=twin.state_dict(), best=best,
                optimizer=optimizer, progress=progress,
            )  # fmt: skip

    twin.load_state_dict(best)
    twin.core_dtype = torch.float32
    job.report(1.0, f"validation correlation {progress['best']:.3f}")
    return twin.cpu().eval(), _history(progress, recording, twin)


def _start(
    recording: xr.Dataset, train: Trials, architecture: Architecture, settings: FitSettings
) -> DeepTwin:
    response = train.response.cpu().numpy()
    mean, scale = response_moments(response)
    position = None
    if settings.start == "data":
        images = train.images[train.index].cpu().numpy()
        position = locate_receptive_fields(images, np.where(np.isnan(response), mean, response))
    typical, moments = context_moments(recording)
    origin = origin_of(recording) | {"settings": asdict(settings)}
    return DeepTwin(
        architecture,
        image_spec(recording),
        recorded_neurons(recording),
        typical,
        origin,
        position=position,
        response_mean=mean,
        response_scale=scale,
        context_scale=moments,
        seed=settings.seed,
    )


def _finished(progress: dict[str, Any], settings: FitSettings) -> bool:
    ended = settings.schedule == "plateau" and progress["decayed"] > settings.decays
    return progress["epoch"] >= settings.max_epochs or ended


def _run_epoch(
    twin: DeepTwin,
    train: Trials,
    optimizer: torch.optim.Optimizer,
    settings: FitSettings,
    progress: dict[str, Any],
    job: Job,
) -> float:
    """Show every training trial once; everything random follows from seed and epoch alone."""
    twin.train()
    epoch = progress["epoch"]
    seeds = np.random.SeedSequence([settings.seed, epoch]).generate_state(2)
    order = torch.Generator().manual_seed(int(seeds[0]))
    twin.readout.generator = torch.Generator().manual_seed(int(seeds[1]))
    torch.manual_seed(int(seeds[1]))  # for parts that draw from torch's own generator
    batches = torch.randperm(len(train), generator=order).split(settings.batch_size)
    weight = math.sqrt(len(train) / settings.batch_size)
    total = torch.zeros((), device=train.response.device)
    for number, chosen in enumerate(batches):
        share = (epoch + number / len(batches)) / settings.max_epochs
        job.report(
            max(share, progress["decayed"] / (settings.decays + 1)), _words(progress, settings)
        )
        lr = progress["lr"] if settings.schedule == "plateau" else _cosine(share, settings)
        for group in optimizer.param_groups:
            group["lr"] = lr
        images, response, context = train.batch(chosen.to(train.index.device))
        rate = _relative_rate(twin, images, context)
        loss = poisson_loss(rate, response / twin.response_scale)
        penalty = twin.regularizer(settings.core_weight, settings.readout_weight)
        optimizer.zero_grad()
        (weight * loss + penalty).backward()
        optimizer.step()
        total += loss.detach()
    if settings.schedule == "cosine":
        progress["lr"] = lr
    mean = float(total) / int(train.response.isfinite().sum())
    if not math.isfinite(mean):
        msg = (
            f"The fit diverged in epoch {epoch + 1} (training loss {mean}); "
            f"lower `lr`, now {settings.lr}."
        )
        raise FloatingPointError(msg)
    return mean


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


def _relative_rate(twin: DeepTwin, images: Tensor, context: dict[str, Tensor]) -> Tensor:
    return twin.relative_rate(
        images, behavior=context.get("behavior"), pupil_center=context.get("pupil_center")
    )


@torch.inference_mode()
def _validate(twin: DeepTwin, validation: Trials, batch_size: int = 256) -> tuple[float, float]:
    """Loss per trial and neuron, and single-trial correlation averaged over neurons."""
    twin.eval()
    rates, loss = [], 0.0
    for chosen in torch.arange(len(validation), device=validation.index.device).split(batch_size):
        images, response, context = validation.batch(chosen)
        rate = _relative_rate(twin, images, context)
        loss += float(poisson_loss(rate, response / twin.response_scale))
        rates.append(rate.float().cpu())
    recorded = validation.response.cpu().numpy()
    correlation = single_trial_correlation(recorded, torch.cat(rates).numpy())
    defined = correlation[np.isfinite(correlation)]
    return loss / np.isfinite(recorded).sum(), float(defined.mean()) if defined.size else math.nan


def _history(progress: dict[str, Any], recording: xr.Dataset, twin: DeepTwin) -> xr.Dataset:
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
