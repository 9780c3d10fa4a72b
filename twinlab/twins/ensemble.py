"""Several twins of the same neurons as one: their mean, and their spread on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from twinlab.schema import InputError
from twinlab.twins.contract import Twin

__all__ = ["EnsembleTwin"]


def _names(twin: Twin) -> list[tuple[str, str]]:
    """Session and name of each neuron."""
    names = (twin.neurons.session.values, twin.neurons.neuron_id.values)
    return list(zip(*(values.astype(str).tolist() for values in names), strict=True))


class EnsembleTwin(Twin):
    """The mean of its members.

    Parameters
    ----------
    members : sequence of Twin
        Of the same neurons in the same order, seeing the same images.
    origin : mapping, optional
        Where it comes from; that of the first member if absent.

    """

    kind = "ensemble"

    def __init__(self, members: Sequence[Twin], origin: Mapping[str, Any] | None = None) -> None:
        if not members:
            msg = "An ensemble needs at least one member, but got none."
            raise InputError(msg)
        first = members[0]
        for number, member in enumerate(members[1:], start=1):
            if _names(first) != _names(member):
                msg = f"Member {number} of the ensemble has other neurons than member 0."
                raise InputError(msg)
            if member.spec.shape != first.spec.shape:
                msg = (
                    f"Member {number} of the ensemble sees images of {member.spec.shape}, "
                    f"member 0 of {first.spec.shape}."
                )
                raise InputError(msg)
        context: dict[str, list[float]] = {}
        for member in members:
            context |= member.context
        super().__init__(first.spec, first.neurons, context, origin or first.origin)
        self.members = nn.ModuleList(members)

    @property
    def each(self) -> list[Twin]:
        """Its members."""
        return [member for member in self.members if isinstance(member, Twin)]

    def responses(self, stimulus: Tensor, **asked: Any) -> Tensor:
        """Responses of each member, (member, batch, neuron) or (member, batch) if paired."""
        outputs = []
        for member in self.each:
            used = {
                name: value
                for name, value in asked.items()
                if name not in ("behavior", "pupil_center") or name in member.context
            }
            outputs.append(member(stimulus, **used))
        return torch.stack(outputs)

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Mean response of the members; see `Twin.forward`."""
        return self.responses(
            stimulus, behavior=behavior, pupil_center=pupil_center, neuron=neuron, paired=paired
        ).mean(0)

    def spread(self, stimulus: Tensor, **asked: Any) -> Tensor:
        """Standard deviation over members (n - 1), shaped like the response.

        NaN where there is one member only: one twin does not know how unsure it is.
        """
        outputs = self.responses(stimulus, **asked)
        if len(outputs) == 1:
            return torch.full_like(outputs[0], torch.nan)
        return outputs.std(0)

    def for_inference(self) -> EnsembleTwin:
        """Frozen copy of every member, each rearranged for speed in its own way."""
        frozen = EnsembleTwin([member.for_inference() for member in self.each], self.origin)
        return frozen.eval().requires_grad_(False)
