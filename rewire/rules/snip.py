"""SNIP: single-shot network pruning, and its iterative form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..signals import Signals, dense_signal
from ..streams import Stream
from ..tunable import Tunable
from .shared.prune_at_start import PruneAtStart

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{lee2019snip,
  title = {{SNIP}: Single-shot Network Pruning based on Connection Sensitivity},
  author = {Lee, Namhoon and Ajanthan, Thalaiyasingam and Torr, Philip H. S.},
  booktitle = {International Conference on Learning Representations},
  eprint = {1810.02340},
  archiveprefix = {arXiv},
  year = {2019},
}
"""


@dataclass(frozen=True, kw_only=True)
class SNIP(PruneAtStart):
    """Keep the synapses to which the loss is most sensitive before training (Lee et al. 2019,
    arXiv:1810.02340, Algorithm 1).

    The sensitivity of a synapse is |dL/dc| = |w dL/dw| at c = 1, with c a factor on its weight and
    L the mean loss of the probe's batches (the paper: one batch of the training's size). It is the
    magnitude of the batch's gradient, not the mean of the examples' magnitudes.

    rounds: 1 is SNIP. More is iterative SNIP (de Jorge et al. 2021, arXiv:2006.09081): every round
        keeps the same fraction and ranks the remaining synapses anew; dropped ones do not return
        (in `FORCE` they may).

    Deviations:
    - Only the weights that may be sparse are ranked (the authors' code ranks biases too).
    - Scores are not divided by their sum, which does not change the ranking.
    - The model is scored as it is, in its own mode and with its own initial weights; the authors
      draw weights of a variance-scaling law.

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> net = rewire.attach(model, optimizer, rewire.SNIP(), density=0.1, probe=probe)
    >>> net.edges, net.graph.possible
    (23, 230)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"connection_sensitivity"})
    source: ClassVar[str] = "Lee et al. 2019, arXiv:1810.02340"
    bibtex: ClassVar[str] = PAPER

    rounds: Annotated[int, Tunable(1, 100, log=True)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise ValueError(f"SNIP prunes in one round or more, got rounds={self.rounds}.")

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        def sensitivity(left: Graph) -> Tensor:
            return signals.at(left).pair("connection_sensitivity", left.keys)

        return self.prune(graph, sensitivity, self.rounds)


@dense_signal("connection_sensitivity", needs_probe=True)
@torch.no_grad()
def connection_sensitivity(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """|w dL/dw| of the probe's mean loss; 0 at absent synapses."""
    with torch.enable_grad():
        gradients = world.probe_gradients()
    scores = [
        None if g is None else (w * g).abs()
        for w, g in zip(world.effective_weights(), gradients, strict=True)
    ]
    return world.numbers_at(keys, scores)
