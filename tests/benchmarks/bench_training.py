"""The image twin against neuralpredictors: training step, memory, inference, agreement, growth.

    python tests/benchmarks/bench_training.py [--neurons 8000] [--batch 128] [--rounds 5]
        [--device cpu] [--only steps,memory,inference,agreement,growth] [--plot FILE]

Both compute the same function (2022 baseline: 4 layers, 64 channels; Gaussian readout) on the
same batch. Where time is measured they take turns in one process and the fastest round counts,
wall clock and CPU seconds; where memory is measured each has a process of its own. On a CPU all
this is done with glibc's allocator as it is ("stock") and with freed memory kept ("kept", as
`twinlab fit` sets it), for both models alike.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
import xarray as xr

from twinlab.cli import keep_freed_memory
from twinlab.fitting import poisson_loss
from twinlab.fitting.trials import Trials
from twinlab.twins import (
    Architecture,
    DeepTwin,
    StimulusSpec,
    import_peer,
    load_peer_core,
    load_peer_readout,
)

MODELS = ("neuralpredictors", "twinlab, float32", "twinlab, bfloat16 core")
GROWTH = {
    "neurons": (1000, 2000, 5000, 10000, 20000, 50000),
    "batch": (32, 64, 128, 256, 512),
    "sessions": (1, 2, 4, 8, 16),
    "trials": (2000, 4000, 8000, 16000, 32000),
}
IMAGE, MAP = (36, 64), (28, 56)


def our_twin(n_neuron, device):
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n_neuron)),
            "session": ("neuron", ["s"] * n_neuron),
        }
    )
    position = np.random.default_rng(0).uniform([8, 8], [56, 28], (n_neuron, 2))
    spec = StimulusSpec(1, *IMAGE, mean=110.0, std=60.0)
    return DeepTwin(Architecture(), spec, neurons, position=position).to(device).train()


def peer_model(n_neuron, device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        core = import_peer("layers.cores").Stacked2dCore(
            1, 64, 9, 7, layers=4, bias=False, pad_input=False, stack=-1, depth_separable=True,
            gamma_input=6.3831, input_regularizer="LaplaceL2norm", use_avg_reg=False,
        )  # fmt: skip
        readout = import_peer("layers.readouts").FullGaussian2d(
            (64, *MAP), n_neuron, bias=True, init_sigma=0.1, init_mu_range=0.3
        )
    return core.to(device).train(), readout.to(device).train()


def batch_of(options):
    torch.manual_seed(0)
    images = torch.rand(options.batch, 1, *IMAGE) * 255
    response = torch.poisson(torch.ones(options.batch, options.neurons))
    return images.to(options.device), response.to(options.device)


def step_of(name, options, images, response):
    """One training step of a model, as a function."""
    if name == MODELS[0]:
        core, readout = peer_model(options.neurons, options.device)
        optimizer = torch.optim.Adam([*core.parameters(), *readout.parameters()], lr=1e-3)

        def step():
            rate = torch.nn.functional.elu(readout(core((images - 110) / 60))) + 1
            loss = (rate - response * torch.log(rate + 1e-8)).sum()
            optimizer.zero_grad()
            (loss + core.regularizer() + 0.0076 * readout.feature_l1(reduction="sum")).backward()
            optimizer.step()

        return step
    twin = our_twin(options.neurons, options.device)
    twin.core_dtype = torch.bfloat16 if "bfloat16" in name else torch.float32
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3, fused=True)

    def step():
        loss = poisson_loss(twin.relative_rate(images), response)
        optimizer.zero_grad()
        (loss + twin.regularizer(6.3831, 0.0076)).backward()
        optimizer.step()

    return step


def step_of_sessions(options, images, response):
    """One training step of sessions with readouts of their own and one core, in turn."""
    twins = [our_twin(options.neurons, options.device) for _ in range(options.sessions)]
    for twin in twins[1:]:
        twin.core = twins[0].core
    optimizer = torch.optim.Adam(torch.nn.ModuleList(twins).parameters(), lr=1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        for twin in twins:
            loss = poisson_loss(twin.relative_rate(images), response)
            (loss + twin.regularizer(6.3831, 0.0076)).backward()
        optimizer.step()

    return step


def fastest(variants, rounds, device):
    """Least wall and CPU seconds of each variant; they take turns, the first round is not kept."""
    best = {name: [np.inf, np.inf] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                best[name] = [min(a, b) for a, b in zip(best[name], spent, strict=True)]
    return best


def multiply_adds(n_neuron):
    """Of one image, forward; counted from the shapes of the layers."""
    points = MAP[0] * MAP[1]
    core = points * 64 * (81 + 3 * (64 + 49 + 64))
    return core + n_neuron * (4 * 64 + 64)


def measure_steps(options):
    batch = batch_of(options)
    found = fastest(
        {name: step_of(name, options, *batch) for name in MODELS}, options.rounds, options.device
    )
    peaks = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.randn(2048, 2048, device=options.device, dtype=dtype)
        spent = fastest({"": lambda matrix=matrix: matrix @ matrix}, 5, options.device)[""]
        peaks[str(dtype)] = 2 * 2048**3 / spent[0]
    return {"seconds": found, "peaks": peaks}


def measure_memory(options):
    """Peak of this process with a model, a batch and two steps: whole, and beyond the imports."""
    import resource

    with open("/proc/self/statm") as file:
        start = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    batch = batch_of(options)
    run = step_of(options.model, options, *batch)
    if options.sessions > 1:
        run = step_of_sessions(options, *batch)
    recorded = Trials(  # noqa: F841 - it is there to take its room
        images=torch.ones(options.trials, 1, *IMAGE, dtype=torch.uint8),
        index=torch.arange(options.trials),
        response=torch.ones(options.trials, options.neurons),
        context={},
    )
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak, "beyond": peak - start, "seconds": min(seconds)}


def measure_inference(options):
    twin = our_twin(options.neurons, options.device).for_inference()
    core, readout = (part.eval() for part in peer_model(options.neurons, options.device))
    images = torch.rand(256, 1, *IMAGE, device=options.device) * 255

    @torch.inference_mode()
    def peer(size):
        for part in images.split(size):
            torch.nn.functional.elu(readout(core((part - 110) / 60))) + 1

    @torch.inference_mode()
    def ours(size):
        for part in images.split(size):
            twin(part)

    variants = {
        f"{name}, batch {size}": (lambda run=run, size=size: run(size))
        for size in (16, 32, 64, 128)
        for name, run in (("neuralpredictors", peer), ("twinlab", ours))
    }
    found = fastest(variants, max(options.rounds // 2, 1), options.device)
    return {name: [1e3 * value / len(images) for value in spent] for name, spent in found.items()}


def measure_agreement(options):
    """Largest difference over the largest value, same weights and same drawn positions."""
    core, readout = peer_model(options.neurons, options.device)
    twin = our_twin(options.neurons, options.device)
    load_peer_core(twin.core, core.state_dict())
    load_peer_readout(twin.readout, readout.state_dict())
    images, response = batch_of(options)

    def apart(mine, other):
        return float((mine - other).abs().max() / other.abs().max())

    rates, gradients = [], []
    for model in ("ours", "peer"):
        torch.manual_seed(5)
        if model == "ours":
            rate = twin.relative_rate(images)
        else:
            rate = torch.nn.functional.elu(readout(core((images - 110) / 60))) + 1
        rates.append(rate.detach())
        (rate - response * torch.log(rate + 1e-8)).sum().backward()
        parts = (twin.core, twin.readout) if model == "ours" else (core, readout)
        gradients.append({n: p.grad for part in parts for n, p in part.named_parameters()})
    found = {"output, training": apart(*rates)}
    mine, other = gradients
    names = {"features": "_features", "mu": "_mu"}
    for name, value in mine.items():
        given = other[names.get(name, name)].reshape(-1)
        same = value.T if name == "features" else value
        if name == "mu":
            # A sampled position on the edge of a cell has two slopes: the worst neuron is told
            # apart from the rest.
            worst = (value.reshape(-1) - given).abs().reshape(-1, 2).amax(1).sort().values
            found["gradient, mu, but for 5 neurons"] = float(worst[-6] / given.abs().max())
        found[f"gradient, {name}"] = apart(same.reshape(-1), given)
    for part in (twin, core, readout):
        part.eval()
    with torch.no_grad():
        other = torch.nn.functional.elu(readout(core((images - 110) / 60))) + 1
        found["output, evaluation"] = apart(twin.for_inference()(images), other)
    return found


MEASURES = {
    "steps": measure_steps,
    "memory": measure_memory,
    "inference": measure_inference,
    "agreement": measure_agreement,
}


def measured(options, part, **settings):
    """What `part` measures, in a process of its own."""
    given = {"neurons": options.neurons, "batch": options.batch, "rounds": options.rounds,
             "device": options.device} | settings  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--measure", part, *words],
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def print_steps(options, allocator):
    found = measured(options, "steps", allocator=allocator)
    peer = found["seconds"][MODELS[0]]
    work = 6 * multiply_adds(options.neurons) * options.batch
    print(f"\ntraining step, batch {options.batch}, {options.neurons} neurons, {options.device}, "
          f"{allocator} allocator")  # fmt: skip
    print(f"{'':<26}{'wall s':>8}{'cpu s':>8}{'x wall':>8}{'x cpu':>8}{'images/s':>10}"
          f"{'x floor':>9}{'of peak':>9}")  # fmt: skip
    for name, (wall, cpu) in found["seconds"].items():
        floor = work / found["peaks"][f"torch.{'bfloat16' if 'bfloat16' in name else 'float32'}"]
        print(f"{name:<26}{wall:8.3f}{cpu:8.3f}{peer[0] / wall:8.1f}{peer[1] / cpu:8.1f}"
              f"{options.batch / wall:10.0f}{wall / floor:9.1f}{floor / wall:9.0%}")  # fmt: skip
    peaks = ", ".join(f"{k[6:]} {v / 1e9:.0f}" for k, v in found["peaks"].items())
    print(f"matrix products reach (GFLOP/s): {peaks}")


def print_memory(options, allocator):
    rows = {n: measured(options, "memory", allocator=allocator, model=n) for n in MODELS}
    print(f"\npeak memory of a process with two steps, {allocator} allocator, MiB")
    print(f"{'':<26}{'whole':>8}{'of peer':>9}{'beyond imports':>16}{'of peer':>9}")
    peer = rows[MODELS[0]]
    for name, row in rows.items():
        print(f"{name:<26}{row['peak']:8.0f}{row['peak'] / peer['peak']:9.2f}"
              f"{row['beyond']:16.0f}{row['beyond'] / peer['beyond']:9.2f}")  # fmt: skip


def print_inference(options, allocator):
    found = measured(options, "inference", allocator=allocator)
    peer = [value for name, value in found.items() if name.startswith("neuralpredictors")]
    best = [min(column) for column in zip(*peer, strict=True)]
    print(f"\ninference, {options.neurons} neurons, ms an image, {allocator} allocator; "
          "ratios to the peer's best batch")  # fmt: skip
    print(f"{'':<30}{'wall':>8}{'cpu':>8}{'x wall':>8}{'x cpu':>8}")
    for name, (wall, cpu) in sorted(found.items()):
        print(f"{name:<30}{wall:8.3f}{cpu:8.3f}{best[0] / wall:8.1f}{best[1] / cpu:8.1f}")


def print_growth(options):
    found = {}
    for axis, values in GROWTH.items():
        # Sessions and trials grow with 1,000 neurons each, as their readouts and responses do.
        small = {"neurons": 1000} if axis in ("sessions", "trials") else {}
        found[axis] = [
            measured(options, "memory", allocator="kept", model=MODELS[1], **small | {axis: value})
            for value in values
        ]
        print(f"\ngrowth with {axis} (twinlab, float32): {axis}, MiB beyond imports, s a step")
        for value, row in zip(values, found[axis], strict=True):
            print(f"{value:>8}{row['beyond']:10.0f}{row['seconds']:10.2f}")
    if options.plot:
        plot_growth(found, options.plot)


def plot_growth(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(13, 3.2), layout="constrained")
    for axis, (name, rows) in zip(axes, found.items(), strict=True):
        axis.plot(GROWTH[name], [row["beyond"] for row in rows], "o-")
        axis.set(xlabel={"batch": "images a step"}.get(name, name), ylabel="memory (MiB)")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="steps,memory,inference,agreement,growth")
    parser.add_argument("--plot", help="file for the figure of the growth")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--sessions", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--trials", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--allocator", default="stock", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        if options.allocator == "kept":
            keep_freed_memory()
        print(json.dumps(MEASURES[options.measure](options)))
        return
    only = options.only.split(",")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if options.device == "cuda":
        print(torch.cuda.get_device_name())
    for allocator in ("stock", "kept") if options.device == "cpu" else ("its own",):
        if "steps" in only:
            print_steps(options, allocator)
        if "memory" in only and options.device == "cpu":
            print_memory(options, allocator)
        if "inference" in only:
            print_inference(options, allocator)
    if "agreement" in only:
        print("\nagreement with neuralpredictors: largest difference over largest value")
        for name, value in measured(options, "agreement").items():
            print(f"{name:<50}{value:10.1e}")
    if "growth" in only and options.device == "cpu":
        print_growth(options)


if __name__ == "__main__":
    main()
