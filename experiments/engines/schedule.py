"""Which cell may run next: those whose parents are finished, the longest chain first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Protocol

from ..errors import ConfigError


class Cell(Protocol):
    """What the engine knows of a cell: a name for its folder, what it waits for, what it costs."""

    @property
    def hash(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def parents(self) -> Mapping[str, str]:
        """Role -> hash of a cell that has to be finished first."""

    @property
    def weight(self) -> float:
        """Estimated cost, in any unit that all cells share."""


class Schedule:
    """Which cell next: of those whose parents are finished, the one with the most work behind it.

    The rank of a cell is the weight of the heaviest chain of unfinished cells that starts with it;
    equal ranks keep the order given.

    >>> from types import SimpleNamespace
    >>> first = SimpleNamespace(hash="a", label="a", parents={}, weight=1.0)
    >>> second = SimpleNamespace(hash="b", label="b", parents={"start": "a"}, weight=5.0)
    >>> alone = SimpleNamespace(hash="c", label="c", parents={}, weight=2.0)
    >>> schedule = Schedule([alone, first, second])
    >>> schedule.pop().hash, schedule.pop().hash, schedule.pop()
    ('a', 'c', None)
    >>> schedule.finish("a")
    >>> schedule.pop().hash
    'b'
    """

    def __init__(self, cells: Iterable[Cell], finished: Iterable[str] = ()) -> None:
        self._cells: dict[str, Cell] = {}
        for cell in cells:
            self._cells.setdefault(cell.hash, cell)
        before = set(finished)
        self.remaining = {hash: None for hash in self._cells if hash not in before}  # in order
        self._waits_for = {
            hash: set(self._cells[hash].parents.values()) - before for hash in self.remaining
        }
        self._children: dict[str, list[str]] = {hash: [] for hash in self.remaining}
        for hash, parents in self._waits_for.items():
            for parent in parents:
                if parent not in self._children:
                    raise ConfigError(
                        f"cell {hash} ({self._cells[hash].label}) needs cell {parent}, which is "
                        "neither among the cells to run nor finished in this folder"
                    )
                self._children[parent].append(hash)
        self._place = {hash: place for place, hash in enumerate(self.remaining)}
        self._rank = self._ranks()
        self._ready: list[tuple[float, int, str]] = []
        for hash, parents in self._waits_for.items():
            if not parents:
                self.put_back(hash)

    def _ranks(self) -> dict[str, float]:
        """Longest path to the end of each cell, from the leaves up (Kahn's order, backwards)."""
        rank: dict[str, float] = {}
        open_children = {hash: len(children) for hash, children in self._children.items()}
        leaves = [hash for hash, n in open_children.items() if n == 0]
        while leaves:
            hash = leaves.pop()
            behind = max((rank[child] for child in self._children[hash]), default=0.0)
            rank[hash] = self._cells[hash].weight + behind
            for parent in self._waits_for[hash]:
                open_children[parent] -= 1
                if open_children[parent] == 0:
                    leaves.append(parent)
        if len(rank) < len(self.remaining):
            circle = [hash for hash in self.remaining if hash not in rank]
            raise ConfigError(f"cells wait for each other in a circle; look among {circle[:5]}")
        return rank

    def pop(self) -> Cell | None:
        """The next cell to start, or None while none is ready."""
        return self._cells[heapq.heappop(self._ready)[2]] if self._ready else None

    def put_back(self, hash: str) -> None:
        """Make a cell ready again that `pop` returned."""
        heapq.heappush(self._ready, (-self._rank[hash], self._place[hash], hash))

    def finish(self, hash: str) -> None:
        """Take the cell out; those that waited for it alone become ready."""
        del self.remaining[hash]
        for child in self._children[hash]:
            self._waits_for[child].discard(hash)
            if not self._waits_for[child]:
                self.put_back(child)

    def fail(self, hash: str) -> list[str]:
        """Take the cell out, and all that need it; returns those."""
        del self.remaining[hash]
        blocked, look = [], [hash]
        while look:
            for child in self._children[look.pop()]:
                if child in self.remaining:
                    del self.remaining[child]
                    blocked.append(child)
                    look.append(child)
        return blocked
