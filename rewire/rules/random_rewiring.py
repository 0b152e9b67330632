"""Random rewiring: the control of rules that choose what they drop and grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, smallest
from ..select.grow import sample_absent
from ..signals import Signals
from ..streams import Stream
from ..when import Clock, Cosine, Every, Fraction, Schedule, When, value


@dataclass(frozen=True, kw_only=True)
class RandomRewiring(Rule):
    """At each tick the same number of synapses as another rule's, but drawn uniformly.

    In each projection int(fraction K) synapses are dropped, and as many are grown at positions
    that were absent before the tick (none of those just dropped), all uniformly; new weights and
    their moments are 0. What a rule gains over this it gains by what it chooses, not by churn.

    fraction, when: those of the rule it is set beside; the defaults are RigL's.
    skips: whether a tick takes the place of the optimiser's step, as RigL's does.

    ``RandomRewiring.beside(rule)`` takes all three from a rule such as RigL() or SET().
    RigL may grow again what it drops, SET may draw it; then their own churn is lower than this.
    In a projection more than half full no more are dropped than there are absent positions. Where
    units have slots, or limits hold, those just dropped may be drawn again.

    >>> import rewire
    >>> control = rewire.RandomRewiring.beside(rewire.RigL(fraction=0.3))
    >>> control.fraction, control.when == rewire.RigL().when, control.skips
    (0.3, True, True)
    """

    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: rewiring at random, at matched churn"

    fraction: Fraction = Cosine(0.3, 0.75)
    skips: bool = False
    when: When = Every(100, stop=0.75)

    @classmethod
    def beside(cls, rule: Any) -> RandomRewiring:
        """The control of a rule that replaces ``rule.fraction`` of each projection."""
        fraction = vars(rule).get("fraction")
        if not isinstance(fraction, int | float | Schedule):
            raise ValueError(
                f"{rule.name} has no fraction that it replaces at each tick: give "
                "RandomRewiring(fraction=, when=) yourself."
            )
        return cls(fraction=fraction, when=rule.when, skips=rule.skips_step)

    @property
    def skips_step(self) -> bool:  # type: ignore[override]
        return self.skips

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, ranges = value(self.fraction, clock), groups(graph, "layer")
        # in a projection more than half full: no more than there are absent positions
        room = [size - (hi - lo) for size, (lo, hi) in zip(graph.space.sizes, ranges, strict=True)]
        k = [min(int(fraction * (hi - lo)), r) for (lo, hi), r in zip(ranges, room, strict=True)]
        # the first k of a random order are a uniform sample
        drop = smallest(torch.from_numpy(rng.doubles(len(graph))), k, ranges)
        freed = drop if graph.space.capped else None  # room for as many, the same among them
        return Edit(drop=drop, add=sample_absent(graph, k, rng, without=freed)), state
