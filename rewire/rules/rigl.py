"""RigL: rigging the lottery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced
from ..when import Clock, Cosine, Every, value

PAPER = """
@inproceedings{evci2020rigging,
  title = {Rigging the Lottery: Making All Tickets Winners},
  author = {Evci, Utku and Gale, Trevor and Menick, Jacob and Castro, Pablo Samuel and Elsen,
    Erich},
  booktitle = {International Conference on Machine Learning},
  eprint = {1911.11134},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class RigL(Rule):
    """Drop small weights, grow where the loss gradient is large (Evci et al. 2020,
    arXiv:1911.11134, Algorithm 1).

    On its ticks the rule takes the place of the optimiser step: in each projection the ``fraction``
    of synapses of smallest |w| is dropped, and as many are grown where |dL/dw| is largest among all
    that were not kept. A synapse that is dropped and grown in one tick keeps its value and moments;
    the others start at weight 0 with moments 0.

    fraction: of a projection's synapses replaced; the paper's cosine, alpha / 2 (1 + cos(pi t /
        T_end)), falls to 0 where ``when`` stops.
    when: every 100 steps up to 75 % of the training.

    Existing synapses always rank above absent ones, so that a new synapse that is still 0 does not
    lose a tie.

    Deviations:
    - The first update is after ``when.n`` steps, not at step 0, when the magnitudes are those of
      the initialisation.
    - A skipped step counts as a step of the schedule; in the authors' code it does not.
    - Ties are broken by position; the authors add N(0, 1e-5) noise instead, by which an absent
      synapse may rank above an existing one of weight 0.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.RigL(fraction=0.25, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.dropped <= 10, net.history.formed == net.history.dropped
    (40, True, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    skips_step: ClassVar[bool] = True
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Evci et al. 2020, arXiv:1911.11134"
    bibtex: ClassVar[str] = PAPER

    fraction: Replaced = Cosine(0.3)
    when: Period = Every(100, stop=0.75)

    @classmethod
    def itop(cls, **fields: Any) -> RigL:
        """The settings of in-time over-parameterisation (Liu et al. 2021, arXiv:2102.02887).

        On CIFAR with batches of 128: 0.5 of the synapses replaced every 4,000 steps, falling as a
        cosine over the whole training; with ERK, ``distribution``'s default. How much of the
        network was explored: ``rewire.analysis.exploration``. The authors make the
        optimiser's step too where they rewire, and their cosine ends at 0.005. `rewire cite ITOP`.
        """
        return cls(**{"fraction": Cosine(0.5), "when": Every(4000), **fields})

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # k of layer l: f_decay(t) times its synapses
        fraction = value(self.fraction, clock)
        ranges = groups(graph, "layer")
        k = [int(fraction * (hi - lo)) for lo, hi in ranges]
        # I_active = ArgTopK(-|theta|, k)
        drop = smallest(graph["weight"], k, ranges, magnitude=True, what="RigL's |weight|")
        # I_grow = ArgTopK over all but theta \ I_active of |dL/dtheta|
        grow = signals.largest("growth", k, without=drop)
        return exchange(graph, drop, grow), state
