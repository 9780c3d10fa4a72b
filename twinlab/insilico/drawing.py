"""Gratings, patches, plaids and annuli for experiments: many at once, on the twin's device.

The formulas are those of `stimuli.make_gratings`; here every image has parameters of its own,
so that image i can be centred on neuron i.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["DEFAULTS", "check_shown", "draw_gratings", "highest_contrast"]

# A full-field grating alone; what a stimulus does not say is this.
DEFAULTS = {
    "orientation": 0.0,
    "spatial_frequency": 0.1,
    "temporal_frequency": 0.0,
    "phase": 0.0,
    "contrast": 0.8,
    "x": 0.0,
    "y": 0.0,
    "radius": np.inf,
    "mask_orientation": 90.0,
    "mask_contrast": 0.0,
    "mask_phase": 0.0,
    "surround_orientation": 0.0,
    "surround_contrast": 0.0,
    "surround_radius": np.inf,
}


def draw_gratings(
    spec: StimulusSpec,
    parameters: Mapping[str, np.ndarray],
    *,
    n_frame: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""Gratings in apertures, with a mask and a surround, one image for each set of parameters.

    About the centre (x, y), with distance :math:`d` from it, aperture :math:`A_r` (1 within
    the radius, falling as half a cosine over the pixel at the edge), and :math:`w` a cosine of the
    grating's frequency and the given orientation and phase,

    .. math::
        L = m + m \left[ A_r (c\, w + c_m w_m) + (A_R - A_r)\, c_s w_s \right]

    Parameters
    ----------
    spec : StimulusSpec
        Size, mean grey level and, of videos, frame rate.
    parameters : mapping of str to ndarray of shape (n,)
        Any of `DEFAULTS`: `orientation` of the bars (deg), `spatial_frequency` (cycles/px),
        `phase` (deg, at the centre), `contrast`, centre `x` and `y` (px), aperture `radius`
        (px, infinite for full field); `mask_orientation` (deg from that of the grating),
        `mask_contrast` and `mask_phase` of a second grating in the same aperture;
        `surround_orientation` (deg from that of the grating), `surround_contrast` and
        `surround_radius` of an annulus around it. `temporal_frequency` (Hz) of a video
        moves all of them to their orientation + 90 deg, as `make_drifting_gratings` does.
    n_frame : int
        Frames of each video.
    device : torch.device or str

    Returns
    -------
    Tensor of shape (n, channel, y, x), of a video (n, channel, frame, y, x)
        float32, grey levels.

    """
    n = max(len(np.atleast_1d(value)) for value in parameters.values())
    values = {
        name: torch.as_tensor(
            np.broadcast_to(np.asarray(parameters.get(name, default), float), (n,)).copy()
        )
        for name, default in DEFAULTS.items()
    }
    # Angles are taken along each side in double precision; only pixels are of the device.
    time = torch.arange(n_frame, dtype=torch.float64) / (spec.frame_rate or 1.0)
    moved = 2 * torch.pi * values["temporal_frequency"][:, None] * time
    dx = torch.arange(spec.width, dtype=torch.float64) - values["x"][:, None]
    dy = torch.arange(spec.height, dtype=torch.float64) - values["y"][:, None]

    def wave(turn: Tensor, phase: Tensor, contrast: Tensor) -> Tensor:
        """Carrier of every image and frame, (n, frame, y, x)."""
        turn = torch.deg2rad(turn)[:, None]
        per_pixel = 2 * torch.pi * values["spatial_frequency"][:, None]
        along_x = (per_pixel * torch.sin(turn) * dx)[:, None]
        start = torch.deg2rad(phase)[:, None] + moved
        along_y = (per_pixel * torch.cos(turn) * dy)[:, None] + start[:, :, None]
        # cos(a + b) as a product of two vectors a side: no cosine of every pixel is taken.
        rows = torch.stack([along_y.cos(), -along_y.sin()], -1) * contrast[:, None, None, None]
        columns = torch.stack([along_x.cos(), along_x.sin()], -2)
        return rows.float().to(device) @ columns.float().to(device)

    seen = wave(values["orientation"], values["phase"], values["contrast"])
    if (values["mask_contrast"] > 0).any():
        turned = values["orientation"] + values["mask_orientation"]
        seen = seen + wave(turned, values["mask_phase"], values["mask_contrast"])
    if torch.isfinite(values["radius"]).any():
        distance = torch.hypot(
            dx.float().to(device)[:, None, None, :], dy.float().to(device)[:, None, :, None]
        )
        inside = _aperture(distance, values["radius"])
        seen = seen * inside
        if (values["surround_contrast"] > 0).any():
            turned = values["orientation"] + values["surround_orientation"]
            around = _aperture(distance, values["surround_radius"]) - inside
            outer = wave(turned, values["phase"], values["surround_contrast"])
            seen = seen + outer * around.clamp(min=0)
    images = spec.mean + spec.mean * seen[:, None]
    images = images.expand(-1, spec.channel, -1, -1, -1)
    return images if spec.is_video else images[:, :, 0]


def _aperture(distance: Tensor, radius: Tensor) -> Tensor:
    """1 inside, 0 outside, half a cosine over the pixel at the edge; radius 0 is nothing."""
    radius = radius.float().to(distance.device)[:, None, None, None]
    inside = (radius + 0.5 - distance).clamp(0, 1)
    return torch.sin(torch.pi / 2 * inside).square() * (radius > 0)


def highest_contrast(spec: StimulusSpec) -> float:
    """Largest Michelson contrast about the mean that the range of grey levels allows."""
    return min(spec.high / spec.mean - 1, 1 - spec.low / spec.mean)


def check_shown(spec: StimulusSpec, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise `InputError` unless gratings with parameters in these ranges can be shown.

    Parameters
    ----------
    spec : StimulusSpec
    ranges : mapping of str to (float, float)
        Smallest and largest value of each of `DEFAULTS`.

    """
    diagonal = float(np.hypot(spec.height, spec.width))
    for name, (low, high) in ranges.items():
        if np.isnan(low) or np.isnan(high):
            msg = f"`{name}` must be a number, but got NaN; leave out what is not known."
            raise InputError(msg)
        if ("contrast" in name or "frequency" in name or "radius" in name) and low < 0:
            msg = f"`{name}` must be at least 0, but got {low:g}."
            raise InputError(msg)
        if "radius" in name and np.isfinite(high) and high > diagonal:
            msg = (
                f"`{name}` goes up to {high:g} px, more than the {diagonal:.4g} px across the "
                f"twin's input of {spec.height} x {spec.width}; choose a smaller one."
            )
            raise InputError(msg)
    most = max(ranges["contrast"][1] + ranges["mask_contrast"][1], ranges["surround_contrast"][1])
    allowed = highest_contrast(spec)
    if most > allowed + 1e-9:
        msg = (
            f"Contrasts (grating plus mask, or surround) of {most:g} about the mean of "
            f"{spec.mean:.4g} leave the range of grey levels, {spec.low:g} to {spec.high:g}; "
            f"together they can be {allowed:.3g} at most."
        )
        raise InputError(msg)
