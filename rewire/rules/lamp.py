"""Layer budgets by layer-adaptive magnitude (LAMP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..graph import Graph
from ..select.choose import counts_by, groups, largest
from ..signals import Signals
from .shared.layer_budget import LayerBudget
from .shared.magnitude import lamp_of

PAPER = """
@inproceedings{lee2021layer,
  title = {Layer-adaptive Sparsity for the Magnitude-based Pruning},
  author = {Lee, Jaeho and Park, Sejun and Mo, Sangwoo and Ahn, Sungsoo and Shin, Jinwoo},
  booktitle = {International Conference on Learning Representations},
  eprint = {2010.07611},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True)
class LAMP(LayerBudget):
    """Layer budgets by the LAMP score (Lee et al. 2021, arXiv:2010.07611, equation 4).

    A weight's score is w^2 over the sum of the squares in its layer that are no smaller; the scores
    of all layers are ranked together, and each layer keeps as many edges as it has among the
    highest. The largest weight of a layer scores 1, so that none is lost. With
    ``Magnitude(scope="layer", layers=LAMP())`` this is the paper's pruning, in one round, and
    ``scope="lamp"`` of `Magnitude`, `IMP`, `GMP`, `L1Shrinkage` and `ACDC` ranks by the same score
    at each cut; the paper's own, in rounds with training on, is
    ``IMP(scope="lamp", restore="nothing")``.

    Deviations:
    - None; ties are broken by key.

    >>> import torch, rewire
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rule = rewire.Magnitude(scope="layer", layers=rewire.LAMP())
    >>> net = rewire.attach(model, optimizer, rule, density=0.1)
    >>> net.edges, min(net.counts) > 0
    (23, True)
    """

    source: ClassVar[str] = "Lee et al. 2021, arXiv:2010.07611"
    bibtex: ClassVar[str] = PAPER

    def counts(self, graph: Graph, signals: Signals, total: int) -> list[int]:
        kept = largest(lamp_of(graph), total, what="the LAMP score")
        return counts_by(kept, groups(graph, "layer"))
