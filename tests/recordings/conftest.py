"""A tiny recording in the static layout, whose content is known, to be spoiled at will."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from samples import save

TIERS = ["train", "test", "train", "validation", "test", "train", "test", "test", "validation"]
IMAGE_IDS = [12, 31, 10, 20, 30, 11, 31, 31, 21]  # test images: 31 three times, 30 once
N_NEURON, SHAPE = 5, (1, 4, 6)


@pytest.fixture
def layout(tmp_path):
    """Folder of a whole recording, with the arrays that were written to it."""
    rng = np.random.default_rng(0)
    root = tmp_path / "static11-2-3-tiny"
    pixels = {
        image: rng.integers(0, 256, SHAPE).astype(np.float32) for image in sorted(set(IMAGE_IDS))
    }
    truth = SimpleNamespace(
        root=root,
        pixels=pixels,
        response=rng.exponential(size=(len(TIERS), N_NEURON)),
        behavior=rng.normal(size=(len(TIERS), 3)),
        pupil_center=rng.normal(size=(len(TIERS), 2)),
        place=rng.normal(size=(N_NEURON, 3)),
        tiers=np.array(TIERS),
        image_id=np.array(IMAGE_IDS),
        save=lambda name, values: save(root / f"{name}.npy", values),
    )
    for trial, image in enumerate(IMAGE_IDS):
        truth.save(f"data/images/{trial}", pixels[image])
        truth.save(f"data/responses/{trial}", truth.response[trial])
        truth.save(f"data/behavior/{trial}", truth.behavior[trial])
        truth.save(f"data/pupil_center/{trial}", truth.pupil_center[trial])
    truth.save("meta/trials/tiers", truth.tiers)
    truth.save("meta/trials/frame_image_id", truth.image_id)
    truth.save("meta/trials/trial_idx", np.arange(len(TIERS))[::-1])
    truth.save("meta/neurons/unit_ids", np.array([7, 3, 9, 4, 1], np.uint16))
    truth.save("meta/neurons/animal_ids", np.full(N_NEURON, 11, np.uint16))
    truth.save("meta/neurons/sessions", np.full(N_NEURON, 2, np.uint8))
    truth.save("meta/neurons/scan_idx", np.full(N_NEURON, 3, np.uint8))
    truth.save("meta/neurons/area", np.full(N_NEURON, "V1"))
    truth.save("meta/neurons/layer", np.full(N_NEURON, "L2/3"))
    truth.save("meta/neurons/cell_motor_coordinates", truth.place)
    (root / "config.json").write_text(json.dumps({"links": {"targets": "responses"}}))
    return truth


@pytest.fixture
def pack(tmp_path):
    """Put a folder into a zip, below `top`."""

    def pack_folder(root: Path, top: str, name: str = "packed.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                if file.is_file():
                    archive.write(file, top + file.relative_to(root).as_posix())
        return path

    return pack_folder
