"""Make the example twin that comes with the package: the demo's, of the simulated cortex.

    python tests/making/make_example.py [--demo FOLDER]

Runs the demo with seed 0 (or takes a finished one) and keeps its ensemble of two twins and
what was measured of them, in `twinlab/simulation/example`. The recording is not kept: the
simulated cortex makes it again.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from twinlab import schema, twins
from twinlab.cli.demo import run_demo
from twinlab.cli.progress import watched_job
from twinlab.simulation import EXAMPLE

RESULTS = ("tuning",)
MOST_BYTES = 2 * 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=None)
    folder = parser.parse_args().demo or Path(tempfile.mkdtemp()) / "demo"
    with watched_job("demo") as job:
        run_demo(folder, job=job)
    shutil.rmtree(EXAMPLE, ignore_errors=True)
    twins.save_twin(twins.load_twin(folder / "twin"), EXAMPLE / "twin")
    for name in RESULTS:
        schema.save_result(schema.open_result(folder / f"{name}.nc"), EXAMPLE / f"{name}.nc")
    size = sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file())
    print(f"{EXAMPLE}: {size / 2**20:.2f} MiB")
    if size > MOST_BYTES:
        msg = "the example is larger than 2 MiB"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
