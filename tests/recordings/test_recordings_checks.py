"""Each check finds the defect that was planted, and none finds one in a sound recording."""

import re
import tracemalloc

import dask.array
import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import zoom

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings.checks import CHECKS, SEVERITIES, alignment, survey
from twinlab.recordings.checks.alignment import LAGS, predictability
from twinlab.recordings.checks.findings import Case
from twinlab.schema import make_recording
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex
from twinlab.stimuli import make_dead_leaves


@pytest.fixture(scope="module")
def videos():
    cortex = SimulatedVideoCortex(seed=0, n_neuron=16, height=24, width=32)
    return cortex.record(n_train=30, n_validation=10, n_test=10, n_repeat=4, n_frame=60)


def changed(recording, name, change, *args):
    """A copy of a recording, one variable of which is changed in place or replaced."""
    values = recording[name].values.copy()
    made = change(values, *args)
    return recording.assign({name: recording[name].copy(data=values if made is None else made)})


def put(values, where, what):
    values[where] = what


def stimuli_of(recording, split):
    return np.unique(recording.stimulus_index.values[recording.split.values == split])


# ---- sound recordings ----


def test_nothing_is_found_in_a_sound_recording(recording):
    assert recordings.check_recording(recording) == []


@pytest.mark.parametrize(("seed", "noise"), [(1, "poisson"), (2, "calcium"), (3, "calcium")])
def test_nothing_is_found_in_other_sound_recordings(seed, noise):
    cortex = SimulatedCortex(seed=seed, n_neuron=20, noise=noise)
    sound = cortex.record(n_train=300, n_validation=40, n_test=20, n_repeat=5)
    assert recordings.check_recording(sound) == []


def test_nothing_is_found_in_sound_videos(videos):
    assert recordings.check_recording(videos) == []


def test_a_sound_recording_in_another_order_is_sound(recording):
    order = np.random.default_rng(0).permutation(recording.sizes["trial"])
    assert recordings.check_recording(recording.isel(trial=order)) == []


# ---- planted defects: what is done, severity, what must be said ----


def found_by(check, recording):
    """What one check finds."""
    return list(CHECKS[check](Case(recording, recordings.survey_recording(recording), Job())))


def all_zero_tier(it):
    return changed(it, "response", put, it.split.values == "test", 0)


def hundredth_of_test(it):
    rows = np.flatnonzero(it.split.values == "test")[:3]
    return changed(it, "response", put, rows, np.nan)


def some_missing(it):
    return changed(it, "response", put, (slice(0, 76), [2, 5]), np.nan)


def zero_trials(it):
    return changed(it, "response", put, [7, 8], 0)


def z_scored(it):
    train = it.response.values[it.split.values == "train"].astype(float)
    return changed(it, "response", lambda v: (v - train.mean(0)) / train.std(0))


def scaled_by_all(it):
    return changed(it, "response", lambda v: v / v.std(0, dtype=float))


def fading(it):
    gain = np.linspace(1.5, 0.5, it.sizes["trial"], dtype=np.float32)[:, None]
    return changed(it, "response", lambda v: v * gain)


def mostly_one(it):
    return changed(it, "response", put, (5, 3), 1e4)


def one_more_repeat(it):
    first = np.flatnonzero(it.split.values == "test")[0]
    return it.isel(trial=np.r_[np.arange(it.sizes["trial"]), first])


def without_repeats(it):
    return it.isel(trial=np.unique(it.stimulus_index.values, return_index=True)[1])


def few_repeats(it):
    shown = it.stimulus_index.values
    seen = np.array([(shown[:i] == shown[i]).sum() for i in range(len(shown))])
    return it.isel(trial=seen < 2)


def without_train(it):
    return it.isel(trial=it.split.values != "train")


def shown_in_both(it):
    split = it.split.values.copy()
    split[np.flatnonzero(split == "test")[0]] = "train"
    return it.assign_coords(split=("trial", split))


def same_pixels(it):
    pair = stimuli_of(it, "train")[0], stimuli_of(it, "test")[0]
    return changed(it, "stimulus", lambda v: put(v, pair[0], v[pair[1]]))


def same_pixels_in_train(it):
    one, other = stimuli_of(it, "train")[:2]
    return changed(it, "stimulus", lambda v: put(v, other, v[one]))


def with_copy(it, copy):
    """Put an altered copy of a test image among the training images."""
    pair = stimuli_of(it, "train")[0], stimuli_of(it, "test")[0]
    return changed(
        it, "stimulus", lambda v: put(v, pair[0], np.clip(copy(v[pair[1]].astype(float)), 0, 255))
    )


def noisy(image):
    return image + np.random.default_rng(0).normal(0, 5, image.shape)


def late(it, n_trial):
    return changed(it, "response", np.roll, n_trial, 0)


def shuffled(it):
    return it.isel(trial=np.random.default_rng(0).permutation(it.sizes["trial"]))


def units(name):
    def plant(it):
        return it.assign(response=it.response.assign_attrs(units=name))

    return plant


PLANTED = {
    "an image in two splits": (
        "leakage",
        shown_in_both,
        "warning",
        r"images: id \d+: shown in test and in train, so scores",
    ),
    "a test image among the training images, under another id": (
        "leakage",
        same_pixels,
        "warning",
        r"images: id \d+: shown in test and in train, so scores",
    ),
    "one picture under two ids": (
        "doubles",
        same_pixels_in_train,
        "warning",
        r"images: \d+ = \d+: the same pixels under two ids",
    ),
    "no training trials": ("split sizes", without_train, "note", "train: no trials"),
    "three test images": (
        "split sizes",
        lambda it: it.isel(
            trial=(it.split.values != "test")
            | np.isin(it.stimulus_index.values, stimuli_of(it, "test")[:3])
        ),
        "note",
        "test: 3 images, which is too few to judge",
    ),
    "unequal repeats": (
        "repeats",
        one_more_repeat,
        "note",
        "test: repeated images are shown 6 to 7 times",
    ),
    "no repeats": ("repeats", without_repeats, "warning", "repeats: no image is repeated"),
    "two repeats": (
        "repeats",
        few_repeats,
        "note",
        "test: 30 repeated images, shown 2 times each",
    ),
    "withheld responses as zeros": (
        "withheld",
        all_zero_tier,
        "error",
        "tier test: all responses of its 180 trials are exactly 0",
    ),
    "withheld responses as NaN": (
        "withheld",
        hundredth_of_test,
        "note",
        "tier test: no response in 3 of 180 trials",
    ),
    "what the source withholds": (
        "withheld",
        lambda it: it.assign_attrs(withheld="pupil_center"),
        "note",
        "withheld by the source: pupil_center",
    ),
    "grey levels from 0 to 1": (
        "pixel range",
        lambda it: changed(it, "stimulus", lambda v: v / np.float32(255)),
        "warning",
        "stimulus: grey levels run from 0 to 1, expected 0 to 255",
    ),
    "standardised pixels": (
        "pixel range",
        lambda it: changed(it, "stimulus", lambda v: (v - v.mean()) / v.std()),
        "warning",
        r"stimulus: grey levels run from -[\d.]+ to [\d.]+, expected 0 to 255",
    ),
    "bytes as floats": (
        "pixel type",
        lambda it: changed(it, "stimulus", lambda v: v.astype(np.float32)),
        "note",
        "stimulus: float32 holds whole numbers from 0 to 255 only",
    ),
    "a blank image": (
        "constant stimuli",
        lambda it: changed(it, "stimulus", put, 4, 127),
        "warning",
        "images: id 4: 1 of 730 have the same value in all pixels",
    ),
    "a pixel that is NaN": (
        "missing pixels",
        lambda it: changed(
            changed(it, "stimulus", lambda v: v.astype(np.float32)),
            "stimulus",
            put,
            (9, 0, 3, 3),
            np.nan,
        ),
        "error",
        "images: id 9: 1 of 730 have pixels that are NaN",
    ),
    "no units": ("units", units(""), "note", "response: units are missing"),
    "units that say nothing": ("units", units("a.u."), "note", "response: units say only a.u."),
    "a neuron that was lost": (
        "missing responses",
        lambda it: changed(it, "response", put, (slice(None), 6), np.nan),
        "warning",
        "neuron 6: 1 of 24 neurons have no response at all",
    ),
    "neurons that were recorded later": (
        "missing responses",
        some_missing,
        "note",
        r"neuron 2, 5: 2 of 24 neurons lack 8\.\d% of the responses",
    ),
    "trials of zeros": (
        "silent trials",
        zero_trials,
        "warning",
        "trial 7, 8: all neurons are exactly 0 in 2 of 880 trials",
    ),
    "a neuron that never changes": (
        "constant neurons",
        lambda it: changed(it, "response", put, (slice(None), 3), 2),
        "warning",
        "neuron 3: 1 of 24 neurons never change",
    ),
    "a neuron twice, scaled": (
        "doubled neurons",
        lambda it: changed(it, "response", lambda v: put(v, (slice(None), 9), 2 * v[:, 4])),
        "warning",
        r"neuron 9: 1 of 24 neurons repeat another",
    ),
    "negative counts": (
        "sign",
        lambda it: changed(it, "response", lambda v: v - 0.5),
        "warning",
        r"24 of 24 neurons have negative responses \(down to -0\.5\), which 'spike count",
    ),
    "one huge response": (
        "outliers",
        mostly_one,
        "warning",
        "neuron 3: one response holds over half of the variance",
    ),
    "z-scored responses": (
        "normalisation",
        z_scored,
        "warning",
        "response: mean 0 and standard deviation 1: they are z-scores",
    ),
    "scaled by test trials too": (
        "normalisation",
        scaled_by_all,
        "warning",
        "response: the standard deviation is 1 over all trials and not",
    ),
    "responses that fade": ("drift", fading, "warning", "response: the mean response goes from"),
    "a copy that is brighter": (
        "near duplicates",
        lambda it: with_copy(it, lambda image: image * 0.8 + 40),
        "warning",
        r"images: \d+ ~ \d+: nearly the same when scaled down, in test and in train",
    ),
    "a copy with noise": (
        "near duplicates",
        lambda it: with_copy(it, noisy),
        "warning",
        r"images: \d+ ~ \d+: nearly the same when scaled down, in test and in train",
    ),
    "responses a trial late": (
        "alignment",
        lambda it: late(it, 1),
        "error",
        "trial: responses are best predicted by the image 1 trial earlier, in the order listed",
    ),
    "responses two trials early": (
        "alignment",
        lambda it: late(it, -2),
        "error",
        "trial: responses are best predicted by the image 2 trials later, in the order listed",
    ),
    "responses a trial late in time, listed at random": (
        "alignment",
        lambda it: shuffled(late(it, 1)),
        "error",
        "the image 1 trial earlier, in the order of presentation",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found(recording, name):
    check, plant, severity, message = PLANTED[name]
    (found,) = found_by(check, plant(recording))
    assert re.search(message, str(found)), str(found)
    assert found.severity == severity
    assert found.advice
    assert "\n" not in f"{found}{found.advice}"


def test_a_defect_is_planted_for_every_check():
    assert {check for check, *_ in PLANTED.values()} == set(CHECKS)


def test_all_defects_are_found_together_the_worst_first(recording):
    spoiled = late(PLANTED["a blank image"][1](units("")(some_missing(recording))), 1)
    findings = recordings.check_recording(spoiled)
    severities = [found.severity for found in findings]
    assert severities == sorted(severities, key=SEVERITIES.index)
    assert set(severities) == set(SEVERITIES)


def test_negative_responses_are_allowed_where_units_allow_them(recording):
    lowered = changed(recording, "response", lambda v: v - 0.5)
    assert not found_by("sign", units("dF/F")(lowered))
    assert found_by("sign", units("a.u.")(lowered))[0].severity == "note"
    rounding = changed(recording, "response", lambda v: v - np.float32(1e-8) * (v == 0))
    assert not found_by("sign", rounding)


def test_arousal_is_no_drift(recording):
    aroused = recording.behavior.sel(behavior_channel="running_speed").values
    rising = np.sort(aroused) + np.linspace(0, 3, len(aroused))  # runs more and more
    behavior = recording.behavior.copy(data=recording.behavior.values)
    behavior.loc[{"behavior_channel": "running_speed"}] = rising
    driven = changed(recording, "response", lambda v: v * (rising / rising.mean())[:, None])
    assert not found_by("drift", driven.assign(behavior=behavior))
    (found,) = found_by("drift", driven.drop_vars("behavior"))
    assert "behaviour" not in str(found)


# ---- near duplicates: hits and false alarms ----

COPIES = {
    "noise of 5 grey levels": lambda images, rng: images + rng.normal(0, 5, images.shape),
    "20 grey levels brighter": lambda images, rng: images + 20,
    "cropped by a pixel on each side": lambda images, rng: zoom(
        images[:, :, 1:-1, 1:-1], (1, 1, 36 / 34, 64 / 62), order=1
    ),
}


def two_splits(train, test):
    """What the check finds in a recording of these training and test images."""
    number = np.arange(len(train) + len(test))
    made = make_recording(
        stimulus=np.concatenate([train, test]),
        response=np.ones((len(number), 1)),
        trial={
            "stimulus_index": number,
            "image_id": number,
            "split": np.where(number < len(train), "train", "test"),
        },
        neuron={"neuron_id": [0], "session": ["s"]},
    )
    return found_by("near duplicates", made)


@pytest.mark.parametrize("name", COPIES)
def test_nearly_all_copies_are_found(name):
    images = make_dead_leaves(300, 36, 64, seed=5).values
    copies = np.clip(COPIES[name](images.astype(float), np.random.default_rng(0)), 0, 255)
    found = 0
    for first in range(0, 300, 8):  # a line names eight pairs
        some = slice(first, first + 8)
        findings = two_splits(images[some], np.round(copies[some]).astype(np.uint8))
        found += sum(str(it).count("~") for it in findings)
    assert found >= 0.98 * 300, found


def test_different_images_are_no_copies():
    # 4 million pairs without one: the rate of false alarms is below 1 in a million (95 %)
    images = make_dead_leaves(4000, 36, 64, seed=6).values
    assert two_splits(images[:2000], images[2000:]) == []


def test_sparse_dots_on_grey_are_no_copies():
    images = np.full((60, 1, 36, 64), 127, np.uint8)
    for place, image in enumerate(images):
        y, x = 6 * (place // 10), 6 * (place % 10)
        image[0, y : y + 6, x : x + 6] = 255
    assert two_splits(images[::2], images[1::2]) == []


def test_a_copied_video_is_found(videos):
    index, split = videos.stimulus_index.values, videos.split.values
    pair = index[split == "train"][0], index[split == "test"][0]
    noise = np.random.default_rng(0).normal(0, 5, videos.stimulus.shape[1:])
    copied = changed(
        videos, "stimulus",
        lambda v: put(v, pair[0], np.clip(v[pair[1]].astype(float) + noise, 0, 255)),
    )  # fmt: skip
    (found,) = found_by("near duplicates", copied)
    assert str(found).startswith("videos: ")


# ---- alignment ----


def test_only_the_lag_that_was_planted_predicts(recording):
    for planted in LAGS:
        order = np.arange(recording.sizes["trial"])
        shifts = [(lag, 0) for lag in LAGS]
        mean = predictability(late(recording, -planted), order, shifts, Job()).mean(axis=0)
        assert LAGS[int(mean.argmax())] == planted
        assert mean.max() > 0.06
        assert np.abs(np.delete(mean, mean.argmax())).max() < 0.03


def test_responses_to_other_videos_are_found(videos):
    (found,) = found_by("alignment", changed(videos, "response", np.roll, 1, 0))
    assert found.severity == "error"
    assert "by the video 1 trial earlier" in str(found)


@pytest.mark.parametrize(
    ("frames", "words"), [(-12, r"what was shown (9|12) frames later"), (24, "frames earlier")]
)
def test_responses_that_lead_or_trail_their_video_are_found(videos, frames, words):
    shifted = changed(videos, "response", np.roll, frames, 2)
    found = found_by("alignment", shifted)
    assert any(re.search(words, str(it)) and it.where == "frame" for it in found), found


def test_responses_to_nothing_are_not_called_shifted(recording):
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(recording.sizes["trial"])
        assert not found_by("alignment", changed(recording, "response", np.take, order, 0))


# ---- lazily, in pieces ----


def lazily(variable, rows):
    """A variable whose values are read some rows at a time."""
    chunks = (rows, *variable.shape[1:])
    return variable.copy(data=dask.array.from_array(variable.values, chunks))


def test_a_lazy_recording_has_the_same_findings(videos, monkeypatch):
    monkeypatch.setattr(survey, "BLOCK_BYTES", 4 * videos.stimulus[0].nbytes)
    spoiled = changed(videos, "response", put, (slice(None), 3), 2)
    lazy = spoiled.assign({name: lazily(spoiled[name], 3) for name in ("stimulus", "response")})
    found = recordings.check_recording(lazy)
    assert found == recordings.check_recording(spoiled)
    assert found


def test_memory_does_not_grow_with_a_lazy_recording(monkeypatch):
    monkeypatch.setattr(survey, "BLOCK_BYTES", 2**20)
    monkeypatch.setattr(alignment, "BLOCK_BYTES", 2**20)

    def peak(n_video):
        """Most bytes held while videos are checked that nobody holds."""
        made = dask.array.map_blocks(
            lambda block_info: np.random.default_rng(block_info[None]["chunk-location"]).integers(
                0, 256, block_info[None]["chunk-shape"], np.uint8
            ),
            chunks=((4,) * (n_video // 4), 1, 40, 24, 32),
            dtype=np.uint8,
        )
        number = np.arange(n_video)
        recording = make_recording(
            stimulus=np.zeros((n_video, 1, 40, 1, 1), np.uint8),
            response=np.random.default_rng(0).poisson(1, (n_video, 4, 40)),
            trial={
                "stimulus_index": number,
                "image_id": number,
                "split": np.where(number % 5, "train", "test"),
            },
            neuron={"neuron_id": np.arange(4), "session": ["s"] * 4},
            frame_rate=30.0,
            response_units="spike count",
        ).drop_vars("stimulus")
        dims = ("video", "channel", "frame", "y", "x")
        recording["stimulus"] = xr.DataArray(made, dims=dims, attrs={"units": "grey level"})
        tracemalloc.start()
        recordings.check_recording(recording)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held, made.nbytes

    peak(20)  # what is made once
    (small, _), (large, size) = peak(100), peak(300)
    assert large < 1.3 * small
    assert large < size / 1.5


def test_a_survey_says_what_numpy_says(recording):
    made = recordings.survey_recording(recording)
    train = recording.response.values[recording.split.values == "train"].astype(float)
    np.testing.assert_allclose(made.neuron_mean, recording.response.values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(made.neuron_std, recording.response.values.std(0), rtol=1e-5)
    np.testing.assert_allclose(made.train_mean, train.mean(0), rtol=1e-9)
    np.testing.assert_allclose(made.train_std, train.std(0), rtol=1e-9)
    pixels = recording.stimulus.values.reshape(len(recording.stimulus), -1).astype(float)
    np.testing.assert_allclose(made.brightness, pixels.mean(1), rtol=1e-6)
    np.testing.assert_allclose(made.contrast, pixels.std(1), rtol=1e-5)
    quarters = survey.shrink(recording.stimulus.values[:3, 0], 2, 2)
    expected = recording.stimulus.values[:3, 0].reshape(3, 2, 18, 2, 32).mean((2, 4))
    np.testing.assert_allclose(quarters, expected, rtol=1e-5)


def test_a_check_reports_and_can_be_cancelled(recording):
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=0)
    recordings.check_recording(recording, job=job)
    assert heard == sorted(heard)
    assert 0.9 < heard[-1] <= 1
    job.cancel()
    with pytest.raises(Cancelled):
        recordings.check_recording(recording, job=job)
