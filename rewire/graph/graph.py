"""The graph that rules are shown: a topology, and columns aligned with its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import checked
from . import caps, convert, views
from .checking import check_columns, checked_keys
from .columns import Columns, Reader
from .display import to_html
from .doors import door
from .edit import Birth, Edit
from .listing import Weight, aligned, graph_of
from .network import Network
from .space import Population, Projection, Space
from .splice import splice
from .topology import Topology
from .views import View

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    import networkx as nx
    import scipy.sparse as sp
    from torch import nn

    Matrix: TypeAlias = sp.sparray | sp.spmatrix


class Graph:
    """Who does connect: sorted keys, and columns aligned with them.

    topology: the keys, and what follows from them alone.
    array:    the keys, (E,) int64, strictly increasing; equal neighbours only where multapses are
              allowed.
    columns:  name -> (E,) tensor.
    births:   name -> value of a newborn edge (a number, or a function of its key).

    A graph is a value: :meth:`apply` returns another. All tensors live on the CPU.

    >>> space = Space(
    ...     [Population("input", 3), Population("output", 2)],
    ...     [Projection("weight", "input", "output", "linear", (2, 3))],
    ... )
    >>> graph = Graph(space, torch.tensor([0, 4]), {"weight": torch.tensor([0.5, -1.0])})
    >>> graph = graph.with_birth("age", 0.0)
    >>> graph
    Graph(2 of 6 synapses, density 0.3333, columns ['age', 'weight'])
    >>> after = graph.apply(Edit(drop=torch.tensor([0]), add=torch.tensor([2, 3]),
    ...                          birth={"weight": 0.25}))
    >>> after.keys.tolist(), after["weight"].tolist()
    ([2, 3, 4], [0.25, 0.25, -1.0])
    """

    @checked()
    def __init__(
        self,
        space: Space,
        keys: Tensor,
        columns: Mapping[str, Tensor] | None = None,
        births: Mapping[str, Birth] | None = None,
    ):
        self.topology = Topology(space, checked_keys(space, keys))
        check_columns(columns, len(keys))
        self._columns = Columns(dict(columns or {}), dict(births or {}))
        self.space, self.array = space, self.topology.array

    @classmethod
    def _of(cls, topology: Topology, columns: Columns) -> Graph:
        graph = cls.__new__(cls)
        graph.topology, graph._columns = topology, columns
        graph.space, graph.array = topology.space, topology.array
        return graph

    # -- making one -----------------------------------------------------------------------------

    @classmethod
    def empty(cls, space: Space) -> Graph:
        """No synapse at all."""
        return cls(space, torch.empty(0, dtype=torch.int64))

    @classmethod
    def full(cls, space: Space) -> Graph:
        """Every possible synapse once. Raises ValueError where no memory holds their keys."""
        return cls._of(Topology.full(space), Columns({}, {}))

    @classmethod
    def from_masks(cls, space: Space, masks: Mapping[str, Tensor | np.ndarray]) -> Graph:
        """The graph whose edges are the true entries of one mask per projection, by its name."""
        return cls(space, convert.from_masks(space, masks))

    @classmethod
    def from_scipy(
        cls,
        space: Space | Matrix | Mapping[str, Matrix],
        matrices: Mapping[str, Matrix] | None = None,
        column: str = "weight",
        *,
        chain: bool = False,
        recurrent: bool = False,
    ) -> Graph:
        """The graph of scipy sparse matrices (n_post, n_pre), whose stored entries are edges.

        ``from_scipy(space, {projection: matrix})`` takes what :meth:`to_scipy` writes.
        ``from_scipy(matrix)`` and ``from_scipy({name: matrix})`` make a space: each matrix joins
        two populations of its own; chain: each one's units feed the next; recurrent: the one
        square matrix joins a population to itself.

        >>> import scipy.sparse as sp
        >>> Graph.from_scipy(sp.coo_array(([0.5, -1.0], ([0, 1], [2, 0])), shape=(2, 3)))
        Graph(2 of 6 synapses, density 0.3333, columns ['weight'])
        """
        if not isinstance(space, Space):
            named = space if isinstance(space, Mapping) else {"weight": space}
            space, matrices = convert.spaced(named, chain=chain, recurrent=recurrent), named
        if matrices is None:
            raise TypeError("from_scipy(space, matrices) needs the matrices of the space.")
        keys, values = convert.from_scipy(space, matrices)
        return cls(space, keys, {column: values})

    @classmethod
    def from_networkx(cls, space: Space | nx.Graph, graph: nx.Graph | None = None) -> Graph:
        """The graph of any graph of networkx; what :meth:`to_networkx` wrote comes back exactly.

        A node attribute ``population``, ``layer`` or ``bipartite`` that all nodes have says their
        populations, without one all are one recurrent population. An undirected edge becomes two,
        or goes from side 0 to side 1. Numeric attributes of edges become columns, names of nodes
        labels, ``x`` and ``y`` positions; parallel edges are multapses.
        ``from_networkx(space, graph)``: for a space that is known, by the edges' keys.

        >>> import networkx as nx
        >>> Graph.from_networkx(nx.karate_club_graph())
        Graph(156 of 1,156 synapses, density 0.1349, columns ['weight'])
        """
        if isinstance(space, Space):
            if graph is None:
                raise TypeError("from_networkx(space, graph) needs the graph.")
            return cls(space, *aligned(views.from_networkx(graph), space))
        return cls(*graph_of(views.from_networkx(space)))

    @classmethod
    def of(cls, model: nn.Module, **options: Any) -> Graph:
        """The graph of anybody's sparse model, without an optimizer: see `rewire.graph_of.of`.

        Zeros are absent, or what masks of torch's prune leave out; parametrised weights are
        computed. options: ``include``, ``exclude``, ``embeddings``, ``projections`` and
        ``positions`` as in `rewire.attach`; ``example``: an input, which shows how the model joins
        its layers.
        """
        return door("of")(model, **options)

    def save(self, path: str | Path, format: str | None = None, **options: Any) -> tuple[str, ...]:
        """Write a file that `rewire.read_graph` and other programs read: `rewire.write_graph`.

        Returns what of the graph such a file does not hold, a sentence each.
        """
        return door("save")(self, path, format, **options)

    # -- columns --------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Tensor:
        return self._columns.tensor(name)

    def numbers(self, name: str) -> np.ndarray:
        """A column as a numpy array of the same memory, (E,)."""
        return self._columns.numbers(name)

    def values(self, name: str, rows: Sequence[int]) -> Sequence[float]:
        """Some edges' values in a column, (k,), without reading the others."""
        return self._columns.some(name, rows)

    @property
    def columns(self) -> dict[str, Tensor]:
        """The columns by name, each (E,)."""
        return {name: self[name] for name in self._columns.read()}

    @property
    def births(self) -> Mapping[str, Birth]:
        """Value of a newborn edge by column: a number, or a function of its key."""
        return self._columns.births

    def lazy(self, name: str) -> Reader | None:
        """What reads a column that is yet to be read, else None."""
        return self._columns.lazy.get(name)

    def only(self, *names: str) -> Graph:
        """The same edges with these columns alone."""
        columns = Columns({name: self.numbers(name) for name in names}, self.births)
        return Graph._of(self.topology, columns)

    def with_columns(self, columns: Mapping[str, Tensor | np.ndarray]) -> Graph:
        """The same edges with these columns replaced or added; refuses another length."""
        return Graph._of(self.topology, self._columns.replaced(columns, len(self)))

    def with_lazy(self, name: str, values: Reader) -> Graph:
        """The same edges with a column that is read when it is first asked for.

        values: rows (a slice, or some numbers) -> values. For what may change behind its back:
        good until the world's next step.
        """
        return Graph._of(self.topology, self._columns.with_lazy(name, values))

    def with_birth(self, name: str, birth: Birth) -> Graph:
        """The same graph with a column that newborn edges get from ``birth``."""
        return Graph._of(self.topology, self._columns.with_birth(name, birth, self.keys))

    # -- the topology ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return (
            f"Graph({len(self):,} of {self.possible:,} synapses, density {self.density:.4g}, "
            f"columns {sorted(self.columns)})"
        )

    def _repr_html_(self) -> str:
        return to_html(self.space, self.live_counts(), self.columns)

    @property
    def keys(self) -> Tensor:
        """The edges there are, (E,) int64; one tensor as long as they are the same."""
        return self.topology.keys

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
    def bounds(self) -> list[int]:
        """Row where each projection begins, and one past the last row: P + 1 integers."""
        return self.topology.bounds

    @property
    def born(self) -> np.ndarray:
        """Rows, (a,) ascending, of the synapses that the last edit of the topology added."""
        return self.topology.born

    def rows(self, i: int) -> slice:
        """Rows of projection ``i``."""
        return self.topology.rows(i)

    def local(self, i: int) -> Tensor:
        """Flat indices of projection ``i``'s edges into its parameter, shape (E_i,)."""
        return self.topology.local(i)

    def local_without(self, i: int, drop: np.ndarray) -> np.ndarray:
        """Flat indices of projection ``i``'s edges but for these rows of the graph, ascending."""
        return self.topology.local_without(i, drop)

    def counts(self) -> Tensor:
        """Number of edges of each projection, shape (P,)."""
        return torch.tensor(self.bounds).diff()

    def locate(self, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Projection number, pre and post unit of each key (default: of each edge), each (k,)."""
        return self.topology.located if keys is None else self.space.locate(keys)

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each key (its first, where there are several) and whether it exists, each (k,)."""
        return self.topology.find(keys)

    def fan_in(self, population: str) -> Tensor:
        """Incoming edges of each unit, over all projections into the population, shape (size,)."""
        return self.topology.fan_in(population)

    def fan_out(self, population: str) -> Tensor:
        """Outgoing edges of each unit, over all projections out of the population, (size,)."""
        return self.topology.fan_out(population)

    def starts(self, population: str) -> np.ndarray | None:
        """Rows where each unit's incoming edges begin: see :meth:`Topology.starts`."""
        return self.topology.starts(population)

    def incoming_edge(self, population: str, unit: int, number: int) -> tuple[int, int]:
        """Projection and row of a unit's incoming edge of that number, from 0."""
        return self.topology.incoming_edge(population, unit, number)

    def incoming(self, population: str) -> tuple[Tensor, Tensor]:
        """Rows of the edges into a population by unit, and pointers: :meth:`Topology.incoming`."""
        return self.topology.incoming(population)

    def digest(self) -> str:
        """A fingerprint of the topology: equal exactly when the keys are."""
        return self.topology.digest()

    @property
    def network(self) -> Network:
        """All populations as one directed network of units, links without weights included."""
        return self.topology.derived("network", lambda: Network(self.topology))

    @property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """Names of the populations of each part that nothing joins to the others."""
        return self.network.pieces

    # -- what computes --------------------------------------------------------------------------

    @property
    def density(self) -> float:
        """Live edges / possible edges, over all projections."""
        return sum(self.live_counts()) / self.possible if self.possible else 0.0

    @property
    def alive(self) -> np.ndarray | None:
        """Which edges carry something, (E,) bool: not those of ``gain`` 0. None where all do."""
        return self.numbers("gain") != 0 if "gain" in self._columns.values else None

    def live_counts(self) -> list[int]:
        """Number of live edges of each projection: of all edges where none has a ``gain``."""
        alive, ranges = self.alive, pairwise(self.bounds)
        if alive is None:
            return [hi - lo for lo, hi in ranges]
        return [int(np.count_nonzero(alive[lo:hi])) for lo, hi in ranges]

    def effective(self) -> Graph:
        """What computes: the live edges alone, their ``weight`` times their ``gain``."""
        alive = self.alive
        if alive is None:
            return self
        columns = {n: c[alive] for n, c in self.columns.items() if n not in ("gain", "slope")}
        columns["weight"] = columns["weight"] * self["gain"][alive].to(columns["weight"])
        births = {n: b for n, b in self.births.items() if n not in ("gain", "slope")}
        return Graph(self.space, self.keys[alive], columns, births)

    # -- views ----------------------------------------------------------------------------------

    def mask(self, i: int) -> Tensor:
        """Boolean mask of projection ``i`` in its parameter's shape."""
        return self.topology.mask(i)

    def dense(self, i: int, column: str = "weight") -> Tensor:
        """A column of projection ``i`` in its parameter's shape; multapses of a pair add up."""
        return convert.to_dense(self.topology, i, self[column][self.rows(i)])

    def to_scipy(self, i: int, column: str | None = "weight") -> sp.csr_array:
        """Projection ``i`` as a scipy CSR array, laid out as `convert.to_scipy`; None: of ones."""
        values = None if column is None else self.numbers(column)[self.rows(i)]
        return convert.to_scipy(self.topology, i, values)

    def to_torch_csr(self, i: int, column: str = "weight") -> Tensor:
        """Projection ``i`` as a torch sparse CSR tensor, laid out as :meth:`to_scipy`."""
        return convert.to_torch_csr(self.topology, i, self.numbers(column)[self.rows(i)])

    def to_semi_structured(
        self, i: int, dtype: torch.dtype = torch.float16, device: str = "cuda"
    ) -> Tensor:
        """Projection ``i``, which must be 2:4, as torch's semi-structured tensor on CUDA."""
        values = self["weight"][self.rows(i)]
        return convert.to_semi_structured(self.topology, i, values, dtype, device)

    def adjacency(self, i: int) -> sp.csr_array:
        """Number of edges between each pair of units, shape (n_post, n_pre), duplicates summed."""
        return convert.adjacency(self.topology, i)

    def to_networkx(
        self,
        view: View = "units",
        weight: Weight = None,
        *,
        projection: str | None = None,
        links: bool = False,
    ) -> nx.Graph:
        """Synapses, channels, one projection or layers in networkx: see `views.to_networkx`.

        weight: what the attribute ``weight`` is, which most algorithms read: None: there is none,
        the signed weight is ``value``; "abs"; "signed".
        """
        return views.to_networkx(
            self.topology, self.columns, view, weight, projection=projection, links=links
        )

    @property
    def description(self) -> dict[str, Any]:
        """Populations and projections as plain data, for files and reports."""
        return convert.description(self.space)

    # -- editing --------------------------------------------------------------------------------

    def apply(self, edit: Edit) -> Graph:
        """The graph after ``edit``: surviving edges keep every column, new edges are born.

        One linear merge; an empty edit returns this graph itself. Raises ValueError, and changes
        nothing, for rows that are not there, edges that exist already, keys out of range, columns
        of another length or name, and units whose slots would overflow.
        """
        columns = self._columns.checked(edit, len(self.array))
        if not len(edit.drop) and not len(edit.add):
            return Graph._of(self.topology, columns) if edit.set else self
        topology, columns = splice(self.topology, columns, edit)
        if len(edit.add) and self.space.capped:
            caps.check_edit(topology, columns)
        return Graph._of(topology, columns)

    def newborn(self, name: str, edit: Edit) -> np.ndarray | float:
        """What edges that ``edit`` adds to this graph hold: one number, or (a,) by rising key."""
        return self._columns.newborn(name, edit)

    def check_limits(self) -> None:
        """Raise ValueError where a limit of the space, or a cap of its units, is broken."""
        caps.check(self.topology)


def edges_of(graph: Graph, projections: Sequence[int]) -> Tensor:
    """Rows of the edges of these projections, ascending."""
    return graph.topology.rows_of(projections)
