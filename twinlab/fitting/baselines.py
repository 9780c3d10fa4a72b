"""What a deep twin must beat: the mean response, and one filter with one curve."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch.nn import functional as F

from twinlab.evaluation import single_trial_correlation
from twinlab.fitting.losses import poisson_loss
from twinlab.fitting.summaries import response_moments
from twinlab.fitting.trials import (
    image_spec,
    origin_of,
    recorded_neurons,
    take_trials,
)
from twinlab.jobs import Job
from twinlab.schema import fingerprint, make_result
from twinlab.twins import LinearNonlinearTwin, Twin, predict_responses

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
    shown, held_out = (
        (trials.images[trials.index].float().flatten(1) - spec.mean) / spec.std
        for trials in (train, validation)
    )
    response = train.response
    mean = torch.as_tensor(response_moments(response.numpy())[0], dtype=torch.float32)
    centred = (response - mean).nan_to_num()

    # Pixels or trials, whichever are fewer: the two ways give the same weights.
    dual = shown.shape[1] > len(shown)
    products = shown @ shown.T if dual else shown.T @ shown
    weighted = centred if dual else shown.T @ centred
    unit = shown.square().sum() / shown.shape[1]
    best = np.full(response.shape[1], -np.inf)
    filters = torch.zeros(response.shape[1], shown.shape[1])
    for number, penalty in enumerate(PENALTIES):
        job.report(0.5 * number / len(PENALTIES), "filters")
        ridge = penalty * unit * torch.eye(len(products))
        candidate = torch.cholesky_solve(weighted, torch.linalg.cholesky(products + ridge))
        candidate = shown.T @ candidate if dual else candidate
        predicted = (held_out @ candidate).numpy()
        score = single_trial_correlation(validation.response.numpy(), predicted)
        better = np.nan_to_num(score, nan=-1) > best
        best[better] = score[better]
        filters[better] = candidate.T[better]

    drive = held_out @ filters.T
    spread = drive.std(dim=0).clamp_min(1e-12)
    filters, drive = filters / spread[:, None], drive / spread
    curve = _fit_curve(drive, validation.response, mean, job.part(0.5, 1.0, "curves"))
    twin = LinearNonlinearTwin(
        spec,
        recorded_neurons(recording),
        None,
        origin_of(recording),
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
    chosen = {name: recording.split.values == name for name in ("train", "validation")}
    mean, scale = response_moments(recording.response.values[chosen["train"]])
    recorded = recording.response.values[chosen["validation"]]
    rates = {"mean": np.broadcast_to(mean, recorded.shape)} | {
        name: predict_responses(twin, recording, split="validation").values
        for name, twin in twins.items()
    }
    loss, correlation = [], []
    for rate in rates.values():
        total = poisson_loss(torch.as_tensor(rate / scale), torch.as_tensor(recorded / scale))
        loss.append(float(total) / max(np.isfinite(recorded).sum(), 1))
        each = single_trial_correlation(recorded, rate)
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
    return make_result(result, experiment="baselines", recording=fingerprint(recording))
