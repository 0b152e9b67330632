"""What a connectivity looks like: degrees, dead units, densities, edges that do something.

All are functions of a :class:`rewire.graph.Graph`; numpy arrays come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from ..graph import Graph

MOST_DENSE = 2**28  # weights that a mask of their own is made for, 1 GiB
PLACED = ("conv", "pool", "unfold", "im2col", "col2im")  # where places decide what feeds what


@dataclass(frozen=True, eq=False)
class Degrees:
    """Incoming and outgoing edges of each unit of a population, each (size,) int64."""

    fan_in: np.ndarray
    fan_out: np.ndarray


def degrees(graph: Graph) -> dict[str, Degrees]:
    """Fan-in and fan-out of every unit, by population; parallel edges count each.

    >>> from rewire.analysis.examples import two_layers
    >>> degrees(two_layers())["hidden"]
    Degrees(fan_in=array([2, 1, 1]), fan_out=array([2, 1, 0]))
    """
    return {
        p.name: Degrees(graph.fan_in(p.name).numpy(), graph.fan_out(p.name).numpy())
        for p in graph.populations
    }


def tail(degree: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Complementary distribution of degrees: values, and the fraction of units at or above each.

    Both of shape (largest degree + 1,); the first fraction is 1.

    >>> value, fraction = tail(np.array([1, 1, 3, 3]))
    >>> value.tolist(), fraction.tolist()
    ([0, 1, 2, 3], [1.0, 1.0, 0.5, 0.5])
    """
    counts = np.bincount(degree)
    at_or_above = counts[::-1].cumsum()[::-1]
    return np.arange(len(counts)), at_or_above / max(len(degree), 1)


def input_map(graph: Graph, population: str | None = None) -> np.ndarray:
    """Outgoing edges of each input unit, laid out as the picture that feeds it, (height, width).

    population: by default the only one that feeds others and is fed by none.

    A population has a picture if it says so (``grid``), or if its size is a square or three
    squares (colours, stored plane by plane as torch does: these are summed). Raises ValueError
    where there is none, or where several populations could be meant.

    >>> from rewire.analysis.examples import two_layers
    >>> input_map(two_layers()).tolist()
    [[1, 2], [1, 0]]
    """
    if population is None:
        names = {p.name for p in graph.populations}
        inputs = [name for name in ends(graph)[0] if name in names]
        if len(inputs) != 1:
            raise ValueError(
                f"the graph has {len(inputs)} input populations ({', '.join(inputs) or 'none'}); "
                "name one of them."
            )
        (population,) = inputs
    fan_out = graph.fan_out(population).numpy()
    grid = next(p.grid for p in graph.populations if p.name == population)
    for planes in (1, 3):
        shape = grid if grid and planes == 1 else (int((len(fan_out) / planes) ** 0.5 + 0.5),) * 2
        if planes * shape[0] * shape[1] == len(fan_out):
            return fan_out.reshape(planes, *shape).sum(0)
    raise ValueError(
        f"the {len(fan_out)} units of {population!r} fill no picture; use its fan-out instead."
    )


def layer_density(graph: Graph) -> dict[str, float]:
    """Edges / possible edges of each projection, by its name.

    >>> from rewire.analysis.examples import two_layers
    >>> layer_density(two_layers())["fc2"]
    0.5
    """
    return {
        p.name: edges / p.size if p.size else 0.0
        for p, edges in zip(graph.projections, graph.counts().tolist(), strict=True)
    }


def ends(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the input populations (no projection's target) and the outputs (no one's source).

    A projection of a population onto itself does not count: a recurrent layer may be an end. What a
    trace of the model found (`rewire.graph.Wiring`) counts; an end may be a joint then. Where
    nothing says how a network's parts are joined, each part has ends of its own.

    >>> from rewire.analysis.examples import two_layers
    >>> ends(two_layers())
    (('input',), ('output',))
    """
    return graph.network.ends


@dataclass(frozen=True, eq=False)
class Dead:
    """Units of a population that cannot take part, each (size,) bool.

    no_incoming: no edge comes in (never true of inputs); no_outgoing: none goes out (never true of
    outputs); off_path: on no path from an input to an output, the first two included.
    """

    no_incoming: np.ndarray
    no_outgoing: np.ndarray
    off_path: np.ndarray


def dead_units(
    graph: Graph, inputs: Iterable[str] | None = None, outputs: Iterable[str] | None = None
) -> dict[str, Dead]:
    """Dead units of every population; inputs and outputs are :func:`ends` unless named.

    Raises ValueError as :func:`effective_edges` does.

    >>> from rewire.analysis.examples import two_layers
    >>> dead_units(two_layers())["hidden"].no_outgoing.tolist()
    [False, False, True]
    """
    network = graph.network
    first, last = _ends(graph, inputs, outputs)
    if inputs is None and outputs is None and _exact(graph):
        edges = effective_edges(graph)
        alive = np.zeros(network.size, bool)
        alive[network.pre[edges]] = alive[network.post[edges]] = True
    else:
        fed, useful = _on_path(graph, first, last, whole=inputs is None or outputs is None)
        alive = fed & useful
    sends = np.bincount(np.append(network.pre, network.link_pre), minlength=network.size)
    gets = np.bincount(np.append(network.post, network.link_post), minlength=network.size)
    out = {}
    for population in graph.populations:
        name, units = population.name, network.units([population.name])
        out[name] = Dead(
            (gets[units] == 0) & (name not in first),
            (sends[units] == 0) & (name not in last),
            ~alive[units],
        )
    return out


def effective_edges(
    graph: Graph, inputs: Iterable[str] | None = None, outputs: Iterable[str] | None = None
) -> np.ndarray:
    """Which edges lie on some path from an input to an output, (E,) bool.

    The others cost memory and carry nothing (Vysogorets & Kempe 2023, arXiv:2107.02306, call the
    rest the effective density). Where the model was traced and no ends are named this is exact at
    every place of a picture or sequence: a position of a kernel that only ever meets padding is on
    no path. Otherwise units are followed, whatever their places.

    Raises ValueError for a graph in several pieces, or one of whose model a part could not be
    followed, unless both ends are named.

    >>> from rewire.analysis.examples import two_layers
    >>> effective_edges(two_layers()).tolist()  # the fourth leads to a unit without an output
    [True, True, True, False, True, True, True]
    """
    first, last = _ends(graph, inputs, outputs)
    if inputs is None and outputs is None and _exact(graph):
        return graph.topology.derived("edges on a path", lambda: _traced(graph))
    fed, useful = _on_path(graph, first, last, whole=inputs is None or outputs is None)
    network = graph.network
    return fed[network.pre] & useful[network.post]


def adjacency(graph: Graph) -> sp.csr_array:
    """Edges from each unit to each unit over all populations, (units, units), pre -> post.

    Units are numbered population by population, in the graph's order; parallel edges add up.

    >>> from rewire.analysis.examples import two_layers
    >>> adjacency(two_layers())[[1]].toarray().tolist()  # what input 1 feeds
    [[0, 0, 0, 0, 1, 1, 0, 0, 0]]
    """
    pre, post = _unit_ends(graph)
    n = sum(p.size for p in graph.populations)
    return sp.coo_array((np.ones(len(pre), np.int64), (pre, post)), shape=(n, n)).tocsr()


def _ends(
    graph: Graph, inputs: Iterable[str] | None, outputs: Iterable[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = set(graph.network.sizes)
    first, last = (
        default if names is None else tuple(names)
        for names, default in zip((inputs, outputs), ends(graph), strict=True)
    )
    if unknown := sorted({*first, *last} - known):
        raise ValueError(f"there is no population {unknown[0]!r}; there are {sorted(known)}.")
    return first, last


def followed(graph: Graph) -> bool:
    """Whether :func:`effective_edges` can tell paths from the network's inputs to its outputs.

    >>> from rewire.analysis.examples import two_layers
    >>> followed(two_layers())
    True
    """
    return _exact(graph) or graph.network.joined


def _exact(graph: Graph) -> bool:
    """Whether the steps of a pass of the model say at every place what feeds what."""
    wiring = graph.space.wiring
    if wiring is None or wiring.program is None or wiring.unknown:
        return False
    dense = graph.possible <= MOST_DENSE
    return dense or any(step.op in PLACED for step in wiring.program.steps)


def _traced(graph: Graph) -> np.ndarray:
    from .on_path import traced_edges

    wiring = graph.space.wiring
    assert wiring is not None and wiring.program is not None
    return traced_edges(graph, wiring.program)


def _on_path(
    graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], *, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each unit of the network is fed by an input, and whether it is useful to an output.

    whole: whether an end was left to be found, which takes a network that is joined.
    """
    network = graph.network
    if whole and not network.joined:
        raise ValueError(
            f"{network.apart} Trace the model with an example input (attach(..., example=x)), or "
            "name both inputs= and outputs=."
        )
    forward = network.adjacency()
    start, end = (np.zeros(network.size, bool) for _ in range(2))
    start[network.units(inputs)] = end[network.units(outputs)] = True
    return _reached(forward.T.tocsr(), start), _reached(forward, end)


def _reached(back: sp.csr_array, reached: np.ndarray) -> np.ndarray:
    """Units connected to those given; row i of ``back`` holds what connects i to them."""
    while True:
        grown = reached | (back @ reached.astype(np.int64) > 0)
        if (grown == reached).all():
            return grown
        reached = grown


def _unit_offsets(graph: Graph) -> dict[str, int]:
    starts = np.cumsum([0, *(p.size for p in graph.populations)]).tolist()
    return {p.name: start for p, start in zip(graph.populations, starts, strict=False)}


def _unit_ends(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Pre- and postsynaptic unit of each edge, numbered over all populations, each (E,)."""
    offsets = _unit_offsets(graph)
    which, pre, post = (x.numpy() for x in graph.locate())
    source = np.array([offsets[p.source] for p in graph.projections], np.int64)
    target = np.array([offsets[p.target] for p in graph.projections], np.int64)
    return pre + source[which], post + target[which]
