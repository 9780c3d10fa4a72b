"""The first epoch: from the folder of files, as neuralpredictors reads it, and from our store.

    python tests/benchmarks/bench_store.py [SCAN.zip] [--neurons 8000] [--rounds 3]

Counted is all from the path to the end of the first epoch: opening, reading, and shuffled
batches of 128 float32 training trials (images and responses), without a model. Each round is a
process of its own, imports not counted, with the files in the page cache; the fastest counts.
Without a scan, a folder of 6,000 trials of noise in the static layout is written first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import torch
import zarr  # noqa: F401 - so that its import is not counted

from twinlab import recordings
from twinlab.fitting.trials import take_trials
from twinlab.twins import import_peer

BATCH = 128


def write_folder(root, n_neuron, n_trial=6000):
    """A recording of noise in the static layout, responses float64 as the public ones are."""
    rng = np.random.default_rng(0)
    for name in ("images", "responses"):
        (root / "data" / name).mkdir(parents=True)
    for name in ("trials", "neurons", "statistics/responses/all", "statistics/images/all"):
        (root / "meta" / name).mkdir(parents=True)
    for i in range(n_trial):
        image = rng.integers(0, 256, (1, 36, 64)).astype(np.float32)
        np.save(root / f"data/images/{i}.npy", image)
        np.save(root / f"data/responses/{i}.npy", rng.exponential(size=n_neuron))
    tiers = np.array(["train", "train", "train", "validation", "train", "test"])[
        np.arange(n_trial) % 6
    ]
    np.save(root / "meta/trials/tiers.npy", tiers)
    np.save(root / "meta/trials/frame_image_id.npy", np.arange(n_trial))
    np.save(root / "meta/trials/trial_idx.npy", np.arange(n_trial))
    np.save(root / "meta/neurons/unit_ids.npy", np.arange(n_neuron))
    return root


def peer_epoch(folder):
    sys.modules.setdefault("skimage", types.ModuleType("skimage"))
    sys.modules.setdefault("skimage.transform", types.SimpleNamespace(rescale=None))
    data = import_peer("data.datasets").FileTreeDataset

    def run():
        trials = data(str(folder), "images", "responses")
        chosen = torch.utils.data.SubsetRandomSampler(
            np.flatnonzero(trials.trial_info.tiers == "train").tolist()
        )
        loader = torch.utils.data.DataLoader(trials, sampler=chosen, batch_size=BATCH)
        return sum(len(batch[0].float()) for batch in loader if len(batch[1].float()))

    return run


def our_epoch(path):
    def run():
        trials = take_trials(recordings.open_recording(path), "train", torch.device("cpu"))
        order = torch.randperm(len(trials))
        return sum(len(trials.batch(chosen)[0]) for chosen in order.split(BATCH))

    return run


def measured(way, path, rounds):
    """Fewest wall and CPU seconds of an epoch, each in a process of its own, and its trials."""
    best = [np.inf, np.inf]
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, str(path), "--measure", way],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        wall, cpu, trials = json.loads(done.stdout)
        best = [min(best[0], wall), min(best[1], cpu)]
    return *best, trials


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=("peer", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        run = {"peer": peer_epoch, "ours": our_epoch}[options.measure](options.scan)
        wall, cpu = time.perf_counter(), time.process_time()
        trials = run()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, trials]))
        return
    with tempfile.TemporaryDirectory() as given:
        place = Path(given)
        if options.scan:
            with zipfile.ZipFile(options.scan) as file:
                file.extractall(place)
            folder = next(path for path in place.iterdir() if path.is_dir())
        else:
            folder = write_folder(place / "noise", options.neurons)
        began = time.perf_counter()
        store = recordings.save_recording(recordings.open_recording(folder), place / "scan.zarr")
        converted = time.perf_counter() - began
        rows = {
            "neuralpredictors, folder": measured("peer", folder, options.rounds),
            "twinlab, folder": measured("ours", folder, options.rounds),
            "twinlab, store": measured("ours", store, options.rounds),
        }
    peer = rows["neuralpredictors, folder"]
    print(f"first epoch of {peer[2]} trials; converting the folder once: {converted:.1f} s")
    print(f"{'':<28}{'wall s':>8}{'cpu s':>8}{'x wall':>8}{'x cpu':>8}")
    for name, (wall, cpu, trials) in rows.items():
        if trials != peer[2]:
            msg = f"{name} read {trials} trials, neuralpredictors {peer[2]}"
            raise SystemExit(msg)
        print(f"{name:<28}{wall:8.2f}{cpu:8.2f}{peer[0] / wall:8.1f}{peer[1] / cpu:8.1f}")


if __name__ == "__main__":
    main()
