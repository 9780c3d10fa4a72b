"""Most exciting inputs: ours against neuralpredictors' forward pass, one neuron at a time.

    python tests/benchmarks/bench_mei.py [--neurons 100] [--steps 1000] [--peer-steps 20]

The network is the 2022 baseline, fitted for a minute to a simulated cortex. Both follow one recipe
from the same starts: steps of 10 times the gradient, blurred with a standard deviation of 1
pixel, and the L2 norm held at 7. The slow way is a plain loop with frozen weights
and one evaluation a step, through neuralpredictors' own core and readout with the same weights; it
is timed over a few steps and scaled. Then our own ascent is measured to 99 % of what the recipe
reaches. The floor is the arithmetic of forward and backward pass in the pixels a neuron sees, at
the speed of a matrix product measured beside it. Memory is kept by the allocator for both.
"""

import argparse
import time

import numpy as np
import torch
import xarray as xr
from bench_training import peer_model

from twinlab import fitting, insilico
from twinlab.cli import keep_freed_memory
from twinlab.simulation import SimulatedCortex
from twinlab.twins import Architecture, DeepTwin, load_peer_core, load_peer_readout

NORM, LR, N_NEURON = 7.0, 10.0, 8000
TRIED = (10, 15, 20, 30, 40, 60, 100)  # most steps of our own ascent


def twin_and_peer():
    """The fitted network as a twin and as the peer has it; 200 neurons repeated to 8,000."""
    recording = SimulatedCortex(seed=0, n_neuron=200).record(n_train=4000)
    fitted, _ = fitting.fit_twin(
        recording, Architecture(), fitting.FitSettings(max_epochs=6, batch_size=64)
    )
    fitted.core.requires_grad_(False)
    times = N_NEURON // 200
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(N_NEURON)),
            "session": ("neuron", ["s"] * N_NEURON),
        }
    )
    own = fitted.readout
    core, readout = (part.eval().requires_grad_(False) for part in peer_model(N_NEURON, "cpu"))
    core.load_state_dict(fitted.core.state_dict(), strict=False)
    readout._mu.data[:] = own.position.repeat(times, 1).view(readout._mu.shape)
    readout._features.data[:] = own.features.repeat(times, 1).T.view(readout._features.shape)
    readout.bias.data[:] = own.bias.repeat(times)
    twin = DeepTwin(Architecture(), fitted.spec, neurons)
    load_peer_core(twin.core, core.state_dict())
    load_peer_readout(twin.readout, readout.state_dict())

    def peer(z):
        return torch.nn.functional.elu(readout(core(z), sample=False)) + 1

    return twin.eval().requires_grad_(False).condition(), peer


def plain_loop(peer, start, neuron, n_step, hold, blur):
    """The recipe for one neuron; the image (1, 1, y, x) in z units and its activation."""
    row = torch.zeros(1, dtype=torch.long)
    z = hold(start, row)
    for _ in range(n_step):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(peer(z)[0, neuron], z)
        z = hold(z + LR * blur(gradient), row)
    return z.detach()


def spent(work):
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def floor(rounds=5):
    """Multiply-adds a second of a matrix product."""
    a = torch.randn(1024, 1024)
    best = min(spent(lambda: a @ a)[1] for _ in range(rounds + 1))
    return 1024**3 / best


def window_multiply_adds(hidden=64, first=9, kernel=7, layers=4):
    """Of one image, forward, where the next layer looks."""
    side = 2 + 2 * (kernel // 2) * (layers - 1)
    count = side**2 * first**2 * hidden
    for _ in range(layers - 1):
        count += side**2 * hidden**2
        side -= 2 * (kernel // 2)
        count += side**2 * hidden * (kernel**2 + hidden)
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--peer-steps", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    n = options.neurons
    quiet, peer = twin_and_peer()
    hold, blur = insilico.fix_norm(NORM), insilico.blur_gradient(1.0)
    noise = np.random.default_rng(0).standard_normal((n, 1, 36, 64))
    start = torch.as_tensor(noise, dtype=torch.float32)
    exciting = insilico.excite(quiet, np.arange(n))

    def ours(n_step, optimizer, prior=blur):
        return insilico.optimize_stimuli(
            exciting, start, quiet.spec, constraints=(hold,), prior=prior, n_step=n_step,
            optimizer=optimizer, lr=LR, batch_size=n,
        )  # fmt: skip

    few = 2
    ours(2, "sgd")  # compiles
    plain_loop(peer, start[:1], 0, 2, hold, blur)
    slow = [
        spent(lambda k=k: plain_loop(peer, start[k : k + 1], k, options.peer_steps, hold, blur))
        for k in range(few)
    ]
    short = ours(options.peer_steps, "sgd").stimuli
    difference = max(
        float(np.abs((short[k] - quiet.spec.mean) / quiet.spec.std - slow[k][0][0].numpy()).max())
        for k in range(few)
    )
    largest = max(float(row[0].abs().max()) for row in slow)
    scale = options.steps / options.peer_steps
    peer_wall, peer_cpu = (scale * min(row[column] for row in slow) for column in (1, 2))
    recipe, wall, cpu = spent(lambda: ours(options.steps, "sgd"))
    wall, cpu = wall / n, cpu / n
    arithmetic = 2 * window_multiply_adds() * options.steps / floor()
    print(f"2022 core, {N_NEURON} neurons, {n} MEIs of {options.steps} steps, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32")  # fmt: skip
    print(f"{'a MEI':<34}{'wall s':>9}{'cpu s':>9}{'a minute':>10}{'x wall':>8}{'x cpu':>8}")
    for name, a, b in (
        ("neuralpredictors, one at a time", peer_wall, peer_cpu),
        ("twinlab, same recipe", wall, cpu),
    ):
        print(f"{name:<34}{a:9.3f}{b:9.3f}{60 / a:10.1f}{peer_wall / a:8.1f}{peer_cpu / b:8.1f}")
    print(
        f"largest difference after {options.peer_steps} steps: {difference:.1e} of {largest:.1f}"
    )
    print(f"arithmetic alone: {arithmetic:.3f} s; measured is {wall / arithmetic:.1f} times that")
    for n_step in TRIED:
        found, wall, cpu = spent(lambda n_step=n_step: ours(n_step, "adaptive", None))
        share = found.value / recipe.value
        print(f"our ascent, {n_step:>3} steps: {60 * n / wall:8.0f} a minute, activation over the "
              f"recipe's {share.min():.4f} at least, {np.median(share):.4f} in the median; "
              f"{(share >= 0.99).mean():.0%} reach 0.99")  # fmt: skip


if __name__ == "__main__":
    main()
