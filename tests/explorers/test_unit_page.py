import copy
import json

import holoviews as hv
import numpy as np
import panel as pn
import pytest
import torch
import xarray as xr

from twinlab import evaluation, explorers, insilico, plots, recordings, simulation, twins
from twinlab.explorers import LabState, UnitPage, looks
from twinlab.explorers.taking import take_data, take_figure
from twinlab.explorers.trust import judge_mei, judge_scores, say_scores
from twinlab.explorers.unit_said import say_tuning
from twinlab.schema import InputError


def scaled(cortex, factor):
    twin = copy.deepcopy(cortex.as_twin())
    twin.scale.mul_(factor)
    return twin


@pytest.fixture
def ensemble_lab(cortex, recording):
    members = [scaled(cortex, factor) for factor in (1.0, 1.2, 0.9)]
    lab = LabState(members[0], recording, members=members)
    lab.wait(60)
    yield lab
    lab.close()


def parts(element, kind):
    return element.traverse(lambda part: part, [kind])


def scores_of(explainable, correlation, low):
    interval = ("bound", [low, correlation + 0.1])
    return xr.Dataset(
        {
            "explainable_variance": explainable,
            "correlation_to_average": correlation,
            "correlation_to_average_interval": interval,
        }
    )


@pytest.mark.parametrize(
    ("scores", "answers"),
    [
        (scores_of(0.4, 0.8, 0.6), ["reliable enough to judge", "predicted"]),
        (
            scores_of(0.1, 0.3, -0.1),
            ["not reliable enough to judge", "not predicted above chance"],
        ),
        (
            scores_of(np.nan, np.nan, np.nan),
            ["not reliable enough to judge", "prediction undefined"],
        ),
    ],
)
def test_a_neuron_is_judged_by_its_scores(scores, answers):
    assert [verdict.answer for verdict in judge_scores(scores)] == answers


def mei_of(agreement, **others):
    return xr.Dataset({"activation": 5.0, "start_agreement": agreement, **others})


def test_an_mei_is_judged_by_its_starts_the_other_twin_and_the_training_images():
    judged = {"activation_natural_other": 2.0, "activation_gabor_other": 3.0}
    answers = [v.answer for v in judge_mei(mei_of(0.95, activation_other=4.0, **judged), [])]
    assert answers == ["starts agree", "validated", "like training images"]
    answers = [v.answer for v in judge_mei(mei_of(0.2, activation_other=2.5, **judged), ["dark"])]
    assert answers == ["starts differ", "not above its controls", "unlike training images"]
    answers = [v.answer for v in judge_mei(mei_of(np.nan), None)]
    assert answers == ["one start only", "not validated", "familiarity unknown"]
    failed = xr.Dataset({"activation": np.nan, "start_agreement": np.nan})
    assert [v.answer for v in judge_mei(failed, [])] == ["no exciting input"]


def test_a_link_by_identity_chooses_the_neuron_wherever_it_stands(lab):
    page = UnitPage(lab, unit="simulated-0/9")
    assert lab.neuron == 9
    assert page.link(page.unit, "").endswith("?page=unit&unitpage.unit=simulated-0/9")
    lab.neuron = 4
    assert page.unit == "simulated-0/4"


def test_a_link_to_a_neuron_that_is_gone_says_so(lab):
    page = UnitPage(lab, unit="simulated-0/999", pinned="elsewhere/3")
    assert lab.neuron == 0
    assert page.unit == "simulated-0/0"
    assert page.pinned == ""
    assert "elsewhere/3, is not among this twin's" in lab.message


def test_a_pinned_neuron_is_measured_and_drawn_beside_the_chosen(lab, said):
    page = UnitPage(lab)
    page.pinned = "simulated-0/7"
    lab.wait(60)
    pinned = lab.findings.known("tuning", 7)
    curves = parts(page._draw_tuning(200), hv.Curve)
    np.testing.assert_allclose(curves[-1].dimension_values(1)[:-1], pinned.evoked_curve, rtol=1e-6)
    np.testing.assert_allclose(
        curves[0].dimension_values(1)[:-1], lab.known("tuning").evoked_curve, rtol=1e-6
    )
    text = said(page)
    assert "pinned, 7" in text
    assert f"<b>{float(pinned.osi):.2f}</b>" in text
    lab.neuron = 3  # the pinned one stays
    assert page.pinned == "simulated-0/7"


def test_members_are_drawn_as_a_band_around_the_neuron(ensemble_lab):
    page = UnitPage(ensemble_lab)
    curve = ensemble_lab.known("tuning").evoked_curve.values
    (band,) = parts(page._draw_tuning(200), hv.Area)
    np.testing.assert_allclose(band.dimension_values(1)[:-1], 0.9 * curve, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(band.dimension_values(2)[:-1], 1.2 * curve, rtol=1e-4, atol=1e-6)
    predicted = ensemble_lab.known("averages").prediction.values
    spread = parts(page._draw_prediction(200), hv.Segments)[-1]
    np.testing.assert_allclose(spread.dimension_values(0), 0.9 * predicted, rtol=1e-4)
    np.testing.assert_allclose(spread.dimension_values(2), 1.2 * predicted, rtol=1e-4)


def test_an_ensemble_itself_has_its_members(cortex):
    twin = twins.EnsembleTwin([scaled(cortex, 1.0), scaled(cortex, 1.1)])
    lab = LabState(twin)
    lab.wait(60)
    assert len(lab.findings.members) == 2
    assert lab.known("member_tuning").sizes["member"] == 2
    UnitPage(lab).__panel__().get_root()
    lab.close()


def test_least_exciting_and_diverse_inputs_are_made_when_asked_for(lab, said):
    lab.neuron = 8
    page = UnitPage(lab)
    assert "not synthesised yet" in said(page)
    for name in ("lei", "diverse"):
        lab.findings.measure(name, 8)
    lei = insilico.synthesize_lei(lab.findings.twin, [8])
    assert float(lab.known("lei").activation) == pytest.approx(float(lei.activation[0]))
    assert "diversity <b>" in said(UnitPage(lab))
    labels = parts(page._draw_diverse(200), hv.Labels)[0]
    assert all(text.endswith("%") for text in labels.dimension_values(2))


def test_what_few_neurons_have_is_drawn_again_where_it_changes(lab, monkeypatch):
    page, redrawn = UnitPage(lab), []
    monkeypatch.setattr(page, "_redraw", lambda *names: redrawn.append(names))
    lab.findings.measure("lei", 14)
    for neuron in (13, 14, 15, 16):
        lab.neuron = neuron
    assert redrawn == [("this lei",), ("this lei",)]  # as it comes, and as it goes


def test_its_mei_goes_to_the_bench(lab):
    page = UnitPage(lab)
    lab.findings.measure("mei", 0)
    page._send_mei()
    assert lab.kind == "image"
    np.testing.assert_array_equal(lab.image, lab.known("mei").mei)
    assert lab.rate()[0] == pytest.approx(float(lab.known("mei").activation), rel=1e-4)


def test_the_code_computes_what_the_page_shows(lab, recording):
    lab.neuron = 5
    lab.wait(60)
    lab.findings.measure("mei", 5)
    page = UnitPage(lab, pinned="simulated-0/2")
    rooms = {
        "evaluation": evaluation, "explorers": explorers, "insilico": insilico,
        "recordings": recordings, "twins": twins,
    }  # fmt: skip
    found = rooms | {"twin": lab.findings._twin, "recording": recording}
    code = page.as_code()
    assert code.startswith("from twinlab import")
    exec(compile(code, "view", "exec"), found)  # noqa: S102 - our own code, as a reader runs it
    assert found["view"].pinned == "simulated-0/2"
    assert found["view"].lab.neuron == 5
    xr.testing.assert_allclose(found["tuning"].isel(neuron=0), lab.known("tuning"))
    np.testing.assert_allclose(found["mei"].mei[0], lab.known("mei").mei, atol=1e-3)
    np.testing.assert_allclose(found["scores"].feve[5], lab.known("scores").feve)
    found["lab"].close()


def test_figures_and_data_can_be_taken_away_once_they_are_known(lab):
    lab.neuron = 11
    lab.wait(60)
    page = UnitPage(lab)
    for name in ("receptive field", "orientation tuning", "measured and predicted"):
        assert take_figure(page.figures()[name](), "png").getvalue().startswith(b"\x89PNG")
    unmade = "Diverse exciting inputs of neuron 11: not known yet; press Synthesise"
    with pytest.raises(InputError, match=unmade):
        page.figures()["diverse exciting inputs"]()
    assert page.tables()["mei"]() is None
    saved = take_data(page.tables()["tuning"](), "nc", {}).getvalue()
    tuning = xr.load_dataset(saved, engine="h5netcdf")
    np.testing.assert_allclose(tuning.evoked_curve, lab.known("tuning").evoked_curve)
    assert json.loads(tuning.attrs["settings"])


def test_what_cannot_be_measured_says_what_it_needs(cortex):
    lab = LabState(cortex.as_twin())
    lab.wait(60)
    page = UnitPage(lab)
    for name in ("measured and predicted", "best and worst images"):
        with pytest.raises(InputError, match=f"{name.capitalize()} of neuron 0: not known; this "
                           "needs a recording with test trials"):  # fmt: skip
            page.figures()[name]()
    lab.close()


def test_a_neuron_that_was_not_recorded_says_so(cortex, recording):
    lab = LabState(cortex.as_twin(), recording.isel(neuron=slice(0, 5)), neuron=9)
    lab.wait(60)
    page = UnitPage(lab)
    assert "not in this recording" in page._say_trust()
    with pytest.raises(InputError, match="needs a recording with test trials of the neuron"):
        page.figures()["measured and predicted"]()
    lab.close()


def test_nothing_is_drawn_beside_a_neuron_while_none_is_pinned(cortex):
    lab = LabState(cortex.as_twin())
    lab.wait(60)
    lab.findings.measure_all("tuning")
    page = UnitPage(lab)
    beside = parts(page._draw_tuning(200), hv.Curve)[-1].dimension_values(1)
    assert np.isnan(beside).all()
    lab.close()


def test_an_unknown_ceiling_is_said_to_be_undefined():
    names = ("explainable_variance", "oracle_correlation", "feve", "correlation_to_average")
    scores = xr.Dataset({name: 0.5 for name in names} | {"cc_max": np.nan})
    assert "</b>, of at most undefined." in say_scores(scores)
    assert "nan" not in say_scores(scores)


def test_an_ask_measures_only_what_is_unknown(lab):
    asked = []

    def experiment(twin, neurons, job):
        asked.append(list(neurons))
        return insilico.measure_orientation_tuning(twin, neurons, n_phase=3)

    for neurons in ([3, 1], [1, 5, 3], [5]):
        lab.findings.ask("three phases", experiment, neurons)
    assert asked == [[3, 1], [5]]
    for neuron in (1, 3, 5):
        assert int(lab.findings.known("three phases", neuron).neuron_id) == neuron
    assert lab.findings.known("three phases", 0) is None
    known = np.isfinite(lab.findings.column("three phases", "osi"))
    assert np.flatnonzero(known).tolist() == [1, 3, 5]


def test_a_dead_neuron_has_no_preference_and_the_page_says_so(cortex, said):
    twin = copy.deepcopy(cortex.as_twin())
    twin.scale[0] = 0.0
    lab = LabState(twin)
    lab.wait(60)
    page = UnitPage(lab)
    assert "undefined" in say_tuning(page.lab.known("tuning"))
    lab.findings.measure("mei", 0)
    assert page.trusted()[0].answer == "no exciting input"
    lab.findings.measure("lei", 0)
    lab.findings.measure("diverse", 0)
    assert "nan" not in said(page)
    page.__panel__().get_root()
    assert torch.isfinite(twin.scale).all()
    lab.close()


def test_what_was_measured_is_drawn_light_on_a_dark_page(lab, monkeypatch):
    def ink(page):
        figure = page._figure(lambda: page._draw_prediction(200), [], [])[()]
        points = parts(figure, hv.Scatter)[0]
        return hv.Store.lookup_options("bokeh", points, "style").kwargs["color"]

    page = UnitPage(lab)
    assert ink(page) == plots.COLORS["measured"]
    monkeypatch.setattr(pn.config, "theme", "dark")
    assert ink(page) == looks.DARK["head"]


def test_a_served_ensemble_keeps_its_members_and_its_code_names_them():
    from twinlab.cli.serving import make_bench

    frame = make_bench("example", simulation.load_example(), None, "")()
    findings = frame.lab.findings
    assert len(findings.members) > 1
    assert findings.other is not None
    space = {}
    page = UnitPage(frame.lab)
    exec(page.as_code(), space)  # noqa: S102 - it is what a user does with it
    rebuilt = space["lab"]
    assert rebuilt.findings.together.identity == findings.together.identity
    assert space["view"].own() == page.own()
    frame.lab.close()
    rebuilt.close()
