"""The stimulus bench: every kind of stimulus, the pointer, uploads, and what is said of them."""

import io
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
import xarray as xr
from bokeh.models import ColumnDataSource

from twinlab import explorers, plots, stimuli
from twinlab.explorers import StimulusBench
from twinlab.explorers.shown import KINDS, STIMULUS, USED
from twinlab.explorers.taking import take_figure
from twinlab.explorers.uploads import read_upload
from twinlab.schema import InputError


def point(x, y):
    return SimpleNamespace(x=x, y=y)


def columns(root):
    """Every column of the Bokeh data sources below a root: name and values, sorted."""
    return sorted(
        (name, np.asarray(values).tolist())
        for source in root.select({"type": ColumnDataSource})
        for name, values in source.data.items()
    )


def column(root, name):
    return next(values for known, values in columns(root) if known == name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stimulus_of_each_kind_is_made_by_its_code_and_can_be_shown(lab, kind):
    lab.param.update(kind=kind, strokes=[([(3.0, 4.0), (30.0, 20.0)], 3.0, 1.0)], contrast=1)
    image = lab.stimulus().values
    assert image.shape == lab.canvas.shape
    assert lab.limits[0] <= image.min() <= image.max() <= lab.limits[1]
    if kind != "image":
        assert np.ptp(image) > 50
    rates = torch.as_tensor(lab.rate().values)
    with torch.inference_mode():
        torch.testing.assert_close(rates, lab.findings.twin(torch.as_tensor(image[None]))[0])


@pytest.mark.parametrize("name", [name for name in STIMULUS if name not in ("kind", "image")])
def test_each_parameter_changes_the_kinds_that_use_it_and_no_other(lab, name):
    other = {"ink": "black", "strokes": [([(9.0, 9.0)], 5.0, 1.0)], "exponent": 0.5, "seed": 4}
    for kind in KINDS:
        lab.param.update(kind=kind)
        before = lab.stimulus().values
        kept = getattr(lab, name)
        if name in other:
            setattr(lab, name, other[name])
        else:
            low, high = lab.param[name].bounds
            setattr(lab, name, low + 0.37 * (high - low))
        assert (name in USED[kind]) != np.array_equal(before, lab.stimulus().values), kind
        setattr(lab, name, kept)


def test_a_plaid_is_two_gratings_and_noise_hangs_on_its_seed(lab):
    lab.param.update(kind="plaid", orientation=20, mask_orientation=110, size=31, contrast=0.8)
    half = {"phase": 0, "contrast": 0.4, "mean": lab.canvas.mean, "height": 36, "width": 64}
    two = sum(
        stimuli.make_gratings(turn, 0.1, **half).values[0] - lab.canvas.mean for turn in (20, 110)
    )
    middle = np.s_[:, 5:31, 20:44]
    np.testing.assert_allclose(
        (lab.stimulus().values - lab.canvas.mean)[middle], two[middle], atol=1e-2
    )


def test_pixels_beyond_black_and_white_are_cut_and_it_is_said(lab):
    bench = StimulusBench(lab)
    lab.param.update(kind="noise", contrast=1.0)
    share = float(lab.stimulus().clipped_fraction)
    assert share > 0.1
    assert f"{100 * share:.1f} % of pixels are cut" in bench._say_familiarity()
    lab.param.update(kind="Gabor")
    assert "are cut" not in bench._say_familiarity()


def test_the_distance_from_training_is_said_and_grows_with_strangeness(lab, recording):
    bench = StimulusBench(lab)
    lab.show_image(recording.stimulus.values[0].astype(np.float32), "recorded")
    near = lab.distance()
    lab.param.update(kind="grating", contrast=1)
    assert lab.distance() > 2 * near
    assert f"{lab.distance():.1f} standard deviations" in bench._say_familiarity()


def test_what_is_on_the_page_is_replaced_as_if_it_were_drawn_again(lab):
    root = StimulusBench(lab).__panel__().get_root()
    before = columns(root)
    lab.param.update(kind="bar", x=20, y=11, orientation=30, neuron=5)
    np.testing.assert_allclose(column(root, "image")[0], lab.stimulus().values[0], rtol=1e-6)
    np.testing.assert_allclose(column(root, "rate"), lab.rate(), rtol=1e-6)
    assert columns(root) != before
    assert columns(root) == columns(StimulusBench(lab).__panel__().get_root())


def test_a_second_view_starts_from_what_is_shown_now(lab):
    bench = StimulusBench(lab)
    bench.__panel__().get_root()
    lab.param.update(kind="grating", orientation=45)
    root = bench.__panel__().get_root()
    np.testing.assert_allclose(column(root, "image")[0], lab.stimulus().values[0], rtol=1e-6)


def test_the_pointer_moves_the_stimulus_and_stays_on_the_canvas(lab):
    bench = StimulusBench(lab)
    lab.kind = "Gabor"
    bench._press(point(10.2, 8.4))
    bench._point(point(100.0, -7.0))
    bench._point(point(None, None))
    bench._lift(point(70.0, -5.0))
    assert (lab.x, lab.y) == (63, 0)
    bench._tap(point(12.34, 5.58))
    assert (lab.x, lab.y) == (12.3, 5.6)
    lab.kind = "grating"
    bench._tap(point(40, 20))
    assert lab.x == 12.3  # it fills the field: there is nothing to move


def test_a_stroke_follows_the_pointer(lab):
    bench = StimulusBench(lab)
    lab.param.update(kind="drawing", ink="black", breadth=2)
    bench._press(point(5, 5))
    for x in (10, 20, 30):
        bench._point(point(x, 5))
    bench._lift(point(30, 5))
    bench._tap(point(50, 30))
    (points, breadth, contrast), (dot, _, _) = lab.strokes
    assert points[0] == (5, 5)
    assert points[-1] == (30, 5)
    assert (breadth, contrast, dot[0]) == (2, -1, (50, 30))
    image = lab.stimulus().values[0]
    assert image[5, 17] < 1
    assert image[30, 50] < 1
    assert image[20, 10] == pytest.approx(lab.canvas.mean)


@pytest.mark.parametrize("kind", ["Gabor", "noise", "bar", "plaid", "drawing", "round grating"])
def test_the_code_rebuilds_what_is_shown(lab, recording, kind):
    lab.param.update(kind=kind, orientation=35, x=20, y=9, ink="black", selection=[2, 7])
    lab.strokes = [([(3.0, 4.0), (30.0, 20.0)], 3.0, -1.0)]
    space = {"twin": lab.findings.twin.twin, "recording": recording}
    exec(StimulusBench(lab).as_code(), space)
    space["lab"].close()
    np.testing.assert_array_equal(space["stimulus"], lab.stimulus())
    np.testing.assert_allclose(space["rate"], lab.rate(), rtol=1e-6)
    xr.testing.assert_allclose(space["view"].driven(), StimulusBench(lab).driven())


def test_the_bars_are_those_of_the_selection_or_of_the_most_driven(lab):
    bench = StimulusBench(lab)
    rate = lab.rate().values
    assert bench.driven().position.values.tolist() == np.argsort(-rate, kind="stable")[:8].tolist()
    lab.selection = [4, 2, 9]
    driven = bench.driven()
    assert driven.position.values.tolist() == [4, 2, 9]
    np.testing.assert_allclose(
        driven.usual_high, np.percentile(lab.findings.usual_rate[:, [4, 2, 9]], 99, axis=0)
    )
    assert "3 selected" in bench._say_driven()
    lab.selection = list(range(24))
    assert bench.driven().sizes["neuron"] == 20
    assert "first 20 of 24" in bench._say_driven()
    bench.choose_driven()
    assert rate[lab.neuron] == rate.max()


def test_everything_can_be_taken_away(lab):
    bench = StimulusBench(lab)
    for draw in bench.figures().values():
        assert len(take_figure(draw(), "png").getvalue()) > 1000
    assert set(bench.tables()) == {"stimulus", "responses", "chosen neurons"}
    assert bench.tables()["responses"]().rate.sizes == {"neuron": 24}


# Uploads


def encoded(array, form):
    content = io.BytesIO()
    PIL.Image.fromarray(array).save(content, form)
    return content.getvalue()


@pytest.fixture(scope="module")
def levels():
    return np.random.default_rng(0).integers(0, 256, (72, 200), np.uint8)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_an_upload_is_cut_and_resized_and_its_contrast_kept(lab, levels, form, tmp_path):
    content = encoded(levels, form)
    image, said = read_upload(f"mine.{form.lower()}", content, lab.canvas)
    (tmp_path / f"mine.{form.lower()}").write_bytes(content)
    expected = stimuli.load_images(tmp_path / f"mine.{form.lower()}", height=36, width=64)
    np.testing.assert_array_equal(image, expected[0])
    assert said == (
        f"mine.{form.lower()}: 200 × 72 px, 36 % cut off at the edges, resized to 64 × 36; "
        "contrast kept"
    )


def test_an_uploaded_array_is_read_but_never_run(lab):
    content = io.BytesIO()
    np.save(content, np.full((2, 1, 36, 64), 300.0))
    image, said = read_upload("a.npy", content.getvalue(), lab.canvas)
    assert (image == lab.canvas.high).all()
    assert "the first of 2 images" in said
    assert "100.0 % of pixels beyond what can be shown" in said
    content = io.BytesIO()
    np.save(content, np.array([print]), allow_pickle=True)
    with pytest.raises(InputError, match=r"b.npy: cannot be read as an image"):
        read_upload("../b.npy", content.getvalue(), lab.canvas)


def test_what_cannot_be_shown_is_refused_in_one_line(lab, levels):
    png = encoded(levels, "PNG")
    four = io.BytesIO()
    np.save(four, np.zeros((4, 36, 64)))
    for name, content, message in [
        ("a.png", b"no picture", "a.png: cannot be read as an image"),
        ("b.png", png[: len(png) // 2], "b.png: cannot be read as an image"),
        ("c.png", b"x" * 8_000_001, "c.png: has 8 MB, but at most 8 are read; make it smaller"),
        ("d.npy", four.getvalue(), "d.npy: has 4 channels; expected 1"),
        ("e.exe", png, "e.exe: unknown kind of image"),
        ("e." + 300 * "e", png, "e.eeee.*: unknown kind of image"),
        ("f.png", b"", "f.png: cannot be read as an image"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            read_upload(name, content, lab.canvas)
        assert "\n" not in str(caught.value)
        assert "/tmp" not in str(caught.value)


def test_in_a_notebook_the_page_itself_says_what_went_wrong_until_it_goes_well(lab, levels, said):
    bench = StimulusBench(lab)
    bench.upload("<b>.png", b"nothing")
    assert "The picture cannot be shown. <b>.png: cannot be read as an image" in said(bench)
    bench.upload("good.png", encoded(levels, "PNG"))
    assert "cannot" not in said(bench)


def test_a_refused_upload_is_said_and_leaves_what_was_shown(lab, levels):
    bench = StimulusBench(lab)
    bench.upload("good.png", encoded(levels, "PNG"))
    before = lab.stimulus()
    for content, size, said in [
        (b"nothing", 7, "bad.png: cannot be read as an image"),
        (None, 30_000_000, "bad.png: has 30 MB, but at most 8 are read; make it smaller"),
        (None, 7, "bad.png: your browser cannot read it"),
    ]:
        bench.upload("bad.png", content, size)
        assert lab.stimulus() is before
        assert lab.message.startswith(f"The picture cannot be shown. {said}")
        assert lab.kind == "image"


def test_a_bar_that_leaves_the_frame_is_cut_and_its_number_stays():
    driven = xr.Dataset(
        {
            "rate": ("neuron", [1.0, 30.0, np.nan]),
            "usual_low": ("neuron", [0.2, 0.1, 0.0]),
            "usual_high": ("neuron", [2.0, 3.0, 0.0]),
        },
        {"position": ("neuron", [4, 17, 9])},
    )
    usual, now, names, rates = plots.driven_columns(driven)
    assert now["top"].tolist()[:2] == [0.5, 2.0]
    assert np.isnan(now["top"][2])
    assert rates["said"] == ["1", "30", "nan"]
    assert names["said"] == ["4", "17", "9"]
    assert usual["bottom"][0] == pytest.approx(0.1)
    assert np.isfinite(rates["y"]).all()
    plots.plot_driven(driven)


def test_the_bench_is_registered():
    assert explorers.EXPLORERS["stimulus"] is StimulusBench
