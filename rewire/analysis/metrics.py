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
        inputs, _ = ends(graph)
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

    A projection of a population onto itself does not count: a recurrent layer may be an end. Where
    a network's parts are joined by something that is no projection (the flattening between a
    convolution and a linear layer), each part has ends of its own.

    >>> from rewire.analysis.examples import two_layers
    >>> ends(two_layers())
    (('input',), ('output',))
    """
    between = [p for p in graph.projections if p.source != p.target]
    sources, targets = {p.source for p in between}, {p.target for p in between}
    joined = [p.name for p in graph.populations if p.name in sources | targets]
    return (
        tuple(n for n in joined if n not in targets),
        tuple(n for n in joined if n not in sources),
    )


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

    >>> from rewire.analysis.examples import two_layers
    >>> dead_units(two_layers())["hidden"].no_outgoing.tolist()
    [False, False, True]
    """
    first, last = _ends(graph, inputs, outputs)
    fed, useful = _on_path(graph, first, last)
    offsets = _unit_offsets(graph)
    out = {}
    for name, degree in degrees(graph).items():
        units = slice(offsets[name], offsets[name] + len(degree.fan_in))
        out[name] = Dead(
            (degree.fan_in == 0) & (name not in first),
            (degree.fan_out == 0) & (name not in last),
            ~(fed[units] & useful[units]),
        )
    return out


def effective_edges(
    graph: Graph, inputs: Iterable[str] | None = None, outputs: Iterable[str] | None = None
) -> np.ndarray:
    """Which edges lie on some path from an input to an output, (E,) bool.

    The others cost memory and carry nothing (Vysogorets & Kempe 2023, arXiv:2107.02306, call the
    rest the effective density).

    >>> from rewire.analysis.examples import two_layers
    >>> effective_edges(two_layers()).tolist()  # the fourth leads to a unit without an output
    [True, True, True, False, True, True, True]
    """
    fed, useful = _on_path(graph, *_ends(graph, inputs, outputs))
    pre, post = _unit_ends(graph)
    return fed[pre] & useful[post]


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
    known = {p.name for p in graph.populations}
    first, last = (
        default if names is None else tuple(names)
        for names, default in zip((inputs, outputs), ends(graph), strict=True)
    )
    if unknown := sorted({*first, *last} - known):
        raise ValueError(f"there is no population {unknown[0]!r}; there are {sorted(known)}.")
    return first, last


def _on_path(
    graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each unit is reached from an input, and whether it reaches an output."""
    forward = adjacency(graph)
    offsets = _unit_offsets(graph)
    sizes = {p.name: p.size for p in graph.populations}

    def units(names: tuple[str, ...]) -> np.ndarray:
        start = np.zeros(forward.shape[0], bool)
        for name in names:
            start[offsets[name] : offsets[name] + sizes[name]] = True
        return start

    return _reached(forward.T.tocsr(), units(inputs)), _reached(forward, units(outputs))


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
