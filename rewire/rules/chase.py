"""Chase: channel-aware dynamic sparse training."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import Share
from ..graph import Edit, Graph
from ..graph.network import Network
from ..rule import Rule, State
from ..rule_budget import Budget
from ..select.choose import ranked_numbers, smallest
from ..select.exchange import exchange
from ..signals import Signals, top_absent
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Bound, Clock, Cosine, Every, value
from .shared.link_prediction import refuse_multapses

PAPER = """
@inproceedings{yin2023dynamic,
  title = {Dynamic Sparsity Is Channel-Level Sparsity Learner},
  author = {Yin, Lu and Li, Gen and Fang, Meng and Shen, Li and Huang, Tianjin and Wang, Zhangyang
    and Menkovski, Vlado and Ma, Xiaolong and Pechenizkiy, Mykola and Liu, Shiwei},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2305.19454},
  archiveprefix = {arXiv},
  year = {2023},
}
"""


@dataclass(frozen=True)
class WithChannels(Budget):
    """Keeps the number of edges, and brings the number of channels down by the rule's schedule."""

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        if not rule.channels:
            return None
        if span is None and any(isinstance(b, float) for b in (rule.until, rule.when.stop)):
            return "its schedule ends with the training, whose length is not known: pass steps="
        if span is not None and not rule.when.last(span, rule.until):
            return (
                f"it would never prune a channel in {span} steps: {rule.when} is not due before "
                "its end"
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Chase(Rule):
    """Channel-aware dynamic sparse training (Yin et al. 2023, arXiv:2305.19454): unstructured
    rewiring over all layers that also removes whole channels.

    At each tick, after the optimiser's step: (1) hidden units (channels) are removed until round(n
    r) of the n are gone, r = S_c (1 - (1 - t / T)^3), first those with the smallest unmasked mean
    magnitude, the mean of |w| over all possible synapses into a unit with absent ones counted as 0;
    all their synapses are dropped, and none is ever grown there again; (2) the ``fraction`` of
    smallest |w| is dropped, over all projections; (3) as many as (1) and (2) dropped are grown
    among the remaining units, where |dL/dw| is largest, over all projections. A synapse that is
    dropped and grown in one tick keeps its value and moments.

    channels: S_c, the share of hidden units that is gone at the end.
    least:    beta, the share of each population's units that is never removed.
    fraction: of all synapses replaced; the authors' cosine from .5.
    until:    T, the last tick not after this (their ImageNet runs: epoch 80 of 100).
    when:     the authors' periods are 1,000 steps and more, for channels up to eight times as many.

    A hidden unit has synapses into it in one layer and out of it in the next, also through a
    flattening; units that a sum of several layers makes (the end of a residual block) are not
    counted. A model other than an nn.Sequential of linear layers has to be traced, by ``example=``
    or ``probe=`` of `attach`. Units whose removal would leave too few possible synapses stay. Which
    units are gone is in the state ("gone", numbers of ``graph.network``).

    Deviations:
    - The soft memory bound, with which the authors' "1.5x" runs hold more synapses for a while, is
      left out.
    - Counts of channels are exact, where theirs are drawn to size within layers.
    - The gradient is that of the step just made. Every possible synapse is ranked: O(possible)
      memory during a tick.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rule = rewire.Chase(channels=0.4, when=rewire.every(2))
    >>> net = rewire.attach(model, optimizer, rule, density=0.2, steps=10)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     model(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, int(net.graph.mask(0).any(1).sum()) <= 6  # four units of ten are gone
    (46, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    budget: ClassVar[Budget] = WithChannels()
    scope: ClassVar[str] = "global"
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Yin et al. 2023, arXiv:2305.19454"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent synapses itself
    keeps_slots: ClassVar[bool] = False

    channels: Annotated[Share, Tunable(0.1, 0.7)] = 0.4
    least: Share = 0.2
    fraction: Replaced = Cosine(0.5)
    until: Bound = 0.8
    when: Period = Every(100)

    def __post_init__(self) -> None:
        if not isinstance(self.when, Every):
            raise ValueError(
                f"Chase prunes channels in equal periods: when must be every(n, first, stop), got "
                f"{self.when}."
            )
        if self.channels + self.least > 1:
            raise ValueError(
                f"Chase cannot take {self.channels:g} of the units away (channels) and leave "
                f"{self.least:g} of each population (least): together they are at most 1."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        refuse_multapses(graph, self.name)
        hidden = Channels(graph)
        if self.channels and not hidden.count:
            raise ValueError(
                "Chase takes units away that synapses both reach and leave, and none here is known "
                "to be one: pass example= or probe= to attach, or use channels=0."
            )
        evenly = hidden.weakest_evenly(self.channels)
        room = int(hidden.alive(evenly).sum())
        if room < len(graph):
            raise ValueError(
                f"Chase keeps {len(graph):,} edges, and without {self.channels:g} of the hidden "
                f"units only some {room:,} are possible: ask for a lower density or fewer channels."
            )
        return Edit(), {"gone": torch.empty(0, dtype=torch.int64)}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        size = graph["weight"].double().abs()
        ranked_numbers(size.numpy(), "Chase's |weight|")
        # (1) the channels of smallest unmasked mean magnitude
        hidden = Channels(graph)
        gone = self._taken(hidden, graph, size.numpy(), state["gone"].numpy(), clock)
        alive = hidden.alive(gone)
        stays = torch.from_numpy(alive[graph.array])
        # (2) the smallest |w| over all layers
        k = min(int(value(self.fraction, clock) * len(graph)), int(stays.sum()))
        rows = stays.nonzero().squeeze(1)
        stays[rows[smallest(size[rows], k, what="Chase's |weight|")]] = False
        drop = (~stays).nonzero().squeeze(1)
        # (3) as many where the gradient is largest, among channels that are left
        grow = self._grown(graph, signals, alive, drop)
        return exchange(graph, drop, grow), {**state, "gone": torch.from_numpy(gone)}

    def _taken(
        self, hidden: Channels, graph: Graph, size: np.ndarray, gone: np.ndarray, clock: Clock
    ) -> np.ndarray:
        """Numbers of the units that are gone after this tick, ascending."""
        assert isinstance(self.when, Every)
        last = self.when.last(clock.span, self.until)
        left = max(1 - clock.step / last, 0.0) if last else 1.0
        more = round(hidden.count * self.channels * (1 - left**3)) - len(gone)
        if more <= 0:
            return gone
        scores = hidden.unmasked_mean(graph, size)
        room = int(hidden.alive(gone).sum())
        for unit in sorted(set(hidden.units) - {*gone.tolist()}, key=lambda u: (scores[u], u)):
            if not more:
                break
            without = np.append(gone, unit)
            room_left = room - hidden.degrees[unit]
            if room_left < len(graph):  # a bound: synapses between two units count twice
                room_left = int(hidden.alive(without).sum())
            if room_left >= len(graph) and hidden.leaves(without, self.least):
                gone, room, more = without, room_left, more - 1
        return np.sort(gone)

    def _grown(self, graph: Graph, signals: Signals, alive: np.ndarray, drop: Tensor) -> Tensor:
        """As many keys as are dropped, of largest |gradient| over all projections, ascending."""
        if not len(drop):
            return torch.empty(0, dtype=torch.int64)
        taken = ~alive
        taken[np.delete(graph.array, drop.numpy())] = True
        closed = torch.from_numpy(np.flatnonzero(taken))
        return top_absent(signals.whole("growth"), closed, len(drop), "growth", "all layers")


class Channels:
    """Hidden units of a graph's network, and the possible synapses of each.

    units: their numbers in the network, by population. count: how many there are.
    degrees: possible synapses that reach or leave each unit of the network.
    """

    def __init__(self, graph: Graph):
        network, space = graph.network, graph.space
        owner = _owners(network, [p.target for p in space.projections])
        which, pre, post = space.locate(torch.arange(space.possible))
        source = torch.tensor([network.starts[p.source] for p in space.projections])
        target = torch.tensor([network.starts[p.target] for p in space.projections])
        self.pre = owner[(pre + source[which]).numpy()]  # of each possible synapse
        self.post = (post + target[which]).numpy()
        self.size = network.size
        ends = np.concatenate([self.pre, self.post])
        self.degrees = np.bincount(ends, minlength=self.size)
        both = np.intersect1d(self.pre, self.post)
        firsts = np.unique(list(network.starts.values()))
        of = firsts.searchsorted(both, "right")
        self.populations = [both[of == number] for number in np.unique(of)]
        self.units = [int(unit) for units in self.populations for unit in units]
        self.count = len(self.units)

    def alive(self, gone: np.ndarray) -> np.ndarray:
        """Which possible synapses neither reach nor leave a unit that is gone, (possible,) bool."""
        lost = np.zeros(self.size, bool)
        lost[gone] = True
        return ~(lost[self.pre] | lost[self.post])

    def leaves(self, gone: np.ndarray, least: float) -> bool:
        """Whether each population keeps at least this share of its units, and one."""
        return all(
            len(units) - np.isin(units, gone).sum() >= max(1, ceil(least * len(units)))
            for units in self.populations
        )

    def unmasked_mean(self, graph: Graph, size: np.ndarray) -> np.ndarray:
        """The mean of |w| over all possible synapses into each unit of the network."""
        total = np.bincount(self.post[graph.array], size, self.size)
        return total / np.maximum(np.bincount(self.post, minlength=self.size), 1)

    def weakest_evenly(self, share: float) -> np.ndarray:
        """As many units as this share of each population, whichever."""
        taken = [units[: round(share * len(units))] for units in self.populations]
        return np.concatenate([np.empty(0, np.int64), *taken])


def _owners(network: Network, targets: list[str]) -> np.ndarray:
    """For each unit of the network the one that it repeats: itself, or, where nothing reaches it
    but one link (as after a flattening), the one at the link's other end."""
    owner = np.arange(network.size)
    links = np.bincount(network.link_post, minlength=network.size)
    for name in targets:  # synapses reach these
        links[network.starts[name] : network.starts[name] + network.sizes[name]] = 0
    single = links[network.link_post] == 1
    owner[network.link_post[single]] = network.link_pre[single]
    while not np.array_equal(owner[owner], owner):
        owner = owner[owner]
    return owner
