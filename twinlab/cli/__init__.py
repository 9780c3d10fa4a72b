"""The ``twinlab`` command."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlab import __version__
from twinlab.cli.loops import loop_app
from twinlab.cli.sources import open_source, open_twin, parse_source, simulated_cortex

if TYPE_CHECKING:
    import xarray as xr

    from twinlab.jobs import Job

__all__ = ["app", "main"]

# Rooms are imported inside commands: `twinlab --help` shall answer at once.

app = typer.Typer(
    name="twinlab",
    help="The lab bench for digital twins of visual cortex.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recordings_app = typer.Typer(
    help="Recordings: what is known, fetched, whole, and in which layout.", no_args_is_help=True
)
app.add_typer(recordings_app, name="recordings")
app.add_typer(loop_app, name="loop")

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
RECORDING = (
    "Recording: a path (file, folder or .zarr), a manifest name, `simulated` or "
    "`simulated-video`; of several sessions one is named behind a colon, PATH:SESSION."
)
UNUSABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
            errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.EADDRINUSE)  # fmt: skip


def main() -> None:
    """Run the command; a user's mistake is one line and exit status 2."""
    from twinlab.jobs import Cancelled
    from twinlab.schema import InputError

    # Threads that wait for the next piece of work shall sleep, not spin: a tenth faster here,
    # and several times where the machine is shared. Read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # not standalone, so that a slip in the words themselves gets one line too
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except InputError as error:
        _fail(str(error), 2)
    except FloatingPointError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{os.strerror(error.errno or 0).lower()}; nothing was left half-written.", 2)
    except Cancelled as stopped:
        words = str(stopped) or "run the same command again to go on"
        _fail(f"stopped; {words}.", 130)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
    except Exception as error:
        # classes of packages that are loaded only where they are needed: known by their looks
        if hasattr(error, "format_message"):
            _fail(f"{' '.join(error.format_message().split())} See --help.", 2)
        if type(error).__name__ == "OutOfMemoryError":
            _fail("the device's memory is too small; lower `--set batch_size`.", 1)
        raise


def _fail(message: str, status: int) -> None:
    sys.stderr.write(f"twinlab: {message}\n")
    sys.exit(status)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fit digital twins of visual cortex, and experiment on them."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path(
        "twinlab-demo"
    ),
    browser: Annotated[bool, typer.Option(help="Open the report when done.")] = True,
    seed: Annotated[int, typer.Option(help="Of the simulated cortex and the fits.")] = 0,
) -> None:
    """Run the main job on a simulated cortex, start to finish; a report at the end."""
    from twinlab.cli.demo import run_demo
    from twinlab.cli.progress import watched_job

    keep_freed_memory()
    with watched_job("demo") as job:
        report, lines = run_demo(out, seed=seed, job=job)
    typer.echo("\n".join(lines))
    if browser and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(report.resolve().as_uri())


@app.command()
def fit(
    recording: Annotated[list[str], typer.Argument(help=RECORDING)],
    out: Annotated[Path, typer.Option(help="Folder to write the twin to.")],
    members: Annotated[int, typer.Option(min=1, help="Twins to fit, seeds one apart.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    set_: Settings = None,
    model: Annotated[
        str,
        typer.Option(
            help="deep, or of the classical family: linear_nonlinear, quadratic, subunit, "
            "normalization."
        ),
    ] = "deep",
    core: Annotated[
        str, typer.Option(help="Twin whose core is taken as it is; only readouts are fitted.")
    ] = "",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
    search: Annotated[
        bool, typer.Option("--search", help="First search the settings that --set leaves open.")
    ] = False,
    budget: Annotated[float, typer.Option(help="Minutes for --search, all runs together.")] = 30.0,
) -> None:
    """Fit a twin to a recording, and the baselines it must beat.

    Several recordings (sessions) share one core. With --search the best settings found are then
    fitted in full. The search stays beside the twin, in OUT.search; the same command with a
    larger --budget goes on with it. With torchrun, several processes share the work.
    """
    from twinlab import fitting, twins
    from twinlab.cli.fits import check_model, fit_recordings
    from twinlab.cli.progress import watched_job

    assignments = {"seed": str(seed), **_assignments(set_)}
    check_model(model, core, len(recording), search)
    fitting.parse_settings(assignments)  # what is mistyped is refused before anything is read
    _check_device(device)
    out = out.resolve()
    twins.check_twin_target(out)
    keep_freed_memory()
    with watched_job("fit") as job:
        sources = [open_source(name, job=job.part(0.0, 0.05, "reading")) for name in recording]
        architecture, settings = fitting.parse_settings(
            assignments, *fitting.default_settings(*sources)
        )
        tried = None
        if search:
            space = fitting.search_space(sources[0])
            space = {name: of for name, of in space.items() if name not in assignments}
            tried = {"budget_minutes": budget, "space": space, "seed": seed}
        lines = fit_recordings(
            sources, out, model, None if core else architecture, settings, members=members,
            core=core, device=device, search=tried, job=job.part(0.05, 1.0),
        )  # fmt: skip
    typer.echo(
        "\n".join([*lines, f"The twin is in {out}. Next: twinlab score {out} {recording[0]}"])
    )


@app.command()
def plan(
    recording: Annotated[str, typer.Argument(help=RECORDING)],
    out: Annotated[Path, typer.Option(help="File to write the learning curve to (.nc).")],
    seconds: Annotated[
        float | None, typer.Option(help="Seconds of recording a trial took, pauses included.")
    ] = None,
    minutes: Annotated[
        list[float] | None, typer.Option(help="Recording lengths to predict for; may be repeated.")
    ] = None,
    set_: Settings = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
) -> None:
    """Fit twins to parts of a recording, and say how much more recording would help."""
    from twinlab import fitting, schema
    from twinlab.cli.progress import watched_job

    assignments = _assignments(set_)
    fitting.parse_settings(assignments)
    _check_device(device)
    keep_freed_memory()
    points = out.with_name(out.stem + ".points")
    with watched_job("plan") as job:
        source = open_source(recording, job=job.part(0.0, 0.05, "reading"))
        architecture, settings = fitting.parse_settings(
            assignments, *fitting.default_settings(source)
        )
        measured = fitting.measure_learning_curve(
            source, points, seconds_per_trial=seconds, architecture=architecture,
            settings=settings, device=device, job=job.part(0.05, 1.0),
        )  # fmt: skip
    curve = fitting.fit_learning_curve(
        measured.minutes.values, measured.score.values, planned_minutes=minutes or ()
    )
    schema.save_result(curve, out)
    for longer, value, (low, high) in zip(
        curve.planned_minutes.values, curve.predicted_score.values,
        curve.predicted_score_interval.values, strict=True,
    ):  # fmt: skip
        typer.echo(f"{longer:8.0f} minutes: {value:.3f}  [{low:.3f}, {high:.3f}]")
    typer.echo(curve.attrs["refused"] or f"ceiling {float(curve.ceiling):.3f}")
    typer.echo(f"The learning curve is in {out}. Next: twinlab show {out}")


@app.command()
def score(
    twin: Annotated[str, typer.Argument(help="Folder of a twin, or `simulated`.")],
    recording: Annotated[str, typer.Argument(help=RECORDING)],
    out: Annotated[Path | None, typer.Option(help="File to write the scores to (.nc).")] = None,
    split: Annotated[str, typer.Option(help="Trials to score on.")] = "test",
    skip: Annotated[
        int, typer.Option(min=0, help="First frames of each video that are left out.")
    ] = 50,
    calibration: Annotated[
        Path | None,
        typer.Option(help="File (.nc) for how well the twin knows single responses' spread."),
    ] = None,
) -> None:
    """Score a twin on held-out trials, beside the ceiling."""
    from twinlab import evaluation, schema, twins
    from twinlab.cli.progress import watched_job
    from twinlab.cli.scoring import split_to_score

    if split not in schema.SPLITS:
        msg = f"--split is {split!r}; known: {', '.join(schema.SPLITS)}."
        raise schema.InputError(msg)
    if out is not None and out.is_dir():
        msg = f"{out}: is a folder; name a file to write the scores to."
        raise schema.InputError(msg)
    with watched_job("score") as job:
        model = open_twin(twin)
        source = open_source(recording, job=job.part(0.0, 0.3, "reading"))
        source, note = split_to_score(model, source, split)
        prediction = twins.predict_responses(
            model, source, split=split, job=job.part(0.3, 0.5, "predicting")
        )
        spread = None
        if calibration is not None:
            expected = twins.predict_distribution(model, source, split=split)
            spread = evaluation.score_calibration(
                source.response[source.split.values == split], expected
            )
        scores = evaluation.score_prediction(
            source, prediction, skip=skip, job=job.part(0.5, 1.0, "resampling")
        )
    typer.echo("\n".join([*filter(None, [note]), *score_lines(scores)]))
    if calibration is not None and spread is not None:
        schema.save_result(spread, calibration)
        for level, share in zip(spread.level.values, spread.mean_coverage.values, strict=True):
            typer.echo(f"intervals of {level:.0%} hold {share:.1%} of the responses")
        typer.echo(f"The calibration is in {calibration}. Next: twinlab show {calibration}")
    if out is not None:
        schema.save_result(scores, out)
        typer.echo(f"The scores are in {out}. Next: twinlab show {out}")


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment; see --list.")] = "",
    twin: Annotated[str, typer.Argument(help="Folder of a twin, or `simulated`.")] = "",
    neurons: Annotated[
        str,
        typer.Option(
            help="Positions: `0:50`, `3,17`, or both; all if absent. `reliable`: those whose "
            "explainable variance in --recording is above 0.15 (`reliable:0.3`: above 0.3)."
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File to write the result to (.nc).")] = None,
    set_: Settings = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,VALUE", help="Run at each value of a setting; may be repeated."
        ),
    ] = None,
    other: Annotated[
        str,
        typer.Option(help="Twin that judges what is made on the first, or is compared."),
    ] = "",
    recording: Annotated[
        str,
        typer.Option(
            help="Recording that says which neurons are reliable, and whose test images are the "
            "natural controls of most exciting inputs."
        ),
    ] = "",
    image: Annotated[
        str,
        typer.Option(
            help="Of experiments on one image: a picture, or the number of a test image of "
            "--recording."
        ),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show experiments and settings.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
) -> None:
    """Run an experiment on a twin.

    Of an ensemble the mean answers, except for most and least exciting inputs: these are made on
    the first member and judged by the second (or by --other), beside the best Gabor and the
    best natural image of the same norm. Controversial images part those two likewise. A stopped
    run goes on when the same command is run again; until then OUT.partial.nc holds what there
    is (NaN elsewhere, attribute `complete` 0).
    """
    from twinlab.cli.experiments import (
        describe_experiments,
        open_experiment,
        read_neurons,
        read_reliable,
        read_settings,
        read_sweep,
    )
    from twinlab.cli.progress import watched_job
    from twinlab.insilico import TOGETHER, run_sweep
    from twinlab.insilico.sweeps import PART
    from twinlab.schema import InputError

    if list_:
        typer.echo("\n".join(describe_experiments()))
        return
    if not twin:
        msg = "name an experiment and a twin, e.g. `twinlab run tuning TWIN`; see --list."
        raise InputError(msg)
    settings = read_settings(experiment, _assignments(set_))
    grid = read_sweep(experiment, _assignments(sweep, "--sweep", "KEY=VALUE,VALUE"))
    reliable = neurons.partition(":")[0] == "reliable"
    if reliable and not recording:
        msg = "--neurons reliable needs a --recording with repeats of one stimulus."
        raise InputError(msg)
    least = read_reliable(neurons) if reliable else 0.0
    _check_device(device)
    keep_freed_memory()
    target = out or Path(f"{experiment}.nc")
    with watched_job(experiment) as job:
        model, function, bound = open_experiment(
            experiment, twin, device, other=other, recording=recording, image=image
        )
        part = None if experiment in TOGETHER else PART // (16 if model.spec.is_video else 1)
        run_sweep(
            function, model, target,
            "reliable" if reliable else read_neurons(neurons, len(model)),
            settings=settings, grid=grid, min_explainable_variance=least,
            recording=open_source(recording) if reliable else None,
            part_size=part,
            made_by={"experiment": experiment, **bound},
            job=job,
        )  # fmt: skip
    if reliable:
        typer.echo(chosen_line(target))
    typer.echo(f"The result is in {target}. Next: twinlab show {target}")


@app.command()
def show(
    result: Annotated[Path, typer.Argument(help="A result (.nc).")],
    out: Annotated[
        Path | None,
        typer.Option(help="Figure to write: .png, .svg or .html; RESULT.png if absent."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Value of a swept setting; the first if absent."),
    ] = None,
) -> None:
    """Draw a result; of a sweep, at one value of each swept setting."""
    from twinlab import plots, schema

    dataset, words = at_setting(schema.open_result(result), _assignments(at, "--at"))
    experiment = dataset.attrs["experiment"]
    if experiment not in plots.PLOTS:
        msg = f"{result}: there is no figure for {experiment!r}; known: {sorted(plots.PLOTS)}."
        raise schema.InputError(msg)
    target = plots.save_figure(plots.PLOTS[experiment](dataset), out or result.with_suffix(".png"))
    typer.echo(f"The figure{words} is in {target}.")


@app.command()
def serve(
    twin: Annotated[list[str] | None, typer.Argument(help="Folders of twins.")] = None,
    recording: Annotated[str, typer.Option(help=RECORDING)] = "",
    loops: Annotated[
        Path | None, typer.Option(help="An inception loop, or a folder of them, to show.")
    ] = None,
    fits: Annotated[
        Path | None, typer.Option(help="A folder of fits to follow, and to write new ones to.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    origin: Annotated[
        list[str] | None, typer.Option(help="Name pages are opened under, NAME:PORT.")
    ] = None,
    login: Annotated[str, typer.Option(help="JSON file of names and passwords.")] = "",
    oauth: Annotated[str, typer.Option(help="Provider to log in with, such as github.")] = "",
) -> None:
    """Open the explorers of one or more twins in the browser, without a network.

    Without a twin, those of the recording alone, to look at it and to fit a twin to it; without
    either, those of the example that comes with twinlab. Only this machine can reach the page
    unless told otherwise by --host and --origin; ask for a --login then.
    """
    from twinlab.cli.serving import serve_twins

    serve_twins(
        twin or [], recording, loops=loops, fits=fits, browser=browser,
        port=port, host=host, origins=origin or [], login=login, oauth=oauth,
    )  # fmt: skip


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Folder of notebooks.")] = Path("notebooks"),
) -> None:
    """Open JupyterLab on the notebooks; works without a network."""
    import importlib.util

    from twinlab.schema import InputError

    if importlib.util.find_spec("jupyterlab") is None:
        msg = 'JupyterLab is not installed; run `pip install "twinlab-cortex[lab]"`.'
        raise InputError(msg)
    if not folder.is_dir():
        msg = f"{folder}: no such folder; name the folder of notebooks to open."
        raise InputError(msg)
    # Panel otherwise loads its scripts from the network, and shows nothing without one.
    environment = {**os.environ, "PANEL_INLINE": "true"}
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", str(folder)], environment)


@recordings_app.command("list")
def list_recordings(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """List the public recordings that are known by name."""
    from twinlab.cli.manifests import list_as_json, list_as_table

    if as_json:
        typer.echo(list_as_json())
    else:
        list_as_table()


@recordings_app.command("show")
def show_recording(
    name: Annotated[str, typer.Argument(help=RECORDING)],
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """Show what a recording is: its manifest, or what is in it."""
    from twinlab import recordings
    from twinlab.cli.manifests import describe_as_json, manifest_lines
    from twinlab.schema import InputError

    if name in recordings.list_recordings():
        manifest = recordings.describe_recording(name)
        lines = [describe_as_json(manifest)] if as_json else manifest_lines(manifest)
    elif as_json:
        known = ", ".join(recordings.list_recordings())
        msg = f"{name}: --json shows manifests, of which there are {known}."
        raise InputError(msg)
    else:
        lines = recording_lines(open_source(name))
    typer.echo("\n".join(lines))


@recordings_app.command("fetch")
def fetch_recording(
    name: Annotated[str, typer.Argument(help="Name of a manifest.")],
    session: Annotated[str | None, typer.Option(help="This session alone.")] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder to put it into; the cache if absent.")
    ] = None,
) -> None:
    """Fetch the files of a recording; what is there is checked, what broke off is continued."""
    from twinlab import recordings
    from twinlab.cli.progress import watched_job

    with watched_job("fetch") as job:
        files = recordings.fetch_recording(name, to, session=session, job=job)
    for file in files:
        typer.echo(str(file))
    if not files:
        typer.echo(f"{name}: nothing to fetch, it is made where it is named.")
        return
    terms = recordings.describe_recording(name).license
    typer.echo(f"Terms: {'; '.join(filter(None, [terms.name, terms.contact]))}.")


@recordings_app.command("check")
def check_recording(
    path: Annotated[str, typer.Argument(help=RECORDING)],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Report everything that is wrong with a recording or would mislead, all at once.

    Exit status: 0 if nothing was found or notes only, 1 if there are warnings (it can be used,
    but something misleads), 2 if there are errors (it cannot be used as it is).
    """
    from twinlab import recordings
    from twinlab.cli.checking import findings_json, findings_table, status_of
    from twinlab.cli.progress import watched_job

    with watched_job("check") as job:
        made = simulated_cortex(path)
        source, session = parse_source(path)
        findings = recordings.check_recording(
            source if made is None else made.record(job=job.part(0.0, 0.5)), session, job=job
        )
    if json_:
        typer.echo(findings_json(path, findings))
    elif findings:
        typer.echo(findings_table(findings))
    else:
        typer.echo(f"{path}: nothing wrong.")
    raise typer.Exit(status_of(findings))


@recordings_app.command("card")
def make_card(
    source: Annotated[str, typer.Argument(help=RECORDING)],
    out: Annotated[Path, typer.Option(help="Page to write (.html).")] = Path("card.html"),
) -> None:
    """Write a recording's card: one page that says what it is, how good, and what to mind."""
    from twinlab.cli.card import make_card
    from twinlab.cli.progress import watched_job

    with watched_job("card") as job:
        path = make_card(source, out, job=job)
    typer.echo(f"The card is in {path}.")


@recordings_app.command("convert")
def convert_recording(
    source: Annotated[str, typer.Argument(help=RECORDING)],
    target: Annotated[Path, typer.Argument(help="Store to write (.zarr).")],
    split: Annotated[
        str,
        typer.Option(
            metavar="TRAIN,VALIDATION,TEST",
            help="Divide the images or videos anew, in these shares, such as 0.8,0.1,0.1.",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of --split.")] = 0,
) -> None:
    """Write a recording as a Zarr store, which opens many times faster.

    A recording larger than the memory is read and written piece by piece. Stopped, the same
    command goes on with it. --split keeps all repeats and copies of an image together.
    """
    from twinlab import recordings
    from twinlab.cli.progress import watched_job

    fractions = _shares(split)
    with watched_job("convert") as job:
        cortex = simulated_cortex(source)
        if cortex is None:
            path, session = parse_source(source)
            recordings.convert_recording(
                path, target, job, session=session, fractions=fractions, seed=seed
            )
        else:
            made = cortex.record(job=job)
            if fractions is not None:
                made = recordings.split_recording(made, fractions=fractions, seed=seed)
            recordings.save_recording(made, target)
    typer.echo(f"The recording is in {target}. Next: twinlab fit {target} --out TWIN")


def _shares(words: str) -> list[float] | None:
    from twinlab.schema import InputError

    try:
        return [float(word) for word in words.split(",")] if words else None
    except ValueError as error:
        msg = f"--split {words}: expected three shares that add up to 1, such as 0.8,0.1,0.1."
        raise InputError(msg) from error


def score_lines(scores: xr.Dataset) -> list[str]:
    """Population means with their intervals, one line a score."""
    lines = []
    for variable in scores.data_vars:
        name = str(variable).removeprefix("n_defined_")
        if name != variable:
            low, high = scores[f"mean_{name}_interval"].values
            lines.append(
                f"{name:<26} {float(scores[f'mean_{name}']):6.3f}  [{low:.3f}, {high:.3f}]  "
                f"({int(scores[variable])} neurons)"
            )
    return lines


def recording_lines(recording: xr.Dataset, job: Job | None = None) -> list[str]:
    """What is in a recording and how reliable it is, in a few lines."""
    from twinlab.cli.card import recording_facts
    from twinlab.evaluation import score_reliability

    facts = {
        "recording": f"{recording.attrs.get('recording_id', '')}  "
        f"(fingerprint {recording.attrs.get('fingerprint', '')})",
        **recording_facts(recording),
    }
    reliability = score_reliability(recording, job=job)
    for name, label in (
        ("explainable_variance", "explainable"),
        ("oracle_correlation", "oracle"),
        ("cc_max", "cc_max"),
    ):
        n_defined = int(reliability[f"n_defined_{name}"])
        mean = f"{float(reliability[f'mean_{name}']):.3f} (mean of {n_defined} neurons)"
        facts[label] = mean if n_defined else "unknown: no repeats"
    facts |= {
        key: str(recording.attrs[key]) for key in ("source", "license") if recording.attrs.get(key)
    }
    return [f"{name:<11} {value}" for name, value in facts.items()]


def at_setting(result: xr.Dataset, asked: dict[str, str]) -> tuple[xr.Dataset, str]:
    """One point of a swept result, and which it is in words."""
    import json

    from twinlab.schema import InputError

    swept = json.loads(result.attrs.get("swept", "[]"))
    unknown = sorted(set(asked) - set(swept))
    if unknown:
        msg = f"--at {unknown[0]}: not swept in this result; it has {swept or 'no swept setting'}."
        raise InputError(msg)
    place = {name: 0 for name in swept}
    for name, word in asked.items():
        known = [str(value) for value in result[name].values.tolist()]
        if word not in known:
            msg = f"--at {name}={word}: was not run; choose from {', '.join(known)}."
            raise InputError(msg)
        place[name] = known.index(word)
    chosen = result.isel(place)
    words = ", ".join(f"{name}={chosen[name].item()}" for name in swept)
    return chosen.drop_vars(swept), f" (at {words})" if words else ""


def chosen_line(result: Path) -> str:
    """How the neurons of a result were chosen, as it says itself."""
    import json

    import xarray as xr

    with xr.open_dataset(result, engine="h5netcdf") as opened:
        return str(json.loads(opened.attrs["settings"])["neurons"])


def _assignments(
    words: list[str] | None, option: str = "--set", form: str = "KEY=VALUE"
) -> dict[str, str]:
    from twinlab.schema import InputError

    malformed = [word for word in words or [] if "=" not in word]
    if malformed:
        msg = f"{option} needs {form}, but got {', '.join(malformed)}."
        raise InputError(msg)
    return dict(word.split("=", 1) for word in words or [])


def _check_device(device: str) -> None:
    import torch

    from twinlab.schema import InputError

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        msg = f"--device {device}: cannot be used here ({str(error).splitlines()[0]}); try cpu."
        raise InputError(msg) from error


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: large feature maps are otherwise paged in anew each step.

    Belongs to a process of ours alone, hence here and not in a library room. Costs up to 40 %
    more peak memory and takes about a quarter off a training step; does nothing without glibc.
    """
    import ctypes

    m_trim_threshold, m_mmap_max = -1, -4  # names and values of malloc.h
    try:
        libc: Any = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):
        return
