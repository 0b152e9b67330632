"""What measures of layers share: a projection as a bipartite graph, and shared neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .measure import Weights, matrix

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

#: Entries of one block of a product of matrices: bounds the memory, whatever the graph's size.
BLOCK = 1 << 19

#: Numbers that vary less than this, relative to the largest, vary by rounding alone.
RESOLUTION = 1e-12

#: Density from which a dense product is quicker than a sparse one, and the most entries of its
#: factors.
DENSE, ENTRIES = 0.05, 1 << 25


def projections(graph: Graph, weights: Weights = "none") -> Iterator[tuple[str, sp.csr_array]]:
    """Name and matrix between units, (n_post, n_pre), of each projection."""
    for i, p in enumerate(graph.projections):
        yield p.name, matrix(graph, i, weights)


def of_each(
    graph: Graph, number: Callable[[sp.csr_array], float], weights: Weights = "none"
) -> dict[str, float]:
    """A number of each projection's matrix, by the projection's name."""
    return {name: number(joined) for name, joined in projections(graph, weights)}


def of_each_side(
    graph: Graph,
    numbers: Callable[[np.ndarray], Mapping[str, float]],
    weights: Weights = "none",
) -> dict[str, float]:
    """Numbers of the degrees (or strengths) of each side: "NAME: pre WHAT", "NAME: post WHAT".

    Degrees count joined units; strengths add weights up, as ``weights`` says.
    """
    out = {}
    for name, joined in projections(graph, weights):
        for side, axis in (("pre", 0), ("post", 1)):
            for what, number in numbers(joined.sum(axis=axis)).items():
                out[f"{name}: {side} {what}".rstrip()] = number
    return out


def product_blocks(
    left: sp.csr_array,
    right: sp.csr_array,
    *,
    upper: bool = False,
    dtype: type[np.floating] = np.float32,
) -> Iterator[tuple[int, int, np.ndarray | sp.csr_array]]:
    """``left @ right`` block by block: first row, first column, and the block, of the dtype.

    Counts of up to 2**24 are exact in float32. upper: columns before a block's first row may be
    left out, of a symmetric product.

    >>> import scipy.sparse as sp
    >>> a = sp.csr_array([[1.0, 1.0], [0.0, 1.0]])
    >>> [block.tolist() for _, _, block in product_blocks(a, a.T.tocsr())]
    [[[2.0, 1.0], [1.0, 1.0]]]
    """
    left, right = left.astype(dtype), right.astype(dtype)
    possible = [float(np.prod(m.shape)) for m in (left, right)]
    if not left.nnz or not right.nnz:
        return
    if left.nnz * right.nnz > DENSE**2 * np.prod(possible) and max(possible) <= ENTRIES:
        yield from _dense_blocks(left.toarray(), right.toarray(), upper)
        return
    terms = left @ np.diff(right.indptr).astype(np.float64)  # multiplications by row
    block = (np.cumsum(terms) // BLOCK).astype(np.int64)
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1), left.shape[0]]
    for lo, hi in zip(edges, edges[1:], strict=False):
        yield lo, 0, left[lo:hi] @ right


def _dense_blocks(
    left: np.ndarray, right: np.ndarray, upper: bool
) -> Iterator[tuple[int, int, np.ndarray]]:
    step = max(1, BLOCK // right.shape[1])
    for lo in range(0, len(left), step):
        first = lo if upper else 0
        yield lo, first, left[lo : lo + step] @ right[:, first:]


def sums_over_sharing(
    joined: sp.csr_array, number: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the units that share a neighbour with a unit, itself included, and how many.

    Both (n,), for the units of the rows' side; ``number(shared, k_u, k_v)`` is what is summed: of
    the number of shared neighbours and the two degrees.

    >>> import scipy.sparse as sp
    >>> joined = sp.csr_array([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    >>> sums, units = sums_over_sharing(joined, lambda shared, a, b: shared)
    >>> sums.tolist(), units.tolist()
    ([4.0, 5.0, 0.0], [2, 2, 0])
    """
    degree = joined.sum(axis=1).astype(np.float64)
    sums, units = np.zeros(len(degree)), np.zeros(len(degree), np.int64)
    for lo, _, block in product_blocks(joined, joined.T.tocsr()):
        rows = slice(lo, lo + block.shape[0])
        if isinstance(block, np.ndarray):
            sharing = block > 0
            with np.errstate(divide="ignore", invalid="ignore"):  # where nothing is shared
                values = number(block.astype(np.float64), degree[rows, None], degree)
            sums[rows] = np.where(sharing, values, 0).sum(axis=1)
            units[rows] = sharing.sum(axis=1)
        else:
            units[rows] = np.diff(block.indptr)
            shared = block.data.astype(np.float64)
            values = number(shared, degree[rows].repeat(units[rows]), degree[block.indices])
            which = np.arange(block.shape[0]).repeat(units[rows])
            sums[rows] = np.bincount(which, values, minlength=block.shape[0])
    return sums, units


def butterflies(joined: sp.csr_array) -> float:
    """Number of pairs of units of one side with pairs of the other that are joined all four.

    With c the numbers of shared neighbours of units u and v of one side, it is the sum of C(c, 2)
    over u < v, and so (sum of c^2 over all u, v - sum of k^2 over both sides + edges) / 4.

    >>> import scipy.sparse as sp
    >>> butterflies(sp.csr_array([[1, 1, 1], [1, 1, 1]]))
    3.0
    """
    pre, post = (joined.sum(axis=axis).astype(np.float64) for axis in (0, 1))
    through_pre, through_post = (pre**2).sum(), (post**2).sum()
    side = joined if through_pre <= through_post else joined.T.tocsr()  # the one of lower cost
    squares = 0.0
    for _, _, block in product_blocks(side, side.T.tocsr(), upper=True):
        if isinstance(block, np.ndarray):
            right = block[:, len(block) :]  # stands below the diagonal as well
            squares += _sum_of_squares(block) + _sum_of_squares(right)
        else:
            squares += _sum_of_squares(block.data)
    return float(squares - through_pre - through_post + joined.nnz) / 4


def _sum_of_squares(counts: np.ndarray) -> float:
    numbers = counts.astype(np.float64).ravel()
    return float(numbers @ numbers)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r, in [-1, 1]; nan where one of the two does not vary.

    >>> correlation(np.array([1, 2, 3]), np.array([2, 4, 6]))
    1.0
    """
    if any(len(z) < 2 or np.ptp(z) <= RESOLUTION * np.abs(z).max() for z in (x, y)):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), -1, 1))


def gini(x: np.ndarray) -> float:
    """Gini coefficient of numbers >= 0: mean absolute difference / (2 x mean); nan where all are 0.

    >>> gini(np.array([0, 0, 0, 4])), gini(np.array([1, 1]))
    (0.75, 0.0)
    """
    total, n = x.sum(), len(x)
    if not total:
        return float("nan")
    rank = 2 * np.arange(1, n + 1) - n - 1
    return max(0.0, float((rank * np.sort(x)).sum() / (n * total)))


def spread(x: np.ndarray) -> dict[str, float]:
    """Mean, largest and variance (of the population, not of a sample) of some numbers."""
    if not len(x):
        return dict.fromkeys(("mean", "max", "variance"), float("nan"))
    return {"mean": float(x.mean()), "max": float(x.max()), "variance": float(x.var())}
