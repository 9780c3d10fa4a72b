"""The sheet that lies at the rig: what to show, how, and what to bring back."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

__all__ = ["write_protocol"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 820px; margin: 32px auto; }
h1 { font-size: 28px; margin: 0; } h2 { font-size: 19px; margin: 24px 0 4px; }
table { border-collapse: collapse; } td { padding: 3px 24px 3px 0; vertical-align: top; }
th { padding: 3px 24px 3px 0; text-align: left; font-weight: 400; }
th, td:first-child { color: #5b6470; } td:first-child { width: 7em; }
td:empty { border-bottom: 1px solid #999; width: 28em; height: 1.8em; } /* to be written on */
.units td:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; }
.units th:not(:first-child) { text-align: right; }
.warning { color: #9a5b00; font-weight: 600; }
code { background: #f1f3f6; padding: 1px 4px; } @media print { body { margin: 0; } }
"""


def write_protocol(path: Path, manifest: dict[str, Any]) -> None:
    """Write the protocol sheet of a manifest as one HTML page, fit for printing."""
    rig, image, times = manifest["rig"], manifest["image"], manifest["schedule"]
    place, stimuli = image["place"], manifest["stimuli"]
    trial_s = times["on_s"] + times["off_s"]
    minutes = times["n_trial"] * trial_s / 60
    frames, n_frame = times["on_s"] * rig["frame_rate_hz"], image.get("frame", 1)
    gamma = (
        f"corrected in the files by the table {rig['gamma_table']}"
        if rig["gamma_table"]
        else f"corrected in the files for an exponent of {rig['gamma']:g}"
        if rig["gamma"] != 1
        else "not corrected in the files: the rig must do it"
    )
    pictures = f": {n_frame} pictures, each for {image['hold']}" if n_frame > 1 else ""
    clipped = [entry for entry in stimuli if entry["clipped_fraction"] > 0]
    warnings = []
    if clipped:
        worst = max(clipped, key=lambda entry: entry["clipped_fraction"])
        warnings.append(
            f"{len(clipped)} of {len(stimuli)} stimuli have pixels that the screen cannot show "
            f"and that became black or white, at most {worst['clipped_fraction']:.1%} of them "
            f"({worst['code']})."
        )
    if manifest["largest_error"] > 1:
        warnings.append(
            f"{rig['bits']} bits are too coarse for this gamma: levels differ from those planned "
            f"by up to {manifest['largest_error']:.2f} grey levels."
        )
    session = {
        "stimuli": f"{len(stimuli)}, under codes that tell nothing (the blank is one of them)",
        "trials": f"{times['n_trial']}, in {times['n_repeat']} blocks, in the order of "
        "schedule.csv",
        "a trial": f"{times['on_s']:g} s stimulus ({frames:.4g} frames{pictures}), then "
        f"{times['off_s']:g} s grey (level {manifest['background_level']})",
        "duration": f"{minutes:.1f} minutes",
    }
    screen = {
        "screen": f"{rig['width_px']} x {rig['height_px']} pixels of "
        f"{rig['degrees_per_pixel']:g} degrees, {rig['frame_rate_hz']:g} Hz",
        "image": f"{place['width']} x {place['height']} pixels from column {place['left']} and "
        f"row {place['top']}; {image['x']} x {image['y']} rectangles, not to be smoothed",
        "gamma": gamma,
        "files": f"{', '.join(manifest['formats'])}: whole screens of levels from 0 to "
        f"{2 ** rig['bits'] - 1}",
    }
    steps = [
        "Do not open key.nc: it tells what the codes are. It is read after the session.",
        "Show the files as they are: no scaling, no smoothing, no change of contrast.",
        "Keep to schedule.csv. If a trial is lost, go on; do not repeat it.",
        "Bring back one response a trial and unit, with the trial's number and code as they are "
        "in schedule.csv: CSV (trial, code, a column a unit), the same as arrays (NPZ), or NWB "
        "whose table of trials has the columns trial and code.",
        *(["The response to a video is the mean over its second half."] if n_frame > 1 else []),
        "Bring back the units' positions, or a table that says which unit is which.",
    ]
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Protocol</title><style>{STYLE}</style></head>
<body><h1>Protocol</h1>
<p>Schedule <code>{times["sha256"][:16]}</code>, twinlab {escape(manifest["twinlab_version"])}</p>
{"".join(f'<p class="warning">{escape(words)}</p>' for words in warnings)}
<h2>Session</h2>{_table(session)}
<h2>Screen</h2>{_table(screen)}
<h2>What to do</h2><ol>{"".join(f"<li>{escape(step)}</li>" for step in steps)}</ol>
{_units(manifest["units"])}
<h2>Notes of the session</h2>{_table({"animal": "", "date": "", "experimenter": "", "lost": ""})}
</body></html>
"""
    path.write_text(page, encoding="utf-8")


def _table(rows: dict[str, str]) -> str:
    cells = (f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _units(units: list[dict[str, Any]]) -> str:
    """Where on the screen the neurons look, as far as masks tell."""
    if not units:
        return ""
    rows = "".join(
        f"<tr><td>{escape(unit['neuron'])}</td><td>{unit['x_deg']:.1f}</td>"
        f"<td>{unit['y_deg']:.1f}</td><td>{unit['diameter_deg']:.1f}</td></tr>"
        for unit in units
    )
    return (
        "<h2>Neurons</h2><p>Where stimuli made for them have their contrast, in degrees from the "
        "middle of the screen, and how large it is.</p><table class=units><tr><th>neuron</th>"
        f"<th>rightward</th><th>downward</th><th>diameter</th></tr>{rows}</table>"
    )
