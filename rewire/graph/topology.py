"""Which synapses exist, and all that follows from their keys alone."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..kernels.keys import find, keys_left
from ..kernels.slots import rows_of_units
from .space import NONE, Space

T = TypeVar("T")


class Topology:
    """Sorted keys, and what is derived from them alone, each computed once and kept.

    array: the keys, (E,) int64, strictly increasing; equal neighbours only where multapses are
           allowed.
    born:  rows, (a,) ascending, of the synapses that the edit which led here added.

    Graphs that differ in their columns alone share one topology. It never changes.

    >>> from rewire.graph import Population, Projection
    >>> space = Space(
    ...     [Population("a", 3), Population("b", 2)],
    ...     [Projection("p", "a", "b", "linear", (2, 3))],
    ... )
    >>> topology = Topology(space, np.array([0, 2, 4]))
    >>> topology.mask(0).int().tolist()
    [[1, 0, 1], [0, 1, 0]]
    >>> topology.fan_in("b").tolist(), topology.fan_out("a").tolist()
    ([2, 1], [1, 1, 1])
    """

    def __init__(
        self,
        space: Space,
        keys: np.ndarray | Tensor,
        *,
        born: np.ndarray = NONE,
        bounds: list[int] | None = None,
        starts: dict[str, np.ndarray | None] | None = None,
    ):
        """bounds, starts: where an edit has carried them along, else None: they are computed."""
        self.space = space
        self.born = born
        self._keys: Tensor | None = None
        if isinstance(keys, np.ndarray):
            self.array = keys
        else:
            self._keys, self.array = keys, keys.numpy()
        if bounds is not None:
            self.bounds = bounds
        # by population (or projection), those that were asked for
        self.known_starts: dict[str, np.ndarray | None] = {} if starts is None else starts
        self._fan_in: dict[str, Tensor] = {}
        self._incoming: dict[str, tuple[Tensor, Tensor]] = {}
        self._local: dict[int, Tensor] = {}
        self._others: dict[Hashable, Any] = {}

    @classmethod
    def full(cls, space: Space) -> Topology:
        """Every possible synapse once. Raises ValueError where no memory holds their keys."""
        try:
            return cls(space, torch.arange(space.possible))
        except RuntimeError:
            raise ValueError(
                f"a graph of every possible synapse has {space.possible:,} of them here, whose "
                f"keys alone take {space.possible / 2**27:,.0f} GiB, which this machine does not "
                "have. Start with fewer (density=, initial=), under a rule that does not begin "
                "with all of them, as rules do that prune."
            ) from None

    def __len__(self) -> int:
        return len(self.array)

    # -- by projection --------------------------------------------------------------------------

    @property  # asked for after every edit, where the lock of a cached_property costs twice as much
    def keys(self) -> Tensor:
        """The keys as one tensor of the same memory."""
        if self._keys is None:
            self._keys = torch.from_numpy(self.array)
        return self._keys

    @cached_property
    def bounds(self) -> list[int]:
        """Row where each projection begins, and one past the last row: P + 1 integers."""
        return self.array.searchsorted(self.space.ends).tolist()

    def rows(self, i: int) -> slice:
        """Rows of projection ``i``."""
        return slice(self.bounds[i], self.bounds[i + 1])

    def rows_of(self, projections: Sequence[int]) -> Tensor:
        """Rows of the edges of these projections, ascending."""
        if not projections:
            return torch.empty(0, dtype=torch.int64)
        return torch.cat([torch.arange(self.bounds[i], self.bounds[i + 1]) for i in projections])

    def local(self, i: int) -> Tensor:
        """Flat indices of projection ``i``'s edges into its parameter, shape (E_i,)."""
        if i not in self._local:
            self._local[i] = self.keys[self.rows(i)] - self.space.bounds[i]
        return self._local[i]

    def local_without(self, i: int, drop: np.ndarray) -> np.ndarray:
        """Flat indices of projection ``i``'s edges but for these rows of the graph, ascending."""
        lo, hi = self.bounds[i], self.bounds[i + 1]
        return keys_left(self.array, drop, lo, hi, self.space.bounds[i])

    def mask(self, i: int) -> Tensor:
        """Boolean mask of projection ``i`` in its parameter's shape."""
        p = self.space.projections[i]
        mask = torch.zeros(p.size, dtype=torch.bool)
        mask[self.local(i)] = True
        return mask.view(p.shape)

    # -- by key ---------------------------------------------------------------------------------

    @cached_property
    def located(self) -> tuple[Tensor, Tensor, Tensor]:
        """Projection number, presynaptic and postsynaptic unit of each edge, each (E,)."""
        return self.space.locate(self.keys)

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each key (its first, where there are several) and whether it exists, each (k,)."""
        row, exists = find(self.array, keys.numpy())
        return torch.from_numpy(row), torch.from_numpy(exists)

    def new_key(self, i: int, pre: int, post: int, tap: int = 0) -> int | None:
        """Key of a synapse pre -> post of projection ``i`` that an edit may add.

        tap: which of parallel synapses, as in :meth:`Projection.key_of`. None where no synapse can
        join the pair, by the limits too, or where one does already and the projection allows no
        multapses.

        >>> from rewire.graph import Population, Projection
        >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
        >>> topology = Topology(space, np.array([1, 4]))  # 1 -> 0 and 1 -> 1
        >>> topology.new_key(0, pre=2, post=1), topology.new_key(0, pre=1, post=1)
        (5, None)
        """
        key = self.space.key_of(i, pre, post, tap)
        if key is None or not self._may_be(key):
            return None
        if self.space.parallel[i]:
            return key
        row = int(self.array.searchsorted(key))
        return None if row < len(self) and self.array[row] == key else key

    def _may_be(self, key: int) -> bool:
        """Whether the limits let this key hold a synapse."""
        allowed = self.space.allowed(np.array([key])) if self.space.limits else None
        return allowed is None or bool(allowed[0])

    def digest(self) -> str:
        """A fingerprint: equal exactly when the keys are."""
        return hashlib.blake2b(self.array.tobytes(), digest_size=16).hexdigest()

    def derived(self, what: Hashable, compute: Callable[[], T]) -> T:
        """A value that others derive from the keys and ``what`` alone, computed once and kept."""
        if what not in self._others:
            self._others[what] = compute()
        return self._others[what]

    # -- by unit --------------------------------------------------------------------------------

    def fan_in(self, population: str) -> Tensor:
        """Incoming edges of each unit, over all projections into the population, shape (size,)."""
        if population not in self._fan_in:
            starts = self.starts(population)
            self._fan_in[population] = (
                self._count(population, "target", 2)
                if starts is None
                else torch.from_numpy(np.diff(starts).sum(0))
            )
        return self._fan_in[population]

    def fan_out(self, population: str) -> Tensor:
        """Outgoing edges of each unit, over all projections out of the population, (size,)."""
        return self._count(population, "source", 1)

    def _count(self, population: str, end: str, unit: int) -> Tensor:
        total = torch.zeros(self.space.population[population].size, dtype=torch.int64)
        for i, p in enumerate(self.space.projections):
            if getattr(p, end) == population:
                total += torch.bincount(self.located[unit][self.rows(i)], minlength=len(total))
        return total

    def starts(self, population: str) -> np.ndarray | None:
        """Rows where each unit's edges of each projection into the population begin, (P, size + 1).

        None where a projection does not store them unit by unit.
        """
        if population not in self.known_starts:
            first = self.space.firsts(population)
            self.known_starts[population] = (
                None if first is None else self.array.searchsorted(first)
            )
        return self.known_starts[population]

    def incoming_edge(self, population: str, unit: int, number: int) -> tuple[int, int]:
        """Projection and row of a unit's incoming edge of that number, from 0.

        Numbered as :meth:`incoming` orders them; it must be below the unit's fan-in.
        """
        starts = self.starts(population)
        if starts is None:
            rows, pointers = self.incoming(population)
            row = int(rows[pointers[unit] + number])
            return bisect_right(self.bounds, row) - 1, row
        for i, first in zip(self.space.into[population], starts, strict=True):
            row = int(first[unit]) + number
            if row < first[unit + 1]:
                return i, row
            number = row - int(first[unit + 1])
        raise IndexError(f"unit {unit} of {population!r} has no incoming edge of that number.")

    def incoming(self, population: str) -> tuple[Tensor, Tensor]:
        """Rows of the edges into a population ordered by unit, and where each unit's begin.

        Returns rows (F,) and pointers (size + 1,): unit j's edges are
        ``rows[pointers[j]:pointers[j + 1]]``, over all projections, in key order.

        >>> from rewire.graph import Population, Projection
        >>> a = Population("a", 2)  # two projections into the same units
        >>> p, q = (Projection(name, "a", "a", "linear", (2, 2)) for name in "pq")
        >>> rows, pointers = Topology(Space([a], [p, q]), np.array([1, 2, 4, 5])).incoming("a")
        >>> rows.tolist(), pointers.tolist()
        ([0, 2, 3, 1], [0, 3, 4])
        """
        if population not in self._incoming:
            into = self.space.into[population]
            starts = self.starts(population)
            if starts is not None and len(into) == 1:  # they lie in that order already
                pointers = torch.from_numpy(starts[0] - starts[0, 0])
                self._incoming[population] = self.rows_of(into), pointers
            else:
                self._incoming[population] = self._sorted_by_unit(population)
        return self._incoming[population]

    def _sorted_by_unit(self, population: str) -> tuple[Tensor, Tensor]:
        size = self.space.population[population].size
        row = self.rows_of(self.space.into[population])
        unit = self.located[2][row]
        pointers = torch.zeros(size + 1, dtype=torch.int64)
        pointers[1:] = torch.bincount(unit, minlength=size).cumsum(0)
        return row[unit.argsort(stable=True)], pointers

    def into_units(self, population: str, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All incoming edges of some units: each one's place in ``units``, and its row."""
        starts = self.starts(population)
        if starts is not None:
            return rows_of_units(starts, units)
        rows, pointers = (x.numpy() for x in self.incoming(population))
        place, at = rows_of_units(pointers[None], units)
        return place, rows[at]
