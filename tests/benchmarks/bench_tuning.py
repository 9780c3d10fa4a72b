"""A tuning grid of all neurons: ours against neuralpredictors' model in batches of 32.

    python tests/benchmarks/bench_tuning.py [--neurons 8000] [--rounds 3]

Gratings of 16 orientations, 6 spatial frequencies and 8 phases, drawn on the way by both, shown to
the 2022 baseline with the same weights. Ours also takes F0, F1, the preferences and the indices.
They take turns in one process; the fastest round counts. The allocator keeps its memory for both.
"""

import argparse

import numpy as np
import torch
from bench_training import fastest, our_twin, peer_model

from twinlab import insilico, stimuli
from twinlab.cli import keep_freed_memory
from twinlab.twins import load_peer_core, load_peer_readout

GRID = (16, 6, 8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    core, readout = (
        part.eval().requires_grad_(False) for part in peer_model(options.neurons, "cpu")
    )
    twin = our_twin(options.neurons, "cpu")
    load_peer_core(twin.core, core.state_dict())
    load_peer_readout(twin.readout, readout.state_dict())
    quiet = twin.eval().requires_grad_(False).condition()
    axes = (np.arange(16) * 180 / 16, np.geomspace(0.04, 0.25, 6), np.arange(8) * 45.0)
    shown = [values.ravel() for values in np.meshgrid(*axes, indexing="ij")]
    found = {}

    def peer():
        rates = np.empty((len(shown[0]), options.neurons), np.float32)
        with torch.inference_mode():
            for first in range(0, len(rates), 32):
                part = slice(first, first + 32)
                images = stimuli.make_gratings(
                    *(values[part] for values in shown),
                    height=36, width=64, mean=110.0, contrast=0.8,
                )  # fmt: skip
                z = (torch.as_tensor(images.values) - 110) / 60
                rate = torch.nn.functional.elu(readout(core(z), sample=False)) + 1
                rates[part] = rate.numpy()
        found["peer"] = rates

    def ours():
        found["ours"] = insilico.measure_orientation_tuning(quiet, contrast=0.8)

    best = fastest({"neuralpredictors": peer, "twinlab": ours}, options.rounds, "cpu")
    response = found["ours"].response.values.reshape(options.neurons, -1).T
    print(f"{'x'.join(map(str, GRID))} gratings, {options.neurons} neurons, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32")  # fmt: skip
    print(f"{'':<20}{'wall s':>9}{'cpu s':>9}{'x wall':>8}{'x cpu':>8}")
    slow = best["neuralpredictors"]
    for name, (wall, cpu) in best.items():
        print(f"{name:<20}{wall:9.2f}{cpu:9.2f}{slow[0] / wall:8.1f}{slow[1] / cpu:8.1f}")
    print(f"largest difference {np.abs(response - found['peer']).max():.1e}")


if __name__ == "__main__":
    main()
