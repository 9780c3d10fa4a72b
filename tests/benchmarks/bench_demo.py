"""The demo's figures: does the twin find what was planted, and how long does it take?

python tests/benchmarks/bench_demo.py [--seeds 0] [--out FOLDER]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(*command):
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp())
    for seed in options.seeds:
        seconds, said = timed(
            sys.executable, "-m", "twinlab.cli", "demo", "--no-browser",
            "--out", str(folder / f"demo-{seed}"), "--seed", str(seed),
        )  # fmt: skip
        print(f"seed {seed}: whole demo {seconds:.0f} s (asked: at most 240)")
        print(said)
    for words, limit in ((("-c", "import twinlab"), 0.3), (("-m", "twinlab.cli", "--help"), 1.0)):
        fastest = min(timed(sys.executable, *words)[0] for _ in range(5))
        bare = min(timed(sys.executable, "-c", "pass")[0] for _ in range(5))
        print(f"python {' '.join(words):<24} {fastest:.2f} s, of which Python itself {bare:.2f} "
              f"(asked: under {limit})")  # fmt: skip


if __name__ == "__main__":
    main()
