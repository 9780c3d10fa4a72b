"""What a simulated cortex is made of: its settings, judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twinlab.schema import InputError
from twinlab.simulation.neurons import KINDS
from twinlab.simulation.noise import NOISES

__all__ = ["COMPOSITION", "check_settings", "count_kinds"]

COMPOSITION = {"simple": 0.4, "complex": 0.3, "normalized": 0.15, "surround": 0.15}
ORIENTATION_MAPS = ("salt_and_pepper", "mapped")
SMALLEST = 16  # pixels along a side that a receptive field needs


def check_settings(settings: dict[str, Any]) -> None:
    """Raise `InputError` naming every setting that cannot be used."""
    faults = []
    if settings["n_neuron"] < 1 or settings["channel"] < 1:
        faults.append(
            "`n_neuron` and `channel` must be at least 1, but got "
            f"{settings['n_neuron']} and {settings['channel']}"
        )
    if min(settings["height"], settings["width"]) < SMALLEST:
        faults.append(
            f"`height` and `width` must be at least {SMALLEST} pixels, but got "
            f"{settings['height']} and {settings['width']}"
        )
    shares = settings["composition"]
    if set(shares) - set(KINDS) or min(shares.values(), default=0) < 0 or not any(shares.values()):
        faults.append(
            f"`composition` must give shares of at least 0, some positive, of {list(KINDS)}, "
            f"but got {shares}"
        )
    for name, known in (("orientation_map", ORIENTATION_MAPS), ("noise", tuple(NOISES))):
        if settings[name] not in known:
            faults.append(f"`{name}` must be one of {list(known)}, but got {settings[name]!r}")
    if not 0.05 <= settings["reliability"] <= 0.9:
        faults.append(f"`reliability` must be 0.05 to 0.9, but got {settings['reliability']:g}")
    if settings["gaze_shift"] < 0:
        faults.append(f"`gaze_shift` must be at least 0, but got {settings['gaze_shift']:g}")
    if settings["seed"] < 0:
        faults.append(f"`seed` must be at least 0, but got {settings['seed']}")
    if faults:
        msg = "This cortex cannot be simulated: " + "; ".join(faults) + "."
        raise InputError(msg)


def count_kinds(composition: Mapping[str, float], n: int) -> dict[str, int]:
    """Numbers of each kind, which add up to `n` and are nearest to the shares."""
    share = np.array([composition.get(kind, 0.0) for kind in KINDS])
    exact = share / share.sum() * n
    count = np.floor(exact).astype(int)
    count[np.argsort(count - exact, kind="stable")[: n - count.sum()]] += 1
    return dict(zip(KINDS, count.tolist(), strict=True))
