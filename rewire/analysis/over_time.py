"""What a run's graphs have in common as it goes on, replayed from an edit log.

A record is anything with ``total`` (training steps taken so far, rewinds included), ``drop`` (rows
of the graph before the edit) and ``add`` (keys), as in ``net.history.records``. The graph of a step
is the one after all edits up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..graph import Edit, Graph
from .exploration import exploration
from .lifetimes import Lifetimes, lifetimes
from .overlap import Overlap, overlap

if TYPE_CHECKING:
    from ..graph import Space

Labels: TypeAlias = "Mapping[str, ArrayLike] | ArrayLike"


def graphs(
    start: Graph,
    records: Iterable[Any],
    *,
    every: int | None = None,
    begin: int = 0,
    end: int | None = None,
) -> Iterator[tuple[int, Graph]]:
    """Steps and their graphs, without columns, in one pass over the log.

    start: the graph before the first record. every: steps between graphs, from ``begin`` on; None:
    a graph at each step at which something changed. end: the last step, None: that of the last
    record; later records are left out. The first and the last graph are always there. Raises
    ValueError for records that do not fit the graph.

    >>> import torch
    >>> from types import SimpleNamespace as Record
    >>> from rewire.analysis.examples import two_layers
    >>> one = Record(total=15, drop=np.array([0]), add=np.array([2]))
    >>> for step, graph in graphs(two_layers(), [one], every=10, end=25):
    ...     print(step, graph.array[:3])
    0 [0 1 5]
    10 [0 1 5]
    20 [1 2 5]
    25 [1 2 5]
    """
    if every is not None and every < 1:
        raise ValueError(f"every counts steps between graphs, at least 1, got {every}.")
    at, due, last = Graph(start.space, start.keys), begin, begin
    for record in records:
        total = int(record.total)
        if end is not None and total > end:
            break
        if total < last:
            raise ValueError(f"a record of step {total} follows one of step {last}: sort them.")
        while due < total:
            yield due, at
            due = due + every if every else total
        edit = Edit(drop=np.asarray(record.drop, np.int64), add=np.asarray(record.add, np.int64))
        at, last = at.apply(edit), total
    final = last if end is None else end
    while due < final:
        yield due, at
        due = due + every if every else final
    yield final, at


def kept(steps: Iterable[tuple[int, Graph]]) -> dict[str, np.ndarray]:
    """The fraction of the first graph's edges that each graph has, by projection, "" for all.

    Each (T,); an edge that was dropped and grown again counts as there. NaN where a projection had
    no edge.

    >>> from rewire.analysis.examples import two_layers
    >>> first = two_layers()
    >>> kept([(0, first), (9, Graph(first.space, first.keys[1:]))])["fc1"].tolist()
    [1.0, 0.75]
    """
    first: Graph | None = None
    rows: list[list[float]] = []
    names: list[str] = []
    for _, graph in steps:
        first = graph if first is None else first
        names = ["", *(p.name for p in graph.projections)]
        there = graph.find(first.keys)[1].numpy()
        counts = [np.count_nonzero(there[first.rows(i)]) for i in range(len(names) - 1)]
        total = [len(first), *first.counts().tolist()]
        pairs = zip([sum(counts), *counts], total, strict=True)
        rows.append([n / t if t else np.nan for n, t in pairs])
    return dict(zip(names, np.array(rows).T, strict=True)) if names else {}


def distances(
    steps: Iterable[tuple[int, Graph]], final: Graph
) -> Iterator[tuple[int, list[Overlap]]]:
    """Each graph's overlap with the final mask, by projection and the whole, as `overlap` gives it.

    ``hamming`` and ``jaccard`` of each are the distances, ``expected_hamming`` and
    ``expected_jaccard`` those of chance.

    >>> from rewire.analysis.examples import two_layers
    >>> first = two_layers()
    >>> step, parts = next(distances([(0, first)], Graph(first.space, first.keys[1:])))
    >>> step, parts[-1].hamming, parts[-1].jaccard
    (0, 1, 0.8571428571428571)
    """
    for step, graph in steps:
        yield step, overlap(graph.array, final.array, graph.projections)


def explored(start: Graph, records: Sequence[Any], steps: ArrayLike) -> np.ndarray:
    """The in-time over-parameterisation rate at some steps, (T,): see :func:`exploration`.

    >>> from types import SimpleNamespace as Record
    >>> from rewire.analysis.examples import two_layers
    >>> explored(two_layers(), [Record(total=15, drop=[0], add=[2])], [0, 15]).tolist()
    [0.3888888888888889, 0.4444444444444444]
    """
    rate = exploration(start.array, records, start.possible)
    totals = np.array([r.total for r in records], np.int64)
    return rate[np.searchsorted(totals, np.asarray(steps), side="right")]


# -- communities -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Turnover:
    """Edges formed and dropped at each step, within communities and across; all (T,) int64.

    within, across: edges of each sort after the step.
    """

    total: np.ndarray
    formed_within: np.ndarray
    formed_across: np.ndarray
    dropped_within: np.ndarray
    dropped_across: np.ndarray
    within: np.ndarray
    across: np.ndarray


def turnover(start: Graph, records: Iterable[Any], labels: Labels) -> Turnover:
    """Formation and elimination within communities and across; the edits of a step are added up.

    labels: the community of each unit: population -> (size,), or (N,) by the numbers of
    ``graph.network``. Raises ValueError for labels that do not fit.

    >>> from types import SimpleNamespace as Record
    >>> from rewire.analysis.examples import two_layers
    >>> labels = {"input": [0, 0, 1, 1], "hidden": [0, 1, 1], "output": [0, 1]}
    >>> one = Record(total=15, drop=[0], add=[2])  # input 0 -> hidden 0; input 2 -> hidden 0
    >>> change = turnover(two_layers(), [one], labels)
    >>> change.dropped_within.tolist(), change.formed_across.tolist()
    ([1], [1])
    """
    within = _within(start, labels)
    keys = start.array
    edges = np.bincount(within(keys), minlength=2)
    rows: dict[int, np.ndarray] = {}
    for record in records:
        drop, add = (np.asarray(x, np.int64) for x in (record.drop, record.add))
        lost, new = (np.bincount(within(k), minlength=2) for k in (keys[drop], add))
        keys = np.delete(keys, drop)
        added = np.sort(add)
        keys = np.insert(keys, keys.searchsorted(added, "right"), added)
        edges = edges + new - lost
        before = rows.get(int(record.total), np.zeros(6, np.int64))
        change = np.array([new[1], new[0], lost[1], lost[0]])
        rows[int(record.total)] = np.concatenate([before[:4] + change, edges[::-1]])
    table = np.array(list(rows.values()), np.int64).reshape(-1, 6).T
    return Turnover(np.array(list(rows), np.int64), *table)


@dataclass(frozen=True, eq=False)
class Survival:
    """Fraction of edges that outlive each age, within communities and across, all (T,)."""

    ages: np.ndarray
    within: np.ndarray
    across: np.ndarray


def survival(
    start: Graph, records: Iterable[Any], labels: Labels, end: int, begin: int = 0
) -> Survival:
    """Kaplan-Meier within communities and across, at ages at which edges died or were last seen.

    labels: as in :func:`turnover`. NaN where there is no edge of a sort. For
    ``rewire.pictures.survival_by_module``.

    >>> from types import SimpleNamespace as Record
    >>> from rewire.analysis.examples import two_layers
    >>> labels = {"input": [0, 0, 1, 1], "hidden": [0, 1, 1], "output": [0, 1]}
    >>> lives = survival(two_layers(), [Record(total=15, drop=[0], add=[2])], labels, end=30)
    >>> lives.ages.tolist(), lives.within.round(2).tolist(), lives.across.tolist()
    ([15.0, 30.0], [0.8, 0.8], [1.0, 1.0])
    """
    lives = lifetimes(start.array, records, end, begin)
    inside = _within(start, labels)(lives.key).astype(bool)
    curves = [lives.where(inside), lives.where(~inside)]
    ages = np.unique(
        np.concatenate([np.empty(0), *(c.survival()[0] for c in curves if len(c.key))])
    )
    return Survival(ages, *(_at(c, ages) for c in curves))


def _at(lives: Lifetimes, ages: np.ndarray) -> np.ndarray:
    if not len(lives.key):
        return np.full(len(ages), np.nan)
    known, fraction = lives.survival()
    return np.concatenate([[1.0], fraction])[np.searchsorted(known, ages, "right")]


def _within(graph: Graph, labels: Labels) -> Callable[[np.ndarray], np.ndarray]:
    """What says of keys whether both units are of one community, (k,) 0 or 1."""
    by_population = _by_population(graph, labels)
    space: Space = graph.space

    def within(keys: np.ndarray) -> np.ndarray:
        import torch

        which, pre, post = (x.numpy() for x in space.locate(torch.from_numpy(keys)))
        out = np.zeros(len(keys), np.int64)
        for i, p in enumerate(space.projections):
            at = np.flatnonzero(which == i)
            out[at] = by_population[p.source][pre[at]] == by_population[p.target][post[at]]
        return out

    return within


def _by_population(graph: Graph, labels: Labels) -> dict[str, np.ndarray]:
    if isinstance(labels, Mapping):
        by = {name: np.asarray(values) for name, values in labels.items()}
        for p in graph.populations:
            if p.name not in by or by[p.name].shape != (p.size,):
                got = "none" if p.name not in by else f"shape {by[p.name].shape}"
                raise ValueError(
                    f"population {p.name!r} needs {p.size} labels, one a unit; there are {got}."
                )
        return by
    network, values = graph.network, np.asarray(labels)
    if values.shape != (network.size,):
        raise ValueError(
            f"the network has {network.size} units, and labels have the shape {values.shape}: give "
            "one a unit, or a table of them by population."
        )
    first = network.starts
    return {p.name: values[first[p.name] : first[p.name] + p.size] for p in graph.populations}
