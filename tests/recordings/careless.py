"""A reader that does everything wrong, to see that the fuzz finds it out.

It unpickles, extracts zips, reads without end or bound, and lets every error through.
"""

import io
import pickle
import zipfile

import numpy as np
from samples import Sample
from spoiling import pickled_attacks

from twinlab.recordings.arrays import read_arrays
from twinlab.recordings.layouts import LAYOUTS
from twinlab.recordings.reading import Layout


def write_careless(folder):
    rng = np.random.default_rng(0)
    (folder / "images.pkl").write_bytes(pickle.dumps({"images": rng.random((10, 3, 3)).tolist()}))
    np.savez(folder / "responses.npz", responses=rng.normal(size=(10, 2)))
    (folder / "careless.txt").write_text("careless")
    LAYOUTS["careless"] = Layout(
        lambda path: (path / "careless.txt").exists(), lambda path: ["careless"], _read
    )
    return Sample(folder, {})


def _read(path, session, job):
    pickled = (path / "images.pkl").read_bytes()
    if pickled == pickled_attacks()["hash bomb"]:  # takes longer than the universe, uninterrupted
        raise TimeoutError
    content = pickle.loads(pickled)
    with zipfile.ZipFile(path / "responses.npz") as archive:
        arrays = [
            np.load(io.BytesIO(archive.read(name)), allow_pickle=True)
            for name in archive.namelist()
        ]
        if len(arrays) > 1:
            archive.extractall(path / "extracted")
    return read_arrays(content["images"], arrays[0])
