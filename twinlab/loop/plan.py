"""The plan of an inception loop: all that is decided before it starts."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any

from twinlab.loop.formats import FORMATS

__all__ = [
    "CONTROLS",
    "MATCHES",
    "CRITERIA",
    "DEAD_LEAVES",
    "OBJECTIVES",
    "Fit",
    "Later",
    "Plan",
    "Presentation",
    "Rig",
    "Rounds",
    "Stimuli",
    "Units",
]

OBJECTIVES = ("mei", "lei", "diverse", "discriminating", "suppressor")
CONTROLS = ("natural", "gabor", "noise", "other")
BALANCES = ("", "area", "session")
MATCHES = ("name", "table", "position", "fingerprint")
CRITERIA = ("disagreement", "information", "random")
DEAD_LEAVES = "dead leaves"  # the pool of a lab that has no images of its own
VERIFIERS = ("squeeze_excitation", "rotation_equivariant")


def _between(low: float, high: float, default: Any = MISSING) -> Any:
    metadata = {"low": low, "high": high}
    return (
        field(metadata=metadata)
        if default is MISSING
        else field(default=default, metadata=metadata)
    )


def _among(known: tuple[str, ...], default: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"known": known})


@dataclass(frozen=True)
class Units:
    """Which neurons stimuli are made for.

    Attributes
    ----------
    number : int
        How many; the most reliable ones that fit.
    min_reliability : float
        Least oracle correlation over repeated images.
    areas : tuple of str
        In which they lie; any where empty.
    balance : str
        Of `BALANCES`: as many of each area, or session, as far as each has enough.
    margin_deg : float
        Least distance of the receptive field's centre from the border of the image, in degrees
        of visual angle; 0 for any.

    """

    number: int = _between(1, 100_000, 100)
    min_reliability: float = _between(-1, 1, 0.1)
    areas: tuple[str, ...] = ()
    balance: str = field(default="", metadata={"known": BALANCES})
    margin_deg: float = _between(0, 180, 0.0)


@dataclass(frozen=True)
class Fit:
    """The twins: an ensemble that makes stimuli, and another architecture that judges them.

    Attributes
    ----------
    members : int
        Of the ensemble.
    max_epochs, layers, hidden : int
        As of `fitting.FitSettings` and `twins.Architecture`.
    verifier : str
        Core of the judge, of `VERIFIERS`; that of the ensemble is "stacked". Of recordings of
        videos they are "conv_gru" and "factorized_3d".

    """

    members: int = _between(1, 100, 4)
    max_epochs: int = _between(1, 10_000, 20)
    layers: int = _between(1, 20, 3)
    hidden: int = _between(1, 4096, 32)
    verifier: str = field(default=VERIFIERS[0], metadata={"known": VERIFIERS})


@dataclass(frozen=True)
class Rounds:
    """Sessions after the first fit, each of which shows images that the twin chose.

    The `shared` images of the presentation are shown with them. The simulated cortex answers
    rounds on its first day.

    Attributes
    ----------
    number : int
        How many rounds of choosing, showing and fitting again.
    images : int
        Shown in each.
    n_repeat : int
        Times each is shown. Different images teach a twin more than repeats do.
    by : str
        How they are chosen, of `CRITERIA`; see `choose_images`.
    pool : str
        Folder of images, beside the plan, of which they are chosen: PNG, JPEG or NPY, see
        `stimuli.load_images`. Or "dead leaves": generated images with natural statistics.
    candidates : int
        How many dead leaves to generate.

    """

    number: int = _between(0, 100, 0)
    images: int = _between(1, 100_000, 250)
    n_repeat: int = _between(1, 1000, 1)
    by: str = field(default="information", metadata={"known": CRITERIA})
    pool: str = DEAD_LEAVES
    candidates: int = _between(1, 1_000_000, 5000)


@dataclass(frozen=True)
class Stimuli:
    """What is made for each neuron.

    Attributes
    ----------
    objectives : tuple of str
        Of `OBJECTIVES`: the most and the least exciting input; `n_diverse` images as unlike as
        can be that excite nearly as much; one that excites this neuron and none of the others
        chosen; and a suppressor laid over a weak MEI, shown with it and without. Diverse and
        discriminating ones are compared with the MEI, which must be made too.
    controls : tuple of str
        Of `CONTROLS`: the best natural image, the best Gabor, noise with the spectrum of the
        stimulus itself; and, which needs no stimulus more, what was made for the neuron whose
        receptive field lies closest. The first three have the norm of the MEI or LEI, are seen
        through its mask, and are made for these two alone: what is compared with the MEI is
        compared with its controls.
    norm : float
        L2 norm of each, in standard deviations of the training pixels; of a suppressor twice that
        of the MEI that it is laid over.
    n_diverse : int
        Diverse images of each neuron.

    """

    objectives: tuple[str, ...] = _among(OBJECTIVES, ("mei",))
    controls: tuple[str, ...] = _among(CONTROLS, ("natural", "gabor"))
    norm: float = _between(0.01, 1e4, 7.0)
    n_diverse: int = _between(2, 100, 4)

    def kinds(self, objective: str) -> tuple[str, ...]:
        """Kinds of stimuli made for each neuron: the objective's own first, then controls."""
        if objective == "diverse":
            return tuple(f"diverse-{i}" for i in range(1, self.n_diverse + 1))
        if objective == "discriminating":
            return (objective,)
        if objective == "suppressor":
            return objective, f"base-{objective}"
        shown = (name for name in self.controls if name != "other")
        return objective, *(name_control(name, objective) for name in shown)


def name_control(control: str, objective: str) -> str:
    """Kind of a control: those of MEIs have their plain names, others "natural-lei"."""
    return control if objective == "mei" else f"{control}-{objective}"


@dataclass(frozen=True)
class Presentation:
    """How stimuli are shown, and for how long in all.

    Attributes
    ----------
    n_repeat : int
        Times each is shown, once in each block.
    n_blank : int
        Blank trials in each block.
    shared : int
        Images of the recording, of those it repeats for testing, that are shown again in between
        to find the neurons again by.
    on_s, off_s : float
        Seconds that a stimulus, and the grey screen after it, is shown. Of recordings of videos
        it is how long the videos are that are made.
    minutes : float
        Budget: longest the session may take.

    """

    n_repeat: int = _between(2, 1000, 10)
    n_blank: int = _between(0, 10_000, 5)
    shared: int = _between(0, 10_000, 0)
    on_s: float = _between(0.01, 600, 0.5)
    off_s: float = _between(0, 600, 0.5)
    minutes: float = _between(0.01, 1440, 120.0)


@dataclass(frozen=True)
class Rig:
    """The screen on which stimuli are shown.

    Attributes
    ----------
    width_px, height_px : int
        Of the screen.
    degrees_per_pixel : float
        Visual angle of a pixel of the screen.
    image_degrees_per_pixel : float
        Visual angle of a pixel of the images that the twin sees.
    center_x_deg, center_y_deg : float
        Middle of the image, rightward and downward from the middle of the screen.
    gamma : float
        Exponent of luminance as a function of the level sent to the screen; 1 where the rig
        corrects it itself.
    gamma_table : str
        CSV file, beside the plan, of levels (0 to 255, or the largest of `bits`) and the
        luminances measured, in any unit; in place of `gamma`.
    frame_rate_hz : float
    bits : int
        Of a level sent to the screen.
    formats : tuple of str
        Of `FORMATS`, in which the stimuli are written: PNG files; one array of levels
        (stimulus, channel[, frame], y, x) in `stimuli.npy`, or the same in `stimuli.h5`; or
        lossless MP4 files at `frame_rate_hz`, each as long as its stimulus is shown.

    """

    width_px: int = _between(1, 100_000)
    height_px: int = _between(1, 100_000)
    degrees_per_pixel: float = _between(1e-4, 90)
    image_degrees_per_pixel: float = _between(1e-4, 90)
    center_x_deg: float = _between(-180, 180, 0.0)
    center_y_deg: float = _between(-180, 180, 0.0)
    gamma: float = _between(0.1, 10, 1.0)
    gamma_table: str = ""
    frame_rate_hz: float = _between(1, 1000, 60.0)
    bits: int = _between(8, 16, 8)
    formats: tuple[str, ...] = _among(FORMATS, ("png",))


@dataclass(frozen=True)
class Later:
    """The day on which a simulated cortex answers, and what has changed until then.

    Attributes
    ----------
    day : int
        Days after the recording; 0 for the day itself. Later the units have new names and come
        in another order, so that they have to be matched.
    gain, shift, loss : float
        Of a day, as of `SimulatedCortex.on_day`.
    jitter_um : float
        Standard deviation along each axis of the error of their positions.

    """

    day: int = _between(0, 1000, 0)
    gain: float = _between(0, 10, 0.1)
    shift: float = _between(0, 100, 0.5)
    loss: float = _between(0, 0.99, 0.05)
    jitter_um: float = _between(0, 100, 2.0)


@dataclass(frozen=True)
class Plan:
    """All that is decided before a loop starts.

    Attributes
    ----------
    recording : str
        A manifest name, a file or folder, a store, or "simulated".
    rig : Rig
    fit : Fit
    units : Units
    stimuli : Stimuli
    presentation : Presentation
    match : str
        How the units that answer are matched to the recording's neurons, of `MATCHES`.
    later : Later
        Of simulated recordings only.
    seed : int
        Of all that is random.

    """

    recording: str
    rig: Rig
    fit: Fit = Fit()
    rounds: Rounds = Rounds()
    units: Units = Units()
    stimuli: Stimuli = Stimuli()
    presentation: Presentation = Presentation()
    match: str = field(default="name", metadata={"known": MATCHES})
    later: Later = Later()
    seed: int = _between(0, 2**31 - 1, 0)

    @property
    def n_stimulus(self) -> int:
        """Different stimuli, blanks left out."""
        kinds = [self.stimuli.kinds(name) for name in self.stimuli.objectives]
        return self.units.number * sum(map(len, kinds)) + self.presentation.shared

    @property
    def round_minutes(self) -> float:
        """How long the session of a round takes."""
        shown = self.presentation
        n_trial = self.rounds.n_repeat * (self.rounds.images + shown.shared)
        return n_trial * (shown.on_s + shown.off_s) / 60

    @property
    def minutes(self) -> float:
        """How long the session takes."""
        shown = self.presentation
        n_trial = shown.n_repeat * (self.n_stimulus + shown.n_blank)
        return n_trial * (shown.on_s + shown.off_s) / 60
