"""Usual responses of a twin, to ordinary stimuli, and what its training images are like."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from twinlab import stimuli
from twinlab.twins import ConditionedTwin, Twin
from twinlab.twins.familiarity import Familiarity, fit_familiarity

__all__ = ["images_of", "training_familiarity", "usual_rates"]

N_FAMILIAR = 1000  # images from which familiarity is learnt, and as many to judge it by
FEW_VIDEOS = 4
MOST_IMAGES = 200  # recorded images the twin is asked about, to know what is a large response


def images_of(recording: xr.Dataset, *splits: str) -> np.ndarray:
    """Images (image, channel, y, x) of some splits, each once."""
    shown = recording.stimulus_index.values[np.isin(recording.split.values, splits)]
    return recording.stimulus[np.unique(shown)].values


def usual_rates(twin: ConditionedTwin, recording: xr.Dataset | None) -> np.ndarray:
    """Rates the twin predicts for ordinary images, or frames of ordinary videos.

    Parameters
    ----------
    twin : ConditionedTwin
    recording : xarray.Dataset, optional
        Whose test images or videos are ordinary; without any, gratings or dead leaves are.

    Returns
    -------
    ndarray of shape (image, neuron) or (frame, neuron)
        What to call a large response.

    """
    spec = twin.spec
    if spec.is_video:
        return _usual_frames(twin, recording)
    images = np.empty(0) if recording is None else images_of(recording, "test")
    if not len(images):
        images = stimuli.make_grating_grid(
            np.arange(0, 180, 22.5),
            [0.05, 0.1, 0.2],
            [0, 90, 180, 270],
            height=spec.height,
            width=spec.width,
            channel=spec.channel,
            mean=spec.mean,
            contrast=0.5,
        ).values
    with torch.inference_mode():
        batch = torch.as_tensor(images[:MOST_IMAGES], device=twin.device).float()
        return twin(batch).float().cpu().numpy()


def _usual_frames(twin: ConditionedTwin, recording: xr.Dataset | None) -> np.ndarray:
    """Rates (frame, neuron) the twin predicts for the frames of a few ordinary videos."""
    spec = twin.spec
    shown = np.empty(0, int)
    if recording is not None:
        index, split = recording.stimulus_index.values, recording.split.values
        tested = index[split == "test"]
        shown = np.unique(tested if len(tested) else index)[:FEW_VIDEOS]
    if recording is not None and len(shown):
        videos = recording.stimulus[shown].values
    else:
        videos = stimuli.make_dead_leaves_video(
            FEW_VIDEOS,
            spec.height,
            spec.width,
            seed=0,
            n_frame=round(spec.frame_rate or 1),
            frame_rate_hz=spec.frame_rate or 1.0,
            channel=spec.channel,
        ).values
    with torch.inference_mode():
        rates = [twin(torch.as_tensor(one[None], device=twin.device).float())[0] for one in videos]
    found = torch.cat(rates, 1).T.float().cpu().numpy()
    return found[np.isfinite(found).all(1)]  # a shorter video may end in missing frames


def training_familiarity(twin: Twin, recording: xr.Dataset) -> Familiarity | None:
    """What the training images are like, by their statistics; None without validation images."""
    split, index = recording.split.values, recording.stimulus_index.values
    shown, held_out = (
        recording.stimulus[np.unique(index[split == name])[:N_FAMILIAR]].values
        for name in ("train", "validation")
    )
    if twin.spec.is_video or len(shown) < 2 or not len(held_out):
        return None
    return fit_familiarity(twin, shown, held_out, core=False)
