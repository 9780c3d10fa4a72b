"""Most exciting inputs: ours against a plain loop over neurons, in one run.

The plain loop is what the field's tools do with weights frozen and one evaluation a step: the
whole model, one neuron and one image at a time. Both take the same number of steps.

    python tests/benchmarks/bench_mei.py [--neurons 100] [--steps 20]
"""

import argparse
import time

import numpy as np
import torch
import xarray as xr

from twinlab.twins import Architecture, DeepTwin, StimulusSpec


def timed(work, rounds=2):
    work()
    spent = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [min(column) for column in zip(*spent, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    neurons = xr.Dataset(
        coords={"neuron_id": ("neuron", np.arange(8000)), "session": ("neuron", ["s"] * 8000)}
    )
    position = np.random.default_rng(0).uniform([8, 8], [56, 28], (8000, 2))
    spec = StimulusSpec(1, 36, 64, mean=110.0, std=60.0)
    twin = DeepTwin(Architecture(), spec, neurons, position=position).eval().requires_grad_(False)
    quiet = twin.condition()
    together = quiet.paired(np.arange(options.neurons))

    def ascend(rate, image):
        for _ in range(options.steps):
            image = image.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(rate(image).sum(), image)
            image = image + gradient

    few = 2  # neurons of the slow way, scaled up
    whole = timed(lambda: [
        ascend(lambda x, n=n: twin(x)[:, n], torch.rand(1, *spec.shape) * 255) for n in range(few)
    ])  # fmt: skip
    own = timed(lambda: ascend(together, torch.rand(options.neurons, *spec.shape) * 255))
    scale = 1000 / options.steps
    rows = {
        "whole model, one at a time": [value * scale / few for value in whole],
        "paired, own windows": [value * scale / options.neurons for value in own],
    }
    print(f"2022 core, 8000 neurons; {options.steps} steps timed, scaled to 1000 steps a neuron")
    print(f"{'':<28}{'wall s':>9}{'cpu s':>9}{'a minute':>10}{'x wall':>8}")
    slow = rows["whole model, one at a time"][0]
    for name, (wall, cpu) in rows.items():
        print(f"{name:<28}{wall:9.2f}{cpu:9.2f}{60 / wall:10.1f}{slow / wall:8.1f}")


if __name__ == "__main__":
    main()
