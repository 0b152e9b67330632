"""Growth by the topology alone: scores of Cannistraci-Hebb theory, and what is left out of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...graph import Edit, Graph
from ...graph.incidence import Incidence
from ...kernels.paths import paths_of_three
from ...select.grow import sample_absent
from ...streams import Stream

Scores = tuple[np.ndarray, np.ndarray]  # flat indices, ascending; numbers above 0, float64
CHUNK = 2**22  # numbers of a product of matrices that are in memory at a time


def ch3_l3(graph: Graph, i: int) -> Scores:
    """Flat indices of projection i's absent pairs that a path of three edges joins, ascending, and
    their CH3-L3 scores, float64, both (n,)."""
    p = graph.projections[i]
    local = graph.local(i).numpy()
    if p.kind.startswith("stacked"):  # rows and columns of each layer by themselves
        parts, rows, inner = p.shape
        row = local // inner
        starts = local.searchsorted(np.arange(parts * rows + 1, dtype=np.int64) * inner)
        columns = local % inner + row // rows * inner
        at, scores = paths_of_three(starts, columns, parts * inner)
        return at // (parts * inner) * inner + at % inner, scores
    width = p.size // p.shape[0]
    starts = local.searchsorted(np.arange(p.shape[0] + 1, dtype=np.int64) * width)
    return paths_of_three(starts, local % width, width)


def ch2_l3n(graph: Graph, i: int) -> Scores:
    """Flat indices of projection i's absent pairs that a path of three edges joins, ascending, and
    their CH2-L3n scores, float64, both (n,): products of matrices, O(chunk) memory beside them."""
    incidence = Incidence.of(graph.projections[i])
    size = incidence.rows * incidence.width
    cells = np.zeros(incidence.blocks * size)
    cells[incidence.cells(graph.local(i).numpy())] = 1.0
    at, scores = [np.empty(0, np.int64)], [np.empty(0)]
    for b, block in enumerate(cells.reshape(incidence.blocks, incidence.rows, incidence.width)):
        if not block.any():
            continue
        score = _by_inner_nodes(block) + _by_inner_nodes(np.ascontiguousarray(block.T)).T
        score = score.round(10)  # products add in an order of their own: equal ones are to be equal
        absent = np.flatnonzero((score > 0) & (block == 0))
        at.append(absent + b * size)
        scores.append(score.ravel()[absent])
    local = incidence.local(np.concatenate(at))
    order = local.argsort()
    return local[order], np.concatenate(scores)[order]


def _by_inner_nodes(block: np.ndarray) -> np.ndarray:
    """For each row v and column u the sum over the rows a that are joined to u and share columns
    with v of (1 + internal) / (1 + external) links of a, (rows, columns)."""
    degrees = block.sum(1)
    out = np.empty_like(block)
    step = max(1, CHUNK // max(len(block), 1))
    for first in range(0, len(block), step):
        shared = block[first : first + step] @ block.T  # a's links to columns of v: internal ones
        external = np.maximum(degrees - shared, 1.0)  # one of the others is the link to u
        out[first : first + step] = np.where(shared > 0, (1 + shared) / external, 0.0) @ block
    return out


def fed_and_heard(graph: Graph, stays: Tensor, rests: Sequence[int] | None = None) -> Tensor:
    """Of the edges that stay, (E,) bool, those whose hidden units have both inputs and outputs.

    Edges of projections that rest, a 1 for each, are left alone.
    """
    which, pre, post = graph.locate()
    free = ~torch.tensor(rests or [0] * len(graph.projections), dtype=torch.bool)[which]
    ends = []
    for population in graph.populations:
        into = [p.target == population.name for p in graph.projections]
        out_of = [p.source == population.name for p in graph.projections]
        if any(into) and any(out_of):
            ends.append((torch.tensor(into)[which], torch.tensor(out_of)[which], population.size))
    stays, before = stays.clone(), -1
    while int(stays.sum()) != before:
        before = int(stays.sum())
        for arrives, leaves, size in ends:
            fan_in = torch.bincount(post[arrives & stays], minlength=size)
            fan_out = torch.bincount(pre[leaves & stays], minlength=size)
            dead = (fan_in == 0) | (fan_out == 0)
            stays &= ~(free & ((arrives & dead[post % size]) | (leaves & dead[pre % size])))
    return stays


def grown(
    left: Graph, counts: Sequence[int], best: Callable[[int, int], Tensor], rng: Stream
) -> Tensor:
    """``counts[i]`` keys of absent synapses of each projection i, ascending: those that
    ``best(i, n)`` returns, at most n of them, and the rest at random."""
    chosen = [best(i, n) for i, n in enumerate(counts)]
    missing = [n - len(keys) for n, keys in zip(counts, chosen, strict=True)]
    grow = torch.cat(chosen)
    if any(missing):
        more = sample_absent(left.apply(Edit(add=grow)), missing, rng)
        grow = torch.cat([grow, more]).sort().values
    return grow


def refuse_multapses(graph: Graph, rule: str) -> None:
    """Raise ValueError where a pair may be joined twice."""
    for p in graph.projections:
        if p.multapses:
            raise ValueError(
                f"{rule} scores pairs that are not joined, and {p.name!r} may join a pair twice. "
                "Use a projection without multapses."
            )
