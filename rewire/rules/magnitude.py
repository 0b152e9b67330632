"""Magnitude pruning before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..graph import Edit, Graph
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from .shared.layer_budget import Layered
from .shared.magnitude import weakest
from .shared.prune_at_start import Scope

PAPER = """
@inproceedings{frankle2021pruning,
  title = {Pruning Neural Networks at Initialization: Why are We Missing the Mark?},
  author = {Frankle, Jonathan and Dziugaite, Gintare Karolina and Roy, Daniel M. and Carbin,
    Michael},
  booktitle = {International Conference on Learning Representations},
  eprint = {2009.08576},
  archiveprefix = {arXiv},
  year = {2021},
}
"""

SCOPES = Tunable(choices=("layer", "global", "lamp"))


@dataclass(frozen=True, kw_only=True)
class Magnitude(Layered):
    """Keep the largest |w| of the initial weights: the baseline that every other way of pruning at
    initialisation is compared with (Frankle et al. 2021, arXiv:2009.08576, section 3).

    It needs no data. To prune at the end of a training, use ``IMP.one_shot(density,
    restore="nothing")``; to prune a model that is trained already, use this rule.

    Under scope "global" a layer whose initial weights are small (a large fan-in) loses its edges
    first, and may lose all; under "lamp" all are ranked by their LAMP score, which gives the same
    edges as ``layers=LAMP()`` within layers. ``layers`` (`LAMP` or `OWL`) computes how many edges
    each layer gets.
    Deviations:
    - None; ties are broken by key.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rewire.Magnitude(), density=0.1)
    >>> net.edges, net.graph.possible
    (23, 230)
    """

    source: ClassVar[str] = "Frankle et al. 2021, arXiv:2009.08576"
    bibtex: ClassVar[str] = PAPER

    scope: Annotated[Literal[Scope, "lamp"], SCOPES] = "global"  # type: ignore[assignment]

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        counts = self.shared_out(graph, signals)
        if self.scope == "lamp":
            return Edit(drop=weakest(graph, [len(graph) - sum(counts)], "lamp", self.name))
        return self.prune(graph, lambda graph: graph["weight"].abs(), counts=counts)
