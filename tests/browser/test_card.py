"""The card of a recording in a real browser, without a network."""

import pytest

from twinlab.cli.card import make_card


@pytest.mark.parametrize("source", ["simulated", "simulated-video"])
def test_a_card_opens_without_a_network_and_every_picture_is_drawn(
    source, page, screenshot, tmp_path
):
    path = make_card(source, tmp_path / "card.html")
    page.goto(path.as_uri())
    # how far apart the darkest and the brightest pixel of each picture are
    spread = page.evaluate(
        """() => [...document.images].map(image => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, canvas.width, canvas.height).data
                .filter((_, place) => place % 4 === 0);
            return data.reduce((high, value) => Math.max(high, value), 0)
                - data.reduce((low, value) => Math.min(low, value), 255);
        })"""
    )
    assert len(spread) >= 25
    assert min(spread) > 60
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    screenshot(f"card-{source}")
    assert page.errors == []
