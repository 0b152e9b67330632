"""How long edges live and how fast they turn over, replayed from an edit log.

A record is anything with ``total`` (training steps taken so far, rewinds included), ``drop`` (rows
of the graph before the edit) and ``add`` (keys), as in ``net.history.records``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True, eq=False)
class Churn:
    """Edges formed and dropped at each step at which any were, all (T,) int64; steps increase."""

    total: np.ndarray
    formed: np.ndarray
    dropped: np.ndarray

    def rate(self, edges: int, steps: int) -> float:
        """Fraction of ``edges`` replaced per step over ``steps`` steps: min(formed, dropped).

        >>> one = np.array([1, 1])
        >>> Churn(np.array([10, 20]), formed=one, dropped=one).rate(edges=4, steps=50)
        0.01
        """
        return float(min(self.formed.sum(), self.dropped.sum()) / (edges * steps))


def churn(records: Iterable[Any]) -> Churn:
    """Formation and elimination counts; the edits of one step are added up.

    >>> from types import SimpleNamespace as Record
    >>> records = [Record(total=10, drop=[0], add=[7]), Record(total=20, drop=[], add=[1])]
    >>> churn(records)
    Churn(total=array([10, 20]), formed=array([1, 1]), dropped=array([1, 0]))
    """
    rows = [(r.total, len(r.add), len(r.drop)) for r in records]
    if not rows:
        return Churn(*(np.empty(0, np.int64) for _ in range(3)))
    total, formed, dropped = np.array(rows, dtype=np.int64).T
    steps, step = np.unique(total, return_inverse=True)
    out = np.zeros((2, len(steps)), np.int64)
    for counts, of_record in zip(out, (formed, dropped), strict=True):
        np.add.at(counts, step, of_record)
    return Churn(steps, out[0], out[1])


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """The lives of all edges that ever were, each array (N,), one entry per life.

    key:  an edge that is dropped and grown again has several lives.
    born: total at birth; the start's total for those that were there from the start.
    died: total at death, or the end's total for those alive then.
    alive: whether the edge was alive at the end, its life seen only in part (right-censored).
    """

    key: np.ndarray
    born: np.ndarray
    died: np.ndarray
    alive: np.ndarray

    @property
    def age(self) -> np.ndarray:
        """Steps lived so far, (N,)."""
        return self.died - self.born

    def where(self, chosen: np.ndarray) -> Lifetimes:
        """Some of the lives; ``chosen``: (N,) bool.

        >>> lives = lifetimes([1, 2], [], end=30)
        >>> lives.where(lives.key == 2).key
        array([2])
        """
        return Lifetimes(*(x[chosen] for x in (self.key, self.born, self.died, self.alive)))

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """Kaplan-Meier: ages at which edges died, and the fraction that lives beyond each.

        Edges still alive at the end count as long as they were seen, which is what keeps the
        estimate from being too low. Edges of the start have age 0 at the start.

        >>> from types import SimpleNamespace as Record
        >>> lives = lifetimes([1, 2, 3], [Record(total=10, drop=[0], add=[])], end=30)
        >>> age, fraction = lives.survival()
        >>> int(age[0]), round(float(fraction[0]), 3)  # one of three edges died at the age of 10
        (10, 0.667)
        """
        if self.alive.all():
            return np.empty(0), np.empty(0)
        data = stats.CensoredData.right_censored(self.age, self.alive)
        curve = stats.ecdf(data).sf
        return curve.quantiles, curve.probabilities


def lifetimes(start: ArrayLike, records: Iterable[Any], end: int, begin: int = 0) -> Lifetimes:
    """Birth and death of every edge, from the keys at step ``begin`` to step ``end``.

    >>> from types import SimpleNamespace as Record
    >>> records = [Record(total=10, drop=[0], add=[7]), Record(total=20, drop=[], add=[1])]
    >>> lives = lifetimes([1, 2, 3], records, end=30)  # edge 1 is dropped and formed again
    >>> lives.key.tolist(), lives.born.tolist(), lives.died.tolist()
    ([1, 1, 2, 3, 7], [0, 20, 0, 0, 10], [10, 30, 30, 30, 30])
    """
    dead: list[tuple[np.ndarray, np.ndarray, int]] = []
    keys, born = np.asarray(start, np.int64), None
    for total, keys, born, (lost, lost_born) in _follow(start, records, begin):  # noqa: B007
        if len(lost):
            dead.append((lost, lost_born, total))
    if born is None:
        born = np.full(len(keys), begin, np.int64)
    return Lifetimes(
        np.concatenate([*(k for k, _, _ in dead), keys]),
        np.concatenate([*(b for _, b, _ in dead), born]),
        np.concatenate(
            [*(np.full(len(k), t, np.int64) for k, _, t in dead), np.full(len(keys), end, np.int64)]
        ),
        np.repeat([False, True], [sum(len(k) for k, _, _ in dead), len(keys)]),
    )


class Edits(NamedTuple):
    """A record as far as a sample of the edges goes."""

    total: int
    drop: np.ndarray
    add: np.ndarray


def sampled(
    start: ArrayLike, records: Iterable[Any], edges: int, stretches: int = 64
) -> tuple[np.ndarray, Iterable[Any]]:
    """The start and the records of about ``edges`` edges alone, for :func:`lifetimes`.

    Followed are the pairs of some stretches of keys, as many edges in each at the start, spread
    evenly over all edges of the start: every projection has its share. Lives in the sample are
    whole lives. What it costs goes with the sample and the changes, not with all edges. Everything
    where there are no more than ``edges``.

    >>> keys, _ = sampled(np.arange(1000), [], edges=128)
    >>> len(keys)
    128
    """
    keys = np.asarray(start, np.int64)
    if len(keys) <= edges:
        return keys, records
    first = np.linspace(0, len(keys), stretches, endpoint=False).astype(np.int64)
    ends = np.append(keys, np.iinfo(np.int64).max)
    limits = np.stack([keys[first], ends[first + edges // stretches]], 1).ravel()
    bounds = keys.searchsorted(limits)  # rows where each stretch begins and ends
    sample = np.concatenate([keys[a:b] for a, b in bounds.reshape(-1, 2)])
    return sample, _within(limits, bounds, records)


def _within(limits: np.ndarray, bounds: np.ndarray, records: Iterable[Any]) -> Iterator[Edits]:
    for record in records:
        drop, add = np.sort(np.asarray(record.drop, np.int64)), np.asarray(record.add, np.int64)
        cut, place = bounds.searchsorted(drop, "right"), limits.searchsorted(add, "right")
        within = cut % 2 == 1
        size = np.diff(bounds)[::2]
        # from rows of the graph to rows of the sample
        shift = bounds[::2] - (size.cumsum() - size)
        yield Edits(record.total, drop[within] - shift[cut[within] // 2], add[place % 2 == 1])
        dropped = np.bincount(cut, minlength=len(bounds) + 1)
        formed = np.bincount(place, minlength=len(bounds) + 1)
        bounds = bounds + (formed - dropped).cumsum()[:-1]


def _follow(
    start: ArrayLike, records: Iterable[Any], begin: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """After each record: total, keys, their births, and the (keys, births) of those lost."""
    keys = np.asarray(start, dtype=np.int64)
    born = np.full(len(keys), begin, np.int64)
    for record in records:
        rows = np.asarray(record.drop, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(keys)):
            raise ValueError(
                f"the record at step {record.total} drops row {rows.max()} of {len(keys)}: these "
                "are not the keys that the log started from."
            )
        lost = keys[rows], born[rows]
        keys, born = np.delete(keys, rows), np.delete(born, rows)
        added = np.sort(np.asarray(record.add, dtype=np.int64))
        at = np.searchsorted(keys, added, side="right")  # a multapse comes after its elders
        keys, born = np.insert(keys, at, added), np.insert(born, at, record.total)
        yield int(record.total), keys, born, lost
