"""What a deep twin must beat: the mean response, and one filter with one curve."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch.nn import functional as F

from twinlab import __version__
from twinlab.evaluation import single_trial_correlation
from twinlab.fitting.training import poisson_loss
from twinlab.fitting.trials import Trials, image_spec, take_trials
from twinlab.jobs import Job
from twinlab.schema import make_result
from twinlab.twins import LinearNonlinearTwin, Twin

__all__ = ["fit_linear_nonlinear", "score_baselines"]

PENALTIES = np.logspace(-1, 3, 9)  # times the mean variance of a pixel, summed over trials


def fit_linear_nonlinear(recording: xr.Dataset, *, job: Job | None = None) -> LinearNonlinearTwin:
    """Fit one filter and one curve to each neuron.

    The filter is a ridge regression of responses on pixels, whose penalty is chosen for each
    neuron by correlation on validation trials; the curve (a scaled and shifted softplus) is
    then fitted to those same trials by maximum Poisson likelihood, because on trials that the
    filter has seen its output promises more than it holds. Both uses of the validation trials
    favour the baseline.

    Parameters
    ----------
    recording : xarray.Dataset
    job : Job, optional

    Returns
    -------
    LinearNonlinearTwin

    """
    job = job or Job()
    cpu = torch.device("cpu")
    train = take_trials(recording, "train", cpu)
    validation = take_trials(recording, "validation", cpu, train.images)
    spec = image_spec(recording)
    job.report(0.0, "filters")
    image = (train.images.float().flatten(1) - spec.mean) / spec.std
    shown, held_out = image[train.index], image[validation.index]
    response = train.response
    mean = response.nanmean(dim=0)
    centred = (response - mean).nan_to_num()

    covariance, weighted = shown.T @ shown, shown.T @ centred
    unit = torch.eye(len(covariance)) * covariance.diagonal().mean()
    best = np.full(response.shape[1], -np.inf)
    filters = torch.zeros(response.shape[1], len(covariance))
    for number, penalty in enumerate(PENALTIES):
        job.report(0.5 * number / len(PENALTIES), "filters")
        factor = torch.linalg.cholesky(covariance + penalty * unit)
        candidate = torch.cholesky_solve(weighted, factor)
        predicted = (held_out @ candidate).numpy()
        score = single_trial_correlation(validation.response.numpy(), predicted)
        better = np.nan_to_num(score, nan=-1) > best
        best[better] = score[better]
        filters[better] = candidate.T[better]

    drive = held_out @ filters.T
    spread = drive.std(dim=0).clamp_min(1e-12)
    filters, drive = filters / spread[:, None], drive / spread
    curve = _fit_curve(drive, validation.response, mean, job.part(0.5, 1.0, "curves"))
    neurons = xr.Dataset(
        coords={name: v for name, v in recording.coords.items() if v.dims == ("neuron",)}
    )
    origin = {
        "recording_id": recording.attrs.get("recording_id", ""),
        "recording": recording.attrs.get("fingerprint", ""),
        "response_units": recording.response.attrs.get("units", "a.u."),
        "twinlab_version": __version__,
    }
    twin = LinearNonlinearTwin(
        spec, neurons, None, origin,
        filters=filters.reshape(-1, *spec.shape), **curve,
    )  # fmt: skip
    return twin.eval()


def _fit_curve(
    drive: torch.Tensor, response: torch.Tensor, mean: torch.Tensor, job: Job, steps: int = 150
) -> dict[str, torch.Tensor]:
    """Amplitude, slope and offset of each neuron's softplus, by Adam on all trials."""
    scale = mean.clamp_min(1e-6)
    log_amplitude = torch.zeros(drive.shape[1], requires_grad=True)
    slope = torch.full((drive.shape[1],), 0.5, requires_grad=True)
    offset = torch.full((drive.shape[1],), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([log_amplitude, slope, offset], lr=0.05)
    for step in range(steps):
        job.report(step / steps)
        rate = log_amplitude.exp() * F.softplus(slope * drive + offset)
        optimizer.zero_grad()
        poisson_loss(rate, response / scale).backward()
        optimizer.step()
    return {"amplitude": log_amplitude.exp() * scale, "slope": slope, "offset": offset}


@torch.inference_mode()
def score_baselines(recording: xr.Dataset, twins: dict[str, Twin]) -> xr.Dataset:
    """Validation loss and correlation of the mean response and of given twins.

    Parameters
    ----------
    recording : xarray.Dataset
    twins : dict of str to Twin
        By the name to show.

    Returns
    -------
    xarray.Dataset
        Along `model`: `validation_loss` (on responses divided by their standard deviation
        over training trials) and `validation_correlation`; the correlation of the mean is
        NaN, because a constant has none.

    """
    cpu = torch.device("cpu")
    train = take_trials(recording, "train", cpu)
    validation = take_trials(recording, "validation", cpu, train.images)
    response = train.response.numpy()
    spread = np.nanstd(response, axis=0)
    scale = torch.as_tensor(np.where(spread > 0, spread, 1))
    mean = torch.as_tensor(np.nanmean(response, axis=0)).expand(len(validation), -1)
    rates = {"mean": mean} | {name: _rates(twin, validation) for name, twin in twins.items()}
    loss, correlation = [], []
    for rate in rates.values():
        total = poisson_loss(rate / scale, validation.response / scale)
        loss.append(float(total) / rate.numel())
        each = single_trial_correlation(validation.response.numpy(), rate.numpy())
        defined = each[np.isfinite(each)]
        correlation.append(float(defined.mean()) if defined.size else np.nan)
    result = xr.Dataset(
        {
            "validation_loss": (
                "model",
                loss,
                {"long_name": "validation loss, Poisson, per trial and neuron", "units": "nat"},
            ),
            "validation_correlation": (
                "model",
                correlation,
                {
                    "long_name": "validation single-trial correlation, mean over neurons",
                    "units": "1",
                },
            ),
        },
        {"model": list(rates)},
    )
    return make_result(
        result, experiment="baselines", recording=recording.attrs.get("fingerprint", "")
    )


def _rates(twin: Twin, trials: Trials, batch_size: int = 256) -> torch.Tensor:
    fast = twin.for_inference()
    rates = []
    for chosen in torch.arange(len(trials)).split(batch_size):
        images, _, context = trials.batch(chosen)
        rates.append(fast(images, **{name: context[name] for name in twin.context}))
    return torch.cat(rates)
