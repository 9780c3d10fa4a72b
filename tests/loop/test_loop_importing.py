"""What comes back from the rig fits the schedule, or the line that does not is named."""

import csv

import numpy as np
import pytest

from twinlab.loop import export_stimuli, import_responses, match_by_table, name_units, play_rig
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def folder(planned, schedule, rig, tmp_path_factory):
    out = tmp_path_factory.mktemp("rig") / "export"
    export_stimuli(planned, schedule, rig, out, mean=127.5)
    return out


@pytest.fixture(scope="module")
def rows(cortex, folder):
    path = play_rig(cortex, folder, folder.parent / "responses.csv", seed=3)
    with path.open() as file:
        return list(csv.reader(file))


@pytest.fixture
def write(tmp_path):
    def write(rows):
        with (tmp_path / "r.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / "r.csv"

    return write


def copied(rows):
    return [list(row) for row in rows]


# --- the simulated cortex plays the rig


def test_responses_are_those_of_what_was_shown(cortex, planned, schedule, folder, rows, write):
    imported = import_responses(write(rows), folder)
    assert imported.findings == []
    found = imported.responses
    np.testing.assert_array_equal(found.stimulus_id, schedule.stimulus_id)
    np.testing.assert_array_equal(found.unit, cortex.neurons.neuron_id.values.astype(str))
    # the cortex was shown the files, whose levels are within half a grey level of the plan's
    names = planned.stimulus_id.values.tolist()
    every = np.concatenate([planned.stimulus.values, np.full((1, 1, 18, 24), 127.5)])
    shown = [names.index(name) if name in names else 12 for name in found.stimulus_id.values]
    direct = cortex.show(every.astype(np.float32), shown, seed=3)
    assert (found.response.values == direct.response.values).mean() > 0.98
    assert found.kind.values[found.stimulus_id.values == "mei-3"].tolist() == ["mei"] * 4
    assert set(found.made_for.values[found.kind.values == "mei"]) == {
        f"simulated-0/{i}" for i in range(6)
    }
    assert set(found.made_for.values[found.kind.values == "blank"]) == {""}


def test_neurons_lost_on_a_later_day_are_named(cortex, folder, tmp_path):
    later = cortex.on_day(3, loss=0.2, seed=1)
    assert 0 < len(later.found) < 6
    play_rig(later, folder, tmp_path / "r.csv", seed=3)
    imported = import_responses(tmp_path / "r.csv", folder)
    assert imported.responses.unit.values.tolist() == [str(i) for i in later.found]
    names = [f"simulated-0/{i}" for i in range(6)]
    table = {names[i]: str(i) for i in later.found}
    match = match_by_table(table, names, imported.responses.unit.values.tolist())
    named = name_units(imported.responses, match)
    lost = [name for name in names if name not in table]
    assert named.attrs["unmatched_neurons"] == ", ".join(lost)
    assert named.neuron.values.tolist() == list(table)


def test_arrays_say_the_same_as_a_table(folder, rows, write, tmp_path):
    table = np.array(rows[1:])
    np.savez(
        tmp_path / "r.npz", trial=table[:, 0].astype(int), code=table[:, 1], unit=rows[0][3:],
        onset_s=table[:, 2].astype(float), response=table[:, 3:].astype(float),
    )  # fmt: skip
    expected = import_responses(write(rows), folder)
    found = import_responses(tmp_path / "r.npz", folder)
    assert found.responses.identical(expected.responses)


def test_the_order_of_rows_does_not_matter(folder, rows, write):
    shuffled = [rows[0], *rows[:0:-1]]
    assert import_responses(write(shuffled), folder).responses.identical(
        import_responses(write(rows), folder).responses
    )


# --- reported


def test_missing_extra_and_empty_are_reported_line_by_line(folder, rows, write):
    spoiled = copied(rows)
    spoiled[8][4] = ""  # of trial 7, one unit
    for row in spoiled[1:]:
        row[5] = "2"  # a unit that never changes
    code = spoiled[3][1]
    del spoiled[4:6]  # trials 3 and 4
    spoiled.append(["60", code, "60.0", *spoiled[3][3:]])
    imported = import_responses(write(spoiled), folder)
    lines = imported.findings
    assert f"line 56: trial 60 ({code}) was not planned (the last is 55); left out" in lines
    assert [line for line in lines if line.endswith("is missing")] == [
        f"trial {i} ({rows[i + 1][1]}) is missing" for i in (3, 4)
    ]
    assert f"trial 7 ({rows[8][1]}) lacks the responses of 1 units" in lines
    assert "unit 2: the response is always 2" in lines
    assert len(lines) == 5
    values = imported.responses.response.values
    assert np.isnan(values[[3, 4]]).all()
    assert np.isnan(values).sum() == 2 * 6 + 1


def test_a_stimulus_without_a_response_is_reported(folder, rows, write):
    code = rows[1][1]
    kept = [row for row in rows if row[1] != code]
    assert (
        f"stimulus {code} has no response at all" in import_responses(write(kept), folder).findings
    )


# --- refused


def spoil(row, column, value):
    def change(rows):
        rows[row][column] = value
        return rows

    return change


def swap_columns(rows):
    return [[row[1], row[0], *row[2:]] for row in rows[:1]][:0] + [
        ["trial", "code", *rows[0][2:]], *[[row[1], row[0], *row[2:]] for row in rows[1:]]
    ]  # fmt: skip


def swap_codes(rows):
    i = next(i for i in range(1, 50) if rows[i][1] != rows[i + 1][1])
    rows[i][1], rows[i + 1][1] = rows[i + 1][1], rows[i][1]
    return rows


def slow_down(rows):
    return [rows[0], *[[a, b, str(1.2 * float(c)), *rest] for a, b, c, *rest in rows[1:]]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap_columns, "columns `trial` and `code` are swapped"),
        (swap_codes, "was planned"),
        (slow_down, "a trial each 1.2 s, but one each 1 s was planned: another frame rate"),
        (spoil(4, 1, "s999"), "line 5: code 's999' is not of this export"),
        (spoil(4, 0, "2.5"), "line 5: trial '2.5' is not a whole number"),
        (spoil(4, 0, "9" * 30), f"line 5: trial '{'9' * 30}' is not a whole number"),
        (spoil(4, 0, "-1"), "line 5: trial '-1' is not a whole number"),
        (spoil(4, 3, "high"), "line 5, column '0' is 'high'"),
        (spoil(4, 3, "inf"), "line 5, column '0' is 'inf'"),
        (spoil(0, 4, "0"), "'0' comes twice"),
        (spoil(0, 4, ""), "a unit has no name"),
        (spoil(0, 1, "stimulus"), "column `code` is missing"),
        (lambda rows: [*rows, rows[5]], "trial 4 comes twice"),
        (lambda rows: [row[:3] for row in rows], "there is no unit"),
        (lambda rows: rows[:1], "there is no trial"),
        (lambda rows: [*rows[:3], rows[3][:-1], *rows[4:]], "line 4 has not the 9 cells"),
        (lambda rows: [], "column `trial` is missing"),
    ],
)
def test_what_contradicts_the_schedule_is_refused_in_one_line(folder, rows, write, change, words):
    path = write(change(copied(rows)))
    with pytest.raises(InputError) as caught:
        import_responses(path, folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_responses_to_another_export_are_refused(
    planned, rig, folder, rows, write, tmp_path, cortex
):
    from twinlab.loop import make_schedule

    other = make_schedule(planned.stimulus_id.values, n_repeat=4, n_blank=2, seed=2)
    export_stimuli(planned, other, rig, tmp_path / "other", mean=127.5)
    with pytest.raises(InputError, match="and .* more; correct the file"):
        import_responses(write(rows), tmp_path / "other")


def test_files_that_cannot_be_read_are_refused(folder, tmp_path):
    for name, content, words in [
        ("a.csv", b"\xff\xfe\x00", "is not a table"),
        ("a.npz", b"nothing", "cannot be read as arrays"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            import_responses(tmp_path / name, folder)
    with pytest.raises(InputError, match="no such file"):
        import_responses(tmp_path / "b.csv", folder)
    np.savez(tmp_path / "o.npz", code=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as arrays"):
        import_responses(tmp_path / "o.npz", folder)
    np.savez(tmp_path / "s.npz", trial=[0], code=["s001"], unit=["a"], response=[[1.0, 2.0]])
    with pytest.raises(InputError, match="expected {'trial'"):
        import_responses(tmp_path / "s.npz", folder)
