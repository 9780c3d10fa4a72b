import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from twinlab import evaluation, insilico
from twinlab.explorers import LabState, NeuronMap, Population
from twinlab.explorers.taking import take_data, take_figure


@pytest.fixture(scope="module")
def known(cortex, recording):
    """What is known of all neurons: scores, tuning, receptive fields."""
    twin = cortex.as_twin().condition()
    results = {
        "tuning": insilico.measure_orientation_tuning(twin, n_phase=4),
        "receptive_field": insilico.measure_receptive_field(twin),
    }
    lab = LabState(cortex.as_twin(), recording, results=results)
    lab.wait(60)
    yield lab
    lab.close()


def test_filters_let_through_what_lies_between_and_nothing_undefined(lab):
    page = Population(lab)
    page.filters = {"orientation selectivity": [0.2, 0.6]}
    values = lab.values_of("orientation selectivity").values
    np.testing.assert_array_equal(page.passing(), (values >= 0.2) & (values <= 0.6))
    assert 0 < page.passing().sum() < len(values)
    depth = lab.values_of("cortical depth").values
    page.filters = page.filters | {"cortical depth": [0, float(np.median(depth))]}
    both = (values >= 0.2) & (values <= 0.6) & (depth <= np.median(depth))
    np.testing.assert_array_equal(page.passing(), both)


def test_an_undefined_value_does_not_pass(cortex, recording):
    tuning = insilico.measure_orientation_tuning(cortex.as_twin().condition(), [3, 5], n_phase=3)
    lab = LabState(cortex.as_twin(), recording, results={"tuning": tuning}, neuron=3)
    lab.wait(60)
    page = Population(lab, filters={"orientation selectivity": [-9, 9]})
    assert np.flatnonzero(page.passing()).tolist() == [3, 5]
    lab.close()


def test_the_slider_filters_the_variable_that_is_shown_and_keeps_the_others(lab):
    page = Population(lab)
    lab.color_by = "orientation selectivity"
    values = lab.values_of(lab.color_by).values
    page._slider.value = (0.5, page._slider.end)
    lab.color_by = "cortical depth"
    page._slider.value = (page._slider.start, 300.0)
    assert list(page.filters) == ["orientation selectivity", "cortical depth"]
    np.testing.assert_array_equal(
        page.passing(), (values >= 0.5) & (lab.values_of("cortical depth").values <= 300)
    )
    lab.color_by = "orientation selectivity"
    assert page._slider.value[0] == pytest.approx(0.5)
    page._slider.value = (page._slider.start, page._slider.end)
    assert list(page.filters) == ["cortical depth"]
    page._clear_filters()
    assert page.passing().all()


def test_all_values_lie_within_the_whole_range_of_the_slider(lab):
    page = Population(lab)
    for label in lab.colors:
        lab.color_by = label
    assert page.filters == {}


def test_what_passes_is_kept_as_the_selection_of_every_page(lab):
    page = Population(lab, search="1")
    page.keep()
    assert lab.selection == [n for n in range(24) if "1" in str(n)]
    assert lab.chosen == "1,10-19,21"


def test_the_table_is_sorted_by_any_variable_undefined_last(lab):
    page = Population(lab, sort_by="FEVE", descending=True)
    values = lab.values_of("FEVE").values
    values = values[page._table.value["neuron"]]
    finite = values[np.isfinite(values)]
    assert (np.diff(finite) <= 0).all()
    assert not np.isfinite(values[len(finite) :]).any()
    page.descending = False
    listed = lab.values_of("FEVE").values[page._table.value["neuron"]]
    assert (np.diff(listed[: len(finite)]) >= 0).all()
    assert not np.isfinite(listed[len(finite) :]).any()


def test_a_row_of_the_table_chooses_its_neuron(lab):
    page = Population(lab, sort_by="FEVE", descending=True)
    page._table.selection = [2]
    assert lab.neuron == page.listed()[2]


def test_columns_keep_their_look_when_their_unit_becomes_known(cortex):
    lab = LabState(cortex.as_twin())
    page = Population(lab)
    lab.wait(60)
    lab.arrivals.tuning += 1
    assert "preferred orientation (deg)" in page._table.value
    assert page._table.widths.keys() == set(page._table.value)
    assert "preferred orientation (deg)" in page._table.formatters
    lab.close()


def test_only_the_first_rows_of_many_are_listed_and_it_says_so(lab, monkeypatch):
    monkeypatch.setattr("twinlab.explorers.population.N_ROW", 5)
    page = Population(lab)
    assert len(page._table.value) == 5
    assert "<b>24</b> of 24 pass. The first 5 are listed." in page._say_listed()


def test_a_lasso_selects_what_it_encloses_and_a_tap_the_nearest(lab):
    page = Population(lab)
    x, y = lab.places.x_um.values, lab.places.y_um.values
    left, right, low, high = np.median(x), x.max() + 1, y.min() - 1, y.max() + 1
    page.cloud._enclose(np.array([(left, low), (right, low), (right, high), (left, high)]))
    assert lab.selection == np.flatnonzero(x >= left).tolist()
    page.cloud._enclose_box((x.min() - 1, low, left, high))
    assert lab.selection == np.flatnonzero(x <= left).tolist()
    page.cloud._choose(float(x[13]) + 0.5, float(y[13]) - 0.5)
    assert lab.neuron == 13
    page.cloud._choose(None, None)
    assert lab.neuron == 13


def test_neurons_can_be_placed_by_field_and_by_likeness(lab):
    page = Population(lab, layout="receptive field")
    x, _ = lab.known("receptive_field").center_x.item(), None
    assert page.cloud.draw().get(1).dimension_values(0)[0] == pytest.approx(x)
    page.cloud._choose(x, lab.known("receptive_field").center_y.item())
    assert lab.neuron == 0
    page.layout = "alike responses"
    rates = xr.DataArray(lab.findings.usual_rate, dims=("image", "neuron"))
    expected = evaluation.embed_responses(rates).component_1
    there = np.isfinite(expected)
    np.testing.assert_allclose(
        np.sort(page.cloud.draw().get(1).dimension_values(0)), np.sort(expected[there])
    )
    assert "% of their variance" in page._say_layout()


def test_the_map_can_be_coloured_by_what_it_is_placed_by(lab):
    lab.color_by = "receptive field centre x"
    Population(lab, layout="receptive field").__panel__().get_root()


def test_what_is_zoomed_into_is_drawn_afresh(lab, monkeypatch):
    monkeypatch.setattr("twinlab.plots.MOST_POINTS", 10)
    monkeypatch.setattr("twinlab.plots.crowds.MOST_POINTS", 10)
    page = Population(lab)
    page.__panel__().get_root()
    assert len(page.cloud._drawn.get(1)) == 0
    x, y = float(lab.places.x_um[4]), float(lab.places.y_um[4])
    page.cloud._move((x - 5, x + 5), (y - 5, y + 5))
    assert 4 in page.cloud._drawn.get(1).dimension_values("number")


@pytest.mark.parametrize("layout", ["place in cortex", "receptive field", "alike responses"])
def test_every_view_can_be_drawn_before_anything_is_known(
    cortex, recording, layout, nothing_measured
):
    lab = LabState(cortex.as_twin(), recording)
    lab.close()
    page = Population(lab, layout=layout)
    page.__panel__().get_root()
    lab.close()


def test_the_map_can_be_coloured_by_all_that_is_known(lab):
    page = NeuronMap(lab)
    for label in lab.colors:
        lab.color_by = label
        values = lab.values_of(label).values
        drawn = page.cloud.draw().get(1)
        np.testing.assert_array_equal(drawn.dimension_values(2), values)


def test_all_fields_are_measured_on_request(cortex):
    lab = LabState(cortex.as_twin())
    page = NeuronMap(lab, layout="receptive field")
    page.measure_all("receptive_field")
    lab.wait(60)
    assert np.isfinite(page.place().neurons.center_x).all()
    lab.close()


def test_its_code_shows_the_same(lab, cortex, recording):
    lab.color_by = "FEVE"
    page = Population(lab, filters={"cortical depth": [0.0, 300.0]}, sort_by="FEVE")
    made = {"twin": cortex.as_twin(), "recording": recording}
    exec(page.as_code(), made)  # noqa: S102 - what a person would run
    made["lab"].wait(60)
    np.testing.assert_array_equal(made["passing"], page.passing())
    assert made["view"].filters == page.filters
    made["lab"].close()


def test_the_map_and_all_that_is_known_can_be_taken_away(lab):
    page = Population(lab, search="2")
    page.keep()
    for draw in page.figures().values():
        assert take_figure(draw(), "png").getbuffer().nbytes > 3000
    data = page.tables()["neurons"]()
    assert int(data.passes.sum()) == int(data.selected.sum()) == len(lab.selection)
    np.testing.assert_allclose(data.osi, lab.values_of("orientation selectivity"))
    table = pd.read_csv(take_data(data, "csv", {"twin": "a"}), comment="#")
    assert len(table) == 24
    with xr.open_dataset(io.BytesIO(take_data(data, "nc", {}).read()), engine="h5netcdf") as read:
        assert int(read.passes.sum()) == len(lab.selection)


def test_a_link_to_what_is_not_here_is_warned_of(lab):
    page = Population(lab, sort_by="taste")
    assert page.sort_by == "position"
    assert "'taste' is not here" in lab.message
