"""The rooms, who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "twinlab"
EVERY = {path.name.removesuffix(".py") for path in ROOT.iterdir() if path.name[0] != "_"}
BOTTOM = {"schema", "files", "jobs"}
MAY_IMPORT = {
    "__init__": set(),
    "files": set(),
    "jobs": set(),
    "schema": {"files"},
    "stimuli": {"schema"},
    "recordings": BOTTOM,
    "twins": BOTTOM,
    "simulation": {"schema", "jobs", "stimuli", "twins"},
    "evaluation": {"schema", "jobs"},
    "fitting": BOTTOM | {"twins", "evaluation"},
    "insilico": BOTTOM | {"stimuli", "twins", "evaluation"},
    # a loop fits, synthesises and shows, on a rig or on the simulated cortex: all but pictures
    "loop": BOTTOM
    | {
        "stimuli",
        "recordings",
        "simulation",
        "twins",
        "evaluation",
        "fitting",
        "insilico",
    },
    "plots": {"schema", "files"},
    "explorers": EVERY,
    "cli": EVERY,
}


def imported_rooms(path):
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            names = [
                ".".join(filter(None, [*above, node.module, alias.name])) for alias in node.names
            ]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("twinlab."))


def of_another_package(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_flow_downwards(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[room] | {room, "__version__"}
    upward = set(imported_rooms(path)) - allowed
    assert not upward, f"{room} may not import {sorted(upward)}"


def test_only_explorers_and_the_command_know_panel():
    users = {
        path.relative_to(ROOT).parts[0]
        for path in ROOT.rglob("*.py")
        if {"panel", "param", "bokeh"} & set(of_another_package(path))
    }
    assert users <= {"explorers", "cli", "plots"}  # plots sets options of Bokeh figures


def test_torchvision_is_not_needed():
    users = [path for path in ROOT.rglob("*.py") if "torchvision" in set(of_another_package(path))]
    assert not users


def heavy_imports_of(module):
    code = f"import sys, {module}; sys.stdout.write(' '.join(sys.modules))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {"numpy", "torch", "xarray", "panel", "holoviews", "matplotlib"} & set(loaded)


def test_importing_twinlab_imports_nothing_heavy():
    assert not heavy_imports_of("twinlab")


def test_the_command_line_imports_nothing_heavy():
    assert not heavy_imports_of("twinlab.cli")
