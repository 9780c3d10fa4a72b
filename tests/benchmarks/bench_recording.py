"""A real recording, stimulus only: the twin against its baselines, and the minutes it took.

    python tests/benchmarks/bench_recording.py SCAN [--set key=value ...]

Prints single-trial correlation and correlation to average on the test tier for the
linear-nonlinear twin and the deep twin. What is measured on recordings under terms stays on
your screen.
"""

import argparse
import time

import torch

from twinlab import evaluation, fitting, recordings, twins
from twinlab.cli import keep_freed_memory

DEFAULTS = {"schedule": "cosine", "max_epochs": "25", "positions": "cortical"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    keep_freed_memory()
    recording = recordings.open_recording(options.scan)
    architecture, settings = fitting.parse_settings(
        DEFAULTS | dict(word.split("=", 1) for word in options.settings)
    )
    rows = {}
    began = time.perf_counter()
    rows["linear-nonlinear"] = fitting.fit_linear_nonlinear(recording), time.perf_counter() - began
    began = time.perf_counter()
    twin, _ = fitting.fit_twin(recording, architecture, settings)
    rows["deep"] = twin, time.perf_counter() - began
    print(f"{architecture}\n{settings}\n{torch.get_num_threads()} threads")
    print(f"{'':<18}{'minutes':>8}{'single-trial':>14}{'to average':>12}{'FEVE':>8}{'oracle':>8}")
    for name, (fitted, seconds) in rows.items():
        prediction = twins.predict_responses(fitted, recording, split="test")
        scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0)
        values = [
            float(scores[f"mean_{score}"])
            for score in ("single_trial_correlation", "correlation_to_average", "feve",
                          "oracle_correlation")
        ]  # fmt: skip
        print(f"{name:<18}{seconds / 60:8.1f}{values[0]:14.3f}{values[1]:12.3f}"
              f"{values[2]:8.3f}{values[3]:8.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
