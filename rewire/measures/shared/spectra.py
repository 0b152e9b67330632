"""Leading singular values of sparse matrices, the same ones each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

DENSE = 200  # up to this many rows or columns, all singular values are computed


def leading(matrix: sp.csr_array, k: int) -> np.ndarray:
    """The ``k`` largest singular values, falling, (k,); zeros where there are fewer.

    Connected components one by one: each is a block of its own, and a value that several of them
    share (1, of a normalised graph) is one that Lanczos iterations find but once.

    >>> import scipy.sparse as sp
    >>> leading(sp.csr_array([[3.0, 0.0], [0.0, 4.0]]), 3).tolist()
    [4.0, 3.0, 0.0]
    """
    values = np.zeros(k)
    for block in _components(matrix):
        values = np.sort(np.concatenate([values, _of_block(block, k)]))[::-1][:k]
    return values


def normalised(matrix: sp.csr_array) -> sp.csr_array:
    """D_post^-1/2 B D_pre^-1/2 of a non-negative matrix B, D its sums; the largest is then 1.

    >>> import scipy.sparse as sp
    >>> normalised(sp.csr_array([[1.0, 1.0], [0.0, 0.0]])).data.round(3).tolist()
    [0.707, 0.707]
    """
    import scipy.sparse as sp

    scales = []
    for axis in (1, 0):
        total = np.asarray(matrix.sum(axis=axis), np.float64)
        with np.errstate(divide="ignore"):
            scales.append(np.where(total > 0, 1 / np.sqrt(total), 0))
    return (sp.diags_array(scales[0]) @ matrix @ sp.diags_array(scales[1])).tocsr()


def _components(matrix: sp.csr_array) -> list[sp.csr_array]:
    """The blocks of a matrix that share neither rows nor columns, without rows of nothing."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    matrix = matrix.copy()
    matrix.eliminate_zeros()
    rows, columns = matrix.shape
    both = sp.block_array([[None, matrix], [matrix.T, None]]).tocsr()
    _, label = connected_components(both, directed=False)
    size = np.bincount(label[:rows])
    busy = np.unique(label[np.flatnonzero(np.diff(matrix.indptr))])
    if len(busy) == 1 and size[busy[0]] == rows:
        return [matrix]
    by_row, by_column = label[:rows].argsort(kind="stable"), label[rows:].argsort(kind="stable")
    matrix = matrix[by_row][:, by_column]
    row_ends = label[:rows][by_row], label[rows:][by_column]
    firsts, lasts = zip(
        *((ends.searchsorted(busy), ends.searchsorted(busy, "right")) for ends in row_ends),
        strict=True,
    )
    return [
        matrix[r:s, c:d]
        for r, s, c, d in zip(firsts[0], lasts[0], firsts[1], lasts[1], strict=True)
    ]


def _of_block(block: sp.csr_array, k: int) -> np.ndarray:
    from scipy.sparse.linalg import svds

    least = min(block.shape)
    if least == 1:
        return np.sqrt([(block.data.astype(np.float64) ** 2).sum()])
    if least <= DENSE or k >= least:
        return np.linalg.svd(block.toarray().astype(np.float64), compute_uv=False)[:k]
    start = np.random.default_rng(0).standard_normal(least)  # a fixed one: equal numbers each time
    return svds(block.astype(np.float64), k=k, v0=start, return_singular_vectors=False)
