"""Rules in one line: what to drop, what to grow, how much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, largest, smallest
from ..select.exchange import exchange
from ..select.grow import replace_at_random
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced
from ..when import Clock, Every, value

Drops = Callable[[Graph, Signals], Tensor]  # -> a score of each edge, (E,)
Grows = Callable[[Graph, Signals, Tensor], Tensor]  # absent keys (k,) -> a score of each, (k,)


@dataclass(frozen=True, kw_only=True)
class DropGrow(Rule):
    """At each tick, in each projection, drop the fraction of lowest score and grow as many of
    highest score: most rules at constant budget are an instance.

    >>> import rewire
    >>> rigl = rewire.DropGrow(drop="magnitude", grow="growth", fraction=0.3)
    >>> mine = rewire.DropGrow(
    ...     drop=lambda graph, signals: graph["weight"].abs() + signals.pair("growth", graph.keys),
    ...     grow="random", asks=("growth",), label="mine",
    ... )

    drop: "magnitude", "random", the name of a signal, or a function (graph, signals) -> scores of
        the edges, (E,); the lowest are dropped.
    grow: "random", at absent positions; the name of a signal, or a function (graph, signals, keys)
        -> scores of absent keys, (k,), called once for all of a projection; the highest are grown.
        A synapse that is dropped and grown in one tick keeps its value.
    fraction: of each projection's synapses: int(fraction x n) are replaced, under "random" at most
        as many as there are absent positions.
    asks: names of the signals that the functions read. skips: whether a tick takes the place of the
        optimiser's step. label: what messages and logs call it.
    """

    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "control: a rule made of two scores"

    drop: str | Drops = "magnitude"
    grow: str | Grows = "random"
    fraction: Replaced = 0.1
    asks: tuple[str, ...] = ()
    skips: bool = False
    label: str = ""
    when: Period = Every(100)

    @property
    def name(self) -> str:
        return self.label or type(self).__name__

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        own = ("magnitude", "random")
        named = {s for s in (self.drop, self.grow) if isinstance(s, str) and s not in own}
        return frozenset({*named, *self.asks})

    @property
    def skips_step(self) -> bool:  # type: ignore[override]
        return self.skips

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        return Rule.lives_under if isinstance(self.grow, str) else frozenset()

    def to_table(self) -> dict[str, Any]:
        for part in ("drop", "grow"):
            if not isinstance(getattr(self, part), str):
                raise ValueError(
                    f"{self.name}.{part} is a function, which no file can hold: write a rule with "
                    "a name of its own."
                )
        return super().to_table()

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # in each projection: the lowest drop scores go, as many of the highest grow scores come
        layers, fraction = groups(graph, "layer"), value(self.fraction, clock)
        k = [int(fraction * (hi - lo)) for lo, hi in layers]
        worth = self._worth(graph, signals, rng)
        drop = smallest(worth, k, layers, what=f"{self.name}'s drop score")
        if self.grow == "random":
            return replace_at_random(graph, drop, rng, worth), state
        return exchange(graph, drop, self._grown(graph, signals, k, drop)), state

    def _worth(self, graph: Graph, signals: Signals, rng: Stream) -> Tensor:
        if not isinstance(self.drop, str):
            return self.drop(graph, signals)
        if self.drop == "magnitude":
            return graph["weight"].abs()
        if self.drop == "random":
            return torch.from_numpy(rng.doubles(len(graph)))
        return signals.pair(self.drop, graph.keys)

    def _grown(self, graph: Graph, signals: Signals, k: list[int], drop: Tensor) -> Tensor:
        if isinstance(self.grow, str):
            return signals.largest(self.grow, k, without=drop)
        space, keys_of = graph.space, []
        for i, n in enumerate(k):
            # absent after the drop: one just dropped may come back
            staying = graph.local_without(i, drop.numpy())
            absent = np.delete(np.arange(space.sizes[i]), staying) + space.bounds[i]
            keys = torch.from_numpy(absent)
            best = largest(self.grow(graph, signals, keys), n, what=f"{self.name}'s grow score")
            keys_of.append(keys[best])
        return torch.cat(keys_of)
