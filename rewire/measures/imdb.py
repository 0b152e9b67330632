"""How far the regular parts of projections are from the best expanders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import of_each
from .measure import Measure
from .ramanujan_bound import difference_of_bound, mean_degrees

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

LEAST = 3  # both mean degrees of a part: as in the authors' code

PAPER = r"""
@inproceedings{hoang2023revisiting,
  title = {Revisiting Pruning at Initialization Through the Lens of {R}amanujan Graph},
  author = {Hoang, Duc and Liu, Shiwei and Marculescu, Radu and Wang, Zhangyang},
  booktitle = {International Conference on Learning Representations},
  url = {https://openreview.net/forum?id=uVcDssQff_},
  year = {2023},
}
"""


@dataclass(frozen=True)
class IMDB(Measure):
    """The iterative mean difference of bound of each projection.

        mean over the parts K_d of sqrt(d - 1) + sqrt(d_post(K_d) - 1) - sigma_2(K_d)

    K_d: the presynaptic units of out-degree d, with all their edges. As in the authors' code, parts
    with a mean degree below 3 on either side (over units with an edge), and so those of fewer than
    3 units, are left out (Hoang et al. 2023, openreview:uVcDssQff_, "Revisiting pruning at
    initialization through the lens of Ramanujan graph"). NaN where no part is left. Pairs count
    once; the authors take a convolution's kernel positions for units.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> populations = [Population("a", 4), Population("b", 4)]
    >>> full = Graph.full(Space(populations, [Projection("p", "a", "b", "linear", (4, 4))]))
    >>> round(IMDB().of(full)["p"], 3)  # sqrt(3) + sqrt(3) - 0
    3.464
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Hoang et al. 2023, openreview:uVcDssQff_"
    bibtex: ClassVar[str] = PAPER

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, _mean_difference)


def _mean_difference(joined: sp.csr_array) -> float:
    columns = joined.tocsc()
    degree = np.diff(columns.indptr)
    differences = []
    for d in np.unique(degree[degree >= LEAST]).tolist():
        part = columns[:, np.flatnonzero(degree == d)].tocsr()
        if min(mean_degrees(part)) >= LEAST:
            differences.append(difference_of_bound(part))
    return float(np.mean(differences)) if differences else float("nan")
