"""The shared sparse graph: who may connect, who does, and what each synapse carries.

Every possible synapse has one integer **key**: the offset of its projection plus the flat index
into the projection's parameter as it is stored. A :class:`Graph` is the sorted keys of the
synapses that exist and aligned columns (weight, sign, age, ...). For linear, convolutional and
spiking projections that is compressed-sparse-row by postsynaptic unit; a mask is a derived view.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..native import kernels
from .edit import Birth, Edit
from .space import NONE, Population, Projection, Space

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp


class Graph:
    """Who does connect: sorted keys, and columns aligned with them.

    keys:    (E,) int64, strictly increasing; equal neighbours only where multapses are allowed.
    array:   the keys as a numpy array of the same memory.
    columns: name -> (E,) tensor.
    births:  name -> value of a newborn edge (a number, or a function of its key).

    A graph is a value: :meth:`apply` returns another. All tensors live on the CPU.
    """

    def __init__(
        self,
        space: Space,
        keys: Tensor,
        columns: Mapping[str, Tensor] | None = None,
        births: Mapping[str, Birth] | None = None,
        *,
        _topology: dict[str, Any] | None = None,
    ):
        self.space = space
        # as they came: of an array, a tensor is made when one is asked for
        self._columns: dict[str, Tensor | np.ndarray] = dict(columns or {})
        self._lazy: dict[str, Callable[[Any], Any]] = {}
        self.births = dict(births or {})
        # the keys, and what is derived from them alone
        self._topology: dict[str, Any] = _topology or {"keys": keys, "array": keys.numpy()}
        self.array: np.ndarray = self._topology["array"]

    # -- making one -----------------------------------------------------------------------------

    @classmethod
    def empty(cls, space: Space) -> Graph:
        """No synapse at all."""
        return cls(space, torch.empty(0, dtype=torch.int64))

    @classmethod
    def full(cls, space: Space) -> Graph:
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

    @classmethod
    def from_masks(cls, space: Space, masks: Mapping[str, Tensor | np.ndarray]) -> Graph:
        """The graph whose edges are the true entries of one mask per projection, by its name."""
        parts = []
        for i, p in enumerate(space.projections):
            mask = torch.as_tensor(masks[p.name])
            if tuple(mask.shape) != p.shape:
                raise ValueError(
                    f"the mask of {p.name!r} has shape {tuple(mask.shape)}; its parameter has "
                    f"{p.shape}."
                )
            parts.append(mask.reshape(-1).nonzero().squeeze(1).cpu() + space.bounds[i])
        return cls(space, torch.cat(parts))

    @classmethod
    def from_scipy(
        cls, space: Space, matrices: Mapping[str, sp.sparray | sp.spmatrix], column: str = "weight"
    ) -> Graph:
        """The graph of one scipy sparse matrix per projection, as :meth:`to_scipy` writes them."""
        keys, values = [], []
        for i, p in enumerate(space.projections):
            m = matrices[p.name].tocoo()
            rows, cols = _stored(p)
            if m.shape != (rows, cols):
                raise ValueError(f"{p.name!r} needs a matrix {(rows, cols)}, got {m.shape}.")
            flat = m.row.astype(np.int64) * cols + m.col
            order = np.argsort(flat, kind="stable")
            keys.append(torch.from_numpy(flat[order]) + space.bounds[i])
            values.append(torch.from_numpy(np.ascontiguousarray(m.data[order])))
        return cls(space, torch.cat(keys), {column: torch.cat(values)})

    @classmethod
    def from_networkx(cls, space: Space, graph: nx.MultiDiGraph) -> Graph:
        """The graph that :meth:`to_networkx` wrote: edges carry ``key`` and every column."""
        edges = sorted((d for *_, d in graph.edges(data=True)), key=lambda d: d["key"])
        names = sorted(set().union(*(d.keys() for d in edges)) - {"key", "projection"})
        return cls(
            space,
            torch.tensor([d["key"] for d in edges], dtype=torch.int64),
            {n: torch.tensor([d[n] for d in edges]) for n in names},
        )

    def with_columns(self, columns: Mapping[str, Tensor | np.ndarray]) -> Graph:
        """The same edges with these columns replaced or added; refuses another length."""
        self._check_lengths(columns)
        held = self._held() if self._lazy else self._columns
        return self._with({**held, **columns}, self._topology)

    def _check_lengths(self, columns: Mapping[str, Tensor | np.ndarray]) -> None:
        for name, values in columns.items():
            if values.shape[0] != len(self.array):
                raise ValueError(
                    f"column {name!r} has {len(values)} values for {len(self)} edges; a column "
                    "is aligned with the graph that the rule was shown."
                )

    def with_lazy(self, name: str, values: Callable[[Any], Any]) -> Graph:
        """The same edges with a column that is read when it is first asked for.

        values: rows (a slice, or some numbers) -> values. For what may change behind its back:
        good until the world's next step.
        """
        held = {n: c for n, c in self._columns.items() if n != name}
        out = self._with(held, self._topology)
        out._lazy = {**self._lazy, name: values}
        return out

    def only(self, *names: str) -> Graph:
        """The same edges with these columns alone."""
        return self._with({n: self.numbers(n) for n in names}, self._topology)

    def lazy(self, name: str) -> Callable[[Any], Any] | None:
        """What reads a column that is yet to be read, else None."""
        return self._lazy.get(name)

    def values(self, name: str, rows: Sequence[int]) -> Sequence[float]:
        """What a few edges hold in a column, (k,), without reading the others."""
        if name in self._lazy:
            return self._lazy[name](rows)
        some: list[float] = self.numbers(name)[np.array(rows, np.int64)].tolist()
        return some

    @property
    def columns(self) -> dict[str, Tensor]:
        """The columns by name, each (E,)."""
        return {name: self[name] for name in self._held()}

    def _held(self) -> dict[str, Tensor | np.ndarray]:
        """The columns as they came, the lazy ones read."""
        if self._lazy:
            for name in list(self._lazy):
                self[name]
        return self._columns

    def with_birth(self, name: str, birth: Birth) -> Graph:
        """The same graph with a column that newborn edges get from ``birth``."""
        columns = self.columns
        if name not in columns:
            columns[name] = _born(birth, self.keys)
        births = {**self.births, name: birth}
        return Graph(self.space, self.keys, columns, births, _topology=self._topology)

    # -- looking at one -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._lazy:
            self._columns[name] = self._lazy.pop(name)(slice(None))
        values = self._columns.get(name)
        if isinstance(values, Tensor):
            return values
        if values is None:
            raise KeyError(
                f"the graph has no column {name!r}; it has {sorted(self.columns)}. A rule gets a "
                "column by declaring it in Rule.columns."
            )
        tensor = self._columns[name] = torch.from_numpy(values)
        return tensor

    def numbers(self, name: str) -> np.ndarray:
        """A column as a numpy array of the same memory, (E,)."""
        values = self._columns.get(name)
        return values if isinstance(values, np.ndarray) else self[name].numpy()

    @property
    def keys(self) -> Tensor:
        """The edges there are, (E,) int64; one tensor as long as they are the same."""
        if "keys" not in self._topology:
            self._topology["keys"] = torch.from_numpy(self._topology["array"])
        return self._topology["keys"]

    def __repr__(self) -> str:
        return (
            f"Graph({len(self):,} of {self.possible:,} synapses, density {self.density:.4g}, "
            f"columns {sorted(self.columns)})"
        )

    @property
    def populations(self) -> tuple[Population, ...]:
        return self.space.populations

    @property
    def projections(self) -> tuple[Projection, ...]:
        return self.space.projections

    @property
    def offsets(self) -> Tensor:
        """First key of each projection, and one past the last, shape (P + 1,)."""
        return self.space.offsets

    @property
    def possible(self) -> int:
        return self.space.possible

    @property
    def density(self) -> float:
        """Live edges / possible edges, over all projections."""
        return sum(self.live_counts()) / self.possible if self.possible else 0.0

    @property
    def alive(self) -> np.ndarray | None:
        """Which edges carry something, (E,) bool: not those of ``gain`` 0. None where all do."""
        return self.numbers("gain") != 0 if "gain" in self._columns else None

    def live_counts(self) -> list[int]:
        """Number of live edges of each projection: of all edges where none has a ``gain``."""
        alive, b = self.alive, self.bounds
        if alive is None:
            return [hi - lo for lo, hi in pairwise(b)]
        return [int(np.count_nonzero(alive[lo:hi])) for lo, hi in pairwise(b)]

    def effective(self) -> Graph:
        """What computes: the live edges alone, their ``weight`` times their ``gain``."""
        alive = self.alive
        if alive is None:
            return self
        columns = {n: c[alive] for n, c in self.columns.items() if n != "gain"}
        columns["weight"] = columns["weight"] * self["gain"][alive].to(columns["weight"])
        births = {n: b for n, b in self.births.items() if n != "gain"}
        return Graph(self.space, self.keys[alive], columns, births)

    @property
    def bounds(self) -> list[int]:
        """Row where each projection begins, and one past the last row: P + 1 integers."""
        if "bounds" not in self._topology:
            self._topology["bounds"] = self.array.searchsorted(self.space.ends).tolist()
        return self._topology["bounds"]

    def rows(self, i: int) -> slice:
        """Rows of projection ``i``."""
        return slice(self.bounds[i], self.bounds[i + 1])

    def local(self, i: int) -> Tensor:
        """Flat indices of projection ``i``'s edges into its parameter, shape (E_i,)."""
        cache = self._topology.setdefault("local", {})
        if i not in cache:
            cache[i] = self.keys[self.rows(i)] - self.space.bounds[i]
        return cache[i]

    def local_without(self, i: int, drop: np.ndarray) -> np.ndarray:
        """Flat indices of projection ``i``'s edges but for these rows of the graph, ascending."""
        lo, hi = self.bounds[i], self.bounds[i + 1]
        if kernels is not None and (np.diff(drop) > 0).all():
            return kernels.keys_left(self.array, drop, lo, hi, self.space.bounds[i])
        stays = np.ones(len(self), bool)
        stays[drop] = False
        return self.array[lo:hi][stays[lo:hi]] - self.space.bounds[i]

    @property
    def born(self) -> np.ndarray:
        """Rows, (a,) ascending, of the synapses that the last edit of the topology added."""
        return self._topology.get("born", NONE)

    def counts(self) -> Tensor:
        """Number of edges of each projection, shape (P,)."""
        return torch.tensor(self.bounds).diff()

    def locate(self, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Projection number, pre and post unit of each key (default: of each edge), each (k,)."""
        if keys is not None:
            return self.space.locate(keys)
        if "located" not in self._topology:
            self._topology["located"] = self.space.locate(self.keys)
        return self._topology["located"]

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each key (its first, where there are several) and whether it exists, each (k,)."""
        held, asked = self.array, keys.numpy()
        if kernels is not None:
            row, there = kernels.find(held, asked)
            return torch.from_numpy(row), torch.from_numpy(there)
        row = held.searchsorted(asked)
        if not len(self):
            return torch.from_numpy(row), torch.zeros_like(keys, dtype=torch.bool)
        row = np.minimum(row, len(self) - 1)
        return torch.from_numpy(row), torch.from_numpy(held[row] == asked)

    def fan_in(self, population: str) -> Tensor:
        """Incoming edges of each unit, over all projections into the population, shape (size,)."""
        cache = self._topology.setdefault("fan_in", {})
        if population not in cache:
            starts = self.starts(population)
            cache[population] = (
                self._fan(population, "target", 2)
                if starts is None
                else torch.from_numpy(np.diff(starts).sum(0))
            )
        return cache[population]

    def fan_out(self, population: str) -> Tensor:
        """Outgoing edges of each unit, over all projections out of the population, (size,)."""
        return self._fan(population, "source", 1)

    def _fan(self, population: str, end: str, unit: int) -> Tensor:
        located = self.locate()
        total = torch.zeros(self.space.population[population].size, dtype=torch.int64)
        for i, p in enumerate(self.projections):
            if getattr(p, end) == population:
                total += torch.bincount(located[unit][self.rows(i)], minlength=len(total))
        return total

    def starts(self, population: str) -> np.ndarray | None:
        """Rows where each unit's edges of each projection into the population begin, (P, size + 1).

        None where a projection does not store them unit by unit.
        """
        cache = self._topology.setdefault("starts", {})
        if population not in cache:
            first = self.space.firsts(population)
            cache[population] = None if first is None else self.keys.numpy().searchsorted(first)
        return cache[population]

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
        """
        cache = self._topology.setdefault("incoming", {})
        if population not in cache:
            into = self.space.into[population]
            starts = self.starts(population)
            if starts is not None and len(into) == 1:  # they lie in that order already
                rows = torch.arange(self.bounds[into[0]], self.bounds[into[0] + 1])
                cache[population] = rows, torch.from_numpy(starts[0] - starts[0, 0])
            else:
                cache[population] = self._by_unit(into, self.space.population[population].size)
        return cache[population]

    def _by_unit(self, projections: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
        _, _, post = self.locate()
        row = edges_of(self, projections)
        unit = post[row]
        pointers = torch.zeros(size + 1, dtype=torch.int64)
        pointers[1:] = torch.bincount(unit, minlength=size).cumsum(0)
        return row[unit.argsort(stable=True)], pointers

    def digest(self) -> str:
        """A fingerprint of the topology: equal exactly when the keys are."""
        return hashlib.blake2b(self.keys.numpy().tobytes(), digest_size=16).hexdigest()

    # -- views ----------------------------------------------------------------------------------

    def mask(self, i: int) -> Tensor:
        """Boolean mask of projection ``i`` in its parameter's shape."""
        p = self.projections[i]
        out = torch.zeros(p.size, dtype=torch.bool)
        out[self.local(i)] = True
        return out.view(p.shape)

    def dense(self, i: int, column: str = "weight") -> Tensor:
        """A column of projection ``i`` in its parameter's shape, 0 where there is no edge.

        Parallel synapses of one pair (multapses) add up.
        """
        p, values = self.projections[i], self[column][self.rows(i)]
        out = torch.zeros(p.size, dtype=values.dtype)
        return out.index_add_(0, self.local(i), values).view(p.shape)

    def to_scipy(self, i: int, column: str | None = "weight") -> sp.csr_array:
        """Projection ``i`` as a scipy CSR array of its stored shape, kernels flattened.

        (n_post, n_pre) for linear and spiking projections, (out, in x taps) for convolutions,
        (n_pre, n_post) for embeddings. ``column=None`` stores ones. Multapses stay separate
        entries; explicit zeros stay.
        """
        import scipy.sparse as sp

        rows, cols = _stored(self.projections[i])
        local = self.local(i).numpy()
        pointers = np.searchsorted(local, np.arange(rows + 1, dtype=np.int64) * cols)
        values = np.ones(len(local)) if column is None else self[column][self.rows(i)].numpy()
        return sp.csr_array((values, local % cols, pointers), shape=(rows, cols))

    def to_torch_csr(self, i: int, column: str = "weight") -> Tensor:
        """Projection ``i`` as a torch sparse CSR tensor, laid out as :meth:`to_scipy`."""
        m = self.to_scipy(i, column)
        return torch.sparse_csr_tensor(
            torch.from_numpy(m.indptr.astype(np.int64)),
            torch.from_numpy(m.indices.astype(np.int64)),
            torch.from_numpy(np.ascontiguousarray(m.data)),
            size=m.shape,
            check_invariants=False,
        )

    def adjacency(self, i: int) -> sp.csr_array:
        """Number of edges between each pair of units, shape (n_post, n_pre), duplicates summed."""
        import scipy.sparse as sp

        p = self.projections[i]
        _, pre, post = (x[self.rows(i)].numpy() for x in self.locate())
        shape = (self.space.population[p.target].size, self.space.population[p.source].size)
        return sp.coo_array((np.ones(len(pre), np.int64), (post, pre)), shape=shape).tocsr()

    def to_networkx(self) -> nx.MultiDiGraph:
        """A MultiDiGraph with nodes (population, index), for analysis.

        Nodes carry ``population``, ``index`` and ``position`` (None where units have no place);
        isolated units stay. Edges carry ``projection``, ``key`` and every column; parallel
        synapses are parallel edges. About 2 us an edge: think twice above a million.
        """
        import networkx as nx

        out = nx.MultiDiGraph()
        for p in self.populations:
            places = [None] * p.size if p.positions is None else p.positions.tolist()
            out.add_nodes_from(
                ((p.name, u), {"population": p.name, "index": u, "position": place})
                for u, place in enumerate(places)
            )
        which, pre, post = (x.tolist() for x in self.locate())
        columns = {name: values.tolist() for name, values in self.columns.items()}
        ends = [(p.source, p.target, p.name) for p in self.projections]
        out.add_edges_from(
            (
                (ends[w][0], i),
                (ends[w][1], j),
                {"projection": ends[w][2], **{n: v[row] for n, v in columns.items()}, "key": key},
            )
            for row, (w, i, j, key) in enumerate(
                zip(which, pre, post, self.keys.tolist(), strict=True)
            )
        )
        return out

    # -- editing --------------------------------------------------------------------------------

    def apply(self, edit: Edit) -> Graph:
        """The graph after ``edit``: surviving edges keep every column, new edges are born.

        One linear merge; an empty edit returns this graph itself. Raises ValueError, and changes
        nothing, for rows that are not there, edges that exist already, keys out of range, columns
        of another length or name, and units whose slots would overflow.
        """
        given = edit.given
        for name in (*given, *edit.births):
            if name not in self._columns and name not in self._lazy:
                self[name]  # raises, naming the columns there are
        if given:
            self._check_lengths(given)
        columns = self._columns
        if given:
            columns = {**(self._held() if self._lazy else columns), **given}
        if len(edit.dropped) or len(edit.added):
            return self._merge(edit, columns)
        return self._with(columns, self._topology) if given else self

    def _with(self, columns: dict[str, Tensor | np.ndarray], topology: dict[str, Any]) -> Graph:
        """Another graph with the same births; ``columns`` is for it to keep."""
        out = Graph.__new__(Graph)
        out.space, out.births = self.space, self.births
        out._columns, out._lazy, out._topology = columns, {}, topology
        out.array = topology["array"]
        return out

    def _merge(self, edit: Edit, columns: Mapping[str, Tensor | np.ndarray]) -> Graph:
        drop, add, given = edit.dropped, edit.added, edit.births
        if drop.dtype.char == "?":
            _refuse_mask(drop)
        births = [self._birth(name, given.get(name), add) for name in columns]
        held = [c if isinstance(c, np.ndarray) else c.numpy() for c in columns.values()]
        merged = None
        if kernels is not None:  # None for what is wrong or out of order
            space = self.space
            merged = kernels.merge(self.array, drop, add, held, births, space.ends, space.parallel)
        topology: dict[str, Any] = {}
        if merged is not None:
            topology["array"], after, at, topology["bounds"] = merged
        else:
            topology["array"], after, at = self._merge_slowly(drop, add, held, births)
        topology["born"] = at
        if "starts" in self._topology:
            topology["starts"] = self._shifted(drop, add)
        out = self._with(dict(zip(columns, after, strict=True)), topology)
        for name in self._lazy:
            out._lazy[name] = self._merged_later(name, drop, at, edit)
        if len(add) and self.space.capped:
            out._check_slots(at)
            if self.space.limits:
                out.check_limits(at)
        return out

    def _shifted(self, drop: np.ndarray, add: np.ndarray) -> dict[str, np.ndarray | None]:
        """Where units' edges begin after an edit, of the populations that it is known of now."""
        known = self._topology["starts"]
        if kernels is None or not known:
            return {}
        drop = np.sort(drop) if len(drop) > 1 else drop
        add = np.sort(add) if len(add) > 1 else add
        return {
            name: None if at is None else kernels.shifted(at, self.space.firsts(name), drop, add)
            for name, at in known.items()
        }

    def _merged_later(
        self, name: str, drop: np.ndarray, at: np.ndarray, edit: Edit
    ) -> Callable[[Any], np.ndarray]:
        """A column that is yet to be read, after an edit: newborn rows ``at`` hold their birth."""

        def values(rows: Any) -> np.ndarray:
            kept = np.delete(self.numbers(name), drop)
            out = np.empty(len(kept) + len(at), kept.dtype)
            stays = np.ones(len(out), bool)
            stays[at] = False
            out[stays] = kept
            out[at] = self.newborn(name, edit)
            return out[rows]

        return values

    def newborn(self, name: str, edit: Edit) -> np.ndarray | float:
        """What edges that ``edit`` adds to this graph hold: one number, or (a,) by rising key."""
        add = edit.added
        born = self._birth(name, edit.births.get(name), add)
        return born[np.argsort(add, kind="stable")] if isinstance(born, np.ndarray) else born

    def _birth(
        self, name: str, born: Tensor | np.ndarray | float | None, add: np.ndarray
    ) -> np.ndarray | float:
        """What newborn edges hold in a column: one number, or one for each key of ``add``."""
        if isinstance(born, Tensor | np.ndarray):
            if len(born) != len(add):
                raise ValueError(
                    f"{len(born)} birth values of {name!r} were given for {len(add)} new edges; "
                    "Edit.birth holds one number, or one for each key of Edit.add."
                )
            return born if isinstance(born, np.ndarray) else born.numpy()
        birth = self.births.get(name, 0.0) if born is None else born
        return birth(torch.from_numpy(add)).numpy() if callable(birth) else birth

    def _merge_slowly(
        self,
        drop: np.ndarray,
        add: np.ndarray,
        held: list[np.ndarray],
        births: list[np.ndarray | float],
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Keys, columns and the rows of the new edges; raises what is wrong with the edit."""
        order = np.argsort(add, kind="stable")
        keep = self._keep(drop)
        old = self.array[keep]
        at = self._places(add[order], old)
        stays = np.ones(len(old) + len(add), bool)
        stays[at] = False

        def spliced(kept: np.ndarray, born: np.ndarray | float) -> np.ndarray:
            out = np.empty(len(stays), kept.dtype)
            out[stays] = kept
            out[at] = born[order] if isinstance(born, np.ndarray) else born
            return out

        columns = [spliced(column[keep], b) for column, b in zip(held, births, strict=True)]
        return spliced(old, add), columns, at

    def _keep(self, rows: np.ndarray) -> np.ndarray | slice:
        if not len(rows):
            return slice(None)
        if rows.astype(np.uint64).max() >= len(self):  # a negative row is a huge one
            bad = int(rows[(rows < 0) | (rows >= len(self))][0])
            raise ValueError(
                f"cannot drop row {bad}: the graph has rows 0 to {len(self) - 1}. Edit.drop names "
                "rows of the graph that the rule was shown, not keys."
            )
        keep = np.ones(len(self), bool)
        keep[rows] = False
        if len(rows) > 1 and np.count_nonzero(keep) != len(self) - len(rows):
            values, times = np.unique(rows, return_counts=True)
            raise ValueError(
                f"cannot drop row {int(values[times > 1][0])} twice: {len(rows)} rows were given, "
                f"{len(values)} of them different."
            )
        return keep

    def _places(self, keys: np.ndarray, old: np.ndarray) -> np.ndarray:
        """Rows of the keys to add, (a,) in order, among all that will be there."""
        if not len(keys):
            return NONE
        if keys[0] < 0 or keys[-1] >= self.possible:
            bad = int(keys[0] if keys[0] < 0 else keys[-1])
            raise ValueError(f"cannot add key {bad}: keys run from 0 to {self.possible - 1}.")
        at = old.searchsorted(keys, "right")
        # the key before a new one's place (before the first: the last, a larger one) is not itself
        clash = old[at - 1] == keys if len(old) else np.zeros(len(keys), bool)
        clash[1:] |= keys[1:] == keys[:-1]
        if clash.any():
            which = self.space.which(torch.from_numpy(keys[clash])).tolist()
            single = [(w, key) for w, key in zip(which, keys[clash].tolist(), strict=True)
                      if not self.projections[w].multapses]  # fmt: skip
            if single:
                name, first = self.projections[single[0][0]].name, single[0][1]
                raise ValueError(
                    f"cannot add {len(single)} of {len(keys)} edges (first key {first}, in "
                    f"{name!r}): they exist already or are named twice, and {name!r} allows no "
                    "multapses. Draw keys with select.sample_absent."
                )
        return at + np.arange(len(keys))

    def check_limits(self, born: np.ndarray | None = None) -> None:
        """Raise ValueError where a limit of the space is broken; by these rows alone if given."""
        keys = self.array if born is None else self.array[born]
        allowed = self.space.allowed(keys)
        if allowed is not None and not allowed.all():
            bad = keys[~allowed]
            where = self.projections[int(self.space.which(torch.from_numpy(bad[:1])))].name
            names = ", ".join(map(repr, self.space.limits))
            raise ValueError(
                f"{len(bad)} of {len(keys)} edges (first: key {bad[0]}, in {where!r}) are not "
                f"allowed by the limits ({names})."
            )
        for cap in self.space.caps:
            over = np.flatnonzero(np.bincount(cap.of(self.array), minlength=len(cap.most))
                                  > cap.most)  # fmt: skip
            if len(over):
                raise ValueError(
                    f"{cap.name(int(over[0]))} ({len(over)} such in all): drop as many as you add."
                )
        for p in self.populations:
            most = p.most if born is None else p.fan_in  # slots of newborns are checked already
            if most is not None:
                fan_in = self.fan_in(p.name).numpy()
                if (fan_in > most).any():
                    self._refuse_overflow(p, fan_in, most)

    def _check_slots(self, born: np.ndarray) -> None:
        """Refuse an overflow; give each newborn the lowest free slot of its unit."""
        slot = self.numbers("slot") if "slot" in self._columns else None
        if kernels is not None and slot is not None and slot.dtype == np.int64:
            known = [(p, self.starts(p.name)) for p in self.space.receiving if p.slots is not None]
            if all(starts is not None for _, starts in known):
                for p, starts in known:
                    full = kernels.fill_slots(starts, born, slot, p.slots)
                    if full >= 0:
                        self._refuse_overflow(p, self.fan_in(p.name).numpy())
                return
        lands, unit = self.space.targets(self.keys.numpy()[born])
        for number, p in enumerate(self.populations):
            mine = lands == number
            if p.slots is None or not mine.any():
                continue
            units = np.unique(unit[mine])
            fan_in = self.fan_in(p.name).numpy()
            if (fan_in[units] > p.slots).any():
                self._refuse_overflow(p, fan_in)
            if slot is not None:
                self._assign_slots(p, units, born[mine])

    @staticmethod
    def _refuse_overflow(
        population: Population, fan_in: np.ndarray, most: int | None = None
    ) -> None:
        """``most``: what is overstepped, where that is not the slots."""
        cap = population.slots if most is None else most
        over = np.flatnonzero(fan_in > cap)
        has = f"has {cap} slots" if cap == population.slots else f"may hold {cap}"
        raise ValueError(
            f"unit {over[0]} of {population.name!r} would hold {fan_in[over[0]]} incoming edges, "
            f"but {has}: {len(over)} units overflow. Drop as many as you add, or "
            + ("raise Population.slots." if cap == population.slots else "allow more.")
        )

    def _edges_of(self, population: str, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All incoming edges of some units: each one's unit, by its place in ``units``, and row."""
        starts = self.starts(population)
        if starts is None:
            rows, pointers = (x.numpy() for x in self.incoming(population))
            first, end = pointers[units][None], pointers[units + 1][None]
        else:
            first, end = starts[:, units], starts[:, units + 1]
        held = (end - first).T.ravel()  # unit by unit, of each projection in turn
        place = np.repeat(np.repeat(np.arange(len(units)), len(first)), held)
        at = np.arange(len(place)) + np.repeat(first.T.ravel() - held.cumsum() + held, held)
        return place, at if starts is not None else rows[at]

    def _assign_slots(self, population: Population, units: np.ndarray, born: np.ndarray) -> None:
        """Slots of newborns, in the order of their unit's incoming edges."""
        place, row = self._edges_of(population.name, units)
        newborn, slot = np.zeros(len(self), bool), self["slot"].numpy()
        newborn[born] = True
        new = newborn[row]
        free = np.ones((len(units), population.slots or 0), bool)
        free[place[~new], slot[row[~new]]] = False
        unit, lowest = free.nonzero()
        needed = np.bincount(place[new], minlength=len(units))
        rank = np.arange(len(unit)) - unit.searchsorted(np.arange(len(units)))[unit]
        slot[row[new]] = lowest[rank < needed[unit]]

    # -- comparing ------------------------------------------------------------------------------

    @cached_property
    def description(self) -> dict[str, Any]:
        """Populations and projections as plain data, for files and reports."""
        return {
            "populations": [
                {"name": p.name, "size": p.size, "grid": p.grid, "slots": p.slots}
                for p in self.populations
            ],
            "projections": [
                {
                    "name": p.name,
                    "source": p.source,
                    "target": p.target,
                    "kind": p.kind,
                    "shape": list(p.shape),
                    "multapses": p.multapses,
                    "groups": p.groups,
                }
                for p in self.projections
            ],
        }


def _refuse_mask(drop: np.ndarray) -> None:
    raise ValueError(
        f"Edit.drop is a mask of {len(drop)} booleans; it holds row numbers. Give "
        "mask.nonzero().squeeze(1)."
    )


def _stored(p: Projection) -> tuple[int, int]:
    return p.shape[0], prod(p.shape[1:])


def _born(birth: Birth, keys: Tensor) -> Tensor:
    return birth(keys) if callable(birth) else torch.full((len(keys),), float(birth))


def edges_of(graph: Graph, projections: Sequence[int]) -> Tensor:
    """Rows of the edges of these projections, ascending."""
    if not projections:
        return torch.empty(0, dtype=torch.int64)
    return torch.cat([torch.arange(graph.bounds[i], graph.bounds[i + 1]) for i in projections])
