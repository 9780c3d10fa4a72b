"""One tiny whole sample of each public layout, and what a reader must find in it.

    SAMPLES["sensorium-static"](folder)    # writes below `folder`, an empty one

Each writer follows the documented layout and takes its numbers from a seeded generator.
`Sample.path` is what is opened; `Sample.truth` is what the recording must hold, by the name
of a variable or coordinate. The fuzz spoils whatever files lie in the folder.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Sample(NamedTuple):
    path: Path
    truth: dict[str, Any]


def save(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def write_sensorium_static(folder: Path) -> Sample:
    rng = np.random.default_rng(0)
    root = folder / "static11-2-3-tiny"
    image_id = np.array([12, 31, 10, 20, 30, 11, 31])
    split = np.array(["train", "test", "train", "validation", "test", "train", "test"])
    ids, index = np.unique(image_id, return_inverse=True)
    stimulus = rng.integers(0, 256, (len(ids), 1, 4, 6)).astype(np.float32)
    trials = {
        "responses": rng.exponential(size=(7, 5)),
        "behavior": rng.normal(size=(7, 3)),
        "pupil_center": rng.normal(size=(7, 2)),
    }
    for trial in range(7):
        save(root / f"data/images/{trial}.npy", stimulus[index[trial]])
        for name, values in trials.items():
            save(root / f"data/{name}/{trial}.npy", values[trial])
    save(root / "meta/trials/tiers.npy", split)
    save(root / "meta/trials/frame_image_id.npy", image_id)
    save(root / "meta/trials/trial_idx.npy", np.arange(7)[::-1])
    save(root / "meta/neurons/unit_ids.npy", np.array([7, 3, 9, 4, 1], np.uint16))
    save(root / "meta/neurons/area.npy", np.full(5, "V1"))
    (root / "config.json").write_text(json.dumps({"links": {"targets": "responses"}}))
    truth = {
        "stimulus": stimulus,
        "response": trials["responses"],
        "behavior": trials["behavior"],
        "pupil_center": trials["pupil_center"],
        "split": split,
        "image_id": image_id,
        "neuron_id": [7, 3, 9, 4, 1],
    }
    return Sample(root, truth)


# By the name of the layout in `twinlab.recordings.layouts.LAYOUTS`.
SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "sensorium-static": write_sensorium_static,
}
