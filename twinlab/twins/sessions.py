"""Twins of several sessions as one: each has its own readout, the core is theirs in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from twinlab.schema import InputError
from twinlab.twins.contract import ConditionedTwin, Context, Twin

__all__ = ["SessionsTwin"]


class SessionsTwin(Twin):
    """Twins of one session each, side by side; usually they share their core.

    ``condition(session=...)`` and ``of_session`` give one of them, with its own typical
    behaviour and pupil position. Called as a whole, it answers for all neurons, each session's
    in its own typical context unless one is given.

    Parameters
    ----------
    parts : sequence of Twin
        Of one session each, seeing images of the same size.
    origin : mapping, optional
        Where it comes from; that of the first part if absent.

    """

    kind = "sessions"

    def __init__(self, parts: Sequence[Twin], origin: Mapping[str, Any] | None = None) -> None:
        if not parts:
            msg = "A twin of sessions needs at least one part, but got none."
            raise InputError(msg)
        first = parts[0]
        names = [part.sessions for part in parts]
        if any(len(sessions) != 1 for sessions in names) or len({n[0] for n in names}) < len(
            parts
        ):
            msg = f"Each part must be of one session, and no two of the same, but got {names}."
            raise InputError(msg)
        for part in parts[1:]:
            if part.spec.shape != first.spec.shape or part.spec.is_video != first.spec.is_video:
                msg = (
                    f"Session {part.sessions[0]} has stimuli of {part.spec.shape}, session "
                    f"{first.sessions[0]} of {first.spec.shape}; rescale one of them."
                )
                raise InputError(msg)
        common = set.intersection(*[set(part.neurons.coords) for part in parts])
        for part in parts:
            part.neurons = part.neurons[sorted(common, key=str)]
        neurons = xr.concat([part.neurons for part in parts], "neuron")
        super().__init__(first.spec, neurons, None, origin or first.origin)
        self.parts = nn.ModuleList(parts)

    @property
    def each(self) -> list[Twin]:
        """The twins of single sessions."""
        return [part for part in self.parts if isinstance(part, Twin)]

    def of_session(self, session: str) -> Twin:
        """Return the twin of one session."""
        for part in self.each:
            if part.sessions == [session]:
                return part
        msg = f"This twin knows nothing of session {session!r}; its sessions are {self.sessions}."
        raise InputError(msg)

    def condition(
        self,
        *,
        session: str | None = None,
        pupil_center: Context = "median",
        behavior: Context = "median",
    ) -> ConditionedTwin:
        """Bind everything that is not the stimulus; see `Twin.condition`."""
        if session is None:
            if len(self.parts) > 1:
                msg = f"This twin has several sessions; name one of {self.sessions}."
                raise InputError(msg)
            session = self.sessions[0]
        return self.of_session(session).condition(pupil_center=pupil_center, behavior=behavior)

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response of the neurons of all sessions; see `Twin.forward`."""
        bounds = np.cumsum([0, *[part.neurons.sizes["neuron"] for part in self.each]])
        asked = torch.arange(bounds[-1], device=stimulus.device) if neuron is None else neuron
        rates, places = [], []
        for part, begin, end in zip(self.each, bounds[:-1], bounds[1:], strict=True):
            place = torch.nonzero((asked >= begin) & (asked < end))[:, 0]
            if not len(place):
                continue
            shown = place if paired else slice(None)
            given = {"behavior": behavior, "pupil_center": pupil_center}
            context = {
                name: value[shown]
                for name, value in given.items()
                if value is not None and name in part.context
            }
            rates.append(
                part(stimulus[shown], neuron=asked[place] - begin, paired=paired, **context)
            )
            places.append(place)
        axis = 0 if paired else 1
        return torch.cat(rates, axis).index_select(axis, torch.argsort(torch.cat(places)))

    def for_inference(self) -> SessionsTwin:
        """Frozen copy, each part rearranged for speed in its own way."""
        frozen = SessionsTwin([part.for_inference() for part in self.each], self.origin)
        return frozen.eval().requires_grad_(False)
