"""Random regular graphs that are as good expanders as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..streams import Stream
from .regular import regular_cells
from .start import Block, StartingTopology

DENSE = 1024  # rows or columns up to which all singular values are computed


@dataclass(frozen=True)
class Ramanujan(StartingTopology):
    """:class:`Regular`, drawn again until its second singular value meets the Ramanujan bound

        sigma_2 <= sqrt(d_pre - 1) + sqrt(d_post - 1),

    d the mean degree of each side (Marcus, Spielman & Srivastava 2015,
    doi:10.4007/annals.2015.182.1.7; mean degrees where counts are not divisible, as Pal et al. 2022
    and Hoang et al. 2023 take them). A random regular graph meets it more often than not. Of a
    convolution each kernel position of an input channel is a unit of its own.

    tries: draws of each projection, after which it is refused.
    """

    kind: ClassVar[str] = "expander"
    source: ClassVar[str] = "Marcus et al. 2015, doi:10.4007/annals.2015.182.1.7"

    tries: int = 100

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"Ramanujan.tries must be at least 1, got {self.tries}.")

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        degrees = count / block.columns, count / block.rows
        if min(degrees) < 2:
            raise ValueError(
                f"ramanujan needs 2 edges at each unit, and {count} edges of {block.name!r} are "
                f"{degrees[0]:.3g} for each of its {block.columns} inputs and {degrees[1]:.3g} for "
                f"each of its {block.rows} outputs: raise the density, or start with 'regular'."
            )
        bound = sum(np.sqrt(d - 1) for d in degrees)
        least = np.inf
        for _ in range(self.tries):
            rows, columns = regular_cells(block, count, rng)
            second = second_singular_value(rows, columns, (block.rows, block.columns))
            if second <= bound:
                return rows, columns
            least = min(least, second)
        raise ValueError(
            f"ramanujan: none of {self.tries} random regular graphs of {count} edges of "
            f"{block.name!r} has its second singular value below {bound:.6g} (the least was "
            f"{least:.6g}): give Ramanujan(tries=) more, or start with 'regular'."
        )


def second_singular_value(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> float:
    """Of a 0/1 matrix with ones at these cells; 0 where it has only one row or column.

    >>> round(second_singular_value(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), (2, 3)), 6)
    1.0
    """
    import scipy.sparse as sp
    from scipy.sparse.linalg import svds

    if min(shape) < 2:
        return 0.0
    matrix = sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    if min(shape) <= DENSE:
        gram = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
        return float(np.sqrt(max(np.linalg.eigvalsh(gram.toarray())[-2], 0.0)))
    start = np.full(min(shape), 1.0) + np.arange(min(shape)) / min(shape)
    return float(np.sort(svds(matrix, 2, v0=start, return_singular_vectors=False))[0])
