"""The border: keys and columns from and to masks, scipy, torch and plain data.

What comes in becomes keys and columns, what goes out is read from a topology and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..names import short
from .checking import by_projection
from .space import Population, Projection, Space
from .topology import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


def stored_shape(p: Projection) -> tuple[int, int]:
    """Of the projection's parameter as a matrix: its first axis by all others, flattened."""
    return p.shape[0], prod(p.shape[1:])


# -- coming in -----------------------------------------------------------------------------------


def from_masks(space: Space, masks: Mapping[str, Tensor | np.ndarray]) -> Tensor:
    """Keys of the true entries of one mask per projection, by its name.

    >>> from rewire.graph import Population
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> from_masks(space, {"p": torch.tensor([[True, False], [False, True]])}).tolist()
    [0, 3]
    """
    keys = []
    by_projection(space, masks, "mask")
    for i, p in enumerate(space.projections):
        try:
            mask = torch.as_tensor(masks[p.name])
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"the mask of {p.name!r} is {short(masks[p.name])}, and no array: {error}."
            ) from None
        if tuple(mask.shape) != p.shape:
            raise ValueError(
                f"the mask of {p.name!r} has shape {tuple(mask.shape)}; its parameter has "
                f"{p.shape}."
            )
        keys.append(mask.reshape(-1).nonzero().squeeze(1).cpu() + space.bounds[i])
    return torch.cat(keys)


def from_scipy(
    space: Space, matrices: Mapping[str, sp.sparray | sp.spmatrix]
) -> tuple[Tensor, Tensor]:
    """Keys, and one column's values, of one matrix per projection, as :func:`to_scipy` writes."""
    keys, values = [], []
    by_projection(space, matrices, "matrix")
    for i, p in enumerate(space.projections):
        m = _matrix(p.name, matrices[p.name]).tocoo()
        rows, columns = stored_shape(p)
        if m.shape != (rows, columns):
            raise ValueError(f"{p.name!r} needs a matrix {(rows, columns)}, got {m.shape}.")
        flat = m.row.astype(np.int64) * columns + m.col
        order = np.argsort(flat, kind="stable")
        keys.append(torch.from_numpy(flat[order]) + space.bounds[i])
        values.append(torch.from_numpy(np.ascontiguousarray(m.data[order])))
    return torch.cat(keys), torch.cat(values)


def _matrix(name: str, matrix: Any) -> Any:
    if not hasattr(matrix, "tocoo"):
        raise TypeError(
            f"{name!r} is {short(matrix)}, and no sparse matrix of scipy (post, pre): write "
            "scipy.sparse.coo_array(matrix)."
        )
    return matrix


def _holds_pairs_twice(matrix: Any) -> bool:
    """Whether a pair has several stored entries, which are then synapses beside each other."""
    m = matrix.tocoo()
    return len(np.unique(m.row.astype(np.int64) * m.shape[1] + m.col)) < m.nnz


def spaced(
    matrices: Mapping[str, sp.sparray | sp.spmatrix],
    *,
    chain: bool = False,
    recurrent: bool = False,
) -> Space:
    """The space of matrices (n_post, n_pre) alone, each between populations of its own.

    chain: each one's units feed the next. recurrent: one square matrix within one population.

    >>> import scipy.sparse as sp
    >>> spaced({"fc1": sp.eye_array(3, 4), "fc2": sp.eye_array(2, 3)}, chain=True).populations
    ... # doctest: +NORMALIZE_WHITESPACE
    (Population(name='input', size=4, slots=None, fan_in=None),
     Population(name='fc1', size=3, slots=None, fan_in=None),
     Population(name='fc2', size=2, slots=None, fan_in=None))
    """
    sizes: dict[str, int] = {}
    projections: list[Projection] = []
    before: str | None = None
    for name, matrix in matrices.items():
        m = _matrix(name, matrix)
        rows, columns = (int(n) for n in m.shape)
        source, target = (before or "input", name) if chain else (f"{name}.in", f"{name}.out")
        if recurrent:
            source = target = "units"
        if sizes.setdefault(source, columns) != columns or sizes.setdefault(target, rows) != rows:
            raise ValueError(
                f"{name!r} is a matrix of {rows} by {columns} (post, pre) and takes "
                f"{sizes[source]} units of {source!r}: these do not follow each other."
            )
        twice = _holds_pairs_twice(m)
        projections.append(Projection(name, source, target, "linear", (rows, columns), twice))
        before = name
    return Space([Population(name, size) for name, size in sizes.items()], projections)


# -- going out -----------------------------------------------------------------------------------


def to_dense(topology: Topology, i: int, values: Tensor) -> Tensor:
    """Projection ``i``'s values in its parameter's shape, 0 where there is no edge.

    Parallel synapses of one pair (multapses) add up.
    """
    p = topology.space.projections[i]
    dense = torch.zeros(p.size, dtype=values.dtype)
    return dense.index_add_(0, topology.local(i), values).view(p.shape)


def to_scipy(topology: Topology, i: int, values: np.ndarray | None) -> sp.csr_array:
    """Projection ``i`` as a scipy CSR array of its stored shape, kernels flattened.

    (n_post, n_pre) for linear and spiking projections, (out, in x taps) for convolutions,
    (n_pre, n_post) for embeddings. ``values`` None: ones. Multapses stay separate entries;
    explicit zeros stay.
    """
    import scipy.sparse as sp

    rows, columns = stored_shape(topology.space.projections[i])
    local = topology.local(i).numpy()
    pointers = np.searchsorted(local, np.arange(rows + 1, dtype=np.int64) * columns)
    values = np.ones(len(local)) if values is None else values
    return sp.csr_array((values, local % columns, pointers), shape=(rows, columns))


def to_torch_csr(topology: Topology, i: int, values: np.ndarray) -> Tensor:
    """Projection ``i`` as a torch sparse CSR tensor, laid out as :func:`to_scipy`."""
    m = to_scipy(topology, i, values)
    return torch.sparse_csr_tensor(
        torch.from_numpy(m.indptr.astype(np.int64)),
        torch.from_numpy(m.indices.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(m.data)),
        size=m.shape,
        check_invariants=False,
    )


def to_semi_structured(
    topology: Topology, i: int, values: Tensor, dtype: torch.dtype, device: str
) -> Tensor:
    """Projection ``i`` as torch's 2:4 tensor, by its stored shape with kernels flattened.

    Raises ValueError where more than two of four neighbouring inputs are joined, and without CUDA,
    where alone torch makes such tensors.
    """
    p = topology.space.projections[i]
    rows, columns = stored_shape(p)
    quads = topology.local(i) // 4
    if columns % 4 or bool((quads.bincount() > 2).any()):
        most = int(quads.bincount().max()) if len(quads) else 0
        raise ValueError(
            f"{p.name!r} is not 2:4: of {columns} inputs, {most} of four neighbours are joined. "
            "Train under rewire.NM(n=2, m=4), or write a dense state."
        )
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        raise ValueError(
            f"torch makes semi-structured tensors on CUDA alone, and {device!r} is none here: "
            "save a dense state, and call torch.sparse.to_sparse_semi_structured there."
        )
    dense = to_dense(topology, i, values).reshape(rows, columns)
    return torch.sparse.to_sparse_semi_structured(dense.to(device, dtype).contiguous())


def adjacency(topology: Topology, i: int) -> sp.csr_array:
    """Number of edges between each pair of units, shape (n_post, n_pre), duplicates summed.

    >>> from rewire.graph import Population
    >>> space = Space(
    ...     [Population("in", 1), Population("out", 2)],
    ...     [Projection("conv.weight", "in", "out", "conv", (2, 1, 3, 3))],
    ... )
    >>> adjacency(Topology(space, np.array([0, 1, 9])), 0).toarray().tolist()
    [[2], [1]]
    """
    import scipy.sparse as sp

    p, population = topology.space.projections[i], topology.space.population
    _, pre, post = (x[topology.rows(i)].numpy() for x in topology.located)
    shape = (population[p.target].size, population[p.source].size)
    return sp.coo_array((np.ones(len(pre), np.int64), (post, pre)), shape=shape).tocsr()


def description(space: Space) -> dict[str, Any]:
    """Populations, projections and what joins them (where that is known) as plain data, for files
    and reports."""
    wiring = {} if space.wiring is None else {"wiring": space.wiring.plain()}
    return {
        **wiring,
        "populations": [
            {"name": p.name, "size": p.size, "grid": p.grid, "slots": p.slots}
            for p in space.populations
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
            for p in space.projections
        ],
    }
