"""Serve the lab on a deep twin of many neurons, and say where; run by `bench_explorer`.

python tests/benchmarks/served_twin.py N_NEURON
"""

import sys

import torch

from twinlab import explorers, fitting
from twinlab.cli import keep_freed_memory
from twinlab.simulation import SimulatedCortex
from twinlab.twins import Architecture


def main():
    keep_freed_memory()
    torch.set_num_threads(1)  # the other core is the browser's
    recording = SimulatedCortex(seed=0, n_neuron=int(sys.argv[1])).record(
        n_train=320, n_validation=64, n_test=20, n_repeat=4
    )
    # Two passes over few images: it predicts badly, at the speed of one that predicts well.
    twin, other = (
        fitting.fit_twin(recording, Architecture(), fitting.FitSettings(seed=seed, max_epochs=2))[
            0
        ]
        for seed in (0, 1)
    )
    known = explorers.LabState(twin, recording, other=other)
    known.wait()
    server, url = explorers.serve(lambda: explorers.Lab(known.another()))
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    server.start()
    server.io_loop.start()  # until it is ended from outside


if __name__ == "__main__":
    main()
