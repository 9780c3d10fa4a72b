import copy

import numpy as np
import pytest
import xarray as xr

from twinlab import evaluation, fitting, twins
from twinlab.explorers import LabState, Scorecard
from twinlab.explorers.scorecard import CEILING
from twinlab.explorers.taking import take_figure
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def half(cortex):
    """The true twin, whose answers to behaviour are half as large: a little worse."""
    twin = copy.deepcopy(cortex.as_twin())
    twin.gain.mul_(0.5)
    return twin


@pytest.fixture(scope="module")
def known(cortex, recording, half):
    lab = LabState(cortex.as_twin(), recording, others={"half gain": half})
    Scorecard(lab)
    lab.wait(120)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def expected(cortex, recording, half):
    """Scores of both twins, from the evaluation room."""
    made = [
        twins.predict_responses(twin, recording, split="test") for twin in (cortex.as_twin(), half)
    ]
    return [evaluation.score_prediction(recording, one) for one in made]


def test_scores_are_those_of_the_evaluation(lab, expected):
    page = Scorecard(lab)
    for name, scores in zip(("", "half gain"), expected, strict=True):
        for measure in ("correlation_to_average", "feve", "cc_max"):
            np.testing.assert_allclose(page.scores(name)[measure], scores[measure])


def test_only_reliable_neurons_count_in_medians_and_differences(lab, expected):
    page = Scorecard(lab, reliability=0.3, against="half gain")
    counted = expected[0].explainable_variance.values >= 0.3
    assert 0 < counted.sum() < 24
    np.testing.assert_array_equal(page.counted(), counted)
    median = page.summaries()["this twin"].sel(score="feve")["median"]
    assert float(median) == pytest.approx(np.nanmedian(expected[0].feve.values[counted]))
    difference = page.difference().sel(score="single_trial_correlation")["median"]
    paired = expected[0].single_trial_correlation - expected[1].single_trial_correlation.values
    assert float(difference) == pytest.approx(np.median(paired.values[counted]))
    assert f"<b>{counted.sum()}</b> of 24 neurons are reliable" in page._say_counts()
    assert "this - half gain, paired" in page._say_scores()


def test_against_the_ceiling_there_is_no_difference(lab):
    assert Scorecard(lab).difference() is None


def test_the_worst_reliable_neurons_come_first_and_a_tap_leads_to_one(lab, expected):
    page = Scorecard(lab, score="FEVE")
    feve = expected[0].feve.values
    counted = expected[0].explainable_variance.values >= 0.15
    order = [n for n in np.argsort(feve) if counted[n] and np.isfinite(feve[n])]
    assert page.worst().tolist() == order
    lab.has_pages = True
    page._table.selection = [1]
    assert (lab.neuron, lab.page) == (order[1], "unit")


def test_neurons_are_placed_by_score_and_ceiling_or_other_twin(lab, expected):
    page = Scorecard(lab)
    points = page.cloud.draw().get(2)
    x, y = (points.dimension_values(i) for i in (0, 1))
    there = np.isfinite(expected[0].cc_max.values)
    np.testing.assert_allclose(np.sort(x[np.isfinite(x)]), np.sort(expected[0].cc_max[there]))
    np.testing.assert_allclose(y, expected[0].correlation_to_average.values[there])
    page.against = "half gain"
    points = page.cloud.draw().get(2)
    np.testing.assert_allclose(
        points.dimension_values(0), expected[1].correlation_to_average.values
    )


def test_without_repeats_all_neurons_count_and_it_says_so(cortex, recording):
    keep = np.ones(recording.sizes["trial"], bool)
    test = np.flatnonzero(recording.split.values == "test")
    _, first = np.unique(recording.stimulus_index.values[test], return_index=True)
    keep[test] = False
    keep[test[first]] = True
    lab = LabState(cortex.as_twin(), recording.isel(trial=keep))
    page = Scorecard(lab)
    lab.wait(60)
    assert page.counted() is None
    assert "no image is repeated" in page._say_counts()
    assert "undefined" in page._say_scores()
    assert len(page.worst()) == np.isfinite(page.scores().correlation_to_average).sum() > 20
    made = {"twin": cortex.as_twin(), "recording": lab.findings.recording}
    exec(page.as_code(), made)  # noqa: S102 - what a person would run
    xr.testing.assert_allclose(made["medians"], page.summaries()["this twin"])
    made["lab"].close()
    lab.close()


def test_validation_images_are_scored_on_request_with_the_neurons_of_the_test(lab, recording):
    page = Scorecard(lab)
    page.split = "validation"
    lab.wait(60)
    prediction = twins.predict_responses(lab.findings.twin.twin, recording, split="validation")
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0)
    np.testing.assert_allclose(page.scores().correlation_to_average, scores.correlation_to_average)
    assert page.counted().sum() == Scorecard(lab).counted().sum()


def test_a_split_without_responses_says_why_it_has_no_scores(cortex, recording):
    blank = recording.copy(deep=True)
    blank.response[recording.split.values == "test"] = np.nan
    lab = LabState(cortex.as_twin(), blank)
    page = Scorecard(lab)
    lab.wait(60)
    assert "cannot be scored" in page._say_counts()
    assert "missing from the recording" in page._say_counts()
    assert "cannot be scored" in lab.message
    lab.close()


def test_a_twin_is_scored_once_for_all_pages(cortex, recording, nothing_measured, monkeypatch):
    scored, score = [], evaluation.score_prediction
    monkeypatch.setattr(
        evaluation, "score_prediction", lambda *a, **k: scored.append(1) or score(*a, **k)
    )
    lab = LabState(cortex.as_twin(), recording)
    lab.findings.judge("", "test")
    assert lab.findings.measure("scores", 0).feve == lab.findings.judged("", "test").feve[0]
    assert len(scored) == 1
    lab.close()


def test_without_a_recording_it_says_what_it_lacks(cortex):
    lab = LabState(cortex.as_twin())
    assert "Give the twin's recording" in Scorecard.lacks(lab)
    with pytest.raises(InputError, match="nothing to score against"):
        lab.findings.judge("", "test")
    lab.close()


def test_every_view_can_be_drawn_before_anything_is_known(
    cortex, recording, half, nothing_measured
):
    lab = LabState(cortex.as_twin(), recording, others={"half gain": half})
    lab.close()
    page = Scorecard(lab, against="half gain")
    page.__panel__().get_root()
    lab.close()


def test_a_twin_that_comes_in_later_is_scored_too(cortex, recording, half):
    lab = LabState(cortex.as_twin(), recording)
    page = Scorecard(lab)
    lab.wait(60)
    lab.add_twin("late", half)
    lab.wait(60)
    assert page._against.options == [CEILING, "late"]
    assert list(page.summaries()) == ["this twin", "late"]
    lab.close()


def test_a_twin_of_other_neurons_is_refused(cortex, recording):
    stranger = cortex.as_twin()
    stranger.neurons = stranger.neurons.assign_coords(neuron_id=("neuron", np.arange(24) + 50))
    with pytest.raises(InputError, match="'odd' has other neurons"):
        LabState(cortex.as_twin(), recording, others={"odd": stranger})


def test_a_learning_curve_is_drawn_where_there_is_one(cortex, recording):
    minutes = np.array([5, 10, 20, 40, 80, 160.0])
    score = 0.6 / (1 + np.exp(-3 * (np.log10(minutes) - 1)))
    curve = fitting.fit_learning_curve(minutes, score, n_bootstrap=20)
    lab = LabState(cortex.as_twin(), recording, learning_curve=curve)
    page = Scorecard(lab)
    assert len(page._curve_card()) == 3
    assert not any("No learning curve" in str(getattr(o, "value", "")) for o in page._curve_card())
    lab.close()


def test_its_code_computes_the_same(lab, cortex, recording):
    page = Scorecard(lab, reliability=0.25, score="FEVE")
    made = {"twin": cortex.as_twin(), "recording": recording}
    exec(page.as_code(), made)  # noqa: S102 - what a person would run
    made["lab"].wait(60)
    xr.testing.assert_allclose(made["medians"], page.summaries()["this twin"])
    np.testing.assert_array_equal(made["view"].worst(), page.worst())
    made["lab"].close()


def test_figures_and_scores_can_be_taken_away(lab, expected):
    page = Scorecard(lab, against="half gain")
    for draw in page.figures().values():
        assert take_figure(draw(), "png").getbuffer().nbytes > 3000
    tables = {name: make() for name, make in page.tables().items()}
    np.testing.assert_allclose(tables["scores"].feve, expected[0].feve)
    assert set(tables) == {"scores", "medians", "difference"}
