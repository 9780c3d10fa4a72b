"""The traps of each public layout: what must not be read as data, and what is refused."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import scipy.io
import xarray as xr
from layout_samples import (
    jpeg,
    write_antolik2016,
    write_cadena2019,
    write_cowley2023,
    write_minimodel2024,
    write_stringer2018,
)
from PIL import Image
from spoiling import Evil, jpeg_of, npy

from twinlab import recordings
from twinlab.recordings.layouts import minimodel2024
from twinlab.schema import InputError


def refusal(path, **settings):
    """The one line that opening a path ends in; checking it says the same."""
    with pytest.raises(InputError) as caught:
        recordings.open_recording(path, **settings)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    if not settings:
        (finding,) = recordings.check_recording(path)
        assert finding.severity == "error"
        assert finding.what in line
    return line


# ---------------------------------------------------------------------- Cadena 2019


@pytest.fixture
def cadena(tmp_path):
    """Change the content of a whole pickle and write it again."""
    path = write_cadena2019(tmp_path).path

    def change(**changes):
        content = pickle.loads(path.read_bytes()) | changes
        kept = {name: values for name, values in content.items() if values is not None}
        path.write_bytes(pickle.dumps(kept, 4))
        return path

    return change


def test_copied_repeats_are_missing(cadena):
    opened = recordings.open_recording(cadena())
    counts = opened.response.notnull().sum("trial").values
    assert counts.tolist() == [2 * 5, 4 * 5, 4 * 4]  # twice, four times, all but one image
    assert opened.attrs["copied_repeats"].startswith("repeats of 1 neurons are copies")


def test_a_copy_is_known_by_its_values_too(cadena):
    opened = recordings.open_recording(cadena(repetitions=np.array([4, 4, 4])))
    assert opened.response.notnull().sum("trial").values.tolist() == [10, 20, 16]


def test_a_silent_neuron_is_no_copy(cadena):
    response = np.random.default_rng(0).poisson(3, (4, 5, 3)).astype(float)
    response[:, :, 1] = 0
    path = cadena(responses=response, repetitions=np.array([4, 4, 4]))
    opened = recordings.open_recording(path)
    assert opened.response.notnull().all()
    assert "copied_repeats" not in opened.attrs


def test_what_lies_beyond_the_repeats_made_is_missing(cadena):
    response = np.ones((4, 5, 3))
    response[2:] = 0  # not a copy: whatever it is, it was not measured
    opened = recordings.open_recording(cadena(responses=response, repetitions=np.array([2, 2, 2])))
    assert opened.sizes["trial"] == 10
    assert (opened.response == 1).all()


def test_the_test_images_are_the_authors(cadena):
    rng = np.random.default_rng(0)
    path = cadena(
        images=rng.integers(0, 256, (50, 4, 4)).astype(float),
        responses=rng.poisson(3, (4, 50, 3)).astype(float),
        image_types=np.full((50, 1), "original"),
        image_ids=np.arange(50),
        image_numbers=None,
        repetitions=np.array([4, 4, 4]),
    )
    opened = recordings.open_recording(path)
    image = opened.isel(trial=slice(50)).split.values
    assert (image[40:] == "test").all()
    assert sorted(set(image[:40])) == ["train", "validation"]
    assert (image == "validation").sum() == 8
    assert "last 20 %" in opened.attrs["split_source"]


def test_a_pickle_is_read_where_it_is_published(cadena, tmp_path):
    whole = recordings.open_recording(cadena())
    path = tmp_path / "published.zip"
    inside = "Cadena_PlosCB19_data/data_binned_responses/cadena_ploscb_data.pkl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "cadena_ploscb_data.pkl", inside)
    xr.testing.assert_identical(whole, recordings.open_recording(path))
    xr.testing.assert_identical(whole, recordings.open_recording(tmp_path))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_the_same_recording(tmp_path, protocol):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    xr.testing.assert_identical(
        recordings.open_recording(write_cadena2019(one).path),
        recordings.open_recording(write_cadena2019(other, protocol).path),
    )


CADENA = {
    "images are gone": ({"images": None}, "`images` is NoneType; expected an array of numbers"),
    "other images": ({"images": np.ones((4, 8, 8))}, "4 `images` but `responses` to 5"),
    "repeats beyond": (
        {"repetitions": np.array([2, 4, 5])},
        "`repetitions` must be whole numbers from 1 to 4",
    ),
    "a broken unit": (
        {"unit_id": np.array([0.5, 1, 2])},
        "`unit_id` must be whole numbers from 0",
    ),
    "types of other images": (
        {"image_types": np.array(["a"])},
        "`image_types` is not an array of 5 whole numbers or short words",
    ),
    "long words": (
        {"image_types": np.full(5, "a" * 1000)},
        "`image_types` is not an array of 5 whole numbers or short words",
    ),
    "a command": ({"session_id": Evil()}, "names posix.system, which is no plain array and is ne"),
}


@pytest.mark.parametrize("case", CADENA)
def test_cadena_says_what_is_wrong(cadena, case):
    changes, line = CADENA[case]
    assert line in refusal(cadena(**changes))


def test_cadena_is_a_dict(tmp_path):
    path = tmp_path / "it.pkl"
    path.write_bytes(pickle.dumps([1, 2], 4))
    assert "holds one list; expected a dict of arrays" in refusal(path)


# ---------------------------------------------------------------------- Stringer 2018

NATIMG = "natimg2800_M160825_MP027_2016-12-14.mat"


def test_the_grey_screen_is_no_image_and_said_to_be_left_out(tmp_path):
    write_stringer2018(tmp_path)
    opened = recordings.open_recording(tmp_path / NATIMG)
    assert opened.sizes["image"] == 6
    assert opened.attrs["left_out"].startswith("2 presentations of the grey screen (image 7)")
    assert np.bincount(opened.stimulus_index).tolist() == [2] * 6
    assert recordings.degrees_to_pixels(opened, 3.0) == 3


def test_a_response_that_is_nan_stays_missing(tmp_path):
    write_stringer2018(tmp_path)
    stim = {"resp": np.full((14, 4), 1.0), "istim": np.repeat(np.arange(1, 8), 2)}
    stim["resp"][0, 2] = np.nan
    scipy.io.savemat(tmp_path / NATIMG, {"stim": stim})
    opened = recordings.open_recording(tmp_path)
    assert np.argwhere(np.isnan(opened.response.values)).tolist() == [[0, 2]]
    assert "center_x" not in opened.coords


def test_stringer_says_what_is_wrong(tmp_path):
    write_stringer2018(tmp_path)
    whole = (tmp_path / NATIMG).read_bytes()

    def of(**stim):
        scipy.io.savemat(tmp_path / NATIMG, {"stim": stim})
        return refusal(tmp_path)

    response, number = np.ones((14, 4)), np.repeat(np.arange(1, 8), 2)
    assert "must be whole numbers from 1 to 7" in of(resp=response, istim=number - 1)
    assert "`stim.istim` names 14 presentations, `stim.resp` 3" in of(
        resp=response[:3], istim=number
    )
    assert "lacks stim.istim" in of(resp=response)
    (tmp_path / NATIMG).write_bytes(whole)
    (tmp_path / "images_natimg2800_all.mat").unlink()
    assert "images_natimg2800_all.mat: no such file" in refusal(tmp_path)


def test_sessions_whose_pixels_are_not_documented_are_refused(tmp_path):
    write_stringer2018(tmp_path)
    for kind in ("ori32", "natimg32"):
        name = f"{kind}_M170714_MP032_2017-08-02"
        (tmp_path / f"{name}.mat").write_bytes((tmp_path / NATIMG).read_bytes())
        line = refusal(tmp_path, session=name)
        assert "the pixels of these stimuli are not published in a documented way" in line
    with pytest.raises(InputError, match="holds 3 sessions; name one with `session`"):
        recordings.open_recording(tmp_path)
    recordings.open_recording(tmp_path, session="M160825_MP027_2016-12-14")


# ---------------------------------------------------------------------- minimodel 2024


def test_mirrored_test_images_are_left_out_of_training(tmp_path, monkeypatch):
    write_minimodel2024(tmp_path)
    monkeypatch.setitem(minimodel2024.FLIPPED, "FX20", (10, 12))
    opened = recordings.open_recording(tmp_path)
    assert not np.isin(opened.image_id, [10, 11, 12]).any()
    assert opened.sizes["trial"] == 9 + 12
    assert opened.attrs["left_out"].startswith("3 mirrored test images (numbers 10 to 12)")


def test_columns_are_those_of_the_mouse(tmp_path):
    write_minimodel2024(tmp_path)
    images = scipy.io.loadmat(tmp_path / "nat60k_text16.mat")["img"]
    (tmp_path / "FX20_nat60k_2023_09_29.npz").rename(tmp_path / "L1_A5_nat60k_2023_02_27.npz")
    opened = recordings.open_recording(tmp_path)
    assert opened.sizes["x"] == 130
    first = images[:, :130, opened.image_id.values[0]]
    np.testing.assert_array_equal(opened.stimulus[opened.stimulus_index[0], 0], first)
    assert set(opened.session.values) == {"L1_A5_nat60k_2023_02_27"}
    (tmp_path / "L1_A5_nat60k_2023_02_27.npz").rename(tmp_path / "X_nat60k_1.npz")
    assert "mouse X is not among L1_A5, L1_A1" in refusal(tmp_path)


def test_an_image_trained_and_tested_on_is_a_test_image(tmp_path):
    write_minimodel2024(tmp_path)
    file = tmp_path / "FX20_nat60k_2023_09_29.npz"
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {"istim_ss": np.array([8, 2, 3])})
    opened = recordings.open_recording(tmp_path)
    shown = opened.split[opened.image_id.values == 8]
    assert shown.size == 5
    assert set(shown.values) == {"test"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sp": None}, "holds 0 arrays `sp`, expected one"),
        ({"ss_all": np.ones((3, 4, 6))}, r"`sp` has shape (5, 12) and `ss_all` (3, 4, 6)"),
        ({"istim_sp": np.arange(12) + 9}, "`istim_sp` must be whole numbers from 0 to 19"),
        ({"istim_ss": np.arange(2)}, "`istim_ss` has shape (2,); expected 3 numbers"),
        ({"xpos": np.array(["a"] * 5)}, "`xpos` has shape (5,); expected 5 numbers"),
        ({"sp": np.array([Evil()], object)}, "an object array, which only unsafe unpickling"),
    ],
)
def test_minimodel_says_what_is_wrong(tmp_path, changes, line):
    write_minimodel2024(tmp_path)
    file = tmp_path / "FX20_nat60k_2023_09_29.npz"
    arrays = dict(np.load(file)) | changes
    np.savez(file, **{name: values for name, values in arrays.items() if values is not None})
    assert line in refusal(tmp_path)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    """A size declared too large would be asked for, and would let a bomb through."""
    write_minimodel2024(tmp_path)
    file = tmp_path / "FX20_nat60k_2023_09_29.npz"
    content = bytearray(file.read_bytes())
    place = content.find(b"PK\1\2")
    content[place + 20 : place + 24] = (2**31).to_bytes(4, "little")
    file.write_bytes(content)
    assert f"declared to be {2**31} bytes of a zip of {len(content)}" in refusal(tmp_path)


# ---------------------------------------------------------------------- Cowley 2023


@pytest.fixture
def cowley(tmp_path):
    """Change a whole sample: the responses, or the members of the zip of images."""
    write_cowley2023(tmp_path)
    path = tmp_path / "images/images_190925.zip"

    def change(responses=None, **members):
        if responses is not None:
            np.save(tmp_path / "responses_raw/responses_190925.npy", responses)
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        content |= {name.replace("__", "/") + ".jpg": it for name, it in members.items()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, it in content.items():
                if it is not None:
                    archive.writestr(name, it)
        return tmp_path

    return change


def test_repeated_photographs_are_repeats_of_one(cowley):
    opened = recordings.open_recording(cowley())
    assert opened.sizes["image"] == 3
    assert opened.attrs["duplicate_images"].startswith("1 images have the pixels of another")
    assert (opened.image_id == 1).sum() == 2 * 3
    assert len(set(opened.split.values[opened.image_id.values == 1])) == 1
    assert opened.attrs["subject"] == "WE"
    assert opened.response.attrs["units"] == "spike count in 100 ms"


def test_averages_are_read_where_single_repeats_are_not_there(cowley):
    folder = cowley()
    (folder / "responses_repeat_averaged").mkdir()
    mean = np.random.default_rng(0).normal(size=(2, 4))
    np.save(folder / "responses_repeat_averaged/responses_190925.npy", mean)
    single = recordings.open_recording(folder)
    assert single.response.attrs["units"] == "spike count in 100 ms"
    (folder / "responses_raw/responses_190925.npy").unlink()
    opened = recordings.open_recording(folder)
    np.testing.assert_array_equal(opened.response, mean.T.astype(np.float32))
    assert opened.response.attrs["units"] == "mean spike count in 100 ms over repeats"


def test_grey_photographs_are_read_as_colour(cowley):
    grey = np.tile(np.arange(112, dtype=np.uint8), (112, 1))
    packed = io.BytesIO()
    Image.fromarray(grey).save(packed, "JPEG")
    opened = recordings.open_recording(cowley(images__image0002=packed.getvalue()))
    shown = opened.stimulus[opened.stimulus_index[opened.image_id.values == 2][0]]
    assert (shown == shown[0]).all()


WHOLE = jpeg(np.zeros((112, 112, 3), np.uint8))
SMALL = jpeg(np.zeros((111, 112, 3), np.uint8))
COWLEY = {
    "a gap": ({"images__image0003": None}, "holds 3 images, not numbered from 1 without a gap"),
    "twice": ({"image0003": SMALL}, "holds image 3 more than once"),
    "an image too many": (
        {"images__image0005": SMALL},
        r"image 5: 112 x 111 pixels, expected (112, 112)",
    ),
    "another number of images": (
        {"responses": np.ones((2, 5, 3))},
        "responses to 5 images, but ",
    ),
    "averages for raw": (
        {"responses": np.ones((2, 4))},
        "responses have shape (2, 4); expected (neuron, image, repeat)",
    ),
    "junk": ({"images__image0002": b"junk"}, "image 2: not a JPEG."),
    "a cut photograph": ({"images__image0002": WHOLE[:700]}, "image 2: not a whole JPEG"),
}


@pytest.mark.parametrize("case", COWLEY)
def test_cowley_says_what_is_wrong(cowley, case):
    changes, line = COWLEY[case]
    assert line in refusal(cowley(**changes))


def test_a_photograph_that_would_fill_memory_is_refused(cowley):
    for seed in range(30):
        content = jpeg_of(np.random.default_rng(seed))
        if b"\xff\xdc\xff\xdc" in content:  # 65,500 x 65,500 pixels
            break
    assert "image 2: " in refusal(cowley(images__image0002=content))


# ---------------------------------------------------------------------- Antolik 2016


def test_a_region_may_lack_either_half(tmp_path):
    write_antolik2016(tmp_path)
    region = tmp_path / "region1"
    (region / "raw_validation_set.npy").unlink()
    means = recordings.open_recording(tmp_path)
    assert (means.split == "test").sum() == 3
    assert "test responses are means over repeats" in means.attrs["averaged"]
    assert (means.split == "validation").sum() == 1
    (region / "validation_set.npy").unlink()
    trained = recordings.open_recording(region)
    assert sorted(set(trained.split.values)) == ["train", "validation"]
    (region / "training_set.npy").unlink()
    assert "holds no recording in a known layout" in refusal(tmp_path)


def test_regions_are_read_in_the_zip_they_are_published_in(tmp_path):
    folder = tmp_path / "whole"
    folder.mkdir()
    write_antolik2016(folder)
    path = tmp_path / "supplement.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.npy")):
            archive.write(file, f"Data/{file.relative_to(folder)}")
            archive.writestr(f"__MACOSX/Data/{file.relative_to(folder)}", "finder")
    whole = recordings.open_recording(folder)
    xr.testing.assert_identical(whole, recordings.open_recording(path))


def test_each_region_is_a_session(tmp_path):
    write_antolik2016(tmp_path)
    (tmp_path / "region1").rename(tmp_path / "region3")
    write_antolik2016(tmp_path)
    for function in (recordings.open_recording, recordings.check_recording):
        with pytest.raises(InputError, match="holds 2 sessions; name one with .*region1, region3"):
            function(tmp_path)  # nothing is wrong with it
    assert set(recordings.open_recording(tmp_path, session="region3").session.values) == {
        "region3"
    }


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("training_inputs", np.full((10, 961), 128.0), "expected whole grey levels from 0 to 255"),
        ("training_inputs", np.full((10, 961), np.nan), "expected whole grey levels from 0 to"),
        ("training_inputs", np.full((10, 900), 1e-5), "expected (images, 961) fractions"),
        ("training_set", np.ones((9, 2)), "expected (image, neuron) of numbers with 10 images"),
        ("training_set", np.ones((10, 3)), "are of different numbers of neurons"),
        ("raw_validation_set", np.ones((3, 2)), "expected (repeat, image, neuron) of numbers"),
    ],
)
def test_antolik_says_what_is_wrong(tmp_path, name, values, line):
    write_antolik2016(tmp_path)
    (tmp_path / f"region1/{name}.npy").write_bytes(npy(values))
    assert line in refusal(tmp_path)
