"""A real recording: the default twin against its baseline, and the minutes it took.

    python tests/benchmarks/bench_recording.py SCAN [--members 1] [--set key=value ...]

Prints scores on the test tier: of the linear-nonlinear twin, and of the deep twin with the
default settings, shown the images alone (behaviour and pupil at their typical values) and shown
each trial's own behaviour and pupil too; with more members, those of the ensembles of the
first two, three, ... as well. FEVE passes 1 by definition where behaviour explains what the image
does not. What is measured on recordings under terms stays on your screen.
"""

import argparse
import time
from dataclasses import replace

import torch

from twinlab import evaluation, fitting, recordings, twins
from twinlab.cli import keep_freed_memory

SCORES = ("single_trial_correlation", "correlation_to_average", "feve", "oracle_correlation")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    keep_freed_memory()
    recording = recordings.open_recording(options.scan)
    image_alone = recording.drop_vars(["behavior", "pupil_center"], errors="ignore")
    architecture, settings = fitting.parse_settings(
        dict(word.split("=", 1) for word in options.settings), *fitting.default_settings(recording)
    )
    print(f"{architecture}\n{settings}\n{torch.get_num_threads()} threads")
    print(f"{'':<28}{'minutes':>8}{'single-trial':>14}{'to average':>12}{'FEVE':>8}{'oracle':>8}")

    def show(name, twin, seen, seconds):
        prediction = twins.predict_responses(twin, seen, split="test")
        scores = evaluation.score_prediction(seen, prediction, n_bootstrap=0)
        values = [float(scores[f"mean_{score}"]) for score in SCORES]
        print(f"{name:<28}{seconds / 60:8.1f}{values[0]:14.4f}{values[1]:12.4f}"
              f"{values[2]:8.3f}{values[3]:8.3f}", flush=True)  # fmt: skip

    began = time.perf_counter()
    linear = fitting.fit_linear_nonlinear(recording)
    show("linear-nonlinear", linear, image_alone, time.perf_counter() - began)
    began, members = time.perf_counter(), []
    for number in range(options.members):
        own = replace(settings, seed=settings.seed + number)
        members.append(fitting.fit_twin(recording, architecture, own)[0])
        seconds = time.perf_counter() - began
        show(f"deep, seed {own.seed}, image alone", members[-1], image_alone, seconds)
        show("  with behaviour and pupil", members[-1], recording, seconds)
        if number:
            ensemble = twins.EnsembleTwin(members)
            show(f"ensemble of {number + 1}, image alone", ensemble, image_alone, seconds)
            show("  with behaviour and pupil", ensemble, recording, seconds)


if __name__ == "__main__":
    main()
