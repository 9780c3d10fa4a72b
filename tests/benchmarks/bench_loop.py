"""The inception loop on the simulated cortex, held against the truth; and its null.

    python tests/benchmarks/bench_loop.py [--seeds 0 1 2] [--units 100] [--shuffled] [--out FOLDER]
        [--plan "fit.max_epochs = 10" ...]

Runs the loop as `twinlab loop run` does, with the plan's defaults, and asks the cortex itself,
without noise, what each stimulus does. "Best natural" is the truly best of 5,000 images, each
brought to the norm of the MEIs: whole, and through the MEI's mask. The true optimum is the best
of several ascents on the cortex itself and, of simple cells, of their filter. With `--shuffled`
the twins are fitted to responses that were permuted over trials: nothing may be found.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from twinlab import insilico, twins
from twinlab.cli import keep_freed_memory
from twinlab.loop import STEPS, new_loop, read_key, run_loop
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import fingerprint, open_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "{recording}"
seed = {seed}
units.number = {units}
{more}
[rig]
width_px = 640
height_px = 360
degrees_per_pixel = 0.2
image_degrees_per_pixel = 2.0
"""
N_NATURAL = 5000
AT_ONCE = 250
ALLOWED = 1.5  # truth that counts: the optimum over the best natural image


def shuffled(recording, seed):
    """The recording with the responses that are fitted permuted over trials."""
    fitted = np.flatnonzero(recording.split.values != "test")
    response = recording.response.values.copy()
    response[fitted] = response[np.random.default_rng(seed).permutation(fitted)]
    made = recording.assign(response=recording.response.copy(data=response))
    return made.assign_attrs(fingerprint=fingerprint(made))


def run(folder, seed, options):
    """Run a loop, and return the seconds each step took."""
    source = "simulated"
    folder.mkdir(parents=True)
    if options.shuffled:
        recording = shuffled(SimulatedCortex(seed).record(), seed)
        save_recording(recording, folder / "shuffled.zarr")
        source = "shuffled.zarr"
    plan = folder / "plan.toml"
    more = "\n".join(options.plan)
    plan.write_text(PLAN.format(recording=source, seed=seed, units=options.units, more=more))
    new_loop(plan, folder / "loop")
    seconds = {}
    for step in STEPS:
        began = time.perf_counter()
        run_loop(folder / "loop", until=step)
        seconds[step] = time.perf_counter() - began
    return seconds


def rates(true, images):
    with torch.inference_mode():
        parts = torch.as_tensor(np.asarray(images, np.float32)).split(AT_ONCE)
        return np.concatenate([true(part).numpy() for part in parts])


def normed(images, norm, spec):
    """Images of the given L2 norm about the mean, in standard deviations, and in range."""
    away = images - images.mean((-3, -2, -1), keepdims=True)
    size = np.linalg.norm(away.reshape(*away.shape[:-3], -1), axis=-1) / spec.std
    return np.clip(spec.mean + away * (norm / size)[..., None, None, None], spec.low, spec.high)


def best_masked(true, natural, masks, neurons, norm, spec):
    """The truly best natural image through each mask."""
    found = []
    for mask, neuron in zip(masks, neurons, strict=True):
        mean = (mask * natural).sum((-2, -1), keepdims=True) / mask.sum()
        seen = mask * (natural - mean)
        size = np.linalg.norm(seen.reshape(len(seen), -1), axis=1) / spec.std
        seen, size = seen[size > 0], size[size > 0]  # some are grey there
        shown = np.clip(spec.mean + seen * (norm / size)[:, None, None, None], spec.low, spec.high)
        found.append(rates(lambda x, one=neuron: true(x)[:, one], shown).max())
    return np.array(found)


def judge(folder):
    """What is true of the stimuli of a loop."""
    recording = open_recording(folder / "recording.zarr")
    cortex = SimulatedCortex(**json.loads(recording.attrs["simulation"]))
    true = cortex.as_twin().condition()
    spec = twins.load_twin(folder / "twin").spec  # its mean and deviation are what `norm` is of
    key = read_key(folder / "export")
    made = open_result(folder / "mei.nc")
    neurons = made.neuron_id.values.astype(int)
    norm = float(np.nanmedian(made.norm))
    is_mei = key.kind.values == "mei"
    assert (key.neuron_id.values[is_mei].astype(int) == neurons).all()
    mei = rates(true, key.stimulus.values[is_mei])
    own = mei[np.arange(len(neurons)), neurons]
    between = mei[:, neurons]
    best = ((between - between.mean(0)) / between.std(0)).argmax(1) == np.arange(len(neurons))
    many = {"n_train": N_NATURAL, "n_validation": 0, "n_test": 0}
    natural = cortex.record(**many, seed=1000 + cortex.seed).stimulus.values.astype(np.float32)
    whole = rates(true, normed(natural, norm, spec))[:, neurons].max(0)
    masked = best_masked(true, natural, made.mask.values, neurons, norm, spec)
    same = norm * spec.std / cortex.spec.std
    filters = normed(recording.true_filter.values[neurons], norm, spec)
    optimum = np.max(
        [
            own,
            whole,
            rates(true, filters)[np.arange(len(neurons)), neurons],
            *(
                insilico.synthesize_mei(true, neurons, norm=same, seed=s).activation
                for s in (0, 1)
            ),
        ],
        axis=0,
    )
    controls = open_result(folder / "controls-mei.nc")
    confusion = open_result(folder / "confusion-mei.nc")
    prediction = open_result(folder / "prediction.nc")
    allowed = optimum / np.maximum(whole, masked) >= ALLOWED
    simple = recording.true_type.values.astype(str)[neurons] == "simple"
    return {
        "units": len(neurons),
        "row maximum (made for / by it)": float(confusion.share_best_by_it),
        "column maximum (for it)": float(confusion.share_best_for_it),
        "chance": float(confusion.share_best_by_it_chance),
        "p of the diagonal": float(confusion.mean_specificity_p_value),
        "same, noise-free: row maximum": float(best.mean()),
        "measured MEI / natural (median)": float(controls.median_ratio.sel(control="natural")),
        "measured MEI / Gabor (median)": float(controls.median_ratio.sel(control="gabor")),
        "truth allows it": float(allowed.mean()),
        "true MEI / best natural, whole": float(own[allowed].mean() / whole[allowed].mean())
        if allowed.any()
        else np.nan,
        "true MEI / best natural, through mask": float(
            own[allowed].mean() / masked[allowed].mean()
        )
        if allowed.any()
        else np.nan,
        "same, all units, whole": float(own.mean() / whole.mean()),
        "same, all units, through mask": float(own.mean() / masked.mean()),
        "mean response / mean optimum, simple": float(own[simple].sum() / optimum[simple].sum()),
        "mean of response / optimum, simple": float((own / optimum)[simple].mean()),
        "mean of response / optimum, all": float((own / optimum).mean()),
        "cc_norm over stimuli": float(prediction.mean_cc_norm),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--plan", action="append", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    out = options.out or Path(tempfile.mkdtemp())
    columns = []
    for seed in options.seeds:
        folder = out / f"seed-{seed}"
        if (folder / "loop" / STEPS["comparison"]).exists():
            seconds = {}
        else:
            cpu, seconds = time.process_time(), run(folder, seed, options)
            cpu = time.process_time() - cpu
            seconds |= {"whole loop": sum(seconds.values()), "of CPU": cpu}
        columns.append(judge(folder / "loop") | {f"s, {k}": v for k, v in seconds.items()})
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, in {out}")
    print(f"{'seed':40}" + "".join(f"{seed:>9}" for seed in options.seeds) + f"{'mean':>9}")
    for name in columns[-1]:
        row = [column.get(name, np.nan) for column in columns]
        print(f"{name:40}" + "".join(f"{value:9.3g}" for value in [*row, np.mean(row)]))


if __name__ == "__main__":
    main()
