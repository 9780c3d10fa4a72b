"""Whether a stimulus is like those the twin was trained on.

A twin answers any image, and says nothing of its doubt about one it never saw the like of.
`Familiarity` measures how far an image lies from the training images, and `unfamiliar_features`
says in words in what it differs: its mean, its contrast, or its contrast in an octave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from twinlab.files import write_whole
from twinlab.schema import InputError
from twinlab.twins.contract import StimulusSpec, Twin
from twinlab.twins.deep import DeepTwin
from twinlab.twins.ensemble import EnsembleTwin

__all__ = [
    "Familiarity",
    "fit_familiarity",
    "image_statistics",
    "load_familiarity",
    "save_familiarity",
    "training_range",
    "unfamiliar_features",
]

# Lower and upper border of each octave, in cycles per pixel; the last reaches into the corners
# of the spectrum.
OCTAVES = ((0.0, 1 / 32), (1 / 32, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1.0))
MOST_IMAGES = 1000  # enough for the 1st and 99th percentile


def image_statistics(images: np.ndarray) -> xr.Dataset:
    """Mean, contrast, and contrast by octave of spatial frequency of each image.

    Parameters
    ----------
    images : ndarray of shape (n_image, n_channel, n_y, n_x)
        In grey levels.

    Returns
    -------
    xarray.Dataset
        `mean` and `contrast` (image), the latter the standard deviation of the pixels, and
        `octave_contrast` (image, octave), all in grey levels. The squares of the last add up
        to the square of `contrast` (within channels).

    """
    images = np.asarray(images, np.float32)
    n_pixel = images.shape[-1] * images.shape[-2]
    centred = images - images.mean((-2, -1), keepdims=True)
    power = np.abs(np.fft.fft2(centred)) ** 2 / n_pixel**2  # sums to the variance
    frequency = np.hypot(
        np.fft.fftfreq(images.shape[-2])[:, None], np.fft.fftfreq(images.shape[-1])
    )
    octaves = [
        np.sqrt(power[..., (low < frequency) & (frequency <= high)].sum(-1).mean(-1))
        for low, high in OCTAVES
    ]
    grey = {"units": "grey level"}
    return xr.Dataset(
        {
            "mean": ("image", images.mean((1, 2, 3)), {"long_name": "mean"} | grey),
            "contrast": (
                "image",
                centred.std((1, 2, 3)),
                {"long_name": "contrast (standard deviation)"} | grey,
            ),
            "octave_contrast": (
                ("image", "octave"),
                np.stack(octaves, axis=1),
                {"long_name": "contrast in one octave of spatial frequency"} | grey,
            ),
        },
        {
            "octave": [f"{low:.2g} to {high:.2g}" for low, high in OCTAVES],
        },
    )


def training_range(recording: xr.Dataset) -> xr.Dataset:
    """Range of each image statistic over a recording's training images.

    Parameters
    ----------
    recording : xarray.Dataset

    Returns
    -------
    xarray.Dataset
        The variables of `image_statistics` along `bound`: 1st and 99th percentile.

    """
    shown = np.unique(recording.stimulus_index.values[recording.split.values == "train"])
    if len(shown) > MOST_IMAGES:
        shown = shown[np.linspace(0, len(shown) - 1, MOST_IMAGES).astype(int)]
    statistics = image_statistics(recording.stimulus[shown].values)
    borders = statistics.quantile([0.01, 0.99], "image", keep_attrs=True)
    return borders.rename(quantile="bound").assign_coords(bound=["lower", "upper"])


def unfamiliar_features(image: np.ndarray, training: xr.Dataset) -> list[str]:
    """Name the statistics in which an image lies outside what the twin was trained on.

    Mean and contrast count on both sides. An octave counts only above its range: a
    grating has energy in one octave and none elsewhere, which the contrast already tells.

    Parameters
    ----------
    image : ndarray of shape (n_channel, n_y, n_x)
        In grey levels.
    training : xarray.Dataset
        From `training_range`.

    Returns
    -------
    list of str
        One sentence part for each, with the value found and the range; empty where none.

    """
    found = image_statistics(image[None]).isel(image=0)
    lower, upper = training.sel(bound="lower"), training.sel(bound="upper")
    words = []
    for name in ("mean", "contrast"):
        value, low, high = (float(part[name]) for part in (found, lower, upper))
        if not low <= value <= high:
            words.append(f"{name} {value:.0f} (trained on {low:.0f} to {high:.0f} grey levels)")
    for octave in found.octave.values:
        value, high = (float(part.octave_contrast.sel(octave=octave)) for part in (found, upper))
        if value > high:
            words.append(
                f"contrast {value:.0f} at {octave} cycles/px (trained on up to {high:.0f})"
            )
    return words


# ---- distance from training ----

N_ORIENTATION = 4
# Features are logarithms where they span decades; these keep them finite, in z units.
LEAST_POWER = 1e-6
LEAST_VARIANCE = 1e-4
# Of a feature that is the same in all training images, e.g. pixels outside the range: 0.01
LEAST_SCALE = 1e-2


class Familiarity(nn.Module):
    """Distance of a stimulus from the training images, and how unusual that is.

    The Mahalanobis distance of its features: mean, contrast, share of the range used, pixels
    outside the range, skewness and kurtosis, power by octave of spatial frequency and
    orientation, and, for a deep twin, mean and spread over the map of each channel of its core.
    Of a video the features are averaged over frames, and the power of the difference
    between frames is one more; show it clips as long as those it was fitted to.

    A distance is judged by held-out natural stimuli: if a new one is drawn as they were, it is
    flagged with probability `false_alarm`, whatever the distribution of distances (a
    conformal p-value).

    Parameters
    ----------
    spec : StimulusSpec
    n_feature, n_held_out : int
    core : callable, optional
        From images in grey levels to the maps of the twin's core, which is not part of this
        module: its state holds nothing of the twin.
    false_alarm : float
        Share of natural stimuli that may be flagged.

    """

    masks: Tensor
    center: Tensor
    scale: Tensor
    whitening: Tensor
    held_out: Tensor

    def __init__(
        self,
        spec: StimulusSpec,
        n_feature: int,
        n_held_out: int,
        core: Callable[[Tensor], Tensor] | None = None,
        *,
        false_alarm: float = 0.001,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.asked = false_alarm
        self._core = (core,)  # in a tuple, or a module would become part of this one
        self.register_buffer("masks", _spectral_masks(spec.height, spec.width), persistent=False)
        self.register_buffer("center", torch.zeros(n_feature))
        self.register_buffer("scale", torch.ones(n_feature))
        self.register_buffer("whitening", torch.eye(n_feature))
        self.register_buffer("held_out", torch.zeros(n_held_out))

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], twin: Twin, *, false_alarm: float = 0.001
    ) -> Familiarity:
        """Build it again from its `state_dict` and the twin it was fitted to."""
        n_feature, core = len(state["center"]), _core_of(twin)
        if n_feature == _n_statistic(twin.spec):
            core = None
        found = cls(twin.spec, n_feature, len(state["held_out"]), core, false_alarm=false_alarm)
        found.load_state_dict(dict(state))
        return found.eval()

    def features(self, stimulus: Tensor) -> Tensor:
        """Features (batch, feature) of stimuli in grey levels; differentiable."""
        self.spec.check(stimulus)
        stimulus = stimulus.to(self.masks)
        if not self.spec.is_video:
            return self._image_features(stimulus)
        frames = stimulus.movedim(2, 1).flatten(0, 1)
        still = self._image_features(frames).unflatten(0, (len(stimulus), -1)).mean(1)
        change = stimulus.diff(dim=2) / self.spec.std
        power = (change**2).sum((1, 2, 3, 4)) / max(change[0].numel(), 1)
        return torch.cat([still, (power + LEAST_POWER).log()[:, None]], dim=1)

    def _image_features(self, image: Tensor) -> Tensor:
        spec = self.spec
        z = (image - spec.mean) / spec.std
        mean = z.mean((1, 2, 3))
        away = z - z.mean((2, 3), keepdim=True)
        variance = (away**2).mean((1, 2, 3)) + LEAST_VARIANCE
        outside = (image - spec.high).relu() + (spec.low - image).relu()
        used = (image.amax((1, 2, 3)) - image.amin((1, 2, 3))) / (spec.high - spec.low)
        power = torch.fft.rfft2(away, norm="forward").abs() ** 2
        bands = torch.einsum("bcyx,fyx->bf", power, self.masks) / image.shape[1]
        simple = [
            mean,
            variance.log() / 2,
            used,
            outside.mean((1, 2, 3)) / spec.std,
            (away**3).mean((1, 2, 3)) / variance**1.5,
            ((away**4).mean((1, 2, 3)) / variance**2 + LEAST_VARIANCE).log(),
        ]
        found = [torch.stack(simple, dim=1), (bands + LEAST_POWER).log()]
        (core,) = self._core
        if core is not None:
            maps = core(image)
            spread = (maps.var((2, 3), correction=0) + LEAST_VARIANCE).sqrt()
            found += [maps.mean((2, 3)), spread]
        return torch.cat(found, dim=1)

    def forward(self, stimulus: Tensor) -> Tensor:
        """Distance (batch,) of each stimulus, in grey levels, from the training images.

        In standard deviations of the training images; differentiable.
        """
        away = ((self.features(stimulus) - self.center) / self.scale) @ self.whitening
        return ((away**2).sum(1) + 1e-12).sqrt()

    @property
    def threshold(self) -> float:
        """Distance beyond which a stimulus is flagged."""
        return float(self.held_out[self._rank - 1])

    @property
    def false_alarm(self) -> float:
        """Share of natural stimuli that is flagged: what was asked, or as low as can be told.

        With n stimuli held out, no share below 1 / (n + 1) can be.
        """
        n = len(self.held_out)
        return (n + 1 - self._rank) / (n + 1)

    @property
    def _rank(self) -> int:
        n = len(self.held_out)
        return min(max(math.ceil((1 - self.asked) * (n + 1)), 1), n)

    def quantile(self, stimulus: Tensor) -> Tensor:
        """Share (batch,) of held-out natural stimuli that are nearer than each stimulus."""
        distance = self(stimulus).detach().contiguous()
        return torch.searchsorted(self.held_out, distance) / len(self.held_out)

    def unfamiliar(self, stimulus: Tensor) -> Tensor:
        """Whether each stimulus (batch,) is farther from training than natural ones are."""
        return self(stimulus).detach() > self.threshold


@torch.no_grad()
def fit_familiarity(
    twin: Twin,
    images: np.ndarray | Tensor,
    held_out: np.ndarray | Tensor,
    *,
    core: bool = True,
    false_alarm: float = 0.001,
    batch_size: int = 64,
) -> Familiarity:
    """Learn what the training images of a twin are like.

    Parameters
    ----------
    twin : Twin
        Whose training images these are. A deep twin of images lends its core.
    images : array of shape (n_image, channel, y, x) or (n_video, channel, frame, y, x)
        Training images in grey levels.
    held_out : array of the same kind
        Natural images that were not trained on, e.g. those of validation; at least 999 for a
        false-alarm rate of 0.001.
    core : bool
        Use the core's features, where the twin has one.
    false_alarm : float
        Share of natural stimuli that may be flagged.
    batch_size : int
        Images at a time.

    Returns
    -------
    Familiarity

    Raises
    ------
    InputError
        If there are fewer than two training images or none held out, or their size is another.

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance
    matrices, J. Multivariate Analysis 88: 365-411.

    """
    if len(images) < 2 or len(held_out) < 1 or not 0 < false_alarm < 1:
        msg = (
            "Familiarity needs at least 2 training images, 1 held out and a `false_alarm` "
            f"between 0 and 1, but got {len(images)}, {len(held_out)} and {false_alarm}."
        )
        raise InputError(msg)
    lent = _core_of(twin) if core else None
    empty = Familiarity(twin.spec, 0, 0, lent)

    def features(stimuli: np.ndarray | Tensor) -> Tensor:
        twin.spec.check(stimuli)
        return torch.cat(
            [
                empty.features(torch.as_tensor(stimuli[start : start + batch_size]).float())
                for start in range(0, len(stimuli), batch_size)
            ]
        ).double()

    training = features(images)
    center = training.mean(0)
    scale = training.std(0).clamp_min(LEAST_SCALE)
    covariance = _shrunk_covariance((training - center) / scale)
    root = torch.linalg.cholesky(torch.linalg.inv(covariance))
    found = Familiarity(twin.spec, len(center), len(held_out), lent, false_alarm=false_alarm)
    found.center.copy_(center)
    found.scale.copy_(scale)
    found.whitening.copy_(root)
    away = ((features(held_out).float() - found.center) / found.scale) @ found.whitening
    found.held_out.copy_(((away**2).sum(1) + 1e-12).sqrt().sort().values)
    return found.eval()


def save_familiarity(found: Familiarity, folder: str | PathLike[str]) -> Path:
    """Write it beside the twin it was fitted to, in the twin's folder."""
    state = {name: value.contiguous() for name, value in found.state_dict().items()}
    state["asked"] = torch.tensor(found.asked)
    path = Path(folder) / "familiarity.safetensors"
    with write_whole(path) as partial:
        partial.write_bytes(save(state))
    return path


def load_familiarity(folder: str | PathLike[str], twin: Twin) -> Familiarity:
    """Read what is familiar to a twin from the twin's folder.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another twin.

    """
    path = Path(folder) / "familiarity.safetensors"
    try:
        state = load_file(path)
        asked = float(state.pop("asked"))
        return Familiarity.from_state(state, twin, false_alarm=asked)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        msg = f"{path}: cannot be read ({str(error).splitlines()[0]}); fit the twin again."
        raise InputError(msg) from error


def _shrunk_covariance(values: Tensor) -> Tensor:
    """Covariance of centred values (n, p), drawn towards a multiple of the identity.

    By as much as is expected to be best (Ledoit and Wolf 2004), so that it can be inverted
    however few the images.
    """
    n, p = values.shape
    covariance = values.T @ values / n
    target = torch.eye(p, dtype=values.dtype) * covariance.trace() / p
    distance = ((covariance - target) ** 2).sum()
    noise = ((values**2).sum(1) ** 2).mean() - (covariance**2).sum()
    shrinkage = float((noise / n / distance).clamp(0, 1)) if distance > 0 else 1.0
    # with no noise at all a feature that never varies would have no variance
    shrinkage = max(shrinkage, 1e-4)
    return (1 - shrinkage) * covariance + shrinkage * target


def _spectral_masks(height: int, width: int) -> Tensor:
    """Weights (band, y, x) of `rfft2` power: octaves of frequency, by orientation if they can be.

    An octave of fewer than four frequencies an orientation is not parted.
    """
    y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    frequency = np.hypot(y, x)
    # every frequency but those of the first and the Nyquist column stands for two
    twice = np.full(y.shape, 2.0)
    twice[:, 0] = 1.0
    if width % 2 == 0:
        twice[:, -1] = 1.0
    part = np.round(np.arctan2(y, x) / np.pi * N_ORIENTATION).astype(int) % N_ORIENTATION
    masks = []
    for low, high in OCTAVES:
        octave = (low < frequency) & (frequency <= high)
        parts = [octave & (part == k) for k in range(N_ORIENTATION)]
        if min(mask.sum() for mask in parts) < 4:
            parts = [octave]
        masks += [mask * twice for mask in parts if mask.any()]
    return torch.as_tensor(np.stack(masks), dtype=torch.float32)


def _n_statistic(spec: StimulusSpec) -> int:
    """Features that do not depend on a core."""
    return 6 + len(_spectral_masks(spec.height, spec.width)) + spec.is_video


def _core_of(twin: Twin) -> Callable[[Tensor], Tensor] | None:
    """Maps of a deep twin of images (of an ensemble, of its first), in typical behaviour."""
    if isinstance(twin, EnsembleTwin):
        return _core_of(next(member for member in twin.members if isinstance(member, Twin)))
    if not isinstance(twin, DeepTwin) or twin.spec.is_video:
        return None
    frozen = twin.for_inference()
    n_behavior = len(frozen.context.get("behavior", []))

    def maps(image: Tensor) -> Tensor:
        z = (image - frozen.spec.mean) / frozen.spec.std
        if frozen.architecture.behavior == "channels":
            z = torch.cat([z, z.new_zeros(len(z), n_behavior, *z.shape[2:])], dim=1)
        if frozen.core.takes_behavior:
            told = z.new_zeros(len(z), n_behavior)
            return frozen.core(z, told if frozen.architecture.behavior == "core" else None)
        return frozen.core(z)

    return maps
