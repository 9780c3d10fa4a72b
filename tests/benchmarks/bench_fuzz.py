"""Spoiled files of every layout: how many open, how many are refused, what else happens.

    python tests/benchmarks/bench_fuzz.py [--number 500] [--seed 0] [LAYOUT ...]

One process a layout. A failure is anything but a recording or a one-line `InputError`: another
exception, a warning not meant for the user, a run without end, a file written, a process
started, a pickle looked up, or memory beyond the bound.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FUZZING = Path(__file__).parents[1] / "recordings" / "fuzzing.py"
sys.path.insert(0, str(FUZZING.parent))


def main():
    from fuzzing import BOUND
    from layout_samples import SAMPLES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layouts", nargs="*", default=list(SAMPLES))
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'layout':<20}{'files':>7}{'opened':>8}{'refused':>9}{'failed':>8}"
          f"{'memory':>12}{'seconds':>9}   (bound {BOUND // 2**20} MiB)")  # fmt: skip
    for layout in options.layouts:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-W", "ignore", str(FUZZING), folder]
            command += [str(options.number), str(options.seed), layout]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        (tally,) = json.loads(done.stdout).values()
        print(f"{layout:<20}{options.number:>7}{tally['opened']:>8}{tally['refused']:>9}"
              f"{len(tally['failures']):>8}{tally['growth_mib']:>8} MiB{tally['seconds']:>9}",
              flush=True)  # fmt: skip
        for failure in tally["failures"]:
            print(f"    {failure}")


if __name__ == "__main__":
    main()
