"""Chance at the same number of edges in each projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..graph.space import NONE
from ..kernels.absent import free_keys
from .null import Null, refuse_caps

if TYPE_CHECKING:
    from ..graph import Graph, Space


@dataclass(frozen=True)
class Counts(Null):
    """All graphs with the same number of edges in each projection, equally likely.

    Erdos & Renyi 1959, G(n, M), projection by projection. Limits on which pairs may be joined
    (`Distance`) are kept; where units hold a limited number of edges the null is refused.

    >>> from rewire.analysis.examples import two_layers
    >>> Counts().draw(two_layers(), np.random.default_rng(0)).counts().tolist()
    [4, 3]
    """

    kind: ClassVar[str] = "counts"
    source: ClassVar[str] = "Erdos & Renyi 1959, doi:10.5486/PMD.1959.6.3-4.12"

    def check(self, graph: Graph) -> None:
        super().check(graph)
        refuse_caps(self, graph)

    def keys(self, graph: Graph, rng: np.random.Generator) -> np.ndarray:
        return uniform_keys(graph.space, graph.counts().tolist(), rng)


def uniform_keys(space: Space, counts: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """``counts[i]`` of the allowed keys of each projection, equally likely, ascending."""
    if space.allowed(NONE) is None:
        return _drawn(space.bounds, counts, rng)
    parts = [
        among(allowed_keys(space, i), n, rng)
        for i, n in enumerate(counts)
    ]  # fmt: skip
    return np.concatenate([NONE, *parts])


def allowed_keys(space: Space, i: int) -> np.ndarray:
    """Keys of projection ``i`` that the limits let hold a synapse, ascending."""
    keys = np.arange(space.bounds[i], space.bounds[i + 1])
    allowed = space.allowed(keys)
    return keys if allowed is None else keys[allowed]


def among(keys: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` of some keys, all choices equally likely, in their order."""
    return keys[_drawn([0, len(keys)], [n], rng)]


def _drawn(ends: Sequence[int], counts: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(2**63))
    rows = [0] * len(ends)
    return free_keys(NONE, NONE, start, ends, rows, counts, parallel=False)
