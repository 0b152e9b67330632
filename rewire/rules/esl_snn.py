"""ESL-SNNs: evolutionary structure learning for spiking networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..select.grow import replace_at_random
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Clock, Every, value

PAPER = """
@inproceedings{shen2023eslsnns,
  title = {{ESL-SNNs}: An Evolutionary Structure Learning Strategy for Spiking Neural Networks},
  author = {Shen, Jiangrong and Xu, Qi and Liu, Jian K. and Wang, Yueming and Pan, Gang and Tang,
    Huajin},
  booktitle = {AAAI Conference on Artificial Intelligence},
  doi = {10.1609/aaai.v37i1.25079},
  eprint = {2306.03693},
  archiveprefix = {arXiv},
  year = {2023},
}
"""

Growth = Literal["random", "gradient"]


@dataclass(frozen=True, kw_only=True)
class ESLSNN(Rule):
    """Evolutionary structure learning, made for spiking networks (Shen et al. 2023,
    arXiv:2306.03693): an Erdős-Rényi random graph that is pruned and regrown every T_iter steps at
    a constant number of synapses.

    At each tick, after the optimiser's step, in each projection: ``fraction`` of its synapses, the
    smallest |w|, are pruned, and as many are grown at absent positions, at random or where |dL/dw|
    is largest. A pruned synapse is not grown in the same tick: a nearly full projection exchanges
    at most as many as it has absent positions.

    grow: "random" or "gradient", the framework's two rules of growth.
    when: T_iter.

    The paper's start is ``distribution="er"`` (by default `attach` takes "erk").

    Deviations:
    - Counts are exact, at the start too, where the paper draws each synapse by itself.
    - The defaults are not those of the paper.
    - The rule was written from memory and not checked against the paper's text or its authors'
      code.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.ESLSNN(when=rewire.every(2), grow="gradient")
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2, distribution="er")
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed  # two ticks, 12 synapses each
    (40, 24)
    """

    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Shen et al. 2023, arXiv:2306.03693"
    bibtex: ClassVar[str] = PAPER

    fraction: Replaced = 0.3
    grow: Annotated[Growth, Tunable(choices=("random", "gradient"))] = "random"
    when: Period = Every(100)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"growth"}) if self.grow == "gradient" else frozenset()

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, layers = value(self.fraction, clock), groups(graph, "layer")
        # no more than can come where none was
        k = [min(int(fraction * (hi - lo)), size - (hi - lo))
             for (lo, hi), size in zip(layers, graph.space.sizes, strict=True)]  # fmt: skip
        drop = smallest(graph["weight"], k, layers, magnitude=True, what="ESLSNN's |weight|")
        if self.grow == "random":
            return replace_at_random(graph, drop, rng, graph["weight"].abs()), state
        # what goes is not absent yet, but where its slots are needed
        room = drop if graph.space.capped else None
        return exchange(graph, drop, signals.largest("growth", k, without=room)), state
