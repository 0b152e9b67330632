"""Two graphs of one space compared up to the order of their hidden units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..graph import Graph
from ..graph.incidence import Incidence
from .overlap import Overlap, overlap

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Link, Space


@dataclass(frozen=True, eq=False)
class Matching:
    """Which unit of one graph is which of the other.

    units:      population -> (size,), unit k of the first graph is unit ``units[k]`` of the second.
    cost:       population -> (size,), 1 - shared / union of the edges into matched units, of those
                that were matched; 0 where neither has an edge.
    relabelled: the second graph, its units in the order of the first.
    before, after: overlap by projection and the whole, as the units are numbered and matched. The
                chance that they hold is that of numbered units; matched chance is less different:
                match draws of a null model for it.
    """

    units: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    relabelled: Graph
    before: list[Overlap]
    after: list[Overlap]

    @property
    def distance(self) -> float:
        """NNSTD: the mean cost of all matched units, 0 for graphs equal up to the order of units.

        Only units that receive the same edges can be mistaken for each other there, and make it a
        little more. NaN where no unit was matched.
        """
        costs = np.concatenate([np.empty(0), *self.cost.values()])
        return float(costs.mean()) if len(costs) else float("nan")


def match_units(first: Graph, second: Graph) -> Matching:
    """The hidden units of two graphs, matched population by population from the inputs on.

    Those of a population are assigned so that the sum of their costs is least (Hungarian method);
    the cost of a pair of units is 1 - shared / union of the edges into them, presynaptic units
    matched before. Liu et al. 2020 (arXiv:2006.14085), the neural network sparse topology distance.
    Inputs and outputs of the network stay as they are. It is greedy: a layer is not matched again
    for the next one's sake.

    Edges from a population to itself, or from one further on, take no part in the assignment; they
    are relabelled and compared. Raises ValueError for graphs of different spaces, for those that
    fall into pieces, for multapses and groups, and where units are summed or concatenated, so that
    no order of one population is free of another's.

    >>> from rewire.analysis.examples import two_layers
    >>> graph = two_layers()
    >>> masks = {"fc1": graph.mask(0)[[2, 0, 1]], "fc2": graph.mask(1)[:, [2, 0, 1]]}
    >>> shuffled = Graph.from_masks(graph.space, masks)
    >>> matching = match_units(graph, shuffled)
    >>> matching.units["hidden"].tolist(), matching.distance
    ([1, 2, 0], 0.0)
    >>> matching.before[-1].jaccard, matching.after[-1].jaccard
    (0.16666666666666666, 1.0)
    """
    _check(first, second)
    space, sizes = first.space, first.network.sizes
    fixed = _fixed(first)
    units = {name: np.arange(size) for name, size in sizes.items() if name in fixed}
    cost: dict[str, np.ndarray] = {}
    for name in _order(space, list(sizes)):
        if name in units:
            continue
        link = _link_into(space, name)
        into = [i for i in space.into.get(name, []) if space.projections[i].source in units]
        if link is not None:
            units[name] = _carried(link, units[link.source], sizes[name])
        elif into:
            units[name], cost[name] = _assigned(first, second, into, units)
        else:
            units[name] = np.arange(sizes[name])
    relabelled = relabel(second, units)
    before, after = (overlap(first.array, g.array, space.projections) for g in (second, relabelled))
    return Matching(units, cost, relabelled, before, after)


def relabel(graph: Graph, units: Mapping[str, np.ndarray]) -> Graph:
    """The graph whose unit k of a population is unit ``units[name][k]`` of this one.

    Columns go with their edges. Populations that are not named stay as they are. Raises ValueError
    where an edge would come to lie where none can be, as between groups of a convolution.

    >>> from rewire.analysis.examples import two_layers
    >>> graph = two_layers()
    >>> relabel(graph, {"output": np.array([1, 0])}).mask(1).int().tolist()
    [[1, 1, 0], [1, 0, 0]]
    """
    keys = [np.empty(0, np.int64)]
    for i, p in enumerate(graph.projections):
        new = {end: _inverse(units, end, graph.space) for end in (p.source, p.target)}
        keys.append(_moved(graph, i, new[p.source], new[p.target]))
    moved = np.concatenate(keys)
    order = moved.argsort(kind="stable")
    columns = {name: column[order] for name, column in graph.columns.items()}
    return Graph(graph.space, torch.from_numpy(moved[order]), columns, graph.births)


def _inverse(units: Mapping[str, np.ndarray], name: str, space: Space) -> np.ndarray:
    order = units.get(name)
    size = space.population[name].size
    if order is None:
        return np.arange(size)
    if len(order) != size or (np.sort(order) != np.arange(size)).any():
        raise ValueError(f"units[{name!r}] is no order of the population's {size} units.")
    return np.argsort(order)


def _moved(graph: Graph, i: int, pre_to: np.ndarray, post_to: np.ndarray) -> np.ndarray:
    """Keys of projection ``i``'s edges between units of new numbers, in the order they lie now."""
    p = graph.projections[i]
    incidence = Incidence.of(p)
    local = graph.local(i).numpy()
    row, column = np.divmod(incidence.cells(local), incidence.width)
    block = row // incidence.rows
    _, pre, _ = (x[graph.rows(i)].numpy() for x in graph.locate())
    # a column is a presynaptic unit and a tap: within a block its units are numbered from one on
    n_pre = incidence.width // p.taps
    post, pre_new = post_to[row], pre_to[pre]
    if (post // incidence.rows != block).any() or (
        incidence.blocks > 1 and (pre_new // n_pre != block).any()
    ):
        raise ValueError(
            f"units of {p.name!r} would change their group, where other edges are possible: keep "
            "units within their groups."
        )
    tap = column - (pre - block * n_pre if incidence.blocks > 1 else pre) * p.taps
    place = (pre_new - block * n_pre if incidence.blocks > 1 else pre_new) * p.taps + tap
    return incidence.local(post * incidence.width + place) + graph.space.bounds[i]


def _assigned(
    first: Graph, second: Graph, into: list[int], units: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's partner, and what the pair costs, by the projections ``into`` a population."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import hstack

    ones, others = (hstack(list(parts), format="csr") for parts in (
        _columns(first, into, {}), _columns(second, into, units)
    ))  # fmt: skip
    shared = (ones @ others.T).toarray()
    union = ones.sum(1)[:, None] + others.sum(1)[None, :] - shared
    cost = 1 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    rows, partner = linear_sum_assignment(cost)
    return partner.astype(np.int64), cost[rows, partner]


def _columns(
    graph: Graph, into: list[int], units: Mapping[str, np.ndarray]
) -> Iterator[sp.csr_array]:
    """Each projection as post units x (pre unit, tap), its presynaptic units in this order."""
    import scipy.sparse as sp

    for i in into:
        p = graph.projections[i]
        _, pre, post = (x[graph.rows(i)].numpy() for x in graph.locate())
        incidence = Incidence.of(p)
        column = incidence.cells(graph.local(i).numpy()) % incidence.width
        if p.source in units:
            pre = np.argsort(units[p.source])[pre]
        shape = (graph.space.population[p.target].size,
                 graph.space.population[p.source].size * p.taps)  # fmt: skip
        places = (post, pre * p.taps + column % p.taps)
        yield sp.coo_array((np.ones(len(pre)), places), shape=shape).tocsr()


def _fixed(graph: Graph) -> set[str]:
    """Where the network begins and ends, and what ends there without a weight."""
    fixed = {name for ends in graph.network.ends for name in ends}
    links = graph.space.wiring.links if graph.space.wiring else ()
    while more := {k.source for k in links if k.target in fixed} - fixed:
        fixed |= more
    return fixed


def _order(space: Space, names: list[str]) -> list[str]:
    """Groups of units, each after those that feed it, as far as there is no circle."""
    feeds = [(p.source, p.target) for p in space.projections if p.source != p.target]
    feeds += [(k.source, k.target) for k in (space.wiring.links if space.wiring else ())]
    out: list[str] = []
    left = list(names)
    while left:
        ready = [n for n in left if all(s in out for s, t in feeds if t == n)]
        following = ready[0] if ready else left[0]
        out.append(following)
        left.remove(following)
    return out


def _link_into(space: Space, name: str) -> Link | None:
    links = [k for k in (space.wiring.links if space.wiring else ()) if k.target == name]
    return links[0] if links else None


def _carried(link: Link, order: np.ndarray, size: int) -> np.ndarray:
    """The order of the units that a link feeds, each from one unit: blocks move as they are."""
    by = np.lexsort((link.post, link.pre))
    pre, post = link.pre[by], link.post[by]
    starts = np.searchsorted(pre, np.arange(len(order) + 1))
    width = np.diff(starts)
    if (width != width[order]).any():
        raise ValueError(
            f"units of {link.source!r} feed different numbers of units of {link.target!r}, so that "
            "they cannot be exchanged."
        )
    out = np.arange(size)
    rank = np.arange(len(pre)) - starts[pre]
    out[post] = post[starts[order[pre]] + rank]
    return out


def _check(first: Graph, second: Graph) -> None:
    joins = [[(p.name, p.shape) for p in g.projections] for g in (first, second)]
    if joins[0] != joins[1]:
        raise ValueError(
            f"the graphs join {joins[0]} and {joins[1]}: only graphs of one model can be matched."
        )
    for p in first.projections:
        if p.multapses:
            raise ValueError(f"{p.name!r} allows multapses, and units are matched by single edges.")
        if Incidence.of(p).blocks > 1:
            raise ValueError(
                f"{p.name!r} has {p.groups} groups, which tie the orders of units: compare such "
                "graphs by overlap."
            )
    pieces = first.pieces
    if len(pieces) > 1:
        raise ValueError(
            f"units are matched through a whole network, and this one falls into {len(pieces)} "
            f"pieces ({', '.join(pieces[0])}; ...): trace the model with an example input."
        )
    _check_wiring(first.space)


def _check_wiring(space: Space) -> None:
    """Refuse units that several populations feed without weights, or that weights feed as well."""
    wiring = space.wiring
    links = wiring.links if wiring else ()
    fed = [k.target for k in links]
    for k in links:
        several = len(set(k.post.tolist())) < len(k.post)
        if fed.count(k.target) > 1 or space.into.get(k.target) or several:
            raise ValueError(
                f"units of {k.target!r} sum or concatenate those of several, so that no order of "
                "one population is free of another's: compare such graphs by overlap."
            )
