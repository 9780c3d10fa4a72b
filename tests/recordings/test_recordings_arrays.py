"""One's own arrays become the recording they describe, or a line says why not."""

import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.recordings.drawing import hold_out
from twinlab.schema import InputError, validate_recording

N_IMAGE, N_NEURON, N_REPEAT = 40, 3, 4


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "stimulus": rng.integers(0, 256, (N_IMAGE, 5, 6), np.uint8),
        "response": rng.poisson(3, (N_REPEAT, N_IMAGE, N_NEURON)).astype(float),
    }


def test_repeats_become_trials(arrays):
    arrays["response"][3, ::2] = np.nan  # padding: half the images were shown three times
    arrays["response"][0, 1, 2] = np.nan  # one neuron lost for one trial is not padding
    made = recordings.from_arrays(**arrays, response_units="spikes", species="ferret")
    validate_recording(made)
    assert made.sizes["trial"] == 4 * N_IMAGE - N_IMAGE // 2
    for index in (0, 1, 7):
        shown = made.response[made.stimulus_index.values == index]
        given = arrays["response"][: 3 if index % 2 == 0 else 4, index]
        np.testing.assert_array_equal(shown, given)
        np.testing.assert_array_equal(made.stimulus[index, 0], arrays["stimulus"][index])
    assert made.stimulus.dtype == np.uint8
    assert made.response.attrs["units"] == "spikes"
    assert made.attrs["species"] == "ferret"


def test_trials_and_repeats_are_the_same_recording(arrays):
    by_repeat = recordings.from_arrays(**arrays)
    by_trial = recordings.from_arrays(
        arrays["stimulus"],
        arrays["response"].reshape(-1, N_NEURON),
        stimulus_index=np.tile(np.arange(N_IMAGE), N_REPEAT),
    )
    xr.testing.assert_identical(by_repeat, by_trial)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_drawn_split_never_parts_the_trials_of_an_image(arrays, seed):
    made = recordings.from_arrays(**arrays, seed=seed, fractions=(0.5, 0.2, 0.3))
    of_image = made.split.groupby("stimulus_index").map(lambda it: it.isel(trial=0))
    np.testing.assert_array_equal(made.split, of_image.sel(stimulus_index=made.stimulus_index))
    names, counts = np.unique(of_image, return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"train": 20, "validation": 8, "test": 12}
    again = recordings.from_arrays(**arrays, seed=seed, fractions=(0.5, 0.2, 0.3))
    xr.testing.assert_identical(made, again)
    assert f"seed {seed}: 50 % train, 20 % validation, 30 % test" in made.attrs["split_source"]


def test_seeds_draw_differently(arrays):
    one, other = (recordings.from_arrays(**arrays, seed=seed).split for seed in (0, 1))
    assert (one.values != other.values).any()


def test_the_test_is_drawn_from_repeated_images(arrays):
    repeated = np.arange(N_IMAGE) % 5 == 0  # 8 images
    arrays["response"][1:, ~repeated] = np.nan
    for fractions, n_test in (((0.8, 0.1, 0.1), 4), ((0.6, 0.1, 0.3), 12)):
        made = recordings.from_arrays(**arrays, fractions=fractions)
        test = np.unique(made.stimulus_index[made.split.values == "test"])
        assert len(test) == n_test
        assert repeated[test].sum() == min(n_test, 8)


def test_a_group_is_never_parted(arrays):
    group = np.arange(N_IMAGE) // 4
    made = recordings.from_arrays(**arrays, group=group, fractions=(0.5, 0.2, 0.3))
    parts = {}
    for image, split in zip(made.stimulus_index.values, made.split.values, strict=True):
        parts.setdefault(group[image], set()).add(split)
    assert all(len(splits) == 1 for splits in parts.values())
    assert {split for splits in parts.values() for split in splits} == {
        "train",
        "validation",
        "test",
    }


def test_equal_pixels_are_one_image_and_do_not_leak(arrays):
    arrays["stimulus"][30:] = arrays["stimulus"][:10]
    made = recordings.from_arrays(
        **arrays,
        image_id=np.arange(100, 100 + N_IMAGE),
        image={"block": np.arange(N_IMAGE) // 30},
    )
    assert made.block.values.sum() == 10 * N_REPEAT  # each trial has that of its own image
    assert made.sizes["image"] == 30
    assert made.sizes["trial"] == N_IMAGE * N_REPEAT
    assert (made.image_id == 103).sum() == 2 * N_REPEAT
    shown = made.response[made.image_id.values == 103].values
    given = np.concatenate([arrays["response"][:, [3, 33]]]).reshape(-1, N_NEURON)
    np.testing.assert_array_equal(shown, given.astype(np.float32))
    assert made.attrs["duplicate_images"].startswith("10 images have the pixels of another")


def test_a_given_split_is_kept_and_its_leaks_are_told(arrays):
    split = np.repeat(["train", "validation", "test"], [20, 10, 10])
    made = recordings.from_arrays(**arrays, split=split)
    np.testing.assert_array_equal(made.split, np.tile(split, N_REPEAT))
    assert made.attrs["split_source"] == "given"
    arrays["stimulus"][35] = arrays["stimulus"][2]
    with pytest.warns(UserWarning, match="2 = 35: shown in train and in test, so scores"):
        leaking = recordings.from_arrays(**arrays, split=split)
    assert leaking.sizes["image"] == N_IMAGE


def test_what_is_known_of_neurons_images_and_trials_arrives(arrays):
    rng = np.random.default_rng(1)
    place, pupil = rng.normal(size=(N_NEURON, 3)), rng.normal(size=(N_REPEAT, N_IMAGE, 2))
    running = rng.normal(size=(N_REPEAT, N_IMAGE, 1))
    made = recordings.from_arrays(
        **arrays,
        neuron={"neuron_id": [5, 9, 2], "area": ["V1", "V1", "LM"]},
        image={"kind": np.arange(N_IMAGE) % 3},
        trial={"block": np.repeat(np.arange(N_REPEAT), N_IMAGE).reshape(N_REPEAT, N_IMAGE)},
        position_um=place,
        behavior=running,
        behavior_channel=["running_speed"],
        pupil_center=pupil,
        session="a",
    )
    assert made.neuron_id.values.tolist() == [5, 9, 2]
    assert set(made.session.values) == {"a"}
    np.testing.assert_allclose(made.z_um, place[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(made.kind, made.stimulus_index % 3)
    np.testing.assert_array_equal(made.block, np.repeat(np.arange(N_REPEAT), N_IMAGE))
    np.testing.assert_allclose(made.pupil_center, pupil.reshape(-1, 2), rtol=1e-6)
    assert made.behavior_channel.values.tolist() == ["running_speed"]


def test_videos(arrays):
    rng = np.random.default_rng(2)
    videos = rng.integers(0, 256, (6, 2, 7, 4, 5), np.uint8)
    response = rng.normal(size=(3, 6, 4, 7)).astype(np.float32)
    made = recordings.from_arrays(videos, response, frame_rate=30)
    validate_recording(made)
    assert made.response.dims == ("trial", "neuron", "frame")
    assert made.attrs["frame_rate"] == 30.0
    np.testing.assert_array_equal(made.response[6 + 2], response[1, 2])
    grey = recordings.from_arrays(videos[:, 0], response, frame_rate=30)
    assert dict(grey.stimulus.sizes)["channel"] == 1
    np.testing.assert_array_equal(grey.stimulus[3, 0], videos[3, 0])


def test_pixels_are_bytes_only_where_that_loses_nothing(arrays):
    for stimulus, kind in (
        (arrays["stimulus"].astype(np.float64), np.uint8),
        (arrays["stimulus"] + 0.5, np.float32),
        (arrays["stimulus"].astype(int) + 1, np.float32),
        (-arrays["stimulus"].astype(int), np.float32),
    ):
        made = recordings.from_arrays(stimulus, arrays["response"])
        assert made.stimulus.dtype == kind
        np.testing.assert_array_equal(made.stimulus[:, 0], stimulus)


def test_a_recording_of_arrays_is_stored_and_read_back(arrays, tmp_path):
    made = recordings.from_arrays(**arrays)
    path = recordings.save_recording(made, tmp_path / "it.zarr")
    xr.testing.assert_identical(made, recordings.open_recording(path))


def test_images_are_held_out_of_training_alone():
    split = np.repeat(["train", "test"], [50, 20])
    held = hold_out(split, share=0.1)
    assert (held == "validation").sum() == 5
    np.testing.assert_array_equal(held[50:], "test")
    np.testing.assert_array_equal(held, hold_out(split, share=0.1))


VIDEOS = {"stimulus": np.zeros((2, 3, 4, 4), np.uint8), "frame_rate": 30}
FAULTS = {
    "stimulus of one axis": ({"stimulus": np.ones(3)}, r"`stimulus` has shape \(3,\); expected"),
    "stimulus in words": ({"stimulus": ["a"]}, "`stimulus` has type <U1; expected numbers"),
    "ragged stimulus": ({"stimulus": [[1], [1, 2]]}, "`stimulus` is no array"),
    "stimulus with NaN": (
        {"stimulus": np.full((40, 5, 6), np.nan)},
        "`stimulus` has NaN or infinite pixels",
    ),
    "videos without a rate": (
        {"stimulus": np.zeros((2, 1, 3, 4, 4))},
        "holds videos; give their `frame_rate`",
    ),
    "a rate of nought": (
        VIDEOS | {"frame_rate": 0},
        "`frame_rate` must be a number of Hz",
    ),
    "responses of one axis": ({"response": np.ones(3)}, r"`response` has shape \(3,\); expected"),
    "repeats of other images": (
        {"response": np.ones((4, 39, 3))},
        r"so 39 images; `stimulus` holds 40",
    ),
    "trials without an index": (
        {"response": np.ones((80, 3))},
        "80 trials but 40 images; say which",
    ),
    "an index too many": (
        {"stimulus_index": np.arange(160)},
        "`stimulus_index` is for responses of",
    ),
    "an index too large": (
        {"response": np.ones((40, 3)), "stimulus_index": np.arange(40) + 1},
        "`stimulus_index` must be whole numbers from 0 to 39",
    ),
    "a broken index": (
        {"response": np.ones((40, 3)), "stimulus_index": np.arange(40) / 2},
        "`stimulus_index` must be whole numbers",
    ),
    "no response at all": (
        {"response": np.full((4, 40, 3), np.nan)},
        "`response` has no trial: it is empty or NaN",
    ),
    "an infinite response": (
        {"response": np.full((4, 40, 3), np.inf)},
        "`response` is infinite",
    ),
    "ids for other images": ({"image_id": [1, 2]}, r"`image_id` has shape \(2,\)"),
    "one id for two images": (
        {"image_id": np.zeros(40)},
        "`image_id` names 40 images 0.0; expected a name of its own",
    ),
    "an unknown split": ({"split": ["dev"] * 40}, "`split` has 'dev'; expected train, validation"),
    "a split by trial": ({"split": ["train"] * 160}, r"`split` has shape \(160,\)"),
    "fractions beyond one": ({"fractions": (0.9, 0.1, 0.1)}, "`fractions` are .* add up to 1"),
    "two fractions": ({"fractions": (0.9, 0.1)}, "`fractions` are .* three numbers"),
    "a negative seed": ({"seed": -1}, "`seed` must be at least 0"),
    "groups of other images": ({"group": [1]}, r"`group` has shape \(1,\)"),
    "behaviour without names": (
        {"behavior": np.ones((4, 40, 2))},
        "`behavior` has shape .* one column for each of `behavior_channel`",
    ),
    "pupil by image": ({"pupil_center": np.ones((40, 2))}, "`pupil_center` has shape"),
    "a label too few": ({"neuron": {"area": ["V1"]}}, r"`neuron\['area'\]` has shape \(1,\)"),
    "neurons of one name": ({"neuron": {"neuron_id": [1, 1, 2]}}, "`neuron_id` is not unique"),
    "positions on a line": ({"position_um": np.ones((3, 1))}, "`position_um` has shape"),
    "objects": ({"image": {"kind": [object()] * 40}}, "type object"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_does_not_fit_is_said_in_one_line(arrays, case):
    changes, message = FAULTS[case]
    with pytest.raises(InputError, match=message) as caught:
        recordings.from_arrays(**arrays | changes)
    assert len(str(caught.value).splitlines()) == 1
