"""Random rewiring: the control of rules that choose what they drop and grow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch

from ..graph import Edit, Graph
from ..rule import Budget, Rule, State, silences
from ..select.choose import groups, smallest
from ..select.grow import replace_at_random, sample_absent
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced
from ..when import AtSteps, Clock, Cosine, Every, Schedule, value
from .drop_grow import DropGrow
from .mest import MEST
from .rigl import RigL
from .set import SET

CHURNED = "it starts there, and leaves as many edges as the run that it follows"
Churn: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...]]  # step; dropped and grown by layer
REPLACING = (RigL, SET, MEST, DropGrow)  # int(fraction K) of each projection at each tick


@dataclass(frozen=True, kw_only=True)
class RandomRewiring(Rule):
    """A control: drop and grow as many synapses as another rule, chosen uniformly at random.

    In each projection int(fraction K) synapses are dropped, and as many are grown at positions that
    were absent before the tick (none of those just dropped), all uniformly; new weights and their
    moments are 0. A rule that is better than this control owes the difference to its choice of
    synapses, not to churn.

    fraction, when: those of the rule that is compared; the defaults are RigL's.
    skips: whether a tick takes the place of the optimiser's step, as RigL's does.
    churn: instead of ``fraction``, the measured churn of a run: (step, dropped, grown), the last
        two by projection.
    edges: the number of edges of each projection at the start of that run.

    ``RandomRewiring.beside(net)`` takes them from a session that has run: as many dropped and grown
    in each projection at each step, whatever its rules are. ``RandomRewiring.beside(rule)`` needs
    no run, for rules that replace ``rule.fraction`` of each projection at each tick (RigL, SET,
    MEST, DropGrow): that fraction is nominal, and a warning says so where the rule may do less
    (RigL and DropGrow grow again some of what they drop, SET rounds for each sign). In a projection
    more than half full the control of a rule drops no more than there are absent positions; that of
    a run takes those just dropped as well, where it has to.

    >>> import rewire
    >>> control = rewire.RandomRewiring.beside(rewire.MEST(fraction=0.3))
    >>> control.fraction, control.when == rewire.MEST().when, control.skips
    (0.3, True, False)
    """

    version: ClassVar[int] = 2
    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: rewiring at random, at matched churn"

    fraction: Replaced = Cosine(0.3)
    skips: bool = False
    when: Period = Every(100, stop=0.75)
    churn: tuple[Churn, ...] = ()
    edges: tuple[int, ...] = ()

    @classmethod
    def beside(cls, of: Any) -> RandomRewiring:
        """The control of a rule that replaces a fraction of each projection, or of a session's run.

        Raises ValueError for a rule whose churn only a run can tell, and for a run that cannot be
        followed: one that went back to earlier steps, or silenced edges.
        """
        if hasattr(of, "history"):
            return cls._of_run(of)
        fraction = vars(of).get("fraction")
        if not (isinstance(of, REPLACING) or type(of) is cls) or getattr(of, "soft", False):
            lack = (
                f"{of.name} has no fraction that it replaces at each tick"
                if not isinstance(fraction, int | float | Schedule)
                else f"{of.name}'s fraction does not say how many edges of each projection it "
                "drops and grows at which step"
            )
            raise ValueError(
                f"{lack}: run it, and give its session, RandomRewiring.beside(net); or "
                "RandomRewiring(fraction=, when=) yourself."
            )
        if isinstance(of, RigL | SET | DropGrow):
            warnings.warn(
                f"the control of {of.name} replaces its fraction at each tick, and {of.name} may "
                "exchange fewer edges (it grows some again that it drops, or rounds for each "
                "sign): run it, and give its session, RandomRewiring.beside(net), for its churn.",
                stacklevel=2,
            )
        return cls(fraction=of.fraction, when=of.when, skips=of.skips_step)

    @classmethod
    def _of_run(cls, net: Any) -> RandomRewiring:
        if any(r.round for r in net.history):
            raise ValueError("this run went back to earlier steps, which no control can follow.")
        if silent := [r.name for r in net.rules if silences(r)]:
            raise ValueError(f"{silent[0]} silences edges, and the log of a run holds none of it.")
        space = net.graph.space
        first = Graph(space, net.history.start).counts().numpy()
        counts, ticks = first.copy(), dict[int, tuple[np.ndarray, np.ndarray]]()
        for record in net.history:
            bounds = np.concatenate([[0], counts.cumsum()])
            dropped = np.histogram(record.drop, bounds)[0]
            grown = np.histogram(record.add, space.ends)[0]
            before = ticks.get(record.total, (0 * counts, 0 * counts))
            ticks[record.total] = before[0] + dropped, before[1] + grown
            counts = counts - dropped + grown
        churn = tuple(
            (step, tuple(d.tolist()), tuple(g.tolist())) for step, (d, g) in ticks.items()
        )
        skips = any(rule.skips_step for rule in net.rules)
        if skips and len(net.rules) > 1:
            raise ValueError(
                "one of these rules takes the place of the optimizer's step on its ticks, which "
                "one control of several rules cannot follow."
            )
        when = net.rules[0].when if skips else AtSteps(tuple(ticks))
        return cls(when=when, skips=skips, churn=churn, edges=tuple(first.tolist()))

    @property
    def skips_step(self) -> bool:  # type: ignore[override]
        return self.skips

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        """What a measured churn leaves is whatever that run left."""
        return Budget("reported", outcome=CHURNED) if self.churn else Budget()

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.churn and graph.counts().tolist() != list(self.edges):
            raise ValueError(
                f"this RandomRewiring follows a run that started with {list(self.edges)} edges, "
                f"and this one starts with {graph.counts().tolist()}: start from the same counts."
            )
        return Edit(), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        ranges = groups(graph, "layer")
        have = [hi - lo for lo, hi in ranges]
        # the first k of a random order are a uniform sample
        order = torch.from_numpy(rng.doubles(len(graph)))
        if not self.churn:
            fraction = value(self.fraction, clock)
            drop = smallest(order, [int(fraction * n) for n in have], ranges)
            return replace_at_random(graph, drop, rng, order), state
        none = [0] * len(have)
        dropped, grown = self._at.get(clock.total, (none, none))
        drop = smallest(order, dropped, ranges)
        # as many as in that run, which may have grown what it had just dropped
        room = [size - n for size, n in zip(graph.space.sizes, have, strict=True)]
        again = any(g > r for g, r in zip(grown, room, strict=True))
        return Edit(
            drop=drop, add=sample_absent(graph, grown, rng, without=drop, again=again)
        ), state

    @cached_property
    def _at(self) -> dict[int, tuple[Sequence[int], Sequence[int]]]:
        return {step: (dropped, grown) for step, dropped, grown in self.churn}
