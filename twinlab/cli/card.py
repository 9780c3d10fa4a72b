"""The card of a recording: one HTML file that says what it is, how good, and what to mind."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import __version__, plots, recordings
from twinlab.cli.pages import figures, flat, number, pixels, section, write_page
from twinlab.cli.sources import open_source, parse_source
from twinlab.cli.summary import summarise_recording
from twinlab.jobs import Job
from twinlab.recordings import Finding, Manifest
from twinlab.recordings.manifests import is_unverified
from twinlab.schema import SPLITS, stimulus_kind

__all__ = ["RELIABLE", "make_card", "recording_facts", "write_card"]

RELIABLE = 0.15  # explainable variance from which the Sensorium competition scores a neuron
SHORT = {
    "explainable_variance": "explainable variance",
    "oracle_correlation": "oracle correlation",
    "cc_max": "CC max",
}
OF_NEURONS = {
    "neuron_mean": "mean",
    "neuron_std": "standard deviation",
    "neuron_highest": "largest response",
    "neuron_zero": "share of zeros",
}
N_STIMULI = 12
N_FRAMES = 4  # shown of a video


def make_card(source: str, path: Path, *, job: Job | None = None) -> Path:
    """Open a recording, go through it, and write its card.

    Parameters
    ----------
    source : str
        A path, the name of a public recording (either with `:SESSION`), `simulated` or
        `simulated-video`.
    path : Path
        The page to write.
    job : Job, optional

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the recording cannot be opened.

    """
    job = job or Job()
    recording = open_source(source, job=job.part(0, 0.4))
    summary = summarise_recording(recording, job.part(0.4, 0.7))
    findings = recordings.check_recording(recording, survey=summary, job=job.part(0.7, 0.9))
    job.report(0.9, "drawing")
    return write_card(
        path, recording, summary, findings, _manifest_of(recording, parse_source(source)[0])
    )


def write_card(
    path: Path,
    recording: xr.Dataset,
    summary: xr.Dataset,
    findings: Sequence[Finding],
    manifest: Manifest | None = None,
) -> Path:
    """Write the card whole, and return where it is.

    Parameters
    ----------
    path : Path
    recording : xarray.Dataset
    summary : xarray.Dataset
        From `summarise_recording`.
    findings : sequence of Finding
        From `recordings.check_recording`.
    manifest : Manifest, optional
        Of a public recording.

    Returns
    -------
    Path

    """
    kind = stimulus_kind(recording)
    identity = str(recording.attrs.get("recording_id", "")) or "recording"
    words = f"fingerprint {recording.attrs.get('fingerprint', 'unknown')}, twinlab {__version__}"
    return write_page(
        path,
        manifest.title if manifest else identity,
        f"{identity}, {words}" if manifest else words,
        _tiles(recording, summary),
        _facts(recording, manifest),
        _found(findings),
        _reliability(summary, kind),
        _stimuli(recording, summary, kind),
        _responses(recording, summary),
        _animal(summary),
        _places(recording, summary),
        _terms(recording, manifest),
    )


def recording_facts(recording: xr.Dataset) -> dict[str, str]:
    """What is in a recording, in words, by what it is about."""
    sizes, kind = recording.sizes, stimulus_kind(recording)
    axes = ("channel", "frame", "y", "x") if kind == "video" else ("channel", "y", "x")
    shape = " x ".join(str(sizes[name]) for name in axes)
    split = recording.split.values
    trials = {name: int((split == name).sum()) for name in SPLITS if (split == name).any()}
    context = recording.behavior_channel.values.tolist() if "behavior" in recording else []
    context += ["pupil position"] * ("pupil_center" in recording)
    facts = {
        "sessions": ", ".join(dict.fromkeys(recording.session.values.astype(str).tolist())),
        "neurons": f"{sizes['neuron']}",
        f"{kind}s": f"{sizes[kind]} of {shape} ({', '.join(axes)}), {recording.stimulus.dtype}, "
        f"{recording.stimulus.attrs.get('units', 'units unknown')}",
        "trials": ", ".join(f"{count} {name}" for name, count in trials.items()),
        "responses": str(recording.response.attrs.get("units", "") or "units unknown"),
        "behaviour": ", ".join(context).replace("_", " ") or "none",
    }
    for name in ("area", "layer"):
        if name in recording.coords:
            facts[name] = ", ".join(sorted(set(recording[name].values.astype(str).tolist())))
    if kind == "video":
        facts["frame rate"] = f"{float(recording.attrs['frame_rate']):g} Hz"
    for key in ("species", "withheld"):
        if recording.attrs.get(key):
            facts[key] = str(recording.attrs[key])
    return facts


def _manifest_of(recording: xr.Dataset, source: str) -> Manifest | None:
    """Manifest of the public recording that a source names or a session belongs to."""
    sessions = set(recording.session.values.astype(str).tolist())
    for name in recordings.list_recordings():
        manifest = recordings.describe_recording(name)
        if source == name or sessions & {known.name for known in manifest.sessions}:
            return manifest
    return None


def _tiles(recording: xr.Dataset, summary: xr.Dataset) -> str:
    kind = stimulus_kind(recording)
    reliable = int((summary.explainable_variance.values >= RELIABLE).sum())
    repeated = bool(int(summary.n_defined_explainable_variance))
    tiles = [
        (f"{recording.sizes['neuron']:,}", "neurons"),
        (f"{recording.sizes[kind]:,}", f"{kind}s"),
        (f"{recording.sizes['trial']:,}", "trials"),
        (_percent(float(summary.explainable_share)), "of the variance explainable"),
        (f"{reliable:,}" if repeated else "unknown", f"neurons above {RELIABLE:g}"),
    ]
    inside = "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
    return f'<div class="tiles">{inside}</div>'


def _facts(recording: xr.Dataset, manifest: Manifest | None) -> str:
    facts = recording_facts(recording)
    if manifest:
        facts |= {"shown": manifest.stimuli, "layout": manifest.layout}
    return section("What it is", "", _pairs(facts))


def _found(findings: Sequence[Finding]) -> str:
    title = "What to mind"
    if not findings:
        words = (
            "The checks found nothing: no leaks between splits, no shifted, missing or "
            "duplicated responses, no suspicious units or ranges."
        )
        return section(title, words)
    rows = "".join(
        f'<tr><td class="{found.severity}">{found.severity}</td>'
        + "".join(f"<td>{escape(words)}</td>" for words in (found.where, found.what, found.advice))
        + "</tr>"
        for found in findings
    )
    head = "".join(f"<th>{name}</th>" for name in ("how bad", "where", "what", "what to do"))
    return section(
        title, "What the checks found.", f'<table class="words"><tr>{head}</tr>{rows}</table>'
    )


def _reliability(summary: xr.Dataset, kind: str) -> str:
    title = "How much can be explained at all"
    n_defined = int(summary.n_defined_explainable_variance)
    if not n_defined:
        return section(title, "", _none(
            f"No {kind} was repeated with its responses given, so nothing tells signal from "
            "noise: there is no ceiling to hold a score against."))  # fmt: skip
    share = float(summary.explainable_share)
    above = int((summary.explainable_variance.values >= RELIABLE).sum())
    words = (
        f"From repeats alone. The {kind} accounts for {_percent(share)} of the variance of single "
        f"trials, all neurons together; no model of the {kind} can explain more. The rest is "
        f"noise and what the animal did. {above:,} of {n_defined:,} neurons have an explainable "
        f"variance of at least {RELIABLE:g}."
    )
    panels = [
        plots.plot_histogram(
            summary[name].assign_attrs(long_name=label),
            mark=float(summary[f"mean_{name}"]),
            count="neurons",
            title=f"mean {number(float(summary[f'mean_{name}']))}",
        )
        for name, label in SHORT.items()
    ]
    definitions = "".join(
        f"<p class='quiet'><b>{escape(str(summary[name].attrs['long_name']))}</b>: "
        f"{escape(str(summary[name].attrs['definition']))}</p>"
        for name in SHORT
    )
    return section(title, words, figures(*panels, plots.plot_repeats(summary)), definitions)


def _stimuli(recording: xr.Dataset, summary: xr.Dataset, kind: str) -> str:
    units = str(recording.stimulus.attrs.get("units", ""))
    low = float(np.nanmin(summary.lowest.values, initial=np.inf))
    high = float(np.nanmax(summary.highest.values, initial=-np.inf))
    words = (
        f"{recording.sizes[kind]:,} {kind}s; values from {low:.4g} to {high:.4g} {units}, mean "
        f"{float(summary.brightness.mean()):.4g}, standard deviation of the pixels of one "
        f"{float(summary.contrast.mean()):.4g} on average."
    )
    some = np.unique(np.linspace(0, recording.sizes[kind] - 1, N_STIMULI).round().astype(int))
    limits = (0.0, 255.0) if 1 < high <= 255 and low >= 0 else (low, high)
    if kind == "video":
        some = some[:: max(len(some) // 3, 1)][:3]
    names = _names(recording)
    tiles = []
    for number_ in some:
        for label, image in _views(recording.stimulus[int(number_)].values):
            caption = f"{names[number_]}{label}"
            shown = pixels(image, limits, caption)
            tiles.append(f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>")
    return section(
        "What was shown",
        words,
        f'<div class="gallery">{"".join(tiles)}</div><br>',
        figures(
            plots.plot_histogram(summary.brightness, count=f"{kind}s", title="brightness"),
            plots.plot_histogram(summary.contrast, count=f"{kind}s", title="contrast"),
        ),
    )


def _names(recording: xr.Dataset) -> dict[int, str]:
    """Id and split of each stimulus, by its number."""
    index, ids = recording.stimulus_index.values, recording.image_id.values
    shown, first = np.unique(index, return_index=True)
    return {n: "not shown" for n in range(recording.sizes[stimulus_kind(recording)])} | {
        int(n): f"{ids[trial]}, {recording.split.values[trial]}"
        for n, trial in zip(shown, first, strict=True)
    }


def _views(stimulus: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Pictures (y, x) or (y, x, 3) of one stimulus: its frames, its channels side by side."""
    if stimulus.ndim == 4:
        frames = np.linspace(0, stimulus.shape[1] - 1, N_FRAMES).round().astype(int)
        return [(f", frame {t + 1}", flat(stimulus[:, t])) for t in frames]
    return [("", flat(stimulus))]


def _responses(recording: xr.Dataset, summary: xr.Dataset) -> str:
    parts: list[str] = []
    if "raster" in summary:
        title = f"the {summary.sizes['raster_neuron']} most reliable neurons"
        if not int(summary.n_defined_oracle_correlation):
            title = f"the first {summary.sizes['raster_neuron']} neurons"
        parts.append(figures(plots.plot_raster(summary, title=title)))
    else:
        parts.append(_none("No responses are given."))
    if "session_response" in summary:
        parts.append(figures(plots.plot_session(summary, title="over the session")))
    else:
        parts.append(_none("The order of presentation is unknown, or too few trials were shown, "
                           "so nothing can be said about drift."))  # fmt: skip
    shown = [name for name in OF_NEURONS if summary[name].max() > summary[name].min()]
    parts.append(
        figures(
            *(
                plots.plot_histogram(
                    summary[name].assign_attrs(long_name=OF_NEURONS[name]), count="neurons"
                )
                for name in shown
            )
        )
    )
    units = str(recording.response.attrs.get("units", "")) or "unknown units"
    words = (
        f"Responses in {units}; in the raster, where one line is one neuron, in units of the "
        "neuron's standard deviation."
    )
    return section("What the neurons did", words, *parts)


def _animal(summary: xr.Dataset) -> str:
    drawn, parts = [], []
    for name, draw, words in (
        ("behavior", plots.plot_behavior, "Behaviour"),
        ("pupil_center", plots.plot_pupil, "The position of the pupil"),
    ):
        if name in summary and summary[name].notnull().any():
            drawn.append(draw(summary))
        else:
            parts.append(_none(f"{words} was not recorded, or is withheld."))
    return section("What the animal did", "One value a trial.", figures(*drawn), *parts)


def _places(recording: xr.Dataset, summary: xr.Dataset) -> str:
    title = "Where the cells are"
    if not {"x_um", "y_um"} <= set(recording.coords):
        return section(title, "", _none("The positions of the cells are not given."))
    repeated = int(summary.n_defined_explainable_variance)
    color = "explainable_variance" if repeated else "neuron_mean"
    panels = [plots.plot_map(summary, color, marker_size=5)]
    if "z_um" in recording.coords:
        panels.append(plots.plot_map(summary, color, y="z_um", marker_size=5))
    return section(title, "From above, and from the side.", figures(*panels))


def _terms(recording: xr.Dataset, manifest: Manifest | None) -> str:
    title = "Terms, citation and known traps"
    if manifest is None:
        facts = {
            "license": str(recording.attrs.get("license", "") or "unknown"),
            "source": str(recording.attrs.get("source", "") or "unknown"),
            "known traps": "none listed",
        }
        return section(title, "", _pairs(facts))
    entries = {
        "license": ("license.name", manifest.license.name),
        "it allows": ("license.allows", manifest.license.allows),
        "contact": ("license.contact", manifest.license.contact),
        "cite": ("citation", manifest.citation),
        "DOI": ("doi", manifest.doi),
        "DOI of the data": ("data_doi", manifest.data_doi),
        "homepage": ("homepage", manifest.homepage),
    } | {
        f"trap: {name.replace('_', ' ')}": (f"traps.{name}", trap)
        for name, trap in manifest.traps.items()
    }
    facts = {
        name: " ".join(words.split()) + " (unverified)" * is_unverified(manifest, field)
        for name, (field, words) in entries.items()
        if words
    }
    return section(title, "", _pairs(facts))


def _pairs(facts: dict[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in facts.items()
        if value
    )
    return f'<table class="words">{rows}</table>'


def _none(words: str) -> str:
    return f'<p class="none">{escape(words)}</p>'


def _percent(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "unknown"
