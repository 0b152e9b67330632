"""A limit on synapses' age: turnover that asks nothing of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.grow import replace_at_random
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock, Every, When


@dataclass(frozen=True, kw_only=True)
class AgeLimit(Rule):
    """A control: synapses that reach a given age are replaced by as many random ones in their
    layer.

    Together with another rule (``[RigL(), AgeLimit(most=5000)]``) it bounds the age of synapses;
    alone it is a control whose churn is set by one number. Ages, in steps, are in the column
    ``age``.

    most: the largest age of a synapse. spread: initial synapses have ages drawn uniformly below
    ``most``, so that they are not all replaced at once; False: they have age 0.
    when: when ages are checked. At a check, synapses that are old enough are replaced, the oldest
    first, at most as many as there are absent positions: a full projection keeps all its synapses.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.AgeLimit(most=4, spread=False, when=rewire.every(1))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed  # all of them were born at the start
    (40, 40)
    """

    columns: ClassVar[dict[str, Any]] = {"age": 0.0}
    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "control: turnover by age alone"

    most: Annotated[int, Tunable(100, 10_000, log=True)] = 1000
    spread: bool = True
    when: When = Every(10)

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"AgeLimit.most is a number of steps from 1 up, got {self.most}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        # spread: as if the network had turned over for long, so that its ends are spread too
        age = torch.from_numpy(rng.doubles(len(graph))) * self.most * self.spread
        return Edit(set={"age": age.floor().to(graph["age"].dtype)}), {"looked": 0}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # the column holds ages at the last look: it is written where a rule acts, not at each step
        age = graph["age"] + (clock.total - state["looked"])
        drop = (age >= self.most).nonzero().squeeze(1)
        edit = replace_at_random(graph, drop, rng, -age)
        return Edit(set={"age": age}, drop=edit.drop, add=edit.add), {"looked": clock.total}
