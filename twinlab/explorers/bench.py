"""The bench: every neuron of a twin, what drives it, and what it would say to a stimulus."""

from __future__ import annotations

import panel as pn

from twinlab.explorers.looks import page
from twinlab.explorers.neuron_map import NeuronMap
from twinlab.explorers.stimulus_card import StimulusCard
from twinlab.explorers.unit_cards import UnitCards
from twinlab.explorers.views import Explorer

__all__ = ["TwinBench"]


class TwinBench(Explorer):
    """One twin on the bench: its neurons, the chosen one, and a stimulus for all.

    Tap a neuron on the map, or step through them, to see its receptive field, tuning, most
    exciting input, and how far it can be trusted; move the sliders to see what the whole
    population would answer to a stimulus.

    Parameters
    ----------
    lab : LabState

    """

    title = "Twin bench"
    about = "The neurons, the chosen one and a stimulus for all of them, side by side."

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self.parts = NeuronMap(self.lab), UnitCards(self.lab), StimulusCard(self.lab)
        population, unit, stimulus = self.parts
        return page(
            self.title,
            self.lab.surveyed.describe(),
            pn.Column(population.body, unit.trust, margin=0, styles={"gap": "12px"}),
            unit.column,
            stimulus.body,
        )
