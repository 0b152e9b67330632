"""What a measure of connectivity is: a frozen value with declared needs, like a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ..strategy import Plain

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

Weights = Literal["none", "absolute", "signed"]


class Refused(ValueError):
    """A measure that means nothing for this graph: what was asked, what was found, what to do."""


@dataclass(frozen=True)
class Measure(Plain):
    """A property of a graph: numbers by part.

    needs:   what the graph must have, of :data:`NEEDS`; another graph is refused by name.
    weights: what is read of the column ``weight``: nothing, absolute values, or signed ones.
    bounds:  least and largest possible value, None where there is none.
    numbered: whether draws or ties follow the numbers of units and edges, so that other numbers of
        the same units give another value.

    A subclass is a frozen dataclass, one file, whose docstring gives formula and source; it defines
    :meth:`values`. Call :meth:`of`, which checks what is needed first.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    weights: ClassVar[Weights] = "none"
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    numbered: ClassVar[bool] = False

    def of(self, graph: Graph) -> dict[str, float]:
        """The measure's numbers by part: the name of a projection or population, "" for the whole.

        Raises Refused where the graph lacks what the measure needs.
        """
        for need in sorted(self.needs):
            NEEDS[need](self, graph)
        return {part: float(value) for part, value in self.values(graph).items()}

    def values(self, graph: Graph) -> Mapping[str, float]:
        """The numbers by part, for a graph that has what is needed."""
        raise NotImplementedError


def _needs_joined(measure: Measure, graph: Graph) -> None:
    pieces = graph.network.pieces
    if len(pieces) > 1:
        parts = "; ".join(", ".join(piece) for piece in pieces[:4])
        raise Refused(
            f"{measure.name} measures a whole network, and this graph falls into {len(pieces)} "
            f"pieces ({parts}): measure projections by themselves, or trace the model with an "
            "example input."
        )
    if graph.network.unknown:
        raise Refused(
            f"{measure.name} measures a whole network, and this one's model computes "
            f"{', '.join(graph.network.unknown)}, which cannot be followed: measure projections by "
            "themselves."
        )


def _needs_weight(measure: Measure, graph: Graph) -> None:
    if "weight" not in graph.columns:
        raise Refused(
            f"{measure.name} reads weights ({measure.weights}), and this graph has the columns "
            f"{sorted(graph.columns)}: take a graph with weights."
        )


def _needs_positions(measure: Measure, graph: Graph) -> None:
    if all(p.positions is None for p in graph.populations):
        raise Refused(f"{measure.name} needs units with positions, and none of this graph has one.")


def _needs_recurrent(measure: Measure, graph: Graph) -> None:
    if not any(p.source == p.target for p in graph.projections):
        raise Refused(
            f"{measure.name} counts within one population, and no projection of this graph joins "
            "a population to itself: the number is 0 for every layered graph, whatever its edges."
        )


def _needs_ends(measure: Measure, graph: Graph) -> None:
    inputs, outputs = graph.network.ends
    if not inputs or not outputs:
        raise Refused(
            f"{measure.name} goes from a network's inputs to its outputs, and this graph has "
            f"{len(inputs)} input and {len(outputs)} output populations: every population is fed "
            "by another, or feeds one. Name the ends in the space's wiring."
        )


def _needs_acyclic(measure: Measure, graph: Graph) -> None:
    from scipy.sparse.csgraph import connected_components

    network = graph.network
    parts, _ = connected_components(network.adjacency(), connection="strong")
    if parts < network.size or (network.pre == network.post).any():
        raise Refused(
            f"{measure.name} is infinite where edges form a cycle, and this graph has one: take a "
            "graph without recurrent projections."
        )


#: What a measure may need, and what refuses a graph without it.
NEEDS = {
    "joined": _needs_joined,
    "weight": _needs_weight,
    "positions": _needs_positions,
    "recurrent": _needs_recurrent,
    "ends": _needs_ends,
    "acyclic": _needs_acyclic,
}


def matrix(graph: Graph, i: int, weights: Weights = "none") -> sp.csr_array:
    """Projection ``i`` between units, (n_post, n_pre), kernel positions and multapses merged.

    "none": ones where a pair is joined at all; "absolute", "signed": sums of |weight| or weight.
    """
    import scipy.sparse as sp

    p, population = graph.projections[i], graph.space.population
    _, pre, post = (x[graph.rows(i)].numpy() for x in graph.locate())
    data: Any = np.ones(len(pre))
    if weights != "none":
        data = graph.numbers("weight")[graph.rows(i)].astype(np.float64)
        data = np.abs(data) if weights == "absolute" else data
    shape = (population[p.target].size, population[p.source].size)
    out = sp.coo_array((data, (post, pre)), shape=shape).tocsr()
    if weights == "none":
        out.data[:] = 1
    return out
