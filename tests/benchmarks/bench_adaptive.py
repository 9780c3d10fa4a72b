"""Adaptive rounds: how many trials images chosen by the twin save, against random images.

    python tests/benchmarks/bench_adaptive.py [--seeds 2 3 4] [--plot FILE] [--spread 0.5] ...

For each seed a cortex is simulated, and a small ensemble fitted to its responses to natural images
(dead leaves whose contrast varies as that of photographs). Then each criterion goes on by itself
from this start: it chooses images of the same pool, which are shown once each; the recording
grows; the ensemble is fitted again from scratch in the same number of steps. Behaviour is known
at the start only, as in a loop. Accuracy is the correlation with the noise-free responses
to held-out images drawn like the pool, the mean over neurons. What decided about the criteria was
tried on seeds 0 and 1; the default seeds are others.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from twinlab import fitting, stimuli
from twinlab.cli import keep_freed_memory
from twinlab.loop import (
    choose_images,
    grow_recording,
    measure_fano,
    say_trials_saved,
    trials_saved,
)
from twinlab.simulation import SimulatedCortex

SIZE = {"height": 18, "width": 32}
N_VALIDATION, N_HELD_OUT = 100, 1000


def natural_images(n, seed, spread):
    """Dead leaves, contrast lowered by a log-normal factor of this spread and median exp(-spread).

    With a spread of 0.5 contrast varies over a factor of 8 (95 % of the images), with 0.25 of 4,
    with 0 of 3. The less it varies, the less there is to choose.
    """
    images = stimuli.make_dead_leaves(n, **SIZE, seed=seed).astype(np.float32)
    factor = np.exp(spread * (np.random.default_rng([seed, 1]).standard_normal(n) - 1))
    mean = images.mean(("channel", "y", "x"))
    faded = mean + (images - mean) * xr.DataArray(np.minimum(factor, 1), dims="image")
    names = [f"{seed}-{i}" for i in range(n)]
    return faded.round().astype(np.uint8).assign_coords(image_id=("image", names))


def first_session(cortex, seed, options):
    """A recording of random images, a part of them for validation."""
    images = natural_images(options.start + N_VALIDATION, 100 * seed + 10, options.spread)
    split = ["train"] * options.start + ["validation"] * N_VALIDATION
    recording = cortex.show(images, split=split, seed=1)
    return recording.drop_vars(["true_rate", "true_filter"])


def fit(recording, seed, options):
    architecture, settings = fitting.default_settings(recording)
    steps = int((recording.split == "train").sum()) // settings.batch_size
    return fitting.fit_ensemble(
        recording,
        replace(architecture, layers=2, hidden=16),
        replace(settings, seed=100 * seed, max_epochs=max(1, round(options.steps / steps))),
        members=options.members,
    )[0]


def learn(cortex, recording, twin, pool, by, seed, options):
    """Yield the twin after each round."""
    for number in range(1, options.rounds + 1):
        choice = choose_images(
            twin.condition(), pool, options.images, by=by, fano=measure_fano(twin, recording),
            seed=1000 * seed + number,
        )  # fmt: skip
        chosen = choice.chosen.values
        shown = pool[chosen]
        answered = cortex.show(shown, split="train", seed=1 + number)
        names = shown.image_id.values
        given = xr.Dataset(
            {"response": (("trial", "neuron"), answered.response.values)},
            {
                "stimulus_id": ("trial", names),
                "neuron": [f"{cortex.session}/{i}" for i in answered.neuron_id.values],
            },
        )
        images = xr.Dataset(
            {"stimulus": (("stimulus", "channel", "y", "x"), shown.values)},
            {"stimulus_id": ("stimulus", names)},
        )
        recording, pool = grow_recording(recording, images, given), pool[~chosen]
        twin = fit(recording, seed, options)
        yield twin


def measure(seed, options):
    """Accuracies (criterion, trials), those of the common start first."""
    cortex = SimulatedCortex(seed=seed, n_neuron=options.neurons, **SIZE)
    held_out = torch.as_tensor(
        natural_images(N_HELD_OUT, 100 * seed + 11, options.spread).values
    ).float()
    pool = natural_images(options.pool, 100 * seed + 12, options.spread)
    with torch.inference_mode():
        truth = cortex.as_twin().condition()(held_out).numpy()

    def accuracy(twin):
        with torch.inference_mode():
            rate = twin.condition()(held_out).numpy()
        pairs = zip(rate.T, truth.T, strict=True)
        return np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs])

    recording = first_session(cortex, seed, options)
    start = fit(recording, seed, options)
    rows = []
    for by in options.by:
        began = time.perf_counter()
        later = learn(cortex, recording, start, pool, by, seed, options)
        rows.append([accuracy(twin) for twin in (start, *later)])
        print(f"{seed:>4}  {by:<14}" + "".join(f"{one:8.3f}" for one in rows[-1])
              + f"{time.perf_counter() - began:8.0f} s", flush=True)  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--by", nargs="+", default=["random", "disagreement", "information"])
    parser.add_argument("--neurons", type=int, default=30)
    parser.add_argument("--start", type=int, default=300, help="training images before the rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=250, help="shown in a round")
    parser.add_argument("--pool", type=int, default=4000)
    parser.add_argument("--spread", type=float, default=0.5, help="of log contrast; 0: as it is")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--plot")
    parser.add_argument("--out", help="file (.nc) for the result")
    options = parser.parse_args()
    keep_freed_memory()
    trials = options.start + options.images * np.arange(options.rounds + 1)
    print(f"seed  {'trials':<14}" + "".join(f"{n:8}" for n in trials))
    accuracy = xr.DataArray(
        [measure(seed, options) for seed in options.seeds],
        dims=("seed", "criterion", "trials"),
        coords={"seed": options.seeds, "criterion": options.by, "trials": trials},
        attrs={"long_name": "correlation with noise-free responses"},
    )
    saved = trials_saved(accuracy)
    for by in options.by:
        mean = accuracy.sel(criterion=by).mean("seed").values
        print(f"mean  {by:<14}" + "".join(f"{one:8.3f}" for one in mean))
    of_rounds = trials[-1] / (trials[-1] - trials[0])  # what is shown before is not chosen
    for by in options.by[1:]:
        print(say_trials_saved(saved, by))
        share = float(saved.mean_trials_saved.sel(criterion=by)) * of_rounds
        print(f"  Of the trials of the rounds alone, {share:.0%}.")
    if options.out:
        saved.to_netcdf(options.out, engine="h5netcdf")
    if options.plot:
        plot(accuracy, options.plot)


def plot(accuracy, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(4, 3), layout="constrained")
    for by in accuracy.criterion.values:
        each = accuracy.sel(criterion=by)
        line = axis.plot(each.trials, each.mean("seed"), "o-", label=by)[0]
        low, high = each.min("seed"), each.max("seed")
        low, high = each.min("seed"), each.max("seed")
        axis.fill_between(each.trials, low, high, color=line.get_color(), alpha=0.2, lw=0)
    axis.set(xlabel="training trials", ylabel="correlation with the truth")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
