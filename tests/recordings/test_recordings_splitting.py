"""Splits that no image crosses, and folds that leave nothing out."""

import json

import numpy as np
import pytest

from twinlab import fitting, twins
from twinlab.cli.scoring import split_to_score
from twinlab.recordings import (
    fold_recording,
    save_recording,
    split_as_fitted,
    split_recording,
    trained_trials,
)
from twinlab.recordings.store import open_store
from twinlab.schema import InputError, make_recording, split_hash

N_IMAGE = 40


@pytest.fixture(scope="module")
def repeated():
    """40 images shown 1 to 5 times; 3 and 4 have the same pixels; 7 and 8 share an id."""
    rng = np.random.default_rng(0)
    stimulus = rng.integers(0, 256, (N_IMAGE, 1, 4, 4)).astype(np.uint8)
    stimulus[4] = stimulus[3]
    index = rng.permutation(np.repeat(np.arange(N_IMAGE), 1 + np.arange(N_IMAGE) % 5))
    names = np.array([f"image {i}" for i in range(N_IMAGE)])
    names[8] = names[7]
    return make_recording(
        stimulus=stimulus,
        response=rng.normal(size=(len(index), 12)),
        trial={
            "stimulus_index": index,
            "image_id": names[index],
            "split": np.where(index % 3, "train", "test"),
        },
        neuron={"neuron_id": np.arange(12), "session": np.repeat(["a", "b", "c", "d"], 3)},
        recording_id="repeated",
    )


def splits_of_images(recording):
    """Splits in which each content of an image, its pixels and its name, is shown."""
    found = {}
    pixels = [image.tobytes() for image in recording.stimulus.values]
    for index, name, split in zip(
        recording.stimulus_index.values, recording.image_id.values, recording.split.values,
        strict=True,
    ):  # fmt: skip
        found.setdefault(pixels[index], set()).add(str(split))
        found.setdefault(str(name), set()).add(str(split))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_no_image_is_in_two_splits(repeated, seed):
    divided = split_recording(repeated, seed=seed)
    assert all(len(splits) == 1 for splits in splits_of_images(divided).values())
    for fold in fold_recording(repeated, folds=4, seed=seed):
        assert all(len(splits) == 1 for splits in splits_of_images(fold).values())


def test_shares_are_of_images(repeated):
    divided = split_recording(repeated, fractions=(0.5, 0.25, 0.25))
    counts = {
        split: len(np.unique(divided.image_id.values[divided.split.values == split]))
        for split in ("train", "validation", "test")
    }
    # 38 that differ, of which one has two names; pairs weigh one
    assert sum(counts.values()) == N_IMAGE - 1
    assert counts["train"] == pytest.approx(19, abs=1)
    assert counts["validation"] == pytest.approx(9.5, abs=1)
    assert (split_recording(repeated, fractions=(1, 0, 0)).split == "train").all()


@pytest.mark.parametrize("folds", [3, 5])
def test_each_trial_is_in_the_test_of_exactly_one_fold(repeated, folds):
    parts = fold_recording(repeated, folds=folds)
    assert len(parts) == folds
    for split in ("test", "validation"):
        held = np.array([part.split.values == split for part in parts])
        assert (held.sum(axis=0) == 1).all()
    trained = np.array([part.split.values == "train" for part in parts])
    assert (trained.sum(axis=0) == folds - 2).all()
    sizes = [len(np.unique(p.image_id.values[p.split.values == "test"])) for p in parts]
    assert max(sizes) - min(sizes) <= 2


def test_what_is_said_to_be_alike_stays_together(repeated):
    alike = np.arange(N_IMAGE) // 4
    for seed in range(3):
        divided = split_recording(repeated, seed=seed, alike=alike)
        for group in range(N_IMAGE // 4):
            of_group = np.isin(divided.stimulus_index, np.flatnonzero(alike == group))
            assert len(set(divided.split.values[of_group].tolist())) == 1
    with pytest.raises(InputError, match=r"`alike` has shape \(3,\); expected a number for each"):
        split_recording(repeated, alike=np.arange(3))


@pytest.mark.parametrize("by", ["neuron", "session"])
def test_folds_of_neurons_are_disjoint(repeated, by):
    parts = fold_recording(repeated, by, folds=4)
    held = np.array([part.neuron_split.values == "test" for part in parts])
    assert (held.sum(axis=0) == 1).all()
    for part in parts:
        np.testing.assert_array_equal(part.split, repeated.split)
        if by == "session":
            assert len(set(part.session.values[part.neuron_split.values == "test"].tolist())) == 1
            for name in "abcd":
                of_session = part.neuron_split.values[part.session.values == name]
                assert len(set(of_session.tolist())) == 1


def test_the_seed_decides(repeated):
    one, again, other = (split_recording(repeated, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.split, again.split)
    assert (one.split.values != other.split.values).any()
    assert split_hash(one) == split_hash(again) != split_hash(other)
    assert json.loads(one.attrs["split_rule"]) == {
        "by": "image",
        "fractions": [0.8, 0.1, 0.1],
        "seed": 1,
    }
    assert "split_rule" not in repeated.attrs  # the input is not changed


def test_a_recording_on_the_disk_is_divided_alike(repeated, tmp_path):
    path = save_recording(repeated, tmp_path / "it.zarr")
    lazy = open_store(path, lazy=True)  # of several sessions, as no source of ours is
    np.testing.assert_array_equal(split_recording(lazy).split, split_recording(repeated).split)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"by": "trial"}, "`by` is 'trial'; known: image, neuron, session"),
        ({"fractions": (0.5, 0.5)}, "expected three numbers"),
        ({"fractions": (0.5, 0.2, 0.2)}, "that add up to 1"),
        ({"by": "session", "fractions": (0.9, 0.05, 0.05)}, "has 4 sessions to divide"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_a_split_that_cannot_be_is_refused(repeated, wanted, message):
    with pytest.raises(InputError, match=message):
        split_recording(repeated, **wanted)


def test_too_few_folds_or_images_are_refused(repeated):
    with pytest.raises(InputError, match="expected at least 3: training, validation and test"):
        fold_recording(repeated, folds=2)
    with pytest.raises(InputError, match="has 38 images to divide .* expected at least 39"):
        fold_recording(repeated, folds=39)


@pytest.fixture(scope="module")
def folded(recording, tmp_path_factory):
    """A twin fitted to a fold, saved and read again; and the fold."""
    fold = fold_recording(recording, folds=4, seed=7)[2]
    path = twins.save_twin(
        fitting.fit_linear_nonlinear(fold), tmp_path_factory.mktemp("twin") / "twin"
    )
    return twins.load_twin(path), fold


def test_a_saved_twin_knows_which_trials_it_was_trained_on(recording, folded):
    twin, fold = folded
    trained = fold.split.values == "train"
    np.testing.assert_array_equal(trained_trials(recording, twin.origin), trained)
    np.testing.assert_array_equal(trained_trials(fold, twin.origin), trained)
    np.testing.assert_array_equal(split_as_fitted(recording, twin.origin).split, fold.split)
    few = fold.isel(neuron=[1, 3])  # of the same trials
    np.testing.assert_array_equal(trained_trials(few, twin.origin), trained)
    assert trained_trials(recording.isel(trial=slice(0, 300)), twin.origin) is None


def test_a_twin_is_scored_on_trials_it_was_not_trained_on(recording, folded):
    twin, fold = folded
    source, note = split_to_score(twin, recording, "test")
    np.testing.assert_array_equal(source.split, fold.split)
    assert note == (
        "Scored on the split the twin was fitted with (by image, fold 2, folds 4, seed 7)."
    )
    assert split_to_score(twin, fold, "test")[1] == ""
    assert "was trained on these train trials" in split_to_score(twin, fold, "train")[1]
    source, note = split_to_score(twin, recording.isel(trial=slice(0, 300)), "test")
    assert "may have been trained on some of these" in note
    own = fitting.fit_linear_nonlinear(recording)
    assert split_to_score(own, recording, "test") == (recording, "")
