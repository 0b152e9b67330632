"""Pruning of a network that learns by STDP: synapses that fall below a threshold are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ..fields import NonNegative, Range
from ..graph import NOTHING, Edit, Graph
from ..rule import Budget, Rule, State
from ..select.choose import largest, ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Clock, Every

PAPER = """
@article{rathi2019stdp,
  title = {{STDP}-based pruning of connections and weight quantization in spiking neural networks
    for energy-efficient recognition},
  author = {Rathi, Nitin and Panda, Priyadarshini and Roy, Kaushik},
  journal = {IEEE Transactions on Computer-Aided Design of Integrated Circuits and Systems},
  volume = {38},
  number = {4},
  pages = {668--677},
  doi = {10.1109/TCAD.2018.2819366},
  year = {2019},
}
"""
CUT = "it starts there, and its threshold decides"


@dataclass(frozen=True, kw_only=True)
class STDPPruning(Rule):
    """STDP-thresholded pruning (Rathi, Panda & Roy 2019, IEEE TCAD 38:668, section III).

    At intervals during training every synapse whose |weight| is below a threshold is removed:
    synapses that plasticity has depressed carry little information. Pruned synapses do not return;
    the others continue to learn. The number of synapses depends on the threshold, and is reported.

    threshold: a |weight|; with ``relative`` a fraction of the largest |weight| of the projection.
    to: a lower bound of the density: the strongest synapses, over all projections, are never pruned
    below it.
    when: the authors prune after each batch of training images.

    Deviations:
    - The paper's second step, the quantisation of the remaining weights, is not part of this rule.
    - Outside of spiking worlds weights have both signs, and |w| is compared with the threshold.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.STDPPruning(threshold=0.5, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=1.0)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> weight = net.graph["weight"].abs()
    >>> bool(weight.min() >= 0.5 * weight.max()), net.history.formed
    (True, 0)
    """

    budget: ClassVar[Budget] = Budget("reported", outcome=CUT)
    version: ClassVar[int] = 2
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Rathi et al. 2019, doi:10.1109/TCAD.2018.2819366"
    bibtex: ClassVar[str] = PAPER

    threshold: Annotated[NonNegative, Tunable(0.01, 0.5, log=True)] = 0.2
    relative: bool = True
    to: Annotated[float, Range(0, 1, below=True)] = 0.0
    when: Period = Every(100)

    def __post_init__(self) -> None:
        if self.relative and self.threshold > 1:
            raise ValueError(
                "STDPPruning.threshold is with relative=True a fraction of the largest |weight|, "
                f"got {self.threshold}."
            )

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        strength = graph["weight"].abs()
        ranked_numbers(strength.numpy(), "STDPPruning's |weight|")
        # prune_th: one |weight| for all, or a fraction of each projection's largest
        weak = strength < self.threshold
        if self.relative:
            for i in range(len(graph.projections)):
                rows = graph.rows(i)
                if rows.stop > rows.start:
                    weak[rows] = strength[rows] < self.threshold * strength[rows].max()
        # not below the floor: then the strongest stay instead
        least = round(self.to * graph.possible)
        if len(graph) - int(weak.sum()) < least:
            weak = torch.ones(len(graph), dtype=torch.bool)
            weak[largest(strength, min(least, len(graph)), what="|weight|")] = False
        if not weak.any():
            return NOTHING, state
        return Edit(drop=weak.nonzero().squeeze(1)), state
