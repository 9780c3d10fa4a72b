"""Peak memory of a sweep against its length: it shall not grow.

    python tests/benchmarks/bench_sweep.py [--neurons 1024] [--values 1 4 16]

Tuning curves of a simulated cortex's neurons at more and more contrasts, by
`insilico.run_sweep`. Each length is a process of its own with the same twin; the peak is that of
resident memory from the start of the sweep on (Linux), above what was held at its start.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twinlab import insilico, simulation

SETTINGS = {"n_orientation": 8, "n_spatial_frequency": 2, "n_phase": 16}


def resident_mb(entry):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(entry)).split()[1]) / 1024


def run(n_neuron, n_value):
    twin = simulation.SimulatedCortex(seed=0, n_neuron=n_neuron).as_twin().condition()
    insilico.measure_orientation_tuning(twin, range(128), **SETTINGS)  # what one part needs
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, begun = resident_mb("VmRSS"), time.perf_counter()
    contrasts = [0.2 + 0.6 * k / n_value for k in range(n_value)]
    with tempfile.TemporaryDirectory() as folder:
        target = insilico.run_sweep(
            insilico.measure_orientation_tuning, twin, Path(folder) / "r.nc",
            settings=SETTINGS, grid={"contrast": contrasts},
        )  # fmt: skip
        size = target.stat().st_size / 2**20
    sys.stdout.write(
        f"{n_value:8d} {size:10.1f} {time.perf_counter() - begun:8.1f} "
        f"{resident_mb('VmHWM') - before:8.1f}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=1024)
    parser.add_argument("--values", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    if asked.alone:
        run(asked.neurons, asked.values[0])
        return
    sys.stdout.write("  values  result MB  seconds  peak MB\n")
    sys.stdout.flush()
    for n_value in asked.values:
        words = ["--alone", "--neurons", str(asked.neurons), "--values", str(n_value)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
