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
    from twinlab.loop import new_loop

    decided = new_loop(plan, folder)
    typer.echo(
        f"{decided.n_stimulus} stimuli, {decided.presentation.n_repeat} repeats: "
        f"{decided.minutes:.0f} minutes at the rig.\nNext: twinlab loop run {folder}"
    )


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
    """Say which steps are done."""
    from twinlab.loop import loop_status

    for step, done in loop_status(folder).items():
        typer.echo(f"{'done' if done else '-':<6}{step}")


@loop_app.command("export")
def export(folder: Folder) -> None:
    """Go as far as the files for the rig, and say where they are."""
    from twinlab.cli.progress import watched_job
    from twinlab.loop import STEPS, run_loop

    with watched_job("loop") as job:
        lines = run_loop(folder, until="export", job=job)
    where = folder / STEPS["export"]
    typer.echo("\n".join([*lines, f"The files are in {where}; read {where / 'protocol.html'}."]))


@loop_app.command("import")
def import_(
    folder: Folder,
    responses: Annotated[Path, typer.Argument(help="Responses from the rig (.csv or .npz).")],
    table: Annotated[
        Path | None, typer.Option(help="Which unit is which neuron (.csv: neuron, unit).")
    ] = None,
) -> None:
    """Take responses from a rig into the loop; what is missing or extra is told line by line."""
    from twinlab.loop import bring_responses

    lines = bring_responses(folder, responses, table)
    typer.echo("\n".join([*lines, f"Next: twinlab loop run {folder}"]))


@loop_app.command("report")
def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Page to write (.html).")] = None,
) -> None:
    """Write one page: what was made, what came back, what is and is not shown."""
    from twinlab.cli.loop_report import write_loop_report

    path = write_loop_report(folder, out or folder / "report.html")
    typer.echo(f"The report is in {path}.")
