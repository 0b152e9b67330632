"""Structured pruning: whole units, by any score of their synapses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..rule_budget import AtStart, R
from ..select.choose import ranked_numbers
from ..signals import Signals
from ..streams import Stream
from .shared.prune_at_start import PruneAtStart, Scope

PAPER = """
@inproceedings{li2017pruning,
  title = {Pruning Filters for Efficient ConvNets},
  author = {Li, Hao and Kadav, Asim and Durdanovic, Igor and Samet, Hanan and Graf, Hans Peter},
  booktitle = {International Conference on Learning Representations},
  eprint = {1608.08710},
  archiveprefix = {arXiv},
  year = {2017},
}
"""


@dataclass(frozen=True)
class WholeUnits(AtStart):
    """Cuts before step 0, to the most whole units that have no more edges than asked for."""

    def aimed(self, rule: R, counts: Sequence[int]) -> R:
        named: Any = rule
        if named.keep is not None:
            raise ValueError(
                f"{named.name} keeps {named.keep} of the units, and a density was asked for as "
                "well: leave one of them out."
            )
        return super().aimed(rule, counts)


@dataclass(frozen=True, kw_only=True)
class UnitPruning(PruneAtStart):
    """Drop whole units, those of smallest score, with all their synapses: structured pruning (Li et
    al. 2017, arXiv:1608.08710, section 3.1: filters by the sum of their |w|).

    Prunable units are those of populations that both receive and send: hidden units of a chain of
    layers, channels, recurrent units, hidden units of a block's feed-forward part, and the values
    of attention. A unit's score is the mean over its synapses (within a layer that ranks as the
    paper's sum does). Both its rows and its columns are dropped, so that a smaller dense layer
    computes the same. Each population keeps at least one unit.

    score: "weight", |w|, or the name of any signal of pairs, |signal|: "connection_sensitivity"
        (SNIP's), "fisher". times_weight: times |w|; with "input_norm" that is Wanda's score.
    of: the synapses over which the score of a unit is computed: "incoming" (the paper's),
    "outgoing" or "both".
    scope: "layer" prunes the same share of each population, "global" ranks all units together.
    keep: the fraction of units to keep, of each population or of all, rounded to an exact number.
        None: as many as the density asked for allows.

    Deviations:
    - Units are pruned once, without the paper's further training (continue in your own loop).
    - No layer is excluded because of its sensitivity (use ``On``).

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rewire.UnitPruning(keep=0.4))
    >>> net.counts, net.masks()["0.weight"].any(1).sum().item()  # four units of ten
    ([80, 12], 4)
    >>> net.masks()["0.weight"].any(1).equal(net.masks()["2.weight"].any(0))
    True
    """

    at_once: ClassVar[AtStart] = WholeUnits("cap")
    kind: ClassVar[str] = "after training"
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710"
    bibtex: ClassVar[str] = PAPER

    scope: Scope = "layer"
    score: str = "weight"
    times_weight: bool = False
    of: Literal["incoming", "outgoing", "both"] = "incoming"
    keep: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope == "row":
            raise ValueError(f"{self.name} drops whole rows: choose scope='layer' or 'global'.")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(f"{self.name} keeps a fraction in (0, 1], got keep={self.keep}.")
        if self.keep is not None and self.to is not None:
            raise ValueError(f"{self.name} takes keep= or to=, not both.")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.score == "weight" else frozenset({self.score})

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        units = Units(graph)
        units.check(self.name)
        scores = self._of_units(graph, signals, units)
        if self.keep is not None:
            order = units.weakest(scores, self.keep, self.scope)
            n = len(order)
        else:
            order = units.order(scores, self.scope)
            n = self._number_for(sum(self.counts(graph)), units.leaves_at(order), len(order))
        return Edit(drop=(units.leaves_at(order) < n).nonzero().squeeze(1))

    def check(self, graph: Graph, signals: Signals) -> None:
        if self.keep is None:
            super().check(graph, signals)
        Units(graph).check(self.name)

    def _of_units(self, graph: Graph, signals: Signals, units: Units) -> Tensor:
        """The mean score of the synapses of each unit, over all populations, float64."""
        scores = graph["weight"].abs().double()
        if self.score != "weight":
            scores = scores if self.times_weight else torch.ones_like(scores)
            scores = scores * signals.at(graph).pair(self.score, graph.keys).abs()
        ranked_numbers(scores.numpy(), f"{self.name}'s score")
        ends = {"incoming": [units.post], "outgoing": [units.pre]}.get(
            self.of, [units.post, units.pre]
        )
        total, edges = torch.zeros(units.count, dtype=torch.float64), torch.zeros(units.count)
        for unit in ends:
            total.index_add_(0, unit, scores)
            edges.index_add_(0, unit, torch.ones(len(unit)))
        return total / edges.clamp(min=1)

    def _number_for(self, most: int, leaves_at: Tensor, units: int) -> int:
        """How many units go, so that ``most`` edges are left or fewer."""
        lost = torch.bincount(leaves_at, minlength=units + 1)[:units].cumsum(0)
        left = torch.cat([torch.tensor([len(leaves_at)]), len(leaves_at) - lost])
        enough = (left <= most).nonzero()
        if not len(enough):
            raise ValueError(
                f"{self.name} cannot cut {len(leaves_at):,} edges to {most:,} by whole units: one "
                f"unit in each of the populations leaves {int(left[-1]):,}. Ask for a higher "
                "density."
            )
        return int(enough[0])


class Units:
    """The units of a graph, numbered over its populations, and the hidden ones among them.

    pre, post: the unit that each edge comes from and goes to, (E,).
    hidden: names of the populations whose units both receive and send.
    """

    def __init__(self, graph: Graph):
        populations = graph.populations
        sizes = torch.tensor([p.size for p in populations])
        first = dict(zip([p.name for p in populations], (sizes.cumsum(0) - sizes).tolist(),
                         strict=True))  # fmt: skip
        self.count = int(sizes.sum())
        which, pre, post = graph.locate()
        self.pre = pre + torch.tensor([first[p.source] for p in graph.projections])[which]
        self.post = post + torch.tensor([first[p.target] for p in graph.projections])[which]
        receive = {p.target for p in graph.projections}
        send = {p.source for p in graph.projections}
        self.hidden = {p.name: range(first[p.name], first[p.name] + p.size)
                       for p in populations if p.name in receive & send}  # fmt: skip

    def check(self, rule: str) -> None:
        """Raise ValueError where no unit can go."""
        if not self.hidden:
            raise ValueError(
                f"{rule} drops units that both receive and send, and no population here is known "
                "to do both: only layers of an nn.Sequential, or of a model that says fed_by, are "
                "known to follow each other."
            )

    def order(self, scores: Tensor, scope: str) -> list[int]:
        """Hidden units in the order in which they go, without the best of each population."""
        ranked = []
        for place, units in enumerate(self.hidden.values()):
            best_last = sorted(units, key=lambda u: (float(scores[u]), u))
            for rank, unit in enumerate(best_last[:-1], start=1):
                by = rank / len(units) if scope == "layer" else float(scores[unit])
                ranked.append((by, place, rank, unit))
        return [unit for *_, unit in sorted(ranked)]

    def leaves_at(self, order: Sequence[int]) -> Tensor:
        """The place in the order at which each edge loses a unit, (E,); len(order) for none."""
        place = torch.full((self.count,), len(order))
        place[torch.tensor(order, dtype=torch.int64)] = torch.arange(len(order))
        return torch.minimum(place[self.pre], place[self.post])

    def weakest(self, scores: Tensor, keep: float, scope: str) -> list[int]:
        """The units that go where this fraction is kept, of each population or of all."""
        sizes = [len(units) for units in self.hidden.values()]
        order = self.order(scores, scope)
        if scope == "global":
            return order[: sum(sizes) - max(len(sizes), round(keep * sum(sizes)))]
        losses = [n - max(1, round(keep * n)) for n in sizes]
        ranked = [[u for u in order if u in units] for units in self.hidden.values()]
        return [u for units, n in zip(ranked, losses, strict=True) for u in units[:n]]
