"""How much of the edges that units can take they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class CapacityUsed(Measure):
    """Fan-in and fan-out of the units of each population over what they can be (definition).

    "NAME: fan-in" is the incoming edges of all its units, over all projections, divided by the sum
    of the most that each can have: its possible synapses, or the population's slots or limit where
    those are fewer. "NAME: fan-in max" is the largest such quotient of one unit; fan-out alike.
    Sides without possible synapses are left out. Multapses may exceed 1.

    >>> from rewire.analysis.examples import two_layers
    >>> used = CapacityUsed().of(two_layers())
    >>> used["hidden: fan-in"], used["hidden: fan-out max"]
    (0.3333333333333333, 1.0)
    """

    kind: ClassVar[str] = "units"
    source: ClassVar[str] = "definition"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        possible_in, possible_out = _possible(graph)
        out = {}
        for p in graph.populations:
            most = (
                possible_in[p.name] if p.most is None else np.minimum(possible_in[p.name], p.most)
            )
            sides = {
                "fan-in": (graph.fan_in(p.name).numpy(), most),
                "fan-out": (graph.fan_out(p.name).numpy(), possible_out[p.name]),
            }
            for side, (edges, capacity) in sides.items():
                if capacity.any():
                    units = capacity > 0
                    out[f"{p.name}: {side}"] = float(edges.sum() / capacity.sum())
                    out[f"{p.name}: {side} max"] = float((edges[units] / capacity[units]).max())
        return out


def _possible(graph: Graph) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Possible incoming and outgoing synapses of each unit, by population."""
    into = {p.name: np.zeros(p.size, np.int64) for p in graph.populations}
    out_of = {p.name: np.zeros(p.size, np.int64) for p in graph.populations}
    for p in graph.projections:
        # each unit of a side has as many: groups of convolutions and parts of stacks are equal
        into[p.target] += p.size // max(len(into[p.target]), 1)
        out_of[p.source] += p.size // max(len(out_of[p.source]), 1)
    return into, out_of
