"""Each classical twin on its own data: four planted populations, five kinds of twin fitted.

Each population is recorded with Poisson noise; every kind is fitted to it. Rows are what made the
data, columns what was fitted, numbers the correlation with the noise-free rate on images that
no fit has seen, averaged over neurons, with its standard error over neurons. On each row, also
the difference between the kind that made the data and each other, with its standard error.

    python tests/benchmarks/bench_classical.py [--neurons 20] [--images 4000] [--size 16]
"""

import argparse
import time

import numpy as np
import torch
import xarray as xr

from twinlab import fitting, simulation, stimuli, twins
from twinlab.evaluation import single_trial_correlation

DEEP = twins.Architecture(layers=2, hidden=16, input_kernel=5, hidden_kernel=3)
DEEP_SETTINGS = fitting.FitSettings(batch_size=64, max_epochs=20, schedule="cosine")


def gabor(size, x, y, angle, phase, wavelength=5.0, sigma=1.7):
    rows, columns = np.mgrid[:size, :size]
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    window = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    patch = window * np.cos(2 * np.pi * along / wavelength + phase)
    patch -= window * patch.sum() / window.sum()  # blind to the mean grey level
    return patch / np.linalg.norm(patch)


def plant(kind, n_neuron, images, seed=0, mean=3.0):
    """A twin of this kind with Gabor filters, in units of their drive by the images."""
    rng = np.random.default_rng(seed)
    size = images.shape[-1]
    spec = twins.StimulusSpec(1, size, size, float(images.mean()), float(images.std()))
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n_neuron)),
            "session": ("neuron", [f"planted-{kind}"] * n_neuron),
        }
    )
    shown = ((images - spec.mean) / spec.std).reshape(len(images), -1)

    def filters(phases, angles, gains):
        """(neuron, filter, 1, y, x), each neuron's at its own place and orientation."""
        bank = []
        for _ in range(n_neuron):
            x, y = rng.uniform(size * 0.35, size * 0.65, 2)
            own, begin = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
            bank.append(
                [gabor(size, x, y, own + a, begin + p)
                 for a, p in zip(angles, phases, strict=True)]
            )  # fmt: skip
        bank = np.array(bank)
        drive = np.einsum("ip,nkp->ink", shown, bank.reshape(n_neuron, len(gains), -1))
        scale = np.array(gains) / drive.std(0)
        return (bank * scale[:, :, None, None])[:, :, None]

    turn = np.pi / 2
    build = {
        "linear_nonlinear": lambda: twins.LinearNonlinearTwin(
            spec, neurons, filters=filters([0], [0], [2.0])[:, 0], offset=np.zeros(n_neuron)
        ),
        "quadratic": lambda: twins.QuadraticTwin(
            spec,
            neurons,
            n_excitatory=2,
            n_suppressive=1,
            filters=filters([0, 0, turn, 0], [turn / 2, 0, 0, turn], [0.7, 1.0, 1.0, 0.9]),
            offset=np.full(n_neuron, 0.0),
        ),
        "subunit": lambda: twins.SubunitTwin(
            spec,
            neurons,
            n_excitatory=2,
            n_suppressive=1,
            filters=filters([0, 0, 0], [0, turn, turn / 2], [2.5, 2.5, 2.5]),
            threshold=np.full((n_neuron, 3), 0.5),
        ),
        "normalization": lambda: twins.NormalizationTwin(
            spec,
            neurons,
            n_drive=1,
            n_pool=2,
            rectified=True,
            filters=filters([0, 0, turn], [0, turn, turn], [1.0, 1.0, 1.0]),
            pool_weight=np.full((n_neuron, 2), 2.0),
            semi_saturation=np.full(n_neuron, 0.3),
        ),
    }
    twin = build[kind]()
    rate = twin.condition()(_tensor(images)).numpy().mean(0)
    twin.amplitude.data *= _tensor(mean / rate)
    return twin


def _tensor(values):
    return torch.as_tensor(np.asarray(values, np.float32))


# As many filters as the planted twins have.
FITS = {
    "linear_nonlinear": fitting.fit_linear_poisson,
    "quadratic": lambda r: fitting.fit_quadratic(r, n_excitatory=2, n_suppressive=1),
    "subunit": lambda r: fitting.fit_subunits(r, n_excitatory=2, n_suppressive=1),
    "normalization": lambda r: fitting.fit_normalization(r, n_drive=1, n_pool=2, rectified=True),
    "deep": lambda r: fitting.fit_twin(r, DEEP, DEEP_SETTINGS)[0],
}


def measure(kind, *, n_neuron, n_image, size, fits=FITS, n_test=400, seed=0):
    """Correlation of each fitted kind with the truth, {kind: (neuron,)}, and seconds of each."""
    images = stimuli.make_dead_leaves(n_image + n_image // 8 + n_test, size, size, seed).values
    twin = plant(kind, n_neuron, images[:1000], seed)
    recording = simulation.record_twin(
        twin, images, n_validation=n_image // 8, n_test=n_test, seed=seed
    )
    found, seconds = {}, {}
    test = recording.isel(trial=recording.split.values == "test")
    truth = recording.true_rate.values[test.stimulus_index.values]
    for name, fit in fits.items():
        began = time.perf_counter()
        predicted = twins.predict_responses(fit(recording), recording, split="test").values
        found[name] = single_trial_correlation(truth, predicted)
        seconds[name] = time.perf_counter() - began
    return found, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=20)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"correlation with the noise-free rate, {options.neurons} neurons, {options.images} "
        f"training images of {options.size} x {options.size}, a Poisson trial each, mean 3"
    )
    print(f"{'data made by':<18}" + "".join(f"{name:>18}" for name in FITS))
    for kind in fitting.CLASSICAL:
        found, seconds = measure(
            kind, n_neuron=options.neurons, n_image=options.images, size=options.size,
            seed=options.seed,
        )  # fmt: skip
        error = {name: each.std(ddof=1) / len(each) ** 0.5 for name, each in found.items()}
        cells = [f"{found[name].mean():.3f} +- {error[name]:.3f}" for name in FITS]
        print(f"{kind:<18}" + "".join(f"{cell:>18}" for cell in cells))
        cells = []
        for name in FITS:
            lead = found[kind] - found[name]
            spread = lead.std(ddof=1) / len(lead) ** 0.5
            cells.append("" if name == kind else f"{lead.mean():+.3f} +- {spread:.3f}")
        print(f"{'  its lead':<18}" + "".join(f"{cell:>18}" for cell in cells))
        print(
            f"{'  seconds':<18}" + "".join(f"{seconds[name]:>18.1f}" for name in FITS), flush=True
        )


if __name__ == "__main__":
    main()
