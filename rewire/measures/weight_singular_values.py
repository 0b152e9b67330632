"""The largest singular values of weight matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import Count
from .bipartite import projections
from .measure import Measure, Weights
from .shared.spectra import leading

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{martin2021implicit,
  title = {Implicit Self-Regularization in Deep Neural Networks: Evidence from Random Matrix
           Theory and Implications for Learning},
  author = {Martin, Charles H. and Mahoney, Michael W.},
  journal = {Journal of Machine Learning Research},
  volume = {22},
  eprint = {1810.01075},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True)
class WeightSingularValues(Measure):
    """The ``count`` largest singular values of each projection's matrix of weights, with sign.

        sigma_1 >= sigma_2 >= ... of W;  stable rank = sum of all sigma^2 / sigma_1^2

    Parts "NAME: 1", "NAME: 2", ... (0 where a matrix has no more) and "NAME: stable rank", NaN
    where all weights are 0 (Martin & Mahoney 2021, arXiv:1810.01075). The weights of parallel
    synapses (kernel positions, gates) add up.

    >>> from rewire.analysis.examples import sheets
    >>> round(WeightSingularValues(count=1).of(sheets())["ff: 1"], 3)
    1.0
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Martin & Mahoney 2021, arXiv:1810.01075"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "signed"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    count: Count = 5

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, weight in projections(graph, "signed"):
            values = leading(weight, max(self.count, 1))
            for k, value in enumerate(values[: self.count].tolist(), 1):
                out[f"{name}: {k}"] = value
            total = float((weight.data**2).sum())
            out[f"{name}: stable rank"] = total / values[0] ** 2 if total else float("nan")
        return out
