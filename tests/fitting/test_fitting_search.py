"""A search tries, remembers, goes on, and keeps to its time."""

import json
import pickle
import sqlite3
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import fitting, schema, twins
from twinlab.fitting import search
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

optuna = pytest.importorskip("optuna")

SMALL = twins.Architecture(layers=1, hidden=4)
PLAIN = fitting.FitSettings(precision="float32", batch_size=64)
SPACE = {"lr": fitting.Range(1e-3, 1e-1, log=True), "hidden": (2, 4), "shifter": (False, True)}
ASKED = {"epochs": 1, "space": SPACE, "architecture": SMALL, "settings": PLAIN}


def run(recording, out, **settings):
    return fitting.search_settings(recording, out, **({"budget_minutes": 60} | ASKED | settings))


@pytest.fixture(scope="module")
def few(recording):
    """The first 8 neurons and every sixth training trial."""
    train = recording.split.values == "train"
    kept = ~train | (np.cumsum(train) % 6 == 0)
    return recording.isel(neuron=slice(8), trial=kept)


@pytest.fixture
def planted(monkeypatch):
    """Fits that take no time: their correlation is known, and best at lr 0.02 and 4 channels."""

    def fit(recording, architecture, settings, *, device, on_epoch, job):
        fit.seen.append((architecture, settings))
        value = 0.5 - abs(np.log10(settings.lr / 0.02)) / 4 - (architecture.hidden != 4) / 10
        for epoch in range(settings.max_epochs):
            job.report(epoch / settings.max_epochs, f"epoch {epoch}")
            on_epoch(epoch, value * (epoch + 1) / settings.max_epochs)

    fit.seen = []
    monkeypatch.setattr(search, "fit_twin", fit)
    return fit


def test_a_search_fits_twins_and_leaves_a_table(few, tmp_path):
    architecture, settings, table = run(few, tmp_path, max_trials=3)
    assert table.outcome.values.tolist() == ["complete"] * 3
    assert table.epochs.values.tolist() == [1] * 3
    best = int(table.attrs["best"])
    assert float(table.validation_correlation[best]) == float(table.validation_correlation.max())
    assert settings.lr == float(table.lr[best])
    assert str(architecture.hidden) == str(table.hidden.values[best])
    assert (settings.schedule, settings.max_epochs) == ("cosine", 30)  # for the fit in full
    # the first trial is the settings that were given
    assert float(table.lr[0]) == PLAIN.lr
    assert str(table.hidden.values[0]) == "4"
    xr.testing.assert_identical(schema.open_result(tmp_path / "table.nc"), table)
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert rows[0].startswith("candidate,validation_correlation,epochs,seconds,outcome,lr,")
    assert rows[1].startswith(f"{best},")
    # the same trial alone reaches the same
    first = replace(PLAIN, schedule="cosine", max_epochs=1)
    _, history = fitting.fit_twin(few, SMALL, first)
    assert float(history.validation_correlation[0]) == pytest.approx(
        float(table.validation_correlation[0]), abs=1e-6
    )


def test_a_search_that_was_stopped_goes_on_with_what_it_was_trying(
    few, planted, tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        pytest.fail("something was pickled")

    for name in ("load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, refuse)

    class Stop(Job):
        def report(self, fraction, message=None, preview=None):
            if message and message.startswith("trial 3"):
                self.cancel()
            super().report(fraction, message, preview)

    with pytest.raises(Cancelled):
        run(few, tmp_path, max_trials=4, job=Stop())
    assert len(planted.seen) == 3
    _, _, table = run(few, tmp_path, max_trials=4)
    assert table.outcome.values.tolist() == ["complete"] * 2 + ["stopped"] + ["complete"] * 2
    assert planted.seen[3] == planted.seen[2]  # what was stopped is tried again
    tried = {(a.hidden, s.lr) for a, s in planted.seen}
    assert len(tried) == 4  # and nothing else twice
    _, _, again = run(few, tmp_path, max_trials=4)
    assert len(planted.seen) == 5
    xr.testing.assert_identical(again, table)


def test_a_trial_of_a_killed_process_is_tried_again(few, planted, tmp_path):
    run(few, tmp_path, max_trials=1)
    study = optuna.load_study(study_name="twinlab", storage=f"sqlite:///{tmp_path}/study.db")
    trial = study.ask()
    lost = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    _, _, table = run(few, tmp_path, max_trials=2)
    assert table.outcome.values.tolist() == ["complete", "stopped", "complete"]
    assert float(table.lr[2]) == lost


def test_a_search_finds_what_is_planted(few, planted, tmp_path):
    architecture, settings, table = run(few, tmp_path, max_trials=14, epochs=3)
    assert architecture.hidden == 4
    assert settings.lr == pytest.approx(0.02, rel=0.6)
    assert {"complete", "pruned"} == set(table.outcome.values.tolist())
    pruned = table.outcome.values == "pruned"
    assert (table.epochs.values[pruned] < 3).all()
    assert (table.epochs.values[~pruned] == 3).all()


def test_no_trial_is_begun_that_cannot_end_and_none_outlasts_the_time(
    few, planted, tmp_path, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: now[0]))
    instant = search.fit_twin

    def fit(*args, job, on_epoch, **kwargs):
        def heard(epoch, value):
            now[0] += 25.0  # seconds each epoch takes
            on_epoch(epoch, value)

        instant(*args, job=job, on_epoch=heard, **kwargs)

    monkeypatch.setattr(search, "fit_twin", fit)
    _, _, table = run(few, tmp_path / "a", budget_minutes=4, epochs=2)  # 240 s, 50 s a trial
    assert table.seconds.values.tolist() == [50.0] * 4
    now[0] = 1000.0
    _, _, table = run(few, tmp_path / "a", budget_minutes=4, epochs=2)
    assert table.sizes["candidate"] == 4  # the budget is of all runs together
    _, _, table = run(few, tmp_path / "a", budget_minutes=5, epochs=2)
    assert table.sizes["candidate"] == 5
    now[0] = 2000.0
    _, settings, table = run(few, tmp_path / "b", budget_minutes=1, epochs=4)  # 60 s, 100 s each
    assert table.outcome.values.tolist() == ["out of time"]
    assert table.epochs.values.tolist() == [3]
    assert settings.lr == PLAIN.lr
    now[0] = 3000.0
    _, _, table = run(few, tmp_path / "b", budget_minutes=3, epochs=4)
    assert table.outcome.values.tolist() == ["out of time", "complete"]
    assert table.lr.values.tolist() == [PLAIN.lr] * 2


def test_trials_that_fail_do_not_end_a_search(few, planted, tmp_path, monkeypatch):
    instant, failures = (
        search.fit_twin,
        {
            0: torch.OutOfMemoryError("no"),
            1: FloatingPointError("no"),
            3: InputError("too large"),
        },
    )
    number = iter(range(9))

    def fit(*args, **kwargs):
        error = failures.get(next(number))
        if error:
            raise error
        instant(*args, **kwargs)

    monkeypatch.setattr(search, "fit_twin", fit)
    _, _, table = run(few, tmp_path, max_trials=5)
    found = ["out of memory", "diverged", "complete", "refused", "complete"]
    assert table.outcome.values.tolist() == found
    assert np.isnan(table.validation_correlation.values[[0, 1, 3]]).all()
    assert int(table.attrs["best"]) in (2, 4)
    failures[5] = InputError("no validation")
    with pytest.raises(InputError, match="no validation"):  # of the first, it is the user's
        run(few, tmp_path / "anew", max_trials=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"space": {"depth": (1, 2)}}, "unknown settings .'depth'."),
        ({"space": {"seed": (1, 2)}}, "cannot be searched"),
        ({"space": {"lr": fitting.Range(2.0, 1.0)}}, "`lr` needs low < high"),
        ({"space": {}}, "it is empty"),
        ({"budget_minutes": 0}, "`budget_minutes` must be above 0"),
    ],
)
def test_what_cannot_be_searched_is_one_line(few, tmp_path, settings, words):
    with pytest.raises(InputError, match=words) as raised:
        run(few, tmp_path, **settings)
    assert "\n" not in str(raised.value)


def test_a_foreign_or_damaged_study_is_one_line_and_left_alone(few, planted, tmp_path):
    run(few, tmp_path / "a", max_trials=1)
    for changed in ({"epochs": 2}, {"space": {"hidden": (2, 4)}}):
        with pytest.raises(InputError, match="of another search .differs in"):
            run(few, tmp_path / "a", max_trials=1, **changed)
    with pytest.raises(InputError, match="of another search .differs in recording"):
        run(few.isel(neuron=slice(4)), tmp_path / "a", max_trials=1)
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "study.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match=r"study.db: the study is damaged \(file is not a data"):
        run(few, tmp_path / "b", max_trials=1)
    assert path.read_bytes().startswith(b"no database")
    path.unlink()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE mice (name)")
    database.commit()
    database.close()
    with pytest.raises(InputError, match="is a database of something else"):
        run(few, tmp_path / "b", max_trials=1)
    whole = (tmp_path / "a" / "study.db").read_bytes()
    (tmp_path / "a" / "study.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="the study is damaged") as raised:
        run(few, tmp_path / "a", max_trials=2)
    assert "\n" not in str(raised.value)


def test_a_search_takes_one_session(few, tmp_path):
    with pytest.raises(InputError, match="takes one session"):
        run(xr.DataTree.from_dict({"a": few, "b": few}), tmp_path)


def test_without_optuna_a_search_says_what_to_install(few, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'run `pip install "twinlab-cortex\[search\]"`'):
        run(few, tmp_path)


def test_the_space_follows_what_the_recording_has(recording):
    assert {"positions", "behavior", "shifter"} <= set(fitting.search_space(recording))
    bare = recording.drop_vars(["behavior", "pupil_center", "x_um", "y_um"])
    assert not {"positions", "behavior", "shifter"} & set(fitting.search_space(bare))
    search._check_space(fitting.SPACE, twins.Architecture(), fitting.FitSettings())
    json.dumps(search._plain(fitting.SPACE))
    defaults = search._start(fitting.SPACE, twins.Architecture(), fitting.FitSettings())
    assert set(defaults) == set(fitting.SPACE)  # the search starts at the defaults
    # every corner of it is an architecture
    for name, values in fitting.SPACE.items():
        ends = (values.low, values.high) if isinstance(values, fitting.Range) else values
        for end in ends:
            search._changed(twins.Architecture(), fitting.FitSettings(), {name: end})


def test_a_trial_that_ended_without_a_number_is_not_the_best(few, planted, tmp_path, monkeypatch):
    instant, number = search.fit_twin, iter(range(9))

    def fit(*args, on_epoch, **kwargs):
        lost = next(number) == 1
        instant(*args, on_epoch=lambda e, v: on_epoch(e, np.nan if lost else v), **kwargs)

    monkeypatch.setattr(search, "fit_twin", fit)
    _, _, table = run(few, tmp_path, max_trials=3)
    assert np.isnan(table.validation_correlation[1])
    assert int(table.attrs["best"]) in (0, 2)
