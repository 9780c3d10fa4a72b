import copy
import re

import holoviews as hv
import numpy as np
import panel as pn
import pytest
import xarray as xr

from twinlab import evaluation, explorers, insilico, plots, recordings, twins
from twinlab.explorers import LabState, TuningLab
from twinlab.explorers.taking import take_data, take_figure
from twinlab.schema import InputError


def drawn(page):
    """Points of the curve as they are on the page."""
    return np.array(page._curve_layers(page._shown(page.blank()))[1].dimension_values(1))


def test_the_curve_of_the_page_is_that_of_the_experiment(lab, said):
    page = TuningLab(lab, protocol="size", n_point=6)
    assert np.isnan(drawn(page)).all()  # until it is measured
    lab.wait(60)
    expected = insilico.EXPERIMENTS["size_tuning"](lab.findings.twin, [0], n_point=6)
    xr.testing.assert_allclose(page.known(), expected.isel(neuron=0))
    np.testing.assert_allclose(drawn(page), expected.curve[0])
    assert f"<b>{float(expected.suppression_index[0]):.2f}</b>" in said(page)


def test_another_neuron_or_protocol_is_measured_and_what_is_known_kept(lab):
    page = TuningLab(lab, protocol="contrast")
    lab.wait(60)
    first, key = page.known(), page.key
    lab.neuron = 5
    lab.wait(60)
    assert int(page.known().neuron_id) == 5
    page.protocol = "orientation"
    lab.wait(60)
    assert page.known().attrs["experiment"] == "orientation_tuning"
    lab.neuron = 0
    assert lab.findings.known(key, 0).identical(first)
    # Another page of the same findings need not measure again.
    other = TuningLab(lab.another(), protocol="contrast")
    assert other.known() is not None
    other.lab.close()


def test_two_parameters_of_ones_own_make_a_map(lab):
    page = TuningLab(lab, protocol="any parameters", axis="contrast", second="orientation")
    lab.wait(60)
    one = page.known()
    assert one.evoked.dims == ("contrast", "orientation")
    direct = insilico.measure_tuning(
        lab.findings.twin,
        [0],
        axes={"contrast": one.contrast.values, "orientation": one.orientation.values},
    )
    np.testing.assert_allclose(one.evoked, direct.evoked[0], rtol=1e-5)
    np.testing.assert_allclose(drawn(page), one.evoked.isel(orientation=_best(one)))
    assert page._map_card.visible
    page.second = "none"
    lab.wait(60)
    assert page.known().evoked.dims == ("contrast",)
    assert not page._map_card.visible


def _best(one):
    return int(one.evoked.max("contrast").values.argmax())


def test_limits_of_one_axis_are_forgotten_with_it(lab):
    page = TuningLab(lab, protocol="size", low=2.0, high=20.0)
    page.protocol = "contrast"
    assert (page.low, page.high) == (None, None)
    page.param.update(protocol="size", low=3.0)
    assert page.low == 3.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "size", "low": 9.0, "high": 3.0}, "must satisfy 0 < low < high"),
        ({"protocol": "cross_orientation", "contrast": 0.9}, "leave the range of grey levels"),
        ({"protocol": "orientation", "high": 90.0}, "must go once around, 180 deg"),
    ],
)
def test_what_cannot_be_measured_is_said_with_a_remedy(lab, settings, words):
    page = TuningLab(lab, **settings)
    lab.wait(60)
    assert lab.message.startswith("These curves cannot be measured")
    assert words in lab.message
    assert page.known() is None
    page.param.update(low=None, high=None, contrast=None)
    lab.wait(60)
    assert page.known() is not None


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("orientation", "grating"),
        ("size", "round grating"),
        ("phase", "image"),
        ("cross_orientation", "image"),
    ],
)
def test_a_tap_puts_the_stimulus_of_the_nearest_point_on_the_bench(lab, protocol, kind):
    page = TuningLab(lab, protocol=protocol)
    lab.wait(60)
    one = page.known()
    places = page._curve_layers(one)[1].dimension_values(0)
    page._tap_curve(places[2] + 0.2 * (places[3] - places[2]), 0.0)
    assert lab.kind == kind
    main = one.curve.dims[0]
    values = {main: float(one[main][2])} | insilico.curve_settings(one)
    if kind == "image":
        shown = insilico.draw_grating(lab.findings.twin.spec, insilico.grating_at(one, values))
        np.testing.assert_array_equal(lab.image, shown)
    else:
        assert getattr(lab, {"radius": "size"}.get(main, main)) == pytest.approx(values[main])
    for beside in ((None, None), (places[2], None)):
        page._tap_curve(*beside)  # beside the frame: nothing happens


def test_a_tap_on_the_map_finds_both_values(lab):
    page = TuningLab(lab, protocol="orientation")
    lab.wait(60)
    page._tap_map(44.0, float(np.log2(0.085)))
    assert lab.orientation == 45.0
    frequency = page.known().spatial_frequency.values
    assert lab.spatial_frequency == pytest.approx(frequency[np.abs(frequency - 0.085).argmin()])


def test_a_point_is_chosen_by_name_on_one_axis_and_on_both(lab):
    page = TuningLab(lab, protocol="orientation")
    lab.wait(60)
    one = page.known()
    first, second = page._points.choices
    orientation, frequency = (one[axis].values for axis in one.evoked.dims)
    first.value = 3
    assert lab.kind == "grating"
    assert lab.orientation == pytest.approx(orientation[3])
    best = insilico.curve_settings(one)["spatial_frequency"]
    assert lab.spatial_frequency == pytest.approx(best)
    second.value = int(np.abs(frequency - best).argmax())
    assert lab.spatial_frequency == pytest.approx(frequency[second.value])
    page._tap_curve(float(orientation[5]), 0.0)
    assert (first.value, second.value) == (None, None)
    second.value = 1  # of the second axis alone, at the best of the first
    assert lab.spatial_frequency == pytest.approx(frequency[1])
    lab.neuron = 17  # of which no other test asks
    assert (second.value, second.disabled) == (None, True)
    lab.wait(60)
    assert not second.disabled
    page.protocol = "size"
    assert (first.value, second.visible) == (None, False)  # other axes, and nothing chosen


def test_the_selection_or_all_are_measured_and_counted(lab):
    page = TuningLab(lab, protocol="contrast", n_point=10)
    lab.wait(60)
    assert page.counted() is None  # one neuron is no distribution
    lab.selection = [2, 9, 4]
    lab.start(page.measure, list(lab.selection))
    lab.wait(60)
    assert page._say_spread() == "3 of the 3 selected neurons measured"
    expected = insilico.EXPERIMENTS["contrast_tuning"](lab.findings.twin, [2, 9, 4], n_point=10)
    assert page.main_index() == "c50"
    np.testing.assert_allclose(page.counted().c50, expected.c50)
    (bars,) = page._spread.object.traverse(lambda part: part, [hv.Histogram])
    assert bars.dimension_values(1).sum() == np.isfinite(expected.c50).sum()
    page.index = "fit_r2"
    np.testing.assert_allclose(page.counted().fit_r2, expected.fit_r2)
    lab.start(page.measure, None)
    lab.wait(120)
    lab.selection = []
    assert page.counted().sizes["neuron"] == len(lab.findings)


def test_cancelled_work_leaves_what_was_known(lab):
    page = TuningLab(lab, protocol="surround")
    lab.wait(60)
    lab.start(page.measure, None)
    lab.cancel()
    lab.wait(60)
    assert lab.message == "cancelled"
    assert lab.findings.known_of(page.key).sum() == 1


def test_recorded_responses_to_the_same_gratings_are_drawn_beside(cortex):
    spec = cortex.as_twin().spec
    from twinlab import stimuli

    canvas = {"height": spec.height, "width": spec.width, "mean": spec.mean}
    angles = np.arange(0, 180, 22.5)
    images = stimuli.make_gratings(angles, 0.1, contrast=0.8, **canvas).values
    shown = cortex.show(images, np.tile(np.arange(8), 5))
    shown = shown.assign_coords(orientation=("image", angles, {"units": "deg"}))
    lab = LabState(cortex.as_twin(), shown)
    page = TuningLab(lab)
    lab.wait(60)
    assert "over 40 trials, less the twin's response to grey" in page._say_measured()
    layers = page._curve_layers(page.known())
    recorded = layers[0].traverse(lambda part: part, [hv.Scatter])[0].dimension_values(1)
    direct = insilico.measure_recorded_tuning(shown, "orientation", [0])
    np.testing.assert_allclose(
        recorded, direct.response[0] - float(page.known().blank_response), rtol=1e-5
    )
    radian = shown.assign_coords(orientation=shown.orientation.assign_attrs(units="rad"))
    lab.findings.recording = radian
    assert "orientation in rad, but tuning is in deg" in page._say_measured()
    lab.close()


def test_a_recording_of_other_images_says_so(lab):
    page = TuningLab(lab)
    lab.wait(60)
    assert "does not say the orientation of its images" in page._say_measured()


def test_an_ensemble_has_intervals(cortex):
    members = []
    for factor in (1.0, 1.3, 0.8):
        member = copy.deepcopy(cortex.as_twin())
        member.scale.mul_(factor)
        members.append(member)
    lab = LabState(members[0], members=members)
    page = TuningLab(lab)
    lab.wait(60)
    assert "osi_interval" in page.known()
    assert "intervals over the ensemble's members" in page._say_indices()
    assert "lab.findings.together" in page.as_code()
    lab.close()


@pytest.mark.parametrize("protocol", ["size", "any parameters"])
def test_the_code_computes_what_the_page_shows(lab, recording, protocol):
    lab.neuron = 3
    page = TuningLab(lab, protocol=protocol, axis="contrast", n_point=5)
    lab.wait(60)
    rooms = {
        "evaluation": evaluation, "explorers": explorers, "insilico": insilico,
        "recordings": recordings, "twins": twins,
    }  # fmt: skip
    found = rooms | {"twin": lab.findings._twin, "recording": recording}
    exec(compile(page.as_code(), "view", "exec"), found)  # noqa: S102 - as a reader runs it
    np.testing.assert_allclose(found["tuning"].evoked[0], page.known().evoked, rtol=1e-5)
    assert found["view"].key == page.key
    found["lab"].close()


def test_code_of_what_cannot_be_asked_for_is_a_warning(lab):
    page = TuningLab(lab, protocol="any parameters", low=5.0, high=5.0)
    with pytest.raises(InputError, match="5") as found:
        page.as_code()
    with pytest.raises(InputError, match=re.escape(str(found.value))):
        page.figures()["tuning curve"]()
    (copy_code,) = [one for one in page.__panel__().select(pn.widgets.Button)
                    if one.label == "Copy as code"]  # fmt: skip
    lab.message = ""
    copy_code.clicks += 1
    assert lab.message == f"There is no code for this. {found.value}"


def test_curves_can_be_taken_away_once_they_are_known(lab):
    page = TuningLab(lab, protocol="spatial_frequency", n_point=7)
    with pytest.raises(InputError, match="is not known yet; wait for it"):
        page.figures()["tuning curve"]()
    lab.wait(60)
    for name in ("tuning curve", "tuning map"):
        assert take_figure(page.figures()[name](), "svg").getvalue().startswith(b"<?xml")
    with pytest.raises(InputError, match="No two neurons are measured yet"):
        page.figures()["distribution"]()
    saved = take_data(page.tables()["tuning"](), "nc", {}).getvalue()
    taken = xr.load_dataset(saved, engine="h5netcdf")
    np.testing.assert_allclose(taken.curve[0], page.known().curve)
    page.protocol = "size"
    lab.wait(60)
    with pytest.raises(InputError, match="has one axis, which makes no map"):
        page.figures()["tuning map"]()


def test_a_neuron_that_answers_to_nothing_is_said_to_be_undefined(cortex):
    twin = copy.deepcopy(cortex.as_twin())
    twin.scale[0] = 0.0
    lab = LabState(twin)
    page = TuningLab(lab, protocol="size")
    lab.wait(60)
    assert "undefined" in page._say_indices()
    page._tap_curve(1.0, 0.0)
    assert "is not defined; choose a neuron that answers" in lab.message
    page.protocol = "orientation"
    lab.wait(60)
    page.__panel__().get_root()
    lab.close()


def test_a_page_that_is_not_looked_at_measures_nothing(lab):
    lab.has_pages = True
    lab.page = "unit"
    page = TuningLab(lab, protocol="phase", n_point=9)
    lab.wait(10)
    assert page.known() is None
    lab.page = "tuning"
    lab.wait(60)
    assert page.known() is not None
    assert plots.INDICES["phase_tuning"] == page.main_index()
