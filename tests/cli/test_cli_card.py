"""The card of a recording, and what the command says of its faults."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from command import call
from matplotlib.image import imread

from twinlab import recordings
from twinlab.cli.card import make_card, write_card
from twinlab.cli.checking import findings_table
from twinlab.cli.summary import summarise_recording
from twinlab.evaluation import cc_max
from twinlab.recordings import Finding
from twinlab.simulation import SimulatedVideoCortex


class Page(HTMLParser):
    """Words, pictures and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.words, self.pictures, self.addresses = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img":
            data = attrs["src"].removeprefix("data:image/png;base64,")
            self.pictures.append(imread(io.BytesIO(base64.b64decode(data)), format="png"))

    def handle_data(self, data):
        self.words += data


def card_of(recording, path):
    summary = summarise_recording(recording)
    findings = recordings.check_recording(recording, survey=summary)
    return Page(write_card(path, recording, summary, findings).read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory, recording):
    """A recording on disk, with a name that would be markup."""
    named = recording.assign_attrs(recording_id="<script>alert(1)</script>")
    return recordings.save_recording(named, tmp_path_factory.mktemp("card") / "it.zarr")


@pytest.fixture(scope="module")
def card(store):
    """Its card, written by the command."""
    status, said, err = call("recordings", "card", store, "--out", store.parent / "card.html")
    assert status == 0, err
    assert "The card is in" in said
    return (store.parent / "card.html").read_text()


def test_a_card_says_and_draws_what_is_there(card):
    page = Page(card)
    for words in ("24", "spike count", "600 train, 100 validation, 180 test", "CC0-1.0",
                  "The checks found nothing", "running speed"):  # fmt: skip
        assert words in page.words
    assert len(page.pictures) == 12 + 4 + 2 + 2 + 4 + 4 + 2
    for picture in page.pictures:
        assert np.ptp(picture[..., :3]) > 0.3
    assert "nan" not in page.words


def test_a_card_asks_nothing_of_the_network_and_runs_nothing(card):
    assert all(address.startswith("data:") for address in Page(card).addresses)
    assert "<script" not in card
    assert "&lt;script&gt;" in card


def test_a_card_shows_the_pixels_themselves(card, recording):
    first = recording.stimulus.values[0, 0]
    same = [
        picture
        for picture in Page(card).pictures
        if picture.shape[:2] == first.shape
        and np.abs(picture[..., 0] - first / 255).max() < 1 / 250
    ]
    assert len(same) == 1


def test_a_card_says_what_a_recording_lacks_instead_of_drawing_it(recording, tmp_path):
    bare = recording.drop_vars(["pupil_center", "x_um", "y_um", "z_um", "presentation_order"])
    bare = bare.assign(  # withheld
        response=bare.response.where(bare.split != "test"), behavior=bare.behavior.where(False)
    )
    page = card_of(bare, tmp_path / "card.html")
    for words in ("No image was repeated", "Behaviour was not recorded", "tier test",
                  "position of the pupil was not", "positions of the cells are not given",
                  "order of presentation is unknown", "no image is repeated"):  # fmt: skip
        assert words in page.words
    assert len(page.pictures) == 12 + 2 + 1 + 4
    assert "nan" not in page.words


def test_videos_have_a_card(tmp_path):
    cortex = SimulatedVideoCortex(seed=0, n_neuron=8, height=24, width=32)
    videos = cortex.record(n_train=10, n_validation=2, n_test=2, n_repeat=3, n_frame=20)
    page = card_of(videos, tmp_path / "card.html")
    assert "30 Hz" in page.words
    assert "frame 20" in page.words


@pytest.mark.slow
def test_a_card_has_the_terms_of_a_public_recording(shared_data, tmp_path):
    sample = shared_data / "lurz2020-mouse-v1/layout_sample/static20457-5-9-preproc0.zip"
    text = make_card(str(sample), tmp_path / "card.html").read_text()
    for words in ("the test animal of Lurz", "CC BY-NC-ND 4.0", "ICLR 2021", "sensorium-static",
                  "4 repeated images, shown 10 times each"):  # fmt: skip
        assert words in text


def test_a_summary_has_the_numbers_of_its_parts(recording):
    summary = summarise_recording(recording)
    test = recording.isel(trial=recording.split.values == "test")
    expected = cc_max(test.response.values, test.stimulus_index.values)
    np.testing.assert_allclose(summary.cc_max, expected, rtol=1e-6)
    assert summary.n_stimulus.values.tolist() == [0, 700, 0, 0, 0, 0, 30]
    assert summary.raster.shape == (24, 120)
    # the first columns are the six repeats of one test image
    best = int(np.argmax(summary.oracle_correlation.values))
    shown = np.flatnonzero(recording.stimulus_index.values == test.stimulus_index.values.min())
    spread = float(summary.neuron_std[best])
    np.testing.assert_allclose(
        summary.raster.values[0, :6], recording.response.values[shown, best] / spread, rtol=1e-6
    )
    weights = np.full(60, 880 / 60)
    assert np.average(summary.session_response, weights=weights) == pytest.approx(
        float(recording.response.mean()), rel=0.01
    )


# ---- the command ----


def test_a_card_of_nothing_is_refused_in_one_line(tmp_path):
    status, _, err = call("recordings", "card", tmp_path / "no.zip", "--out", tmp_path / "n.html")
    assert status == 2
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_shows_how_reliable_a_recording_is(store):
    said = call("recordings", "show", store)[1]
    assert re.search(r"explainable +0\.\d{3} \(mean of 24 neurons\)", said)
    assert re.search(r"oracle +0\.\d{3}", said)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda it: it, 0),
        (lambda it: it.assign_attrs(withheld="pupil_center"), 0),
        (lambda it: it.assign(response=it.response.where(it.neuron_id != 3, 2.0)), 1),
        (lambda it: it.assign(response=it.response.roll(trial=1)), 2),
    ],
    ids=["nothing", "note", "warning", "error"],
)
def test_the_exit_status_is_that_of_the_worst_finding(recording, tmp_path, spoil, status):
    path = recordings.save_recording(spoil(recording), tmp_path / "it.zarr")
    code, said, _ = call("recordings", "check", path)
    assert code == status
    told, text, _ = call("recordings", "check", path, "--json")
    assert told == status
    machine = json.loads(text)
    assert machine["status"] == status
    assert machine["recording"] == str(path)
    findings = recordings.check_recording(path)
    assert [Finding(**found) for found in machine["findings"]] == findings
    squeezed = re.sub(r"\s+", "", said)
    for found in findings:
        assert found.severity in squeezed
    assert ("nothing wrong" in said) == (not findings)


def test_a_table_keeps_words_with_brackets():
    table = findings_table([Finding("frames [0, 3] of 9", "a[1].npy", "note", "look")])
    assert "[0, 3]" in table
    assert "a[1].npy" in table
