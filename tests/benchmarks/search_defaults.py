"""Search the default settings on the simulated cortex; the table is what the defaults rest on.

    python tests/benchmarks/search_defaults.py --budget-minutes 60 [--epochs 12] [--device cpu]

Runs again from where it was stopped. Writes the table, best first, to
tests/benchmarks/search_table.csv, and prints the best settings.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

from twinlab import fitting
from twinlab.simulation import SimulatedCortex

TABLE = Path(__file__).with_name("search_table.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget-minutes", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path("search-defaults"))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--neurons", type=int, default=200)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    cortex = SimulatedCortex(seed=options.seed, n_neuron=options.neurons)
    recording = cortex.record(n_train=options.images)
    architecture, settings, table = fitting.search_settings(
        recording, options.folder, budget_minutes=options.budget_minutes, epochs=options.epochs,
        seed=options.seed, device=options.device,
    )  # fmt: skip
    shutil.copyfile(options.folder / "table.csv", options.table)
    found = asdict(architecture) | asdict(settings)
    best = float(table.validation_correlation[table.attrs["best"]])
    print(f"{table.sizes['candidate']} candidates; best validation correlation {best:.4f}, "
          f"of the defaults {float(table.validation_correlation[0]):.4f}")  # fmt: skip
    print(" ".join(f"{name}={found[name]}" for name in table.data_vars if name in found))


if __name__ == "__main__":
    main()
