"""FORCE: progressive skeletonisation with foresight connection sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor

from ..fields import Count
from ..graph import Edit, Graph
from ..signals import Signals, dense_signal
from ..streams import Stream
from ..tunable import Tunable
from .shared.prune_at_start import PruneAtStart

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{dejorge2021progressive,
  title = {Progressive Skeletonization: Trimming more fat from a network at initialization},
  author = {de Jorge, Pau and Sanyal, Amartya and Behl, Harkirat S. and Torr, Philip H. S. and
    Rogez, Gregory and Dokania, Puneet K.},
  booktitle = {International Conference on Learning Representations},
  eprint = {2006.09081},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True, kw_only=True)
class FORCE(PruneAtStart):
    """Foresight connection sensitivity: iterative pruning in which dropped synapses may return (de
    Jorge et al. 2021, arXiv:2006.09081; the objective is called FORCE in the paper, and this is its
    algorithm of the same name, ``prune_method=3`` of the authors' code).

    A synapse's saliency is |w dL/dw'|, with w its own initial weight, whether it is there or not,
    and dL/dw' the gradient of the probe's mean loss in the network of the round before, where
    absent weights are 0. After round k of n the exp((1 - k/n) log m + k/n log K) largest of all m
    synapses exist: one that was dropped early competes in each later round. ``SNIP(rounds=n)`` is
    the paper's iterative SNIP, in which dropped synapses do not return; with one round both are
    SNIP.

    rounds: the authors' 60.

    Deviations:
    - Each round reads the same batches of the probe; the authors draw new ones.
    - Counts are exact, also where saliencies are equal (their code keeps all of those).

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> net = rewire.attach(model, optimizer, rewire.FORCE(), density=0.1, probe=probe)
    >>> net.edges, net.graph.possible
    (23, 230)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"probe_gradient"})
    source: ClassVar[str] = "de Jorge et al. 2021, arXiv:2006.09081"
    bibtex: ClassVar[str] = PAPER

    rounds: Annotated[Count, Tunable(10, 300, log=True)] = 60

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        def sensitivity(left: Graph) -> Tensor:
            """|w dL/dw'| of every synapse of the whole graph, in the network that is left."""
            slope = signals.at(left).pair("probe_gradient", graph.keys)
            return (graph["weight"].to(slope) * slope).abs()

        return self.prune(graph, sensitivity, self.rounds, returning=True)


@dense_signal("probe_gradient", needs_probe=True)
@torch.no_grad()
def probe_gradient(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """dL/dw of the probe's mean loss, at absent synapses, whose weight is 0, as well."""
    with torch.enable_grad():
        gradients = world.probe_gradients()
    return world.numbers_at(keys, gradients)
