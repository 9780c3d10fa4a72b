"""Any twin, recorded as if it were an animal: its rates are then the truth to be found."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_recording
from twinlab.simulation.noise import NOISES, draw_responses
from twinlab.twins import Twin

__all__ = ["record_twin"]

BATCH = 256  # images between two reports


def record_twin(
    twin: Twin,
    stimulus: np.ndarray | xr.DataArray,
    *,
    n_validation: int,
    n_test: int,
    n_repeat: int = 1,
    seed: int = 0,
    noise: str = "poisson",
    session: str | None = None,
    job: Job | None = None,
) -> xr.Dataset:
    """Show images to a twin and draw noisy single trials around its rates.

    Behaviour and pupil position are the typical ones throughout and are not recorded.

    Parameters
    ----------
    twin : Twin
    stimulus : array of shape (n_image, channel, y, x)
        In grey levels. The last `n_test` images are for testing, the `n_validation` before
        them for validation, and the others for training.
    n_validation, n_test : int
    n_repeat : int
        How often each test image is shown; the others are shown once. All trials are in
        random order.
    seed : int
        Decides order and noise.
    noise : {"poisson", "calcium"}
        As in `draw_responses`.
    session : str, optional
        Whose neurons are recorded; may be left out where the twin has one session.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        A recording with `true_rate` (image, neuron).

    Raises
    ------
    InputError
        If a number is negative or leaves no training image, or the images do not fit the twin,
        which must be one of images.

    """
    job = job or Job()
    if twin.spec.is_video:
        msg = "Only twins of images are recorded so, but this one sees videos; give another."
        raise InputError(msg)
    images = np.asarray(stimulus)
    n_train = len(images) - n_validation - n_test
    if min(n_validation, n_test, n_repeat - 1) < 0 or n_train < 1:
        msg = (
            f"Of {len(images)} images, n_validation = {n_validation} and n_test = {n_test} leave "
            f"{n_train} for training, and n_repeat = {n_repeat}; expected numbers of at least 0, "
            "one repeat and one training image."
        )
        raise InputError(msg)
    generator = np.random.default_rng([2, check_seed(seed)])
    conditioned = twin.condition(session=session)
    split = np.repeat(["train", "validation", "test"], [n_train, n_validation, n_test])
    rate = np.empty((len(images), len(conditioned)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            job.report(start / len(images), "recording")
            part = slice(start, start + BATCH)
            batch = torch.as_tensor(images[part]).to(conditioned.device).float()
            rate[part] = conditioned(batch).cpu().numpy()
    shown = np.repeat(np.arange(len(images)), np.where(split == "test", n_repeat, 1))
    shown = generator.permutation(shown)
    labels = conditioned.labels
    recording = make_recording(
        stimulus=images,
        response=draw_responses(rate[shown], generator, noise),
        trial={
            "stimulus_index": shown,
            "image_id": shown,
            "split": split[shown],
            "presentation_order": np.arange(len(shown)),
        },
        neuron={str(key): value.values for key, value in labels.coords.items()},
        response_units=NOISES[noise][2],
        extra={
            "true_rate": (
                ("image", "neuron"),
                rate,
                {"long_name": "true mean response", "units": "events per trial"},
            )
        },
        recording_id=f"{labels.session.values[0]}-recorded-{seed}",
        species="simulated",
        source="twinlab.simulation",
        license="CC0-1.0",
        recorded_twin=twin.identity,
        recording_seed=seed,
    )
    job.report(1.0, "recorded")
    return recording
