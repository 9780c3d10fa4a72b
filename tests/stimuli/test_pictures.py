"""A user's images, from files."""

import io

import matplotlib.image
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch

from twinlab import stimuli
from twinlab.schema import InputError
from twinlab.stimuli.pictures import resize

SIZE = {"height": 36, "width": 64}


@pytest.fixture(scope="module")
def levels():
    return np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)


@pytest.mark.parametrize("shape", [(36, 64), (17, 50), (100, 90), (144, 100)])
def test_resizing_is_that_of_torch(shape):
    given = np.random.default_rng(0).random((2, 3, 72, 128))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(given), shape, mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(resize(given, *shape), expected, atol=1e-6)


def test_what_is_too_fine_becomes_grey_and_not_coarser():
    fine = 127.5 + 127.5 * np.cos(2 * np.pi * 0.48 * np.arange(640)) * np.ones((360, 1))
    assert resize(fine, 36, 64)[:, 2:-2].std() < 1
    assert fine[::10, ::10].std() > 50


def test_a_png_has_its_grey_levels(tmp_path, levels):
    matplotlib.image.imsave(tmp_path / "a.png", levels)
    made = stimuli.load_images(tmp_path / "a.png", height=72, width=128, channel=3)
    np.testing.assert_allclose(made[0], levels.transpose(2, 0, 1), atol=1e-3)
    assert (made.dtype, made.name, made.image_id.item()) == (np.float32, "stimulus", "a.png")
    grey = stimuli.load_images(tmp_path / "a.png", height=72, width=128)
    np.testing.assert_allclose(grey[0, 0], levels @ [0.299, 0.587, 0.114], atol=1e-3)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_what_a_camera_turned_is_turned_back(tmp_path, turned, suffix):
    smooth = np.add.outer(np.arange(30), 3 * np.arange(40)).astype(np.uint8)
    smooth[:10, :10] += 80
    exif = PIL.Image.Exif()
    exif[0x0112] = turned
    PIL.Image.fromarray(smooth).save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    with PIL.Image.open(tmp_path / f"a.{suffix}") as image:
        expected = np.asarray(PIL.ImageOps.exif_transpose(image))
    made = stimuli.load_images(
        tmp_path / f"a.{suffix}", height=expected.shape[0], width=expected.shape[1]
    )
    np.testing.assert_allclose(made[0, 0], expected, atol=1e-3)
    assert (int(made.source_height[0]), int(made.source_width[0])) == expected.shape


def test_a_folder_of_jpeg_and_npy(tmp_path):
    smooth = np.add.outer(np.arange(36), np.arange(64)).astype(np.uint8)
    matplotlib.image.imsave(
        tmp_path / "b.jpg", np.repeat(smooth[..., None], 3, 2), pil_kwargs={"quality": 95}
    )
    np.save(tmp_path / "a.npy", np.stack([smooth, 2 * smooth])[:, None])
    (tmp_path / "notes.txt").write_text("not an image")
    made = stimuli.load_images(tmp_path, **SIZE, channel=2)
    assert made.image_id.values.tolist() == ["a.npy[0]", "a.npy[1]", "b.jpg"]
    np.testing.assert_array_equal(made[0], np.stack([smooth, smooth]))
    np.testing.assert_array_equal(made[1, 1], 2 * smooth)
    colours = stimuli.load_images(tmp_path / "b.jpg", **SIZE)
    np.testing.assert_allclose(colours[0, 0], smooth, atol=3)  # JPEG loses a little


def test_images_are_cut_at_their_middle_and_it_is_said(tmp_path):
    image = np.zeros((80, 64))
    image[22:58] = 200  # the middle 36 rows
    np.save(tmp_path / "tall.npy", image)
    made = stimuli.load_images(tmp_path / "tall.npy", **SIZE)
    assert (made == 200).all()
    assert float(made.cropped_fraction[0]) == pytest.approx(1 - 36 / 80)
    assert (int(made.source_height[0]), int(made.source_width[0])) == (80, 64)


def test_what_is_transparent_shows_the_background(tmp_path):
    image = np.full((36, 64, 4), 255, np.uint8)
    image[:, :32, 3] = 0
    matplotlib.image.imsave(tmp_path / "half.png", image)
    made = stimuli.load_images(tmp_path / "half.png", **SIZE, mean=90.0)
    np.testing.assert_allclose(made[0, 0, :, :32], 90)
    np.testing.assert_allclose(made[0, 0, :, 32:], 255)


def test_files_that_are_no_images_are_refused(tmp_path):
    (tmp_path / "bad.png").write_text("no")
    (tmp_path / "a.gif").write_text("no")
    np.save(tmp_path / "five.npy", np.zeros((5, 8, 8)))
    np.save(tmp_path / "line.npy", np.zeros(8))
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "empty").mkdir()
    for name, message in {
        "none.png": "none.png: no such file",
        "bad.png": "bad.png: cannot be read as an image",
        "a.gif": "a.gif: unknown kind of image; expected one of .png, .jpg, .jpeg, .tif, .tiff",
        "five.npy": "five.npy: has 5 channels; expected 1 or 2",
        "line.npy": r"line.npy: holds float64 of shape \(8,\); expected",
        "nan.npy": "nan.npy: has grey levels that are not finite",
        "words.npy": "words.npy: holds <U1",
        "empty": "empty: has no images",
    }.items():
        with pytest.raises(InputError, match=message):
            stimuli.load_images(tmp_path / name, **SIZE, channel=2)
    with pytest.raises(InputError, match="`paths` is empty"):
        stimuli.load_images([], **SIZE)


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_a_tiff_has_its_grey_levels(tmp_path, bits):
    top = np.iinfo(bits).max
    given = (np.linspace(0, 1, 36 * 64).reshape(36, 64) * top).astype(bits)
    PIL.Image.fromarray(given).save(tmp_path / "a.tif")
    made = stimuli.load_images(tmp_path / "a.tif", **SIZE)
    np.testing.assert_allclose(made[0, 0], given * (255 / top), atol=1e-3)


def test_a_tiff_that_would_be_read_in_part_is_refused(tmp_path):
    page = PIL.Image.fromarray(np.zeros((8, 8), np.uint8))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    PIL.Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    for name, found in {"pages": "2 pages", "float": "mode F"}.items():
        with pytest.raises(InputError, match=f"{name}.tif: cannot be read .*{found}"):
            stimuli.load_images(tmp_path / f"{name}.tif", **SIZE)


def head_of_npy(shape):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return head.getvalue()


def test_a_picture_too_large_is_refused_by_its_head_alone(tmp_path):
    PIL.Image.new("1", (10_000, 5_001)).save(tmp_path / "a.png")
    (tmp_path / "b.npy").write_bytes(head_of_npy((10**6, 10**6)))  # and no pixel after it
    with pytest.raises(InputError, match=r"/a.png: has 10000 x 5001 pixels; make it smaller.$"):
        stimuli.load_images(tmp_path / "a.png", **SIZE)
    with pytest.raises(InputError, match=r"/b.npy: has 1000000 x 1000000 .* smaller.$"):
        stimuli.load_images(tmp_path / "b.npy", **SIZE)
