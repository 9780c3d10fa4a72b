"""Which images to show next: those from whose answers a twin would learn most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr

from twinlab.insilico.grids import members_of
from twinlab.jobs import Job
from twinlab.loop.plan import CRITERIA
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, Twin, predict_responses

__all__ = ["choose_images", "measure_fano"]

BATCH = 256  # images shown to the twin at once
MOST_NEURONS = 1000  # whose information is weighed; of more, so many at equal distances
UNITS = {"disagreement": "1", "information": "nat", "random": "1"}


def choose_images(
    twin: ConditionedTwin,
    candidates: xr.DataArray,
    n: int,
    *,
    by: str = "information",
    fano: np.ndarray | xr.DataArray | None = None,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Choose those of many images that are to be shown next.

    The members of an ensemble have learnt from the same trials, so that where they disagree
    these said little. A response tells members apart by their disagreement in units of its noise,
    whose variance is proportional to the mean response, as that of spike counts is.

    - "disagreement": the variance over members of the predicted response over the variance of
      the noise, summed over neurons; the `n` largest.
    - "information": what the responses to all chosen images together tell about what the members
      disagree in, ``log det(1 + K) / 2`` summed over neurons, where K is the covariance over
      members between images, in units of the noise. The images are chosen one by one, each the
      most informative given those before (greedy D-optimal design), so that near duplicates
      of a chosen one and neurons already told about count less. Of more than 1,000 neurons,
      about so many at equal distances are weighed.
    - "random": whatever the seed draws.

    Parameters
    ----------
    twin : ConditionedTwin
        An ensemble of at least two members; any twin for "random".
    candidates : xarray.DataArray
        (image, channel, y, x) in grey levels; their coordinates are kept.
    n : int
    by : str
        "disagreement", "information" or "random".
    fano : array of shape (n_neuron,), optional
        Variance over mean of each neuron's single responses to the same image, see
        `measure_fano`; 1, as of Poisson spike counts, where absent. Neurons for which it is not
        finite and positive do not count, nor does an image in whose answer none is expected.
    seed : int
        For "random", and to order images of equal score.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `image`, all candidates: `score` of each by itself (drawn for "random"), `chosen`,
        and `rank`, in which order they were chosen, NaN for the others.

    Raises
    ------
    InputError
        If there are fewer candidates than asked for, they are not of the size the twin sees,
        `by` is unknown or needs members that the twin has not, or `fano` does not fit.

    References
    ----------
    Houlsby et al. (2011), arXiv 1112.5745, for disagreement as information; Krause, Singh &
    Guestrin (2008), Journal of Machine Learning Research 9: 235-284, for the greedy choice.

    """
    job = job or Job()
    images = candidates.transpose("image", "channel", "y", "x")
    twin.spec.check(images.values)
    members = members_of(twin)
    faults = []
    if by not in CRITERIA:
        faults.append(f"`by` is {by!r}; known: {list(CRITERIA)}")
    elif by != "random" and len(members) < 2:
        faults.append(f"`by` is {by!r}, which needs an ensemble of at least two twins")
    if not 1 <= n <= len(images):
        faults.append(f"`n` is {n}, but there are {len(images)} candidates")
    fano = np.ones(len(twin)) if fano is None else np.asarray(fano, float)
    if fano.shape != (len(twin),):
        faults.append(f"`fano` has shape {fano.shape}, but there are {len(twin)} neurons")
    if faults:
        msg = "Images cannot be chosen: " + "; ".join(faults) + "."
        raise InputError(msg)
    generator = np.random.default_rng([check_seed(seed), 6])
    draw = generator.permutation(len(images))
    if by == "random":
        score, order = draw / len(images), np.argsort(-draw)[:n]
    elif by == "disagreement":
        score = np.concatenate(
            [(z**2).sum((0, 2)) for z in _deviations(members, images, fano, job)]
        )
        order = np.lexsort((draw, -score))[:n]
    else:
        some = np.flatnonzero(np.isfinite(fano) & (fano > 0))
        some = some[:: max(1, -(-len(some) // MOST_NEURONS))]
        parts = [z[..., some] for z in _deviations(members, images, fano, job.part(0, 0.5))]
        z = np.concatenate(parts, 1).transpose(2, 1, 0)
        score = np.log1p((z**2).sum(2)).sum(0) / 2
        order = _greedy(z, n, draw, job.part(0.5, 1))
    rank = np.full(len(images), np.nan)
    rank[order] = np.arange(n)
    label = {"long_name": by, "units": UNITS[by]}
    result = xr.Dataset(
        {
            "score": ("image", score, label),
            "chosen": ("image", np.isfinite(rank), {"long_name": "is chosen", "units": "1"}),
            "rank": ("image", rank, {"long_name": "place in the order of choice", "units": "1"}),
        },
        {name: value for name, value in images.coords.items() if value.dims == ("image",)},
    )
    return make_result(
        result, experiment="choice of images", twin=twin.identity, seed=seed,
        settings={"by": by, "n": n}, source="Houlsby et al. (2011), arXiv 1112.5745",
    )  # fmt: skip


def measure_fano(twin: Twin, recording: xr.Dataset, *, split: str = "validation") -> xr.DataArray:
    """Variance of single responses around the prediction, over the mean response.

    1 for spike counts that a twin predicts perfectly; of other responses it has their unit.

    Parameters
    ----------
    twin : Twin
    recording : xarray.Dataset
    split : str
        Trials that the twin was not fitted to.

    Returns
    -------
    xarray.DataArray
        `fano` (neuron); NaN where no response was recorded or predicted.

    """
    predicted = predict_responses(twin, recording, split=split).values
    recorded = recording.response.values[recording.split.values == split]
    known = np.isfinite(recorded)
    squares = np.where(known, (recorded - predicted) ** 2, 0).sum(0)
    total = np.where(known, predicted, 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        fano = np.where(total > 0, squares / total, np.nan)
    return xr.DataArray(
        fano, dims="neuron", name="fano",
        attrs={
            "long_name": "variance of single responses over their mean",
            "units": recording.response.attrs.get("units", "a.u."),
        },
    )  # fmt: skip


def _deviations(
    members: list[ConditionedTwin], images: xr.DataArray, fano: np.ndarray, job: Job
) -> Iterator[np.ndarray]:
    """Deviations from the members' mean over noise, (member, image, neuron), by batch.

    The sum of their squares over members is the variance (n - 1) in units of the noise. Where no
    response is expected, none can tell anything.
    """
    scale = np.where(np.isfinite(fano) & (fano > 0), fano, np.inf) * (len(members) - 1)
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            job.report(start / len(images), "looking for images")
            shown = torch.as_tensor(images.values[start : start + BATCH]).float()
            rate = np.stack([member(shown).numpy() for member in members]).astype(float)
            mean = rate.mean(0)
            yield (rate - mean) / np.sqrt(scale * np.where(mean > 0, mean, np.inf))


def _greedy(z: np.ndarray, n: int, draw: np.ndarray, job: Job) -> np.ndarray:
    """Images of (neuron, image, member), each the most informative given those before it."""
    left, gain = z.copy(), (z**2).sum(2)
    chosen: list[int] = []
    for i in range(n):
        job.report(i / n, "looking for images")
        total = np.log1p(gain).sum(0)
        total[chosen] = -np.inf
        best = int(np.lexsort((draw, -total))[0])
        chosen.append(best)
        told = left[:, best] / np.sqrt(1 + gain[:, best])[:, None]
        shared = np.einsum("nim,nm->ni", z, told)
        left -= shared[..., None] * told[:, None]
        gain = np.maximum(gain - shared**2, 0)
    return np.array(chosen)
