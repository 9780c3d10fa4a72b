"""Optimal stimuli of one neuron: what can be asked for, made, judged, and written as code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from twinlab import insilico
from twinlab.explorers.findings import Findings
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["CONSTRAINTS", "OBJECTIVES", "SETTINGS", "Made", "judge", "make", "write"]

OBJECTIVES = {
    "most exciting": "mei",
    "least exciting": "lei",
    "suppress beside the most exciting": "suppressor",
    "diverse and exciting": "diverse",
}
CONSTRAINTS = ["norm", "RMS contrast", "natural spectrum"]
COMMON = ["norm", "n_start", "n_step", "seed"]
# What an experiment can be told, by the names of the settings of the page.
SETTINGS = {
    "mei": [*COMMON, "constraint", "contrast", "blur_sigma", "fourier_exponent", "jitter"],
    "lei": [*COMMON, "constraint", "contrast", "blur_sigma"],
    "suppressor": [*COMMON, "blur_sigma"],
    "diverse": COMMON,
}
BRANCHES = ("mei", "lei")  # that can start from an image
TAKEN = "meistudio-stimulus.nc"  # file that the page saves what is shown as


@dataclass(frozen=True, eq=False)  # each is itself, not its numbers
class Made:
    """A stimulus that was made: what was asked for, and what came of it.

    Attributes
    ----------
    experiment : str
        "mei", "lei", "suppressor" or "diverse".
    neuron : int
    settings : dict
        Those of `SETTINGS`.
    result : xarray.Dataset
        Of `insilico`, with one neuron.
    start : ndarray of shape (channel, y, x), optional
        In grey levels: the image it was branched from.
    origin : Made, optional
        What that image was, where it was finished.

    """

    experiment: str
    neuron: int
    settings: dict[str, Any]
    result: xr.Dataset
    start: np.ndarray | None = None
    origin: Made | None = None

    @property
    def picture(self) -> xr.DataArray:
        """What was made (channel, y, x); of a set its first."""
        if self.experiment == "diverse":
            return self.result.image[0, 0]
        return self.result[self.experiment][0]

    @property
    def parts(self) -> tuple[xr.DataArray, list[str]]:
        """Images (start, channel, y, x) that the starts ended in, or of a set, and captions."""
        if self.experiment == "diverse":
            images, rates = self.result.image[0], self.result.activation[0].values
        elif f"start_{self.experiment}" in self.result:
            images = self.result[f"start_{self.experiment}"][0]
            rates = self.result.start_activation[0].values
        else:
            names = ("base", "suppressor", "combined")
            images = xr.concat([self.result[name][0] for name in names], "start")
            return images, list(names)
        return images, [f"{rate:.3g}" for rate in rates]

    def as_result(self) -> xr.Dataset:
        """The result, with the image it was branched from as `start_image` (channel, y, x)."""
        if self.start is None:
            return self.result
        attrs = {"long_name": "image it was branched from", "units": "grey level"}
        return self.result.assign(start_image=(("channel", "y", "x"), self.start, attrs))

    @property
    def caption(self) -> str:
        """What it is in a few words, with the response it drives, and on the other twin."""
        says = f"{self.experiment.upper() if len(self.experiment) == 3 else self.experiment} "
        says += f"{float(self.result.activation[0].max()):.3g}"
        if "activation_other" in self.result:
            says += f" | {float(self.result.activation_other[0]):.3g}"
        return says


def make(
    findings: Findings,
    experiment: str,
    neuron: int,
    settings: dict[str, Any],
    start: np.ndarray | None = None,
    origin: Made | None = None,
    job: Job | None = None,
) -> Made:
    """Make an optimal stimulus; arguments as of `Made`.

    Raises
    ------
    InputError
        If it cannot be made so.

    """
    asked = _as_they_are(experiment, settings)
    twin, spec = findings.twin, findings.twin.spec
    if "constraint" in SETTINGS[experiment] and settings["constraint"] != "norm":
        if settings["constraint"] == "RMS contrast":
            shape = insilico.fix_contrast(settings["contrast"], spec)
        else:
            natural = findings.natural_images("train")
            shape = insilico.fix_spectrum(insilico.mean_amplitude(natural, spec, settings["norm"]))
        asked["constraints"] = [shape, insilico.keep_range(spec)]
    if start is not None:
        if experiment not in BRANCHES:
            msg = (
                f"A {experiment} cannot start from an image; branch a most or a least exciting "
                "one, or run it anew."
            )
            raise InputError(msg)
        asked |= {"start": ((start - spec.mean) / spec.std)[None], "n_start": 1}
    if experiment in BRANCHES:
        asked["keep_starts"] = True
    made = getattr(insilico, f"synthesize_{experiment}")(twin, [neuron], **asked, job=job)
    return Made(experiment, neuron, settings, made, start, origin)


def judge(findings: Findings, made: Made, job: Job | None = None) -> Made:
    """Show what was made to the other twin, beside norm-matched controls.

    Raises
    ------
    InputError
        If there is no other twin, or no natural images to compare with, or it is none of those
        that can be judged.

    """
    if findings.other is None:
        msg = "There is no second twin; give one of the same neurons, trained on its own."
        raise InputError(msg)
    if made.experiment not in BRANCHES:
        msg = f"A {made.experiment} cannot be judged, only a most or a least exciting image."
        raise InputError(msg)
    judged = insilico.cross_examine(
        made.result,
        findings.twin,
        findings.other,
        findings.natural_images("validation", "test"),
        job=job,
    )
    return replace(made, result=judged)


def write(made: Made, name: str = "made") -> list[str]:
    """Python lines that make it again from ``twin``, ``lab`` and the recording behind it.

    The image that a branch started from is made first, where it was finished; one on the way is
    not in the code.
    """
    settings = made.settings
    asked = {key: repr(value) for key, value in _as_they_are(made.experiment, settings).items()}
    lines = ["spec = lab.findings.twin.spec"]
    if "constraint" in SETTINGS[made.experiment] and settings["constraint"] != "norm":
        shape = f"insilico.fix_contrast({settings['contrast']!r}, spec)"
        if settings["constraint"] == "natural spectrum":
            lines.append('natural = lab.findings.natural_images("train")')
            amplitude = f"insilico.mean_amplitude(natural, spec, {settings['norm']!r})"
            shape = f"insilico.fix_spectrum({amplitude})"
        asked["constraints"] = f"[{shape}, insilico.keep_range(spec)]"
    if made.start is not None:
        if made.origin is None:
            lines += [
                "# It began with an image on the way: `start_image` of the data taken away.",
                "import xarray as xr",
                f'start_image = xr.load_dataset("{TAKEN}").start_image.values',
                "start = (start_image[None] - spec.mean) / spec.std",
            ]
        else:
            lines = [*write(made.origin, "origin"), *lines[1:]]
            variable = (
                "image[:, 0]" if made.origin.experiment == "diverse" else made.origin.experiment
            )
            lines.append(f"start = (origin.{variable}.values - spec.mean) / spec.std")
        asked |= {"start": "start", "n_start": "1"}
    given = ", ".join(f"{key}={value}" for key, value in asked.items())
    call = f"insilico.synthesize_{made.experiment}(lab.findings.twin, [{made.neuron}], {given})"
    return [*lines, f"{name} = {call}"]


def _as_they_are(experiment: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that an experiment is given as they are, by its own names for them."""
    names = {name: name for name in SETTINGS[experiment] if name not in ("constraint", "contrast")}
    if experiment == "diverse":
        names["n_start"] = "n_image"
    return {own: settings[name] for name, own in names.items()}
