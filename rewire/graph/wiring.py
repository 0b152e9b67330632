"""What joins populations besides synapses: sums, concatenations, flattenings, dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .program import Program


@dataclass(frozen=True)
class Joint:
    """Units that no projection ends at: a sum, a concatenation, a network's input or output."""

    name: str
    size: int


@dataclass(frozen=True, eq=False)
class Link:
    """Units whose values pass on without a weight of the graph.

    Unit ``pre[k]`` of ``source`` to unit ``post[k]`` of ``target``, both (k,) int64; the two are
    names of populations or joints.
    """

    source: str
    target: str
    pre: np.ndarray
    post: np.ndarray

    @property
    def one_to_one(self) -> bool:
        """Whether unit i passes on to unit i alone, for all of them."""
        return np.array_equal(self.pre, self.post) and np.array_equal(
            self.pre, np.arange(len(self.pre))
        )


@dataclass(frozen=True, eq=False)
class Wiring:
    """How a model joins its populations.

    joints: the groups of units that are no population. inputs, outputs: names of the populations or
    joints where the network begins and ends.
    program: the steps of a forward pass that all this was read from, with their geometry; None
    where somebody else says what joins what.
    """

    joints: Sequence[Joint] = ()
    links: Sequence[Link] = ()
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    program: Program | None = None
