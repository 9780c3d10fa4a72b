"""One training step on clips: ours against three-dimensional convolutions, with one allocator.

Both compute the same function (2023 baseline: factorised convolutions of 32, 64 and 128 channels,
Gaussian readout, ELU + 1, Poisson) of the same clips. neuralpredictors 0.3.0 has no core for
video: its place is taken by the plain form of the same architecture, torch's `Conv3d` over space
and over time, `BatchNorm3d` and ELU, before neuralpredictors' own `FullGaussian2d` with the frames
folded into the batch. Variants take turns in one process; the least of the rounds counts, wall
clock and CPU seconds. On Linux all is repeated in a process whose allocator keeps its memory.

    python tests/benchmarks/bench_video.py [--rounds 3] [--neurons 8000] [--device cpu]
"""

import argparse
import ctypes
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from twinlab.fitting import poisson_loss
from twinlab.twins import import_peer
from twinlab.twins.readouts import GaussianReadout
from twinlab.twins.video import FactorizedCore

HEIGHT, WIDTH = 36, 64


class PlainCore(nn.Module):
    """The factorised core with three-dimensional convolutions."""

    def __init__(self, channels=(32, 64, 128), space=(11, 5, 5), time=(11, 5, 5)):
        super().__init__()
        parts, channel = [], 1
        for out, side, length in zip(channels, space, time, strict=True):
            parts += [
                nn.Conv3d(channel, out, (1, side, side), bias=False),
                nn.Conv3d(out, out, (length, 1, 1), bias=False),
                nn.BatchNorm3d(out),
                nn.ELU(),
            ]
            channel = out
        self.features = nn.Sequential(*parts)

    def forward(self, video):
        return self.features(video)


def folded(maps):
    """(batch, channel, frame, y, x) to (batch x frame, channel, y, x)."""
    return maps.transpose(1, 2).flatten(0, 1)


class Ours(nn.Module):
    def __init__(self, n_neuron):
        super().__init__()
        self.core = FactorizedCore()
        self.readout = GaussianReadout(128, torch.rand(n_neuron, 2) - 0.5)

    def step(self, video, response, dtype):
        with torch.autocast(video.device.type, dtype, enabled=dtype != torch.float32):
            maps = self.core(video)
        drive = self.readout(folded(maps).float())
        loss = poisson_loss(nn.functional.elu(drive) + 1, response)
        return loss + 10 * self.core.regularizer() + 0.0076 * self.readout.regularizer()


class Theirs(nn.Module):
    def __init__(self, n_neuron):
        super().__init__()
        self.core = PlainCore()
        self.readout = import_peer("layers.readouts").FullGaussian2d(
            (128, 18, 46),
            n_neuron,
            bias=True,
            init_sigma=0.1,
            init_mu_range=0.3,
            mean_activity=torch.zeros(n_neuron),
        )

    def step(self, video, response, dtype):
        with torch.autocast(video.device.type, dtype, enabled=dtype != torch.float32):
            maps = self.core(video)
        rate = nn.functional.elu(self.readout(folded(maps).float())) + 1
        loss = (rate - response * torch.log(rate + 1e-8)).sum()
        return loss + 0.0076 * self.readout.feature_l1(reduction="sum")


def alternating(variants, rounds, device):
    """Least wall and CPU seconds of each variant; the first round compiles and is left out."""
    best = {name: [np.inf, np.inf] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                best[name] = [min(a, b) for a, b in zip(best[name], spent, strict=True)]
    return best


def make_step(model, video, response, dtype):
    fused = isinstance(model, Ours)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def run():
        optimizer.zero_grad()
        model.step(video, response, dtype).backward()
        optimizer.step()

    return run


def make_variants(options, device):
    torch.manual_seed(0)
    video = torch.randn(options.batch, 1, options.frames, HEIGHT, WIDTH, device=device)
    n_map = options.batch * (options.frames - 18)
    response = torch.poisson(torch.ones(n_map, options.neurons, device=device))
    theirs, ours = (kind(options.neurons).to(device).train() for kind in (Theirs, Ours))
    variants = {
        "3-D convolutions": (theirs, torch.float32),
        "twinlab, float32": (ours, torch.float32),
        "twinlab, bfloat16 core": (ours, torch.bfloat16),
    }
    return {name: make_step(m, video, response, dtype) for name, (m, dtype) in variants.items()}


def print_steps(options, device):
    best = alternating(make_variants(options, device), options.rounds, device)
    peer = best["3-D convolutions"]
    allocator = "memory kept" if options.keep_memory else "stock allocator"
    print(f"training step, {options.batch} x {options.frames} frames, {options.neurons} neurons, "
          f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"{allocator}")  # fmt: skip
    print(f"{'':<28}{'wall s':>8}{'cpu s':>8}{'x wall':>8}{'x cpu':>8}")
    for name, (wall, cpu) in best.items():
        print(f"{name:<28}{wall:8.3f}{cpu:8.3f}{peer[0] / wall:8.2f}{peer[1] / cpu:8.2f}")


def print_streaming(device):
    core = FactorizedCore().to(device).eval()
    core.fold()
    readout = GaussianReadout(128, torch.rand(8000, 2) - 0.5).to(device).eval()
    with torch.inference_mode():
        state = core.start(1, HEIGHT, WIDTH)
        frame = torch.randn(1, 1, HEIGHT, WIDTH, device=device)

        def twenty_frames():
            now = state
            for _ in range(20):
                maps, now = core.step(frame, now)
                readout(maps)

        (wall, cpu) = alternating({"": twenty_frames}, 3, device)[""]
    print(f"streaming one clip, 8000 neurons: {20 / wall:.0f} frames/s "
          f"({1000 * wall / 20:.1f} ms wall, {1000 * cpu / 20:.1f} ms CPU a frame)")  # fmt: skip


def print_memory(options, device, variant):
    """Two steps of one variant alone, and the most memory they took."""
    run = make_variants(options, device)[variant]
    run()
    run()
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{variant:<28} peak memory {peak:6.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", choices=["steps", "streaming", "memory"])
    parser.add_argument("--variant")
    parser.add_argument("--keep-memory", action="store_true", help="glibc never gives memory back")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.keep_memory:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD
    if options.part == "steps":
        print_steps(options, device)
    elif options.part == "streaming":
        print_streaming(device)
    elif options.part == "memory":
        print_memory(options, device, options.variant)
    else:
        parts = [["--part", "steps"], ["--part", "streaming"]]
        if sys.platform == "linux" and device.type == "cpu":
            parts.insert(1, ["--part", "steps", "--keep-memory"])
        for variant in ("3-D convolutions", "twinlab, float32", "twinlab, bfloat16 core"):
            parts.append(["--part", "memory", "--variant", variant])
        for part in parts:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *part], check=True)


if __name__ == "__main__":
    main()
