"""The first epoch from folder and store; memory and opening as a recording on the disk grows.

    python tests/benchmarks/bench_store.py [SCAN.zip] [--neurons 8000] [--rounds 3]
        [--only epoch,growth] [--plot GROWTH.png]

epoch: from the folder of files, as neuralpredictors reads it, and from our store. Counted is all
from the path to the end of the first epoch: opening, reading, and shuffled batches of 128 float32
training trials (images and responses), without a model. Each round is a process of its own,
imports not counted, with the files in the page cache; the fastest counts. Without a scan, a folder
of 6,000 trials of noise in the static layout is written first.

growth: recordings of videos of noise, up to 4 GB, are written block by block, opened, and fitted
for an epoch; each in a process of its own, whose peak beyond its imports is shown.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path

import dask.array as da
import numpy as np
import torch
import zarr  # noqa: F401 - so that its import is not counted

from twinlab import fitting, recordings
from twinlab.fitting.trials import take_trials
from twinlab.schema import make_recording
from twinlab.twins import Architecture, import_peer

BATCH = 128
GROWTH = (0.25, 0.5, 1.0, 2.0, 4.0)  # GB
IN_MEMORY = 0.5  # GB that are fitted in memory, too, at most
VIDEO, N_NEURON = (1, 150, 18, 32), 2000
SMALL = Architecture(core="factorized_3d", layers=1, hidden=2, input_kernel=5)
EPOCH = fitting.FitSettings(max_epochs=1, batch_size=16, clip_frames=20)


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


def videos_of_noise(gigabytes):
    """A lazy recording of this size, each video shown four times; made a block at a time."""
    n_trial = int(gigabytes * 1e9 / (N_NEURON * VIDEO[1] * 4)) // 4 * 4

    def noise(shape, dtype, rows):
        def block(block_info=None):
            size = [stop - start for start, stop in block_info[None]["array-location"]]
            rng = np.random.default_rng(block_info[None]["array-location"][0][0])
            if dtype is np.uint8:
                return rng.integers(0, 256, size, np.uint8)
            return rng.standard_exponential(size, dtype)

        sizes = [rows] * (shape[0] // rows) + [shape[0] % rows] * (shape[0] % rows > 0)
        chunks = (tuple(sizes), *((size,) for size in shape[1:]))
        return da.map_blocks(
            block, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(shape), dtype)
        )

    return make_recording(
        stimulus=noise((n_trial // 4, *VIDEO), np.uint8, 64),
        response=noise((n_trial, N_NEURON, VIDEO[1]), np.float32, 16),
        trial={
            "stimulus_index": np.arange(n_trial) // 4,
            "image_id": np.arange(n_trial) // 4,
            "split": np.where(np.arange(n_trial) // 4 % 10 > 0, "train", "validation"),
        },
        neuron={"neuron_id": np.arange(N_NEURON), "session": ["noise"] * N_NEURON},
        frame_rate=30.0,
        recording_id="noise",
    )


def store_videos(path, gigabytes):
    recordings.save_recording(videos_of_noise(gigabytes), path)


def open_videos(path, gigabytes):
    recordings.open_recording(path, lazy=True)


def fit_videos(path, gigabytes):
    fitting.fit_twin(recordings.open_recording(path, lazy=True), SMALL, EPOCH)


def fit_in_memory(path, gigabytes):
    fitting.fit_twin(recordings.open_recording(path, lazy=False), SMALL, EPOCH)


STAGES = {
    "store": store_videos,
    "open": open_videos,
    "fit": fit_videos,
    "fit in memory": fit_in_memory,
}


def measured_stage(stage, path, gigabytes):
    """Seconds, and peak MiB beyond the imports, of a stage in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(path), "--measure", stage,
         "--gigabytes", str(gigabytes)],
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def print_growth(plot):
    found = []
    print("\nvideos of noise: seconds and peak MiB beyond the imports")
    print(f"{'GB':>6}" + "".join(f"{stage + ' s':>17}{'MiB':>7}" for stage in STAGES))
    for gigabytes in GROWTH:
        with tempfile.TemporaryDirectory() as place:
            row = {
                stage: measured_stage(stage, Path(place) / "noise.zarr", gigabytes)
                for stage in STAGES
                if stage != "fit in memory" or gigabytes <= IN_MEMORY
            }
        found.append(row)
        cells = (f"{row[s][0]:17.2f}{row[s][1]:7.0f}" if s in row else "" for s in STAGES)
        print(f"{gigabytes:>6}" + "".join(cells), flush=True)
    if plot:
        plot_growth(found, plot)


def plot_growth(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (memory, opening) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for stage in STAGES:
        rows = [
            (size, row[stage]) for size, row in zip(GROWTH, found, strict=True) if stage in row
        ]
        memory.plot([size for size, _ in rows], [row[1] for _, row in rows], "o-", label=stage)
    memory.set(xlabel="recording (GB)", ylabel="peak memory beyond imports (MiB)", xlim=(0, None))
    memory.set_ylim(bottom=0)
    memory.legend(frameon=False)
    opening.plot(GROWTH, [row["open"][0] for row in found], "o-")
    opening.set(xlabel="recording (GB)", ylabel="opening (s)", xlim=(0, None), ylim=(0, 1))
    figure.savefig(path, dpi=120)


def report_stage(options):
    with open("/proc/self/statm") as file:
        start = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    began = time.perf_counter()
    STAGES[options.measure](options.scan, options.gigabytes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.perf_counter() - began, peak - start]))


def print_epoch(options):
    with tempfile.TemporaryDirectory() as given:
        place = Path(given)
        if options.scan:
            with zipfile.ZipFile(options.scan) as file:
                file.extractall(place)
            folder = next(path for path in place.iterdir() if path.is_dir())
        else:
            folder = write_folder(place / "noise", options.neurons)
        began = time.perf_counter()
        store = recordings.convert_recording(folder, place / "scan.zarr")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="epoch,growth")
    parser.add_argument("--plot", help="file for the figure of the growth")
    parser.add_argument("--gigabytes", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("peer", "ours", *STAGES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure in STAGES:
        report_stage(options)
        return
    if options.measure:
        run = {"peer": peer_epoch, "ours": our_epoch}[options.measure](options.scan)
        wall, cpu = time.perf_counter(), time.process_time()
        trials = run()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, trials]))
        return
    if "epoch" in options.only.split(","):
        print_epoch(options)
    if "growth" in options.only.split(","):
        print_growth(options.plot)


if __name__ == "__main__":
    main()
