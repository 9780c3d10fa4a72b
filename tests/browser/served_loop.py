"""Serve a lab with inception loops and fits, and say where; run by the browser tests.

The first argument is a folder: `loops` and `fits` are made in it unless they are there.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from serve_lab import serve_lab

from twinlab import explorers, fitting, loop, twins
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import save_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "recording.zarr"
seed = 1
[fit]
members = 1
max_epochs = 2
layers = 1
hidden = 8
[rounds]
number = 1
by = "random"
images = 60
candidates = 120
[units]
number = 4
min_reliability = 0.2
[stimuli]
objectives = ["mei"]
[presentation]
n_repeat = 6
[rig]
width_px = 192
height_px = 144
degrees_per_pixel = 0.25
image_degrees_per_pixel = 1.5
"""


def open_lab(folder):
    """Return the state of a lab with what is in a folder, which a notebook can show as well."""
    torch.set_num_threads(1)
    if not (folder / "loops" / "begun").exists():
        cortex = SimulatedCortex(seed=0, n_neuron=10, height=18, width=24, reliability=0.6)
        save_recording(
            cortex.record(n_train=600, n_validation=80, n_test=40), folder / "recording.zarr"
        )
        (folder / "plan.toml").write_text(PLAN)
        loop.new_loop(folder / "plan.toml", folder / "loops" / "a-whole-one")
        loop.run_loop(folder / "loops" / "a-whole-one")
        loop.new_loop(folder / "plan.toml", folder / "loops" / "begun")
    recording = open_recording(folder / "recording.zarr")
    twin = twins.load_twin(folder / "loops" / "a-whole-one" / "twin").each[0]
    if not (folder / "fits").exists():
        architecture, settings = fitting.default_settings(recording)
        for name, hidden, lr in (("narrow", 6, 0.005), ("wide", 12, 0.01)):
            fitted, history = fitting.fit_twin(
                recording,
                replace(architecture, layers=1, hidden=hidden),
                replace(settings, max_epochs=5, lr=lr),
            )
            twins.save_twin(fitted, folder / "fits" / name)
            save_result(history, folder / "fits" / name / "history.nc")
    return explorers.LabState(twin, recording, loops=folder / "loops", fits=folder / "fits")


if __name__ == "__main__":
    known = open_lab(Path(sys.argv[1]))
    serve_lab(known)
