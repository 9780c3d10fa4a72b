"""Checks of how trials are split: what leaks between splits, and whether repeats suffice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from twinlab.recordings.checks.findings import Case, Finding
from twinlab.recordings.reading import Notes, listed
from twinlab.schema import SPLITS

__all__ = [
    "check_doubles",
    "check_leakage",
    "check_near_duplicates",
    "check_repeats",
    "check_sizes",
    "check_withheld",
]

# Of two thumbnails: share of bits of the difference hash that may differ, and the correlation
# that they must have. Measured on dead leaves of 36 x 64 pixels, over 99 % of copies with noise
# of 5 grey levels, 20 levels brighter, or cropped by a pixel on each side are found and none of
# 4.5 million pairs of different images (a test holds both); of photographs a few in ten million
# pairs, where backgrounds or horizons are alike.
MOST_BITS = 24 / 128
LEAST_CORRELATION = 0.93
BLOCK = 2048  # stimuli compared at once with all of another split
FEW_STIMULI, FEW_REPEATS = 10, 4
SEPARATE = "keep all trials of one stimulus in one split"


def check_leakage(case: Case) -> Iterator[Finding]:
    """Find stimuli that two splits share, by id or by pixels."""
    same, ids = _first_same(case), case.stimulus_ids
    index = case.recording.stimulus_index.values
    split, image_id = case.recording.split.values, case.recording.image_id.values
    for one, other in combinations(sorted(set(split.tolist())), 2):
        chosen = [split == name for name in (one, other)]
        by_pixels = np.intersect1d(*(same[index[rows]] for rows in chosen))
        by_id = np.intersect1d(*(image_id[rows] for rows in chosen))
        shared = list(dict.fromkeys([*ids[by_pixels].tolist(), *by_id.tolist()]))
        notes = Notes()
        if shared:
            notes.add(
                f"{case.kind}s",
                f"shown in {one} and in {other}, so scores would be too good",
                *(f"id {name}" for name in shared),
            )
        yield from _findings(notes, SEPARATE)


def check_doubles(case: Case) -> Iterator[Finding]:
    """Find pixels that appear under two ids."""
    same, ids = _first_same(case), case.stimulus_ids
    notes = Notes()
    for double in np.flatnonzero(same != np.arange(len(same))):
        notes.add(
            f"{case.kind}s",
            "the same pixels under two ids",
            f"{ids[same[double]]} = {ids[double]}",
        )
    yield from _findings(notes, "give both one id, so that they count as repeats")


def check_near_duplicates(case: Case) -> Iterator[Finding]:
    """Find stimuli of two splits whose thumbnails are nearly the same.

    A perceptual hash (of each thumbnail, which neighbouring pixel is brighter, rightwards and
    downwards: 128 bits a frame) finds candidates; their thumbnails must then be correlated too.
    """
    thumbnail = case.survey.thumbnail.values
    bits, shape = _hash(thumbnail), _shape(thumbnail)
    same, ids = _first_same(case), case.stimulus_ids
    varied = np.linalg.norm(shape, axis=1) > 0  # a plain grey one has nothing to compare
    index, split = case.recording.stimulus_index.values, case.recording.split.values
    used = {
        name: np.array([i for i in np.unique(index[split == name]) if varied[i]], int)
        for name in sorted(set(split.tolist()))
    }
    for one, other in combinations(used, 2):
        notes = Notes()
        large, small = sorted((used[one], used[other]), key=len, reverse=True)
        for start in range(0, len(large), BLOCK):
            case.job.report(start / len(large), f"comparing {case.kind}s of {one} and {other}")
            rows = large[start : start + BLOCK]
            # of bits -1 and 1 the product counts those that agree less those that differ
            alike = bits[rows] @ bits[small].T >= (1 - 2 * MOST_BITS) * bits.shape[1]
            for i, j in np.argwhere(alike):
                first, second = sorted((rows[i], small[j]))
                if (
                    same[first] != same[second]
                    and shape[first] @ shape[second] > LEAST_CORRELATION
                ):
                    notes.add(
                        f"{case.kind}s",
                        f"nearly the same when scaled down, in {one} and in {other}",
                        f"{ids[first]} ~ {ids[second]}",
                    )
        yield from _findings(notes, f"look at them; if they are copies, {SEPARATE}")


def check_sizes(case: Case) -> Iterator[Finding]:
    """Find splits without trials, or with too few stimuli to judge a model on."""
    index, split = case.recording.stimulus_index.values, case.recording.split.values
    for name in SPLITS:
        n = len(np.unique(index[split == name]))
        if n == 0:
            yield Finding(
                "no trials", name, "note",
                "split the recording before fitting or scoring: recordings convert --split",
            )  # fmt: skip
        elif n < FEW_STIMULI:
            what = f"{n} {case.kind}{'s' * (n > 1)}, which is too few to judge a model on"
            yield Finding(what, name, "note", "report intervals over stimuli with each score")


def check_repeats(case: Case) -> Iterator[Finding]:
    """Find out whether repeats are there, equal, and enough for a ceiling."""
    recording, given = case.recording, case.survey.trial_missing.values < 1
    index, split = recording.stimulus_index.values, recording.split.values
    repeats = {
        name: count[count > 1]
        for name in dict.fromkeys(split.tolist())
        for count in [np.unique(index[given & (split == name)], return_counts=True)[1]]
        if (count > 1).any()
    }
    if not repeats:
        yield Finding(
            f"no {case.kind} is repeated, so nothing says how much of the responses is noise",
            "repeats", "warning", "quote scores without a ceiling, or record repeats",
        )  # fmt: skip
    for name, count in repeats.items():
        if count.min() < count.max():
            yield Finding(
                f"repeated {case.kind}s are shown {count.min()} to {count.max()} times",
                name, "note", "use measures that allow unequal repeats, as ours do",
            )  # fmt: skip
        if np.median(count) < FEW_REPEATS or len(count) < FEW_STIMULI:
            yield Finding(
                f"{len(count)} repeated {case.kind}s, shown {np.median(count):g} times each, "
                "which is too few for a ceiling of a single neuron",
                name, "note", "quote ceilings as means over neurons",
            )  # fmt: skip


def check_withheld(case: Case) -> Iterator[Finding]:
    """Say what the source withholds, and find zeros that stand for it."""
    recording, survey = case.recording, case.survey
    if recording.attrs.get("withheld"):
        yield Finding(
            str(recording.attrs["withheld"]), "withheld by the source", "note",
            "these are NaN; score on trials whose responses are given",
        )  # fmt: skip
    tier = recording.get("source_tier", recording.split).values
    silent, missing = survey.trial_silent.values, survey.trial_missing.values == 1
    for name in dict.fromkeys(tier.tolist()):
        of_tier = tier == name
        if silent[of_tier].all():
            yield Finding(
                f"all responses of its {of_tier.sum()} trials are exactly 0, which stands for "
                "withheld",
                f"tier {name}", "error", "make them NaN: zeros would be scored as responses",
            )  # fmt: skip
        elif missing[of_tier].any():
            yield Finding(
                f"no response in {missing[of_tier].sum()} of {of_tier.sum()} trials",
                f"tier {name}", "note", "they are left out of fits and scores",
            )  # fmt: skip


def _first_same(case: Case) -> np.ndarray:
    """For each stimulus the first with the same pixels."""
    _, first, inverse = np.unique(
        case.survey.digest.values, return_index=True, return_inverse=True
    )
    return first[inverse]


def _hash(thumbnail: np.ndarray) -> np.ndarray:
    """Difference hash of thumbnails (stimulus, frame, row, column), as -1 and 1."""
    right = np.diff(thumbnail, axis=-1)[..., :-1, :]
    down = np.diff(thumbnail, axis=-2)[..., :-1]
    steps = np.concatenate([right, down], axis=1).reshape(len(thumbnail), -1)
    return np.where(steps > 0, np.float32(1), np.float32(-1))


def _shape(thumbnail: np.ndarray) -> np.ndarray:
    """Thumbnails without their brightness and contrast, of unit norm; 0 where there is none."""
    centred = thumbnail - thumbnail.mean(axis=(2, 3), keepdims=True)
    flat = np.nan_to_num(centred).reshape(len(thumbnail), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    rounding = 1e-5 * np.abs(np.nan_to_num(thumbnail)).max(initial=0) * flat.shape[1] ** 0.5
    return np.where(norm > rounding, flat / np.maximum(norm, 1e-30), 0)


def _findings(notes: Notes, advice: str) -> Iterator[Finding]:
    for (place, fault), which in notes.items():
        yield Finding(fault, f"{place}: {listed(which)}", "warning", advice)
