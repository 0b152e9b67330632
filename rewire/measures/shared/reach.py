"""Which units are reached from which, and over how many synapses: 64 sources at a time, as bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...graph.network import Network

WORD = 64


class Hops:
    """Directed edges of ``size`` units, grouped by the unit that they lead to."""

    def __init__(self, pre: np.ndarray, post: np.ndarray, size: int):
        pairs = post * size + pre
        if not (pairs[1:] > pairs[:-1]).all():
            pairs.sort(kind="stable")  # often runs that rise already
            pairs = pairs[_first(pairs)]  # parallel edges lead to the same places
        post, self.pre = np.divmod(pairs, size)
        self.starts = np.flatnonzero(_first(post))
        self.post = post[self.starts]

    def onward(self, bits: np.ndarray) -> np.ndarray:
        """The bits that each unit is sent by its neighbours, (N,) uint64."""
        sent = np.zeros_like(bits)
        if len(self.pre):
            sent[self.post] = np.bitwise_or.reduceat(bits[self.pre], self.starts)
        return sent


def _first(ascending: np.ndarray) -> np.ndarray:
    """Where each value stands for the first time, (n,) bool."""
    first = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return first


class Reach:
    """Breadth-first searches over a network's synapses (length 1) and links (length 0).

    edges: which of the edges there are, (E,) bool; None: all. backwards: against the direction.

    >>> from rewire.analysis.examples import two_layers
    >>> network = two_layers().network
    >>> [new.tolist() for new in Reach(network).levels(np.array([0]))]
    [[1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 1]]
    """

    def __init__(
        self, network: Network, edges: np.ndarray | None = None, *, backwards: bool = False
    ):
        pre, post = (network.pre, network.post) if edges is None else (
            network.pre[edges], network.post[edges])  # fmt: skip
        ends = [(pre, post), (network.link_pre, network.link_post)]
        if backwards:
            ends = [(b, a) for a, b in ends]
        self.size = network.size
        self.synapses, self.links = (Hops(*end, self.size) for end in ends)

    def levels(self, sources: np.ndarray) -> Iterator[np.ndarray]:
        """Bits (N,) uint64 of the units reached first over 0, 1, 2, ... synapses.

        Bit k of a unit: it is reached from ``sources[k]``, of which there are at most 64.
        """
        new = np.zeros(self.size, np.uint64)
        np.bitwise_or.at(new, sources, np.uint64(1) << np.arange(len(sources), dtype=np.uint64))
        return self._levels(new)

    def any_of(self, sources: np.ndarray) -> np.ndarray:
        """Which units some of the sources reach, themselves included, (N,) bool."""
        new = np.zeros(self.size, np.uint64)
        new[sources] = 1
        reached = np.zeros(self.size, bool)
        for more in self._levels(new):
            reached |= more > 0
        return reached

    def _levels(self, new: np.ndarray) -> Iterator[np.ndarray]:
        reached = np.zeros_like(new)
        while True:
            new = self._along_links(new) & ~reached
            if not new.any():
                return
            yield new
            reached |= new
            new = self.synapses.onward(new)

    def _along_links(self, bits: np.ndarray) -> np.ndarray:
        while len(self.links.pre):
            more = bits | self.links.onward(bits)
            if np.array_equal(more, bits):
                break
            bits = more
        return bits

    def pairs(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Number of pairs (source, target) that are 0, 1, 2, ... synapses apart, (levels,) int64.

        A pair that no path joins is not counted.
        """
        counts: list[int] = []
        for start in range(0, len(sources), WORD):
            for length, new in enumerate(self.levels(sources[start : start + WORD])):
                if length == len(counts):
                    counts.append(0)
                counts[length] += int(np.bitwise_count(new[targets]).sum())
        return np.array(counts, np.int64)


def reach(network: Network, *, backwards: bool = False) -> Reach:
    """Searches over all of a network, made once."""
    return network.topology.derived(
        ("reach", backwards), lambda: Reach(network, backwards=backwards)
    )


def input_output_pairs(network: Network, edges: np.ndarray | None = None) -> np.ndarray:
    """Number of pairs (input, output) by their distance in synapses, (levels,) int64."""
    inputs, outputs = network.inputs, network.outputs
    backwards = len(outputs) < len(inputs)  # fewer searches
    if backwards:
        inputs, outputs = outputs, inputs
    if edges is None:
        return reach(network, backwards=backwards).pairs(inputs, outputs)
    return Reach(network, edges, backwards=backwards).pairs(inputs, outputs)
