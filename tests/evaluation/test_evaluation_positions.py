"""Receptive fields are found where they were planted, whatever the recording lacks."""

import numpy as np
import pytest
from scipy import ndimage

from twinlab.evaluation import locate_receptive_fields

HEIGHT, WIDTH, N_TRIAL = 30, 40, 1500


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(N_TRIAL, HEIGHT, WIDTH))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    return (128 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)[:, None]


@pytest.fixture(scope="module")
def planted():
    """Centres near one another, as in a scan."""
    rng = np.random.default_rng(1)
    return np.stack([rng.uniform(20, 30, 60), rng.uniform(8, 16, 60)], axis=1)


@pytest.fixture(scope="module")
def response(images, planted):
    """Simple and complex cells in turn, and a third that has nothing to do with the images."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    seen = (images[:, 0].reshape(N_TRIAL, -1) - 128.0) / 60
    rates = []
    for number, (column, row) in enumerate(planted):
        angle = rng.uniform(0, np.pi)
        along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        bump = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * 2.5**2))
        even, odd = (bump * wave(2 * np.pi * along / 7) for wave in (np.cos, np.sin))
        drive = [seen @ part.ravel() for part in (even, odd)]
        drive = [part / part.std() for part in drive]
        rates.append(np.maximum(drive[0], 0) if number % 2 else drive[0] ** 2 + drive[1] ** 2)
    silent = np.ones((N_TRIAL, 30))
    return rng.poisson(np.concatenate([np.stack(rates, 1), silent], axis=1)).astype(np.float32)


def away(found, planted):
    return np.hypot(*(found[: len(planted)] - planted).T)


def test_fields_are_found_and_noise_is_put_among_its_neighbours(images, response, planted):
    found = locate_receptive_fields(images, response)
    assert np.median(away(found, planted)) < 1
    assert away(found, planted).max() < 4
    lost = found[60:]
    assert ((np.abs(lost - planted.mean(0)) < [12, 10]).all(axis=1)).mean() > 0.9


def test_missing_responses_are_not_missed(images, response, planted):
    rng = np.random.default_rng(3)
    gappy = np.where(rng.random(response.shape) < 0.4, np.nan, response)
    gappy[: N_TRIAL // 2, ::2] = np.nan  # neurons of another session
    gappy[:, 65] = np.nan
    found = locate_receptive_fields(images, gappy)
    assert np.median(away(found, planted)) < 1.2
    assert np.quantile(away(found, planted), 0.9) < 4
    assert found[65].tolist() == [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]


def test_a_few_wild_responses_move_nothing(images, response, planted):
    rng = np.random.default_rng(4)
    wild = np.where(rng.random(response.shape) < 0.002, 1000, response)
    assert np.median(away(locate_receptive_fields(images, wild), planted)) < 1


def test_large_images_give_the_same_places_in_their_own_pixels(images, response, planted):
    large = np.kron(images, np.ones((1, 1, 3, 3), np.uint8))
    found = locate_receptive_fields(large, response)
    assert np.median(away((found + 0.5) / 3 - 0.5, planted)) < 1


def test_scale_offset_and_order_of_responses_do_not_matter(images, response):
    found = locate_receptive_fields(images, response)
    order = np.random.default_rng(5).permutation(response.shape[1])
    again = locate_receptive_fields(
        images.astype(np.float64) / 7 - 3, 100 + 0.5 * response[:, order]
    )
    assert (
        np.abs(again - found[order]).max(axis=1) < 1e-6
    ).mean() > 0.97  # but where two are as good


def test_many_neurons_are_looked_at_in_portions(images, response, monkeypatch):
    whole = locate_receptive_fields(images, response)
    monkeypatch.setattr("twinlab.evaluation.positions.NEURONS", 7)
    monkeypatch.setattr("twinlab.evaluation.positions.IMAGES", 499)
    parts = locate_receptive_fields(images, response)
    assert (np.abs(parts - whole).max(axis=1) < 1e-6).mean() > 0.97  # but where two are as good
