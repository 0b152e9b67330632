"""Branches of a finished training: what to start anew from, one small pure function each.

A branch is no rule. It takes what a finished run left, its edges (a :class:`~rewire.Graph`), the
weights it began and ended with, and its seed, changes one thing, and is trained again; what the
change costs tells what that thing was worth. Masks are graphs without columns; weights are
aligned with a graph's edges, (E,), or given at every possible synapse, (possible,), where edges
may move. The order of keys is everything's order, so that the same stream gives the same branch.

>>> import rewire
>>> space = rewire.Space([rewire.Population("x", 8), rewire.Population("y", 4)],
...                      [rewire.Projection("fc", "x", "y", "linear", (4, 8))])
>>> ticket = rewire.Graph(space, torch.arange(6))
>>> other = random_mask(ticket, rewire.rng_for(0, "mask"), "layer")
>>> len(other), len(union(ticket, complement(ticket))), len(intersection(ticket, ticket))
(6, 32, 6)

Sources: Frankle & Carbin 2019 (arXiv:1803.03635) for fresh weights and random masks; Frankle,
Schwab & Morcos 2020 (arXiv:2002.10365, sections 5 and 6) for signs, shuffles, noise and pretraining
variants; Morcos et al. 2019 (arXiv:1906.02773) for transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..budget import counts_for, random_graph
from ..graph import Graph, Space
from ..select.choose import largest
from ..streams import Stream

MaskScope = Literal["layer", "global", "even"]
ShuffleScope = Literal["network", "layer", "filter"]


# -- masks ---------------------------------------------------------------------------------------


def random_mask(graph: Graph, rng: Stream, scope: MaskScope = "layer") -> Graph:
    """As many edges as ``graph`` has, at random places, uniform without replacement.

    scope: "layer" keeps the number of each projection; "global" only that of all together;
        "even" gives every projection the same density. The total is exact.
    """
    space = graph.space
    if scope == "layer":
        return random_graph(space, graph.counts().tolist(), rng)
    if scope == "even":
        return random_graph(space, counts_for(space, graph.density, "uniform"), rng)
    if scope != "global":
        raise ValueError(f"scope must be 'layer', 'global' or 'even', got {scope!r}.")
    # the first of a random order are a uniform sample of all possible synapses
    draws = torch.from_numpy(rng.doubles(space.possible))
    return Graph(space, largest(draws, len(graph)))


def one_shot(
    space: Space, final: Tensor, counts: int | Sequence[int], what: str = "|weight|"
) -> Graph:
    """The largest of the weights that a dense training ended with, cut once.

    final: (possible,). counts: edges of each projection, or of all together (ranked as one).

    >>> import rewire
    >>> space = rewire.Space([rewire.Population("x", 2), rewire.Population("y", 2)],
    ...                      [rewire.Projection("fc", "x", "y", "linear", (2, 2))])
    >>> one_shot(space, torch.tensor([0.1, -0.9, 0.3, 0.0]), 2).keys.tolist()
    [1, 2]
    """
    ranges = None if isinstance(counts, int) else list(pairwise(space.bounds))
    return Graph(space, largest(final, counts, ranges, magnitude=True, what=what))


def union(a: Graph, b: Graph) -> Graph:
    """The edges that are in either mask."""
    _check_alike(a, b)
    return Graph(a.space, torch.from_numpy(np.union1d(a.array, b.array)))


def intersection(a: Graph, b: Graph) -> Graph:
    """The edges that are in both masks; how many chance would share: ``analysis.overlap``."""
    _check_alike(a, b)
    return Graph(a.space, torch.from_numpy(np.intersect1d(a.array, b.array)))


def complement(a: Graph) -> Graph:
    """The possible edges that the mask does not have."""
    absent = np.ones(a.possible, bool)
    absent[a.array] = False
    return Graph(a.space, torch.from_numpy(absent.nonzero()[0]))


def _check_alike(a: Graph, b: Graph) -> None:
    first, second = ([(p.name, p.shape) for p in g.projections] for g in (a, b))
    if first != second:
        raise ValueError(
            f"masks of two models cannot be joined: one has the projections {first}, the other "
            f"{second}."
        )


# -- weights -------------------------------------------------------------------------------------


def signed(magnitudes: Tensor, signs: Tensor) -> Tensor:
    """|magnitudes| with the signs of ``signs``, (E,); 0 where a sign is that of 0.

    Fresh magnitudes with a ticket's signs, or its magnitudes with the signs of the initialisation.

    >>> signed(torch.tensor([1.0, -2.0]), torch.tensor([-0.1, 0.5])).tolist()
    [-1.0, 2.0]
    """
    return magnitudes.abs() * signs.sign()


def shuffled(graph: Graph, weight: Tensor, rng: Stream, scope: ShuffleScope = "layer") -> Tensor:
    """The same weights, (E,), dealt out at random among the edges.

    scope: within "network", within each "layer" (projection), or within each "filter" (the edges
        of a projection into one postsynaptic unit). What stays: the distribution within it.
    """
    if scope == "network":
        group = torch.zeros(len(graph), dtype=torch.int64)
    elif scope in ("layer", "filter"):
        which, _, post = graph.locate()
        widest = max(p.size for p in graph.populations)
        group = which if scope == "layer" else which * widest + post
    else:
        raise ValueError(f"scope must be 'network', 'layer' or 'filter', got {scope!r}.")
    drawn = np.lexsort((rng.doubles(len(graph)), group.numpy()))  # a random order of each group
    places = np.lexsort((np.arange(len(graph)), group.numpy()))
    out = torch.empty_like(weight)
    out[torch.from_numpy(places)] = weight[torch.from_numpy(drawn)]
    return out


def spread_of(graph: Graph, values: Tensor) -> Tensor:
    """Standard deviation of the values of each projection, at each of its edges, (E,).

    0 where a projection has fewer than two edges.
    """
    out = torch.zeros_like(values)
    for lo, hi in pairwise(graph.bounds):
        if hi - lo > 1:
            out[lo:hi] = values[lo:hi].std()
    return out


def noisy(weight: Tensor, sigma: Tensor | float, rng: Stream) -> Tensor:
    """weight + N(0, sigma^2), (E,); sigma: one number, or one an edge as :func:`spread_of` gives.

    The Early Phase's noise has n standard deviations of w_0 - w_k in each layer; the ticket's
    robustness test s times the layer's standard deviation at initialisation, s in {0.5, 1, 2, 3}.

    >>> import rewire
    >>> noisy(torch.ones(2), 0.0, rewire.rng_for(0, "noise")).tolist()
    [1.0, 1.0]
    """
    return weight + rng.normal(len(weight)).to(weight.dtype) * sigma


# -- tasks to pretrain on ------------------------------------------------------------------------


def blurred(x: Tensor, factor: int = 4) -> Tensor:
    """Images (N, C, H, W) averaged over ``factor`` x ``factor`` pixels and enlarged again.

    Enlarged bilinearly to the size they had; where a side is no multiple, the last block is
    smaller.

    >>> blurred(torch.eye(4).view(1, 1, 4, 4), factor=4).unique().tolist()
    [0.25]
    """
    _check_images(x, "blurred")
    pooled = torch.nn.functional.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
    return torch.nn.functional.interpolate(
        pooled, size=x.shape[-2:], mode="bilinear", align_corners=False
    )


def random_labels(y: Tensor, classes: int, rng: Stream) -> Tensor:
    """A class for each example, (N,), uniform and independent of what it was; fixed once drawn.

    >>> import rewire
    >>> y = random_labels(torch.zeros(1000), 10, rewire.rng_for(0, "labels"))
    >>> y.min().item(), y.max().item()
    (0, 9)
    """
    drawn = torch.from_numpy((rng.doubles(len(y)) * classes).astype(np.int64))
    return drawn.to(y.device)


def rotated(x: Tensor, rng: Stream) -> tuple[Tensor, Tensor]:
    """Each image turned by 0, 90, 180 or 270 degrees, exactly, and which of the four, (N,).

    x: (N, C, S, S). The task of Gidaris et al. 2018 (arXiv:1803.07728): say by how much.

    >>> import rewire
    >>> x = torch.arange(8.0).view(2, 1, 2, 2)
    >>> turned, turns = rotated(x, rewire.rng_for(0, "turns"))
    >>> turned.sum() == x.sum(), turns.shape
    (tensor(True), torch.Size([2]))
    """
    _check_images(x, "rotated")
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"only square images can be turned by 90 degrees, not {tuple(x.shape)}.")
    turns = torch.from_numpy((rng.doubles(len(x)) * 4).astype(np.int64)).to(x.device)
    out = torch.empty_like(x)
    for quarter in range(4):
        chosen = turns == quarter
        out[chosen] = x[chosen].rot90(quarter, (-2, -1))
    return out, turns


def _check_images(x: Tensor, what: str) -> None:
    if x.dim() != 4:
        raise ValueError(
            f"only images (N, channels, height, width) can be {what}; these inputs have the shape "
            f"{tuple(x.shape)}."
        )
