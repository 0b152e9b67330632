"""All populations of a graph as one directed network of units."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

    from .topology import Topology
    from .wiring import Link


class Network:
    """A graph's units, numbered through; its synapses and its weightless links between them.

    A population that only repeats another, unit by unit (the input of a convolution behind a norm,
    an activation or a pooling), has that one's numbers. Sums, concatenations and flattenings are
    links, which carry no weight and are no synapses.

    size:      number of units, N.
    starts:    name of a population or joint -> number of its first unit.
    sizes:     the same -> number of its units.
    pre, post: (E,) int64, the units that each edge of the graph joins, row by row.
    link_pre, link_post: (L,) int64, the units that each link joins.

    >>> from rewire.analysis.examples import two_layers
    >>> network = two_layers().network
    >>> network.size, network.starts, network.joined
    (9, {'input': 0, 'hidden': 4, 'output': 7}, True)
    >>> network.inputs.tolist(), network.outputs.tolist()
    ([0, 1, 2, 3], [7, 8])
    """

    def __init__(self, topology: Topology):
        self.topology = topology
        wiring = topology.space.wiring
        sizes = {p.name: p.size for p in topology.space.populations}
        sizes |= {j.name: j.size for j in (wiring.joints if wiring else ())}
        links = list(wiring.links) if wiring else []
        same = _repeated(topology, links)
        self.sizes = sizes
        self.starts: dict[str, int] = {}
        size = 0
        for name in sizes:
            if name not in same:
                self.starts[name] = size
                size += sizes[name]
        self.size = size
        for name in same:
            original = name
            while original in same:
                original = same[original]
            self.starts[name] = self.starts[original]
        which, pre, post = (x.numpy() for x in topology.located)
        source = np.array([self.starts[p.source] for p in topology.space.projections], np.int64)
        target = np.array([self.starts[p.target] for p in topology.space.projections], np.int64)
        self.which = which
        self.pre, self.post = pre + source[which], post + target[which]
        kept = [link for link in links if same.get(link.target) != link.source]
        none = np.empty(0, np.int64)
        self.link_pre = np.concatenate([none, *(k.pre + self.starts[k.source] for k in kept)])
        self.link_post = np.concatenate([none, *(k.post + self.starts[k.target] for k in kept)])
        self._links = links

    @cached_property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """Names of the populations of each part that nothing joins to the others.

        Populations without a synapse and without a link are left out.
        """
        parent: dict[str, str] = {}

        def root(name: str) -> str:
            while parent.setdefault(name, name) != name:
                name = parent[name]
            return name

        for p in self.topology.space.projections:
            parent[root(p.source)] = root(p.target)
        for link in self._links:
            parent[root(link.source)] = root(link.target)
        groups: dict[str, list[str]] = {}
        for name in self.sizes:
            if name in parent:
                groups.setdefault(root(name), []).append(name)
        return tuple(tuple(group) for group in groups.values())

    @property
    def joined(self) -> bool:
        """Whether everything is one network, of which nothing is unknown."""
        return len(self.pieces) <= 1 and not self.unknown

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operations of the model that the trace could not follow, by name."""
        wiring = self.topology.space.wiring
        return wiring.unknown if wiring is not None else ()

    @property
    def apart(self) -> str:
        """Why this is not one network, and what that means: the beginning of an error message."""
        if len(self.pieces) > 1:
            parts = "; ".join(", ".join(piece) for piece in self.pieces[:4])
            more = "; ..." if len(self.pieces) > 4 else ""
            what = (
                f"the graph falls into {len(self.pieces)} pieces ({parts}{more}), and nothing says "
                "how they are joined"
            )
        else:
            what = f"the model computes {', '.join(self.unknown)}, which cannot be followed"
        return f"{what}, so that no path from an input to an output can be told."

    @cached_property
    def ends(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the populations or joints where the network begins, and where it ends."""
        wiring = self.topology.space.wiring
        if wiring is not None and wiring.inputs and wiring.outputs:
            return tuple(wiring.inputs), tuple(wiring.outputs)
        joins = [
            (p.source, p.target) for p in self.topology.space.projections if p.source != p.target
        ]
        joins += [(k.source, k.target) for k in self._links]
        sources, targets = {s for s, _ in joins}, {t for _, t in joins}
        names = [n for n in self.sizes if n in sources | targets]
        return (
            tuple(n for n in names if n not in targets),
            tuple(n for n in names if n not in sources),
        )

    def units(self, names: tuple[str, ...] | list[str]) -> np.ndarray:
        """Numbers of the units of these populations, in their order."""
        none = np.empty(0, np.int64)
        return np.concatenate(
            [none, *(np.arange(self.starts[n], self.starts[n] + self.sizes[n]) for n in names)]
        )

    @property
    def inputs(self) -> np.ndarray:
        """Numbers of the units where the network begins."""
        return self.units(self.ends[0])

    @property
    def outputs(self) -> np.ndarray:
        """Numbers of the units where the network ends."""
        return self.units(self.ends[1])

    def adjacency(self, values: np.ndarray | None = None, *, links: bool = True) -> sp.csr_array:
        """Unit to unit, (N, N), pre -> post; parallel edges add up.

        values: (E,) of the edges; None: ones. links: whether links are in, as ones.
        """
        import scipy.sparse as sp

        ones = np.ones(len(self.pre)) if values is None else values
        pre, post, data = self.pre, self.post, ones
        if links:
            pre = np.concatenate([pre, self.link_pre])
            post = np.concatenate([post, self.link_post])
            data = np.concatenate([data, np.ones(len(self.link_pre), data.dtype)])
        return sp.coo_array((data, (pre, post)), shape=(self.size, self.size)).tocsr()


def _repeated(topology: Topology, links: list[Link]) -> dict[str, str]:
    """Populations that another one feeds unit by unit, and nothing else: name -> the other's."""
    fed = [p.target for p in topology.space.projections] + [link.target for link in links]
    wiring = topology.space.wiring
    ends = {*wiring.inputs} if wiring else set()
    sizes = {p.name: p.size for p in topology.space.populations}
    sizes |= {j.name: j.size for j in (wiring.joints if wiring else ())}
    return {
        link.target: link.source
        for link in links
        if fed.count(link.target) == 1
        and link.target not in ends
        and len(link.pre) == sizes[link.target] == sizes[link.source]
        and link.one_to_one
    }
