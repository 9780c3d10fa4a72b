"""One tiny whole sample of each public layout, and what a reader must find in it.

    SAMPLES["sensorium-static"](folder)    # writes below `folder`, an empty one

Each writer follows the documented layout and takes its numbers from a seeded generator.
`Sample.path` is what is opened; `Sample.truth` is what the recording must hold, by the name
of a variable or coordinate. The fuzz spoils whatever files lie in the folder.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from samples import Sample, save
from timed_samples import TIMED_SAMPLES


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


def write_cadena2019(folder: Path, protocol: int = 3) -> Sample:
    """Five images, up to 4 repeats, 3 neurons: one shown twice, one that missed an image."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 8)).astype(np.float64)
    rates = rng.poisson(3, (4, 5, 3)).astype(np.float64)
    rates[:, 1, 2] = np.nan
    rates[2:, :, 0] = np.nan
    content = {
        "images": images,
        "responses": rates.copy(),
        "image_types": np.array([["original"], ["conv1"], ["conv2"], ["conv3"], ["conv4"]]),
        "image_ids": np.arange(10, 15)[:, None],
        "image_numbers": np.arange(5)[:, None],
        "repetitions": np.array([2, 4, 4]),
        "subject_id": np.array([1, 1, 2]),
        "session_id": np.array([7, 7, 8]),
        "unit_id": np.array([1, 2, 1]),
    }
    content["responses"][2:, :, 0] = rates[:2, :, 0]  # as the authors copy them
    path = folder / "cadena_ploscb_data.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    truth = {
        "stimulus": images[:, None],
        "response": rates.reshape(20, 3),
        "image_type": np.tile(content["image_types"][:, 0], 4),
        "source_image_id": np.tile(np.arange(10, 15), 4),
        "neuron_id": ["1-7-1", "1-7-2", "2-8-1"],
        "recorded_in": ["1-7", "1-7", "2-8"],
        "n_repeat": [2, 4, 4],
    }
    return Sample(path, truth)


def write_stringer2018(folder: Path) -> Sample:
    """Six images shown twice and the grey screen, 4 neurons."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (68, 270, 6)).astype(np.uint8)
    number = rng.permutation(np.repeat(np.arange(1, 8), 2))
    response = rng.normal(size=(14, 4)).astype(np.float32)
    place = rng.normal(size=(4, 3))
    session = {
        "stim": {"resp": response, "istim": number[:, None], "spont": rng.normal(size=(3, 4))},
        "med": place,
        "stat": np.array([{"npix": size} for size in (3, 5, 4, 2)], object),
    }
    scipy.io.savemat(
        folder / "natimg2800_M160825_MP027_2016-12-14.mat", session, do_compression=True
    )
    scipy.io.savemat(folder / "images_natimg2800_all.mat", {"imgs": images}, do_compression=True)
    shown = number < 7
    truth = {
        "stimulus": images.transpose(2, 0, 1)[:, None],
        "response": response[shown],
        "image_id": number[shown],
        "stimulus_index": number[shown] - 1,
        "presentation_order": np.flatnonzero(shown),
        "center_z": place[:, 2],
        "session": ["M160825_MP027_2016-12-14"] * 4,
    }
    return Sample(folder, truth)


def write_minimodel2024(folder: Path) -> Sample:
    """Twelve training images shown once, 3 test images shown 4 times, 5 neurons."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (66, 264, 20)).astype(np.uint8)
    shown, tested = np.arange(19, 7, -1), np.array([0, 2, 3])
    trained, repeated = rng.normal(size=(5, 12)), rng.normal(size=(3, 4, 5))
    place = rng.normal(size=(2, 5))
    np.savez(
        folder / "FX20_nat60k_2023_09_29.npz",
        sp=trained,
        istim_sp=shown,
        ss_all=repeated,
        istim_ss=tested,
        xpos=place[0],
        ypos=place[1],
        iplane=np.arange(5),
    )
    scipy.io.savemat(folder / "nat60k_text16.mat", {"img": images}, do_compression=True)
    seen = np.sort(np.concatenate([tested, shown]))
    truth = {
        "stimulus": images[:, 46:176, seen].transpose(2, 0, 1)[:, None],
        "response": np.concatenate([trained.T, repeated.reshape(12, 5)]),
        "image_id": np.concatenate([shown, np.repeat(tested, 4)]),
        "split": np.array(["validation", *["train"] * 9, "validation", "train", *["test"] * 12]),
        "cortical_y": place[1],
        "imaging_plane": np.arange(5),
    }
    return Sample(folder, truth)


def jpeg(pixels: np.ndarray) -> bytes:
    """Photograph of shape (y, x, 3), packed."""
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=95)
    return packed.getvalue()


def write_cowley2023(folder: Path) -> Sample:
    """Four smooth photographs, the last equal to the first, up to 3 repeats, 2 neurons."""
    y, x = np.mgrid[:112, :112]
    photographs = [
        np.stack([(x + shift) % 128, y, (x + y) // 2], axis=2).astype(np.uint8)
        for shift in (0, 40, 80, 0)
    ]
    packed = [jpeg(pixels) for pixels in photographs]
    (folder / "images").mkdir()
    (folder / "responses_raw").mkdir()
    with zipfile.ZipFile(folder / "images/images_190925.zip", "w") as archive:
        for place in (2, 0, 3, 1):  # in any order
            archive.writestr(f"images/image{place + 1:04d}.jpg", packed[place])
    rates = np.random.default_rng(0).poisson(4, (2, 4, 3)).astype(float)
    rates[:, 1, 2] = np.nan
    np.save(folder / "responses_raw/responses_190925.npy", rates)
    shown = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 0),
        (2, 2),
        (2, 3),
    ]
    truth = {
        "stimulus": np.stack(
            [np.asarray(Image.open(io.BytesIO(it))) for it in packed[:3]]
        ).transpose(0, 3, 1, 2),
        "response": np.array([rates[:, image, repeat] for repeat, image in shown]),
        "image_id": [(1, 2, 3, 1)[image] for _, image in shown],
        "area": ["V4"] * 2,
    }
    return Sample(folder, truth)


def write_antolik2016(folder: Path) -> Sample:
    """Ten training images and 3 validation images of 4 repeats, 2 neurons."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (13, 961))
    trained, repeated = rng.normal(size=(10, 2)), rng.normal(size=(4, 3, 2))
    root = folder / "region1"
    save(root / "training_inputs.npy", images[:10] * 1e-6)
    save(root / "training_set.npy", trained)
    save(root / "validation_inputs.npy", images[10:] * 1e-6)
    save(root / "validation_set.npy", repeated.mean(axis=0))
    save(root / "raw_validation_set.npy", repeated)
    truth = {
        "stimulus": images.reshape(13, 1, 31, 31),
        "response": np.concatenate([trained, repeated.reshape(12, 2)]),
        "image_id": np.concatenate([np.arange(10), np.tile([10, 11, 12], 4)]),
        "session": ["region1"] * 2,
    }
    return Sample(folder, truth)


# By the name of the layout in `twinlab.recordings.layouts.LAYOUTS`.
SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "sensorium-static": write_sensorium_static,
    "cadena2019": write_cadena2019,
    "stringer2018": write_stringer2018,
    "minimodel2024": write_minimodel2024,
    "cowley2023": write_cowley2023,
    "antolik2016": write_antolik2016,
    **TIMED_SAMPLES,
}
