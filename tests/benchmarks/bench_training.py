"""One training step: ours against neuralpredictors, in one run, with one allocator.

Both compute the same function (2022 baseline: 4 layers, 64 channels; Gaussian readout) on the
same batch. Variants take turns; the fastest of the rounds counts, wall clock and CPU seconds.

    python tests/benchmarks/bench_training.py [--neurons 8000] [--rounds 3] [--device cpu]
"""

import argparse
import time
import warnings

import numpy as np
import torch
import xarray as xr

from twinlab.fitting import poisson_loss
from twinlab.twins import Architecture, DeepTwin, StimulusSpec, import_peer


def our_twin(n_neuron, device):
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n_neuron)),
            "session": ("neuron", ["s"] * n_neuron),
        }
    )
    position = np.random.default_rng(0).uniform([8, 8], [56, 28], (n_neuron, 2))
    spec = StimulusSpec(1, 36, 64, mean=110.0, std=60.0)
    return DeepTwin(Architecture(), spec, neurons, position=position).to(device).train()


def peer_model(n_neuron, device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        core = import_peer("layers.cores").Stacked2dCore(
            1, 64, 9, 7, layers=4, bias=False, pad_input=False, stack=-1, depth_separable=True,
            gamma_input=6.3831, input_regularizer="LaplaceL2norm", use_avg_reg=False,
        )  # fmt: skip
        readout = import_peer("layers.readouts").FullGaussian2d(
            (64, 28, 56), n_neuron, bias=True, init_sigma=0.1, init_mu_range=0.3
        )
    return core.to(device).train(), readout.to(device).train()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    twin = our_twin(options.neurons, device)
    core, readout = peer_model(options.neurons, device)
    images = torch.rand(options.batch, 1, 36, 64, device=device) * 255
    response = torch.poisson(torch.ones(options.batch, options.neurons, device=device))
    ours = torch.optim.Adam(twin.parameters(), lr=1e-3, fused=True)
    theirs = torch.optim.Adam([*core.parameters(), *readout.parameters()], lr=1e-3)

    def step_ours(dtype):
        twin.core_dtype = dtype
        loss = poisson_loss(twin.relative_rate(images), response)
        ours.zero_grad()
        (loss + twin.regularizer(6.3831, 0.0076)).backward()
        ours.step()

    def step_peer():
        rate = torch.nn.functional.elu(readout(core((images - 110) / 60))) + 1
        loss = (rate - response * torch.log(rate + 1e-8)).sum()
        theirs.zero_grad()
        (loss + core.regularizer() + 0.0076 * readout.feature_l1(reduction="sum")).backward()
        theirs.step()

    variants = {
        "neuralpredictors": step_peer,
        "twinlab, float32": lambda: step_ours(torch.float32),
        "twinlab, bfloat16 core": lambda: step_ours(torch.bfloat16),
    }
    best = {name: [np.inf, np.inf] for name in variants}
    for number in range(options.rounds + 1):  # the first compiles and is not counted
        for name, step in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                best[name] = [min(a, b) for a, b in zip(best[name], spent, strict=True)]
    peer = best["neuralpredictors"]
    print(f"training step, batch {options.batch}, {options.neurons} neurons, {device}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}")  # fmt: skip
    print(f"{'':<26}{'wall s':>8}{'cpu s':>8}{'x wall':>8}{'x cpu':>8}")
    for name, (wall, cpu) in best.items():
        print(f"{name:<26}{wall:8.3f}{cpu:8.3f}{peer[0] / wall:8.1f}{peer[1] / cpu:8.1f}")


if __name__ == "__main__":
    main()
