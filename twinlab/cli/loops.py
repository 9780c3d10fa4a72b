"""``twinlab loop``: an inception loop as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["loop_app"]

loop_app = typer.Typer(
    help="Inception loops: stimuli made on a twin, shown on a rig, compared.", no_args_is_help=True
)
Folder = Annotated[Path, typer.Argument(help="Folder of the loop.")]


@loop_app.command("new")
def new(
    plan: Annotated[Path, typer.Argument(help="Plan (.toml).")],
    folder: Annotated[Path, typer.Argument(help="New folder for all that is made.")],
) -> None:
    """Begin a loop: judge its plan, and keep it in a folder of its own."""
    from twinlab.cli.loop_words import say_power
    from twinlab.loop import new_loop, plan_around

    decided = new_loop(plan, folder)
    n_repeat = decided.presentation.n_repeat
    power = say_power(plan_around(decided.units.number, n_repeat))
    typer.echo(
        f"{decided.n_stimulus} stimuli, {n_repeat} repeats: {decided.minutes:.0f} minutes at the "
        f"rig.\n{power}"
    )
    if number := decided.rounds.number:
        typer.echo(
            f"Before, {number} rounds of {decided.rounds.images} images by "
            f"{decided.rounds.by}: {decided.round_minutes:.0f} minutes each."
        )
    typer.echo(f"Next: twinlab loop run {folder}")


@loop_app.command("plan")
def plan_() -> None:
    """Print a plan with all its entries, their defaults and what they may be, to be changed."""
    from twinlab.loop import write_template

    typer.echo(write_template(), nl=False)


@loop_app.command("run")
def run(
    folder: Folder,
    until: Annotated[str, typer.Option(help="Last step to do.")] = "comparison",
) -> None:
    """Do all steps that are not done, as far as they can go without the rig."""
    from twinlab.cli.progress import watched_job
    from twinlab.loop import loop_status, run_loop

    with watched_job("loop") as job:
        lines = run_loop(folder, until=until, job=job)
    typer.echo("\n".join(lines) or "Nothing was left to do.")
    if all(loop_status(folder).values()):
        typer.echo(f"Next: twinlab loop report {folder}")


@loop_app.command("status")
def status(folder: Folder) -> None:
    """Say which steps are done, and what is waited for."""
    from twinlab.loop import STEPS, loop_status, open_loop, waited_for

    for step, done in loop_status(folder).items():
        typer.echo(f"{'done' if done else '-':<6}{step}")
    place = waited_for(folder, open_loop(folder))
    if (place / STEPS["export"]).exists() and not (place / STEPS["responses"]).exists():
        typer.echo(f"The loop waits for the responses to {place / STEPS['export']}.")


@loop_app.command("export")
def export(folder: Folder) -> None:
    """Go as far as the files for the rig, and say where they are."""
    from twinlab.cli.progress import watched_job
    from twinlab.loop import STEPS, open_loop, run_loop, waited_for

    with watched_job("loop") as job:
        lines = run_loop(folder, until="export", job=job)
    where = waited_for(folder, open_loop(folder)) / STEPS["export"]
    typer.echo("\n".join([*lines, f"The files are in {where}; read {where / 'protocol.html'}."]))


@loop_app.command("import")
def import_(
    folder: Folder,
    responses: Annotated[
        Path, typer.Argument(help="Responses from the rig (.csv, .npz or .nwb).")
    ],
    match: Annotated[
        str,
        typer.Option(
            help="How units are matched to neurons: name, table, position or fingerprint; as the "
            "plan says where absent."
        ),
    ] = "",
    table: Annotated[
        Path | None, typer.Option(help="Which unit is which neuron (.csv: neuron, unit).")
    ] = None,
    units: Annotated[
        Path | None,
        typer.Option(help="Where units lie, to match by position (.csv: unit, x_um, y_um, z_um)."),
    ] = None,
    series: Annotated[
        str, typer.Option(help="Of an NWB file with several sets of traces: which one.")
    ] = "",
    trials: Annotated[
        str, typer.Option(help="Of an NWB file with several tables of trials: which one.")
    ] = "",
    window: Annotated[
        str,
        typer.Option(
            help="Of an NWB file: from when to when after each onset, in seconds: 0.1:0.6, say."
        ),
    ] = "",
) -> None:
    """Take responses from a rig into the loop; what is missing or extra is told line by line."""
    from twinlab.cli.progress import watched_job
    from twinlab.loop import bring_responses

    with watched_job("loop") as job:
        lines = bring_responses(
            folder, responses, table, match=match, units=units, series=series, trials=trials,
            window=_window(window), job=job,
        )  # fmt: skip
    typer.echo("\n".join([*lines, f"Next: twinlab loop run {folder}"]))


def _window(text: str) -> tuple[float, float] | None:
    from twinlab.schema import InputError

    if not text:
        return None
    try:
        start, stop = (float(part) for part in text.split(":"))
    except ValueError as error:
        msg = f"--window is {text!r}; expected two numbers of seconds with a colon, 0.1:0.6 say."
        raise InputError(msg) from error
    return start, stop


@loop_app.command("report")
def report(
    source: Annotated[Path, typer.Argument(help="Folder of the loop, or its loop.nc.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write (.html); report.html beside it if absent.")
    ] = None,
) -> None:
    """Write one page: what was made, what came back, what is and is not shown."""
    from twinlab.cli.loop_report import write_loop_report

    beside = source if source.is_dir() else source.parent
    path = write_loop_report(source, out or beside / "report.html")
    typer.echo(f"The report is in {path}.")
