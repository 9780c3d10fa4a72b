"""The lab: one state for all pages, an address for each, code that rebuilds them."""

import asyncio
import html
import io
import threading

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from panel.models.markup import HTML

from twinlab import explorers
from twinlab.explorers.address import read_positions, write_positions
from twinlab.explorers.looks import Words
from twinlab.explorers.taking import provenance, take_data, take_figure
from twinlab.schema import InputError


@pytest.mark.parametrize(
    ("positions", "words"),
    [([], ""), ([3], "3"), ([4, 0, 1, 2, 9], "0-2,4,9"), ([5, 6], "5-6")],
)
def test_a_selection_is_written_in_a_few_letters_and_read_again(positions, words):
    assert write_positions(positions) == words
    assert read_positions(words, 10) == sorted(positions)


@pytest.mark.parametrize("words", ["a", "3-", "-3", "1-99", "9-1", "1.5", "²", "0,,x"])
def test_a_selection_that_cannot_be_is_refused(words):
    with pytest.raises(InputError, match="choose them anew|there are 0 to 9"):
        read_positions(words, 10)


def test_a_selection_too_long_for_an_address_is_left_out_of_it():
    assert write_positions(range(0, 2000, 2)) == ""


def test_selection_and_its_words_follow_each_other(lab):
    lab.selection = [2, 1, 7]
    assert lab.chosen == "1-2,7"
    lab.chosen = "0-3"
    assert lab.selection == [0, 1, 2, 3]
    lab.chosen = "0-99"
    assert lab.selection == [0, 1, 2, 3]
    assert "there are 0 to 23" in lab.message


@pytest.mark.parametrize("place", [24, -1])
def test_a_neuron_that_is_not_there_cannot_be_selected(place, lab, known):
    lab.selection = [1, 2]
    with pytest.raises(InputError, match=f"no neuron {place} to select; choose from 0 to 23"):
        lab.selection = [3, place]
    assert lab.selection == [1, 2]
    assert lab.chosen == "1-2"
    with pytest.raises(InputError, match="choose from 0 to 23"):
        known.another(selection=[place])


@pytest.mark.parametrize("place", [24, -1])
def test_nothing_is_known_of_a_neuron_that_is_not_there(place, known):
    with pytest.raises(InputError, match=f"no neuron {place}; choose from 0 to 23"):
        known.findings.known("receptive_field", place)


def test_pages_share_what_is_known_but_not_what_is_chosen(known, lab):
    lab.neuron = 5
    lab.wait(60)
    assert known.neuron == 0
    assert known.findings.known("tuning", 5) is not None


def test_every_explorer_says_what_it_is_for():
    for name, kind in explorers.EXPLORERS.items():
        assert name.isidentifier()
        assert kind.title
        assert kind.about.endswith(".")
        assert 20 < len(kind.about) < 110


def test_the_lab_opens_a_page_once_and_keeps_it(lab):
    frame = explorers.Lab(lab)
    frame.__panel__().get_root()
    assert frame._open == {}
    lab.page = "population"
    first = frame._open["population"]
    lab.page = ""
    lab.page = "population"
    assert frame._open["population"] is first


def test_a_page_that_is_not_there_leads_to_the_gallery_and_is_said(lab):
    lab.page = "telepathy"
    explorers.Lab(lab)
    assert lab.page == ""
    assert "'telepathy' cannot be opened. The pages are bench, " in lab.message


# Those that need a video, a loop or fits; their code is run in tests of their own.
ELSEWHERE = {"videos", "loop", "fits"}
HERE = [name for name in explorers.EXPLORERS if name not in ELSEWHERE]


def test_only_what_needs_something_else_is_tested_elsewhere(known):
    lacking = {name for name, kind in explorers.EXPLORERS.items() if kind.lacks(known)}
    assert lacking == ELSEWHERE


@pytest.mark.parametrize("name", HERE)
def test_the_code_of_a_page_rebuilds_it(name, known, cortex, recording):
    """A copied view shows the same: its parameters, and the data behind it."""
    lab = known.another(neuron=3, kind="grating", orientation=35, selection=[1, 2, 5])
    lab.wait(60)
    view = explorers.EXPLORERS[name](lab)
    space = {"twin": cortex.as_twin(), "recording": recording}
    exec(view.as_code(), space)  # noqa: S102 - it is what a user does with it
    rebuilt = space["view"]
    rebuilt.lab.wait(60)
    assert type(rebuilt) is type(view)
    assert rebuilt.lab.view() == lab.view()
    assert rebuilt.own() == view.own()
    for title, table in view.tables().items():
        shown, again = table(), rebuilt.tables()[title]()
        if shown is None:
            assert again is None
        else:
            xr.testing.assert_allclose(shown, again)
    lab.close()
    rebuilt.lab.close()


@pytest.mark.parametrize("name", HERE)
def test_pages_are_drawn_by_bokeh_in_a_notebook_that_draws_by_matplotlib(name, known, monkeypatch):
    monkeypatch.setattr(hv.Store, "current_backend", "matplotlib")
    lab = known.another()
    root = explorers.EXPLORERS[name](lab).__panel__().get_root()
    lab.close()
    # by matplotlib a figure is a picture in a pane of HTML
    assert not any("<img" in html.unescape(model.text) for model in root.select({"type": HTML}))


@pytest.mark.parametrize("name", HERE)
def test_what_others_wrote_is_never_run_by_the_page(name, cortex, recording):
    bad = "<img src=x onerror=alert()>"
    of_others = recording.assign_attrs(recording_id=bad)
    of_others["response"] = recording.response.assign_attrs(units=bad)
    lab = explorers.LabState(cortex.as_twin(), of_others)
    lab.wait(60)
    page = explorers.EXPLORERS[name](lab)
    root = page.__panel__().get_root()
    lab.show_image(of_others.stimulus[0].values, bad)
    lab.warn(bad, bad)
    said = [part.value for part in page.__panel__().select(Words)]
    said += [html.unescape(part.text) for part in root.select({"type": HTML})]  # sent escaped
    lab.close()
    assert not [words for words in said if "<img" in words]


@pytest.mark.parametrize("name", HERE)
def test_figures_and_data_of_a_page_can_be_taken_away(name, known):
    lab = known.another()
    lab.wait(60)
    view = explorers.EXPLORERS[name](lab)
    lab.wait(60)
    for draw in view.figures().values():
        try:
            figure = draw()
        except InputError as error:  # what nobody has asked for is said not to be there
            assert " yet" in str(error)  # noqa: PT017 - only some of them may raise it
            continue
        assert take_figure(figure, "svg").read(100).startswith(b"<?xml")
    origin = provenance(lab)
    for gather in view.tables().values():
        if gather() is None:
            continue
        with xr.open_dataset(
            io.BytesIO(take_data(gather(), "nc", origin).read()), engine="h5netcdf"
        ) as kept:
            xr.testing.assert_allclose(kept.load(), gather())
            assert kept.attrs["twinlab"] == origin["twinlab"]
    lab.close()


def test_a_table_says_where_it_is_from():
    data = xr.Dataset({"rate": ("neuron", [1.0, np.nan])})
    text = take_data(data, "csv", {"twin": "abc"}).read().decode()
    assert text == "# twin: abc\nneuron,rate\n0,1.0\n1,\n"


def test_provenance_names_twin_recording_and_version(lab):
    origin = provenance(lab)
    assert origin["recording"] == "simulated-0"
    assert origin["twin"].startswith("SimulatedTwin ")
    assert origin["twinlab"]


def test_an_image_is_put_on_the_bench_and_a_wrong_one_refused(lab, recording):
    image = recording.stimulus.values[3]
    lab.show_image(image, "recorded image 3")
    np.testing.assert_array_equal(lab.stimulus(), image)
    assert lab.kind == "image"
    with pytest.raises(InputError):
        lab.show_image(image[:, :5], "half an image")
    np.testing.assert_array_equal(lab.stimulus(), image)


def test_work_is_paused_and_resumed(lab):
    reached, steps = threading.Event(), []

    def work(job):
        for step in range(200):
            job.report(step / 200, f"step {step}")
            steps.append(step)
            reached.set()
            threading.Event().wait(0.01)

    assert lab.start(work)
    assert not lab.start(work)  # one at a time
    assert "Other work is still running" in lab.message
    assert reached.wait(10)
    lab.pause()
    assert lab.paused
    threading.Event().wait(0.1)
    before = len(steps)
    threading.Event().wait(0.2)
    assert len(steps) <= before + 1
    lab.pause()
    lab.cancel()
    lab.wait(10)
    assert lab.message == "cancelled"
    assert not lab.running
    assert not lab.paused


def test_a_notice_goes_when_what_it_is_of_goes_well_and_not_before(lab):
    with lab.warned("This cannot be"):
        msg = "a.png: no picture."
        raise InputError(msg)
    with lab.warned("That cannot be"):
        pass
    assert lab.notice == "This cannot be. a.png: no picture."
    with lab.warned("This cannot be"):
        lab.warn("Other work is still running", "Wait for it.")
    assert lab.notice == "Other work is still running. Wait for it."


def test_what_work_finds_is_handed_over(lab):
    found = []
    lab.start(lambda job: 42, finished=found.append)
    lab.wait(10)
    assert found == [42]


def test_the_example_opens_with_what_was_measured_beforehand():
    """Its tuning is known before that of its members is: no figure may wait for both."""
    from twinlab import simulation
    from twinlab.cli.serving import make_bench

    recording = simulation.record_example()
    frame = make_bench("example", simulation.load_example(), recording, "example")()
    lab = frame.lab
    lab.close()  # what is still unknown stays so
    assert lab.known("tuning") is not None
    for name in ("bench", "unit", "tuning", "population"):
        lab.page = name
        frame._open[name].__panel__().get_root()


def test_in_a_notebook_what_arrives_is_heard_on_the_notebooks_own_loop(known):
    async def run_cells():
        lab, heard = known.another(), []

        def note(*_):
            heard.append(threading.get_ident())

        lab.param.watch(note, ["message", "running"])
        lab.start(lambda job: 42, finished=note)
        while lab.running:  # between two cells
            await asyncio.sleep(0.01)
        lab.start(lambda job: 43, finished=note)
        lab.wait(10)  # within one
        lab.close()
        return lab.message, set(heard)

    assert asyncio.run(run_cells()) == ("done", {threading.get_ident()})
