"""What a neuron responds to, in words: of each result, or that it is not known yet."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.explorers.trust import say_number

__all__ = ["say_diverse", "say_field", "say_lei", "say_mei", "say_tuning"]


def say_field(field: xr.Dataset | None) -> str:
    """Say where the receptive field is."""
    if field is None:
        return "measuring …"
    if "sensitivity" not in field:
        return ""
    if not np.isfinite(float(field.center_x)):
        return "centre <b>undefined</b>: it is sensitive nowhere"
    return f"centre ({float(field.center_x):.1f}, {float(field.center_y):.1f}) px"


def say_mei(mei: xr.Dataset | None) -> str:
    """Say what the most exciting input drives, here and on the other twin."""
    if mei is None:
        return "not synthesised yet"
    if not np.isfinite(float(mei.activation)):
        return "no image excites this neuron"
    said = f"response <b>{float(mei.activation):.3g}</b>"
    if "activation_other" not in mei:
        return said + ", on the twin that made it; no other twin to judge it"
    return (
        f"{said}; best Gabor {float(mei.activation_gabor):.3g}, natural image "
        f"{float(mei.activation_natural):.3g} of the same norm.<br>On the other twin "
        f"{float(mei.activation_other):.3g}; {float(mei.activation_gabor_other):.3g}; "
        f"{float(mei.activation_natural_other):.3g}."
    )


def say_lei(lei: xr.Dataset | None) -> str:
    """Say how little the least exciting input drives, and whether it is the only one."""
    if lei is None:
        return "not synthesised yet"
    unique = "one image" if int(lei.unique) else "not unique: many images do alike"
    return (
        f"response <b>{say_number(lei.activation, '.3g')}</b>, to grey "
        f"{float(lei.grey_activation):.3g}; {unique}"
    )


def say_diverse(diverse: xr.Dataset | None) -> str:
    """Say how different the diverse exciting inputs are."""
    if diverse is None:
        return "not synthesised yet"
    if not int(diverse.valid):
        return "no image excites this neuron"
    return (
        f"diversity <b>{float(diverse.diversity):.2f}</b> (0: one image, 1: unrelated); "
        f"{int(diverse.reached.sum())} of {diverse.sizes['image']} excite as asked"
    )


def say_tuning(tuning: xr.Dataset | None) -> str:
    """Say what bars it prefers, and how much."""
    if tuning is None:
        return "measuring …"
    if not np.isfinite(float(tuning.preferred_orientation)):
        return "preference <b>undefined</b>: no grating evokes a response"
    return (
        f"prefers <b>{float(tuning.preferred_orientation):.0f}°</b> at "
        f"{float(tuning.preferred_spatial_frequency):.2g} cycles/px; "
        f"OSI {say_number(tuning.osi, '.2f')}, F1/F0 {say_number(tuning.f1_f0, '.2f')}"
    )
