"""A core from other neurons: readouts on it against direct fits, by number of images.

    python tests/benchmarks/bench_transfer.py [SCAN] [--images 250 500 1000 2000] [--plot FILE]
        [--set key=value ...]

The neurons are halved at random. The core is learned from one half and all training images;
then the other half, shown only some of the images, is fitted twice: whole, and on that core
(Lurz et al. 2021). Both fits take the same steps, and stop at their best validation. Scored on
the test tier, correlation to average. Without a scan a cortex is simulated. What is measured on
recordings under terms stays on your screen.
"""

import argparse
import time

import numpy as np

from twinlab import evaluation, fitting, recordings, twins
from twinlab.cli import keep_freed_memory
from twinlab.simulation import SimulatedCortex

STEPS = 2800  # of the default 32 images: a core that has seen less is not worth passing on
DEFAULTS = {"schedule": "cosine"}


def with_images(recording, n_image, seed=0):
    """All held-out trials, and those of `n_image` training images."""
    train = recording.split.values == "train"
    index = recording.stimulus_index.values
    some = np.random.default_rng(seed).permutation(np.unique(index[train]))[:n_image]
    return recording.isel(trial=~train | np.isin(index, some))


def fitted(recording, architecture, assignments, core=None):
    """A twin after the same number of steps whatever the number of trials, and its score."""
    n_train = int((recording.split == "train").sum())
    _, settings = fitting.parse_settings(assignments, architecture)
    epochs = max(1, round(STEPS * settings.batch_size / n_train))
    _, settings = fitting.parse_settings({"max_epochs": str(epochs)}, architecture, settings)
    twin, _ = fitting.fit_twin(recording, architecture, settings, core=core)
    prediction = twins.predict_responses(twin, recording, split="test")
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0)
    return twin, float(scores.mean_correlation_to_average)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?")
    parser.add_argument("--images", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--neurons", type=int, default=400, help="of the simulated cortex")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--plot")
    options = parser.parse_args()
    keep_freed_memory()
    if options.scan:
        recording = recordings.open_recording(options.scan)
    else:
        recording = SimulatedCortex(seed=0, n_neuron=options.neurons).record(n_train=4000)
    assignments = DEFAULTS | dict(word.split("=", 1) for word in options.settings)
    architecture, _ = fitting.parse_settings(assignments)
    order = np.random.default_rng(0).permutation(recording.sizes["neuron"])
    half = len(order) // 2
    others, own = (recording.isel(neuron=np.sort(part)) for part in (order[:half], order[half:]))
    began = time.perf_counter()
    source, score = fitted(others, architecture, assignments)
    print(f"core from {half} neurons in {time.perf_counter() - began:.0f} s: "
          f"{score:.3f} to average on these")  # fmt: skip
    print(f"{'images':>8}{'direct':>9}{'on the core':>13}{'gain':>8}{'s direct':>10}{'s core':>8}")
    rows = []
    for n_image in options.images:
        part = with_images(own, n_image)
        scores, seconds = [], []
        for core in (None, source):
            began = time.perf_counter()
            scores.append(fitted(part, architecture, assignments, core)[1])
            seconds.append(time.perf_counter() - began)
        rows.append(scores)
        print(f"{n_image:>8}{scores[0]:9.3f}{scores[1]:13.3f}{scores[1] / scores[0] - 1:8.0%}"
              f"{seconds[0]:10.0f}{seconds[1]:8.0f}", flush=True)  # fmt: skip
    if options.plot:
        plot(options.images, np.array(rows), options.plot)


def plot(images, rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(4, 3), layout="constrained")
    for scores, label in zip(rows.T, ("fitted whole", "on a core of other neurons"), strict=True):
        axis.plot(images, scores, "o-", label=label)
    axis.set(xscale="log", xlabel="training images", ylabel="correlation to average")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
