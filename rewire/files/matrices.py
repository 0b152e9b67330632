"""Matrices as graphs: one adjacency matrix, or weights and masks by name; zeros are absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..graph import Graph, Population, Projection, Space
from .errors import GraphFileError
from .zips import array

Rows = Literal["pre", "post"]


def read(path: Path, rows: Rows = "pre", bipartite: bool | None = None) -> Graph:
    """The graph of an npy file's matrix: options as for `of_matrix`."""
    return of_matrix(array(path), rows, bipartite)


def write(graph: Graph, path: Path) -> None:
    """Write the signed adjacency matrix of all units, as `graph.network` numbers them."""
    from ..atomic import replacing

    size = graph.network.size
    if size > 20_000:
        raise ValueError(
            f"a dense matrix of {size} units takes {size**2 / 2**27:.0f} GiB: write npz."
        )
    weights = graph.numbers("weight").astype(np.float64) if "weight" in graph.columns else None
    whole = graph.network.adjacency(weights, links=False).toarray()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, whole, allow_pickle=False)


def of_matrix(matrix: Any, rows: Rows = "pre", bipartite: bool | None = None) -> Graph:
    """The graph of one matrix, dense or of scipy: zeros are absent, other values weights.

    rows: which side a row is of: "pre": entry (i, j) is an edge from i to j, as networkx, igraph
        and the connectome's toolboxes have it; "post": a layer's weight, as torch has it.
    bipartite: whether rows and columns are units of two populations; by default where the matrix
        is not square.

    >>> graph = of_matrix(np.array([[0, 2.0], [0, 0]]))
    >>> graph.to_networkx(weight="signed").edges[("units", 0), ("units", 1)]["weight"]
    2.0
    """
    import scipy.sparse as sp

    if rows not in ("pre", "post"):
        raise ValueError(f"rows is 'pre' or 'post', got {rows!r}.")
    if len(matrix.shape) != 2:
        raise GraphFileError(f"an adjacency matrix has two axes, this one {len(matrix.shape)}.")
    _check_numbers(matrix.data if sp.issparse(matrix) else matrix, "the matrix")
    sparse = sp.coo_array(matrix if rows == "post" else matrix.T)
    sparse.sum_duplicates()
    sparse.eliminate_zeros()
    if bipartite is None:
        bipartite = sparse.shape[0] != sparse.shape[1]
    return Graph.from_scipy({"edges": sparse.astype(_kind(sparse.dtype))}, recurrent=not bipartite)


def _check_numbers(values: np.ndarray, what: str) -> None:
    if values.dtype.kind not in "biuf":
        raise GraphFileError(f"{what} holds {values.dtype}, not numbers.")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise GraphFileError(f"{what} holds NaN: neither an edge nor none.")


def _kind(dtype: np.dtype) -> Any:
    return dtype if dtype in (np.float32, np.float64) else np.float64


def of_named(
    weights: Mapping[str, Any], chain: bool = False, groups: Mapping[str, int] | None = None
) -> Graph:
    """The graph of weights or masks by name, (n_post, n_pre, *kernel), whose zeros are absent.

    Pairs ``NAME_orig`` and ``NAME_mask``, as torch's prune leaves them, are one weight whose edges
    are the mask's. Arrays with one axis, biases, are passed over. Where every weight is boolean
    the graph has no weights. chain: each one's units feed the next, in the order of the file; by
    default each stands alone, for a file does not say how a model joins them: `Graph.of(model)`
    does. groups: of grouped convolutions, by name.

    >>> graph = of_named({"fc1": np.eye(2, 3), "fc2": np.array([[1.0, 0.0]])}, chain=True)
    >>> graph, graph.network.joined
    (Graph(3 of 8 synapses, density 0.375, columns ['weight']), True)
    """
    kept, masks = _pairs({name: np.asarray(value) for name, value in weights.items()})
    if not kept:
        raise GraphFileError("it holds no array with two axes or more, which a weight has.")
    sizes: dict[str, int] = {}
    projections: list[Projection] = []
    before = "input"
    for name, values in kept.items():
        _check_numbers(values, repr(name))
        part = (groups or {}).get(name, 1)
        stem = name.removesuffix(".weight")
        source, target = (before, stem) if chain else (f"{stem}.in", stem)
        pre, post = values.shape[1] * part, values.shape[0]
        if sizes.setdefault(source, pre) != pre or sizes.setdefault(target, post) != post:
            raise GraphFileError(
                f"{name!r} reads {pre} units, and {source!r} before it has {sizes[source]}: they "
                "are no chain. Read without chain=, or make the graph of the model (Graph.of)."
            )
        kind = "linear" if values.ndim == 2 else "conv"
        projections.append(Projection(name, source, target, kind, values.shape, groups=part))
        before = target
    space = Space([Population(name, size) for name, size in sizes.items()], projections)
    graph = Graph.from_masks(space, {n: torch.from_numpy(m) for n, m in masks.items()})
    if all(values.dtype == bool for values in kept.values()):
        return graph
    flat = [
        torch.from_numpy(values.astype(_kind(values.dtype)))[torch.from_numpy(masks[name])]
        for name, values in kept.items()
    ]
    return graph.with_columns({"weight": torch.cat(flat)})


def _pairs(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights by name, those of pruned pairs under their own, and which entries are edges."""
    kept, masks = {}, {}
    for name, values in arrays.items():
        if values.ndim < 2 or (name.endswith("_mask") and f"{name[:-5]}_orig" in arrays):
            continue
        mask = arrays.get(f"{name[:-5]}_mask") if name.endswith("_orig") else None
        if mask is not None and mask.shape != values.shape:
            raise GraphFileError(f"{name!r} and its mask have other shapes.")
        stem = name if mask is None else name[:-5]
        kept[stem], masks[stem] = values, (values != 0 if mask is None else mask != 0)
    return kept, masks
