"""How long edges live and how fast they turn over, replayed from an edit log.

A record is anything with ``total`` (training steps taken so far, rewinds included), ``drop`` (rows
of the graph before the edit) and ``add`` (keys), as in ``net.history.records``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

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
        """Fraction of ``edges`` replaced per step over ``steps`` steps: min(formed, dropped)."""
        return min(self.formed.sum(), self.dropped.sum()) / (edges * steps)


def churn(records: Iterable[Any]) -> Churn:
    """Formation and elimination counts; the edits of one step are added up."""
    rows = [(r.total, len(r.add), len(r.drop)) for r in records]
    if not rows:
        return Churn(*(np.empty(0, np.int64) for _ in range(3)))
    total, formed, dropped = np.array(rows, dtype=np.int64).T
    steps, step = np.unique(total, return_inverse=True)
    out = np.zeros((2, len(steps)), np.int64)
    for counts, found in zip(out, (formed, dropped), strict=True):
        np.add.at(counts, step, found)
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
        """Some of the lives; ``chosen``: (N,) bool."""
        return Lifetimes(*(x[chosen] for x in (self.key, self.born, self.died, self.alive)))

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """Kaplan-Meier: ages at which edges died, and the fraction that lives beyond each.

        Edges still alive at the end count as long as they were seen, which is what keeps the
        estimate from being too low. Edges of the start have age 0 at the start.
        """
        if self.alive.all():
            return np.empty(0), np.empty(0)
        data = stats.CensoredData.right_censored(self.age, self.alive)
        curve = stats.ecdf(data).sf
        return curve.quantiles, curve.probabilities


def lifetimes(start: ArrayLike, records: Iterable[Any], end: int, begin: int = 0) -> Lifetimes:
    """Birth and death of every edge, from the keys at step ``begin`` to step ``end``."""
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
