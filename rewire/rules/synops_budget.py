"""A budget of synaptic operations: what a spiking network may cost in events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ..fields import Range
from ..graph import NOTHING, Edit, Graph
from ..rule import Budget, Rule, State
from ..select.choose import ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Clock, Every, Schedule, value

Order = Literal["per-operation", "magnitude"]


@dataclass(frozen=True, kw_only=True)
class SynOpsBudget(Rule):
    """A bound on the synaptic operations of an example, the events that cost time and energy on
    neuromorphic hardware (Merolla et al. 2014, doi:10.1126/science.1254642).

    A synaptic operation is a spike that a live synapse transmits: over the layers that the model
    names in ``takes_spikes``, the sum over synapses of the spikes of their presynaptic units, in
    all time steps (of a convolution: at every output position of the kernel's weight), as a mean
    over the examples of the probe. The first measurement is before step 0. If it exceeds ``most``,
    synapses are dropped in the order of ``by``, as many as necessary. Their number is found by
    bisection; at each step the spikes are measured anew, because dropped synapses also change the
    activity. Synapses that transmit no spike stay, and each projection keeps one that does. Between
    measurements weights change, and the operations with them.

    The rule only drops synapses. Together with a rule that rewires at a constant number of
    synapses, ``rule=[DeepR(), SynOpsBudget(most=2e4)]`` (this rule last), the other rule continues
    with the remaining number.

    most: the largest number of synaptic operations of an example, or a schedule: ``cubic(2e5, 2e4,
    stop=0.75)``.
    by: which synapses are dropped first: "per-operation", those of smallest |w| / operations, or
        "magnitude", those of smallest |w|. Ties are broken by the smaller key.
    when: when to measure; a measurement costs a pass over the probe, and one that drops synapses
    log2(synapses) passes.

    Shi et al. 2024 (https://openreview.net/forum?id=eoSeaK4QJo) prune weights and neurons to reduce
    synaptic operations; the bound, and the method to meet it, are not from that paper.

    Needs a probe, and a model with spikes: both torch worlds.

    >>> import torch, rewire
    >>> from rewire import models
    >>> model = models.build("spiking-net", generator=torch.Generator().manual_seed(0),
    ...                      input_shape=(6, 20), classes=3, hidden=[30], init="kaiming_normal")
    >>> events = (torch.rand(8, 6, 20, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    >>> probe = rewire.Probe([events], lambda model, x: model(x).sum())
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rule = rewire.SynOpsBudget(most=300)
    >>> net = rewire.attach(model, optimizer, rule, density=1.0, probe=probe)
    >>> (events.sum() * 30 / 8).item(), net.edges < net.graph.possible  # what fc1 alone would cost
    (1091.25, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"synaptic_operations"})
    budget: ClassVar[Budget] = Budget("cap")
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "control: a bound on synaptic operations beside any rule"

    most: Annotated[float | Schedule, Range(0, above=True)] | None = None
    by: Annotated[Order, Tunable(choices=("per-operation", "magnitude"))] = "per-operation"
    when: Period = Every(100)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.most is None:
            raise ValueError(
                f"{self.name} needs the synaptic operations that an example may cost: set most=, "
                "a number above 0, or a schedule of such."
            )
        return self._within(graph, signals, value(self.most, Clock(0, span=1))), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert self.most is not None
        return self._within(graph, signals, value(self.most, clock)), state

    def _within(self, graph: Graph, signals: Signals, most: float) -> Edit:
        """The edit that leaves ``most`` operations or fewer."""
        cost = operations(graph, signals)
        if within(float(cost.sum()), most):
            return NOTHING
        order = self._order(graph, cost)
        saved = cost[order].cumsum(0)
        # as many as would do if everybody went on to spike as before
        guess = int((saved < float(cost.sum()) - most).sum()) + 1
        few, enough = 0, len(order)  # the first leave too many operations, the second do not
        if not within(least := self._left(graph, signals, order), most):
            raise ValueError(
                f"{self.name} cannot come to {most:g} synaptic operations an example: with one "
                "synapse in each projection that carries spikes, and those that carry none, the "
                f"network makes {least:g}. Set a larger most."
            )
        while enough - few > 1:
            n = guess if few < guess < enough else (few + enough) // 2
            guess = 0
            if within(self._left(graph, signals, order[:n]), most):
                enough = n
            else:
                few = n
        return Edit(drop=order[:enough].sort().values)

    def _order(self, graph: Graph, cost: Tensor) -> Tensor:
        """Rows of the synapses that may go, the first to go first."""
        score = graph["weight"].abs().double()
        if self.by == "per-operation":
            score = score / cost
        score[cost == 0] = torch.inf
        ranked_numbers(score.numpy(), f"{self.name}'s score")
        order = torch.from_numpy(score.numpy().argsort(kind="stable"))
        order = order[: int((cost > 0).sum())]
        which = graph.space.which(graph.keys[order])
        stays = [int((which == i).nonzero()[-1]) for i in which.unique().tolist()]
        may = torch.ones(len(order), dtype=torch.bool)
        may[stays] = False
        return order[may]

    def _left(self, graph: Graph, signals: Signals, drop: Tensor) -> float:
        """Operations of an example without these synapses, everybody's spikes measured anew."""
        left = graph.apply(Edit(drop=drop.sort().values))
        return float(operations(left, signals.at(left)).sum())


def operations(graph: Graph, signals: Signals) -> Tensor:
    """Synaptic operations of each edge in an example, (E,) float64; 0 of silent ones."""
    cost = signals.pair("synaptic_operations", graph.keys)
    return cost * (graph["gain"] != 0) if "gain" in graph.columns else cost


def within(cost: float, most: float) -> bool:
    """Whether a sum of means is no larger, but for its rounding."""
    return cost <= most * (1 + 1e-12)
