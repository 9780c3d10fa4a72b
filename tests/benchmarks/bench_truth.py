"""How near a twin comes to the truth of the simulated cortex, by number of images; and of videos.

    python tests/benchmarks/bench_truth.py [--images 400 1000 4000 10000 40000] [--members 1]
        [--plot FILE] [--set key=value ...]
    python tests/benchmarks/bench_truth.py --videos 800 --neurons 100 [--set key=value ...]

Correlation with the noise-free responses to stimuli no fit has seen, averaged over neurons; of
the first twin, and with more members of their ensemble.
The held-out images, and the neurons, are the same throughout.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from twinlab import evaluation, fitting, twins
from twinlab.cli import keep_freed_memory
from twinlab.cli.demo import DEMO_ARCHITECTURE, DEMO_SETTINGS
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex

# Two layers of the baseline of 2023 for a laptop, and many small steps.
VIDEO = {"core": "factorized_3d", "layers": "2", "hidden": "32", "input_kernel": "11",
         "hidden_kernel": "5", "max_epochs": "12", "batch_size": "4", "behavior": "gain",
         "shifter": "true"}  # fmt: skip
SKIP = 20  # frames of a clip in which a dynamic twin has seen too little


def agreement(twin, recording, skip=0):
    """Correlation with the truth on the test stimuli, mean over neurons."""
    index = np.unique(recording.stimulus_index.values[recording.split.values == "test"])
    shown = torch.as_tensor(recording.stimulus.values[index])
    with torch.inference_mode():
        predicted = np.concatenate(
            [twin.condition()(part.float()).numpy() for part in shown.split(4)]
        )
    truth = recording.true_rate.values[index]
    if truth.ndim == 3:
        n_frame = predicted.shape[2]
        truth, predicted = (
            value[:, :, -n_frame:][:, :, skip:].transpose(0, 2, 1).reshape(-1, value.shape[1])
            for value in (truth, predicted)
        )
    return float(np.nanmean(evaluation.single_trial_correlation(truth, predicted)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[400, 1000, 4000, 10000, 40000])
    parser.add_argument("--videos", type=int, nargs="+")
    parser.add_argument("--neurons", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--plot")
    options = parser.parse_args()
    keep_freed_memory()
    given = dict(word.split("=", 1) for word in options.settings)
    if options.videos:
        architecture, settings = fitting.parse_settings(VIDEO | given)
        cortex = SimulatedVideoCortex(seed=options.seed, n_neuron=options.neurons)
    else:
        architecture, settings = fitting.parse_settings(given, DEMO_ARCHITECTURE, DEMO_SETTINGS)
        cortex = SimulatedCortex(seed=options.seed, n_neuron=options.neurons)
    print(f"{architecture}\n{settings}\n{torch.get_num_threads()} threads")
    shown = "videos" if options.videos else "images"
    print(f"{shown:>8}{'one twin':>10}{f'of {options.members}':>8}{'validation':>12}{'s':>7}")
    counts, rows = options.videos or options.images, []
    most = cortex.record(n_train=max(counts))
    for count in counts:
        train = np.flatnonzero(most.split.values == "train")
        held_out = np.flatnonzero(most.split.values != "train")
        recording = most.isel(trial=np.sort(np.concatenate([train[:count], held_out])))
        began, members = time.perf_counter(), []
        for number in range(options.members):
            own = replace(settings, seed=settings.seed + number)
            twin, history = fitting.fit_twin(recording, architecture, own)
            members.append(twin)
        seconds = time.perf_counter() - began
        rows.append([agreement(members[0], recording, SKIP)])
        if options.members > 1:
            rows[-1].append(agreement(twins.EnsembleTwin(members), recording, SKIP))
        print(f"{count:>8}{rows[-1][0]:10.3f}{rows[-1][-1]:8.3f}"
              f"{float(history.validation_correlation.max()):12.3f}{seconds:7.0f}",
              flush=True)  # fmt: skip
    if options.plot:
        plot(counts, rows, options.plot)


def plot(counts, rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    names = ("one twin", "ensemble")
    for values, name in zip(np.transpose(rows), names, strict=False):
        axis.plot(counts, values, "o-", label=name)
    axis.axhline(0.95, color="0.7", linewidth=1)
    axis.set(xscale="log", xlabel="training images", ylim=(None, 1),
             ylabel="correlation with the truth")  # fmt: skip
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
