"""Fail if a notebook named on the command line (or any in notebooks/) holds outputs."""

import json
import sys
from pathlib import Path


def holds_outputs(path):
    cells = json.loads(Path(path).read_text())["cells"]
    return any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


if __name__ == "__main__":
    notebooks = sys.argv[1:] or sorted(Path("notebooks").glob("*.ipynb"))
    full = [str(path) for path in notebooks if holds_outputs(path)]
    sys.exit(f"clear the outputs of {', '.join(full)}" if full else 0)
