"""How many outputs an input reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .measure import Measure
from .shared.reach import input_output_pairs

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Reachability(Measure):
    """The share of pairs of an input and an output that some path joins.

    >>> from rewire.analysis.examples import two_layers
    >>> Reachability().of(two_layers())  # two of the four inputs lead nowhere
    {'': 0.5}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "definition"
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        network = graph.network
        possible = len(network.inputs) * len(network.outputs)
        return {"": float(input_output_pairs(network).sum() / possible)}
