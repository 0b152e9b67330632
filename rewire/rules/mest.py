"""MEST: memory-economic sparse training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ..fields import NonNegative
from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..select.grow import replace_at_random, sample_absent, vacant
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Bound, Clock, Every, Linear, When, value

PAPER = """
@inproceedings{yuan2021mest,
  title = {{MEST}: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge},
  author = {Yuan, Geng and Ma, Xiaolong and Niu, Wei and Li, Zhengang and Kong, Zhenglun and Liu,
    Ning and Gong, Yifan and Zhan, Zheng and He, Chaoyang and Jin, Qing and Wang, Siyue and Qin,
    Minghai and Ren, Bin and Wang, Yanzhi and Liu, Sijia and Lin, Xue},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2110.14032},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True)
class SoftBound(Budget):
    """Above the starting number until a tick comes at which nothing is replaced."""

    def unpromised(self, rule: Any, span: int | None) -> str | None:
        if span is not None and isinstance(rule.when, Every):
            last = Clock(rule.when.last(span), span)
            if last.step and value(rule.fraction, last) < 1e-9:
                return None
        return (
            "under soft=True a training ends above it where the last tick still replaces synapses: "
            "let ticks go on until `fraction` is 0"
        )


@dataclass(frozen=True, kw_only=True)
class MEST(Rule):
    """Memory-economic sparse training (Yuan et al. 2021, arXiv:2110.14032).

    The score of a synapse is |w| + lam |dL/dw|. At each tick, after the optimiser's step, in each
    projection the synapses of lowest score are dropped and as many are grown at random (EM, elastic
    mutation).

    lam:      weight of the gradient. The authors' code has 0 as its default, which is magnitude.
    fraction: of a projection's synapses replaced, k = int(fraction K); falls to 0 at the end of
              ``when``, or at 75 % of the training if it has no end.
    soft:     the soft memory bound, EM&S. The network then trains with K + k synapses: a tick first
              drops those of lowest score down to K, then grows k, so that new synapses are compared
              with old ones after a period of training. The number of synapses rises by ``fraction``
              at the first tick and is K again once the fraction is 0, so ticks must continue until
              then.
    when:     the authors' period is 5 epochs.

    At most as many are grown as there are absent positions.

    Deviations:
    - A dropped synapse is not grown again in the same tick; the authors' code may do so.
    - The authors change ``fraction`` in steps, as a density of the layer (0.02 of all weights, then
      0.01, then 0); here it is a fraction of K.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.MEST(when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2, steps=4)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed > 0
    (40, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Yuan et al. 2021, arXiv:2110.14032"
    bibtex: ClassVar[str] = PAPER

    lam: Annotated[NonNegative, Tunable(1e-3, 1.0, log=True)] = 0.01
    fraction: Replaced = Linear(0.2)
    soft: bool = False
    when: Period = Every(100)

    @classmethod
    def _end(cls, pace: When) -> Bound:
        return 0.75 if getattr(pace, "stop", None) is None else pace.end

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        """K exactly, but under ``soft``, which no rule that changes K may stand beside."""
        return SoftBound("reported", starting=True) if self.soft else Budget()

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        """With a soft bound there are for a while more synapses than at the start."""
        return frozenset() if self.soft else Rule.lives_under

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(), {"edges": graph.counts().tolist()}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, ranges = value(self.fraction, clock), groups(graph, "layer")
        counts = state["edges"] if self.soft else [hi - lo for lo, hi in ranges]
        more = less = [int(fraction * n) for n in counts]
        if self.soft:  # drop first what was grown beyond K a tick ago: more are tried meanwhile
            less = [hi - lo - n for (lo, hi), n in zip(ranges, state["edges"], strict=True)]
        # importance |w| + lambda |dL/dw|; the least important go, as many come at random
        worth = graph["weight"].abs()
        if self.lam:
            worth = worth + self.lam * signals.pair("growth", graph.keys)
        drop = smallest(worth, less, ranges, what="MEST's |weight| + lam |gradient|")
        if not self.soft:
            return replace_at_random(graph, drop, rng, worth), state
        # at most half of the places beyond K, so that as many are vacant at the next tick
        places = zip(more, less, vacant(graph), strict=True)
        more = [min(k, room, (room + n) // 2) for k, n, room in places]
        grown = sample_absent(graph, more, rng, without=drop, again=False)
        return exchange(graph, drop, grown), state
