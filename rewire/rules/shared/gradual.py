"""Densities that fall along a schedule while a network trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...budget import apportion
from ...graph import NOTHING, Edit, Graph
from ...rule import Budget, Rule, State
from ...rule_budget import Scheduled
from ...signals import Signals
from ...streams import Stream
from ...tunable import Period
from ...when import Bound, Clock, Every


@dataclass(frozen=True, kw_only=True)
class Gradual(Rule):
    """What rules share whose number of synapses falls along a cubic (Zhu & Gupta 2017, eq. 1).

    With K_i synapses at the start and K_f = round(to x possible) at the end, the j-th of n
    prunings leaves round(K_f + (K_i - K_f) (1 - j / n)^3): the paper's s_t, as counts.

    to:    the density to end at; filled in by ``density`` of ``attach`` and ``train``, and by an
           experiment's densities.
    until: the last pruning is the last tick not after this; None: the last tick of ``when``.
    """

    budget: ClassVar[Budget] = Scheduled("cap")

    to: float | None = None
    when: Period = Every(100, stop=0.75)
    until: Bound | None = None

    def __post_init__(self) -> None:
        if self.to is not None and not 0 < self.to <= 1:
            raise ValueError(f"{self.name} goes to a density in (0, 1], got {self.to}.")
        if not isinstance(self.when, Every):
            raise ValueError(
                f"{self.name} prunes in equal periods: when must be every(n, first, stop), got "
                f"{self.when}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.to is None:
            raise ValueError(f"{self.name} needs the density to end at: pass density=, or set to=.")
        counts, end = graph.counts().tolist(), round(self.to * graph.possible)
        if end < sum(map(bool, counts)):
            raise ValueError(
                f"{self.name} cannot end at density {self.to:g}, {end:,} of {graph.possible:,} "
                f"edges: each of {len(counts)} projections keeps at least one."
            )
        return Edit(), {"start": counts, "end": end}

    def edges(self, clock: Clock, state: State) -> int:
        """The number of synapses that the schedule asks for at this tick."""
        start, end = sum(state["start"]), state["end"]
        return round(end + (start - end) * self.to_go(clock))

    def live_counts(self, graph: Graph, state: State, clock: Clock, scope: str) -> list[int]:
        """How many edges are live after this tick: of each projection ("layer"), or of all."""
        return apart(state["start"], min(self.edges(clock, state), len(graph)), graph, scope)

    def to_go(self, clock: Clock) -> float:
        """What of the way from the first number to the last is to go after this tick."""
        assert isinstance(self.when, Every)
        # eq. 1 of Zhu & Gupta: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n Delta t))^3, as counts
        n = self.when.n
        begin = (n if self.when.first is None else self.when.first) - n  # the paper's t_0
        last = self.when.last(clock.span, self.until)
        return self.remaining(max(last - clock.step, 0) / max(last - begin, 1))

    def remaining(self, left: float) -> float:
        """What of the way is to go where a part ``left`` of the prunings is: the cubic."""
        return left**3


@dataclass(frozen=True, kw_only=True)
class Ranked(Gradual):
    """Base of those that start dense and drop what scores least until the cubic's count is left.

    scope: "global" ranks all projections together, "layer" gives every one the same density.
    """

    kind: ClassVar[str] = "during training, falling budget"

    scope: Literal["layer", "global"] = "global"

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        keep = self.edges(clock, state)
        if keep >= len(graph):  # another rule has dropped more already
            return NOTHING, state
        counts = graph.counts().tolist() if self.scope == "layer" else [len(graph)]
        left = apart(state["start"], keep, graph, self.scope)
        return self.prune(graph, signals, [n - k for n, k in zip(counts, left, strict=True)]), state

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        """The edit that drops ``k`` edges, of each projection or in all."""
        raise NotImplementedError


def apart(start: Sequence[int], keep: int, graph: Graph, scope: str) -> list[int]:
    """``keep`` edges over the projections as `level` has it, or in all for any other scope."""
    return level(start, keep, graph.counts().tolist()) if scope == "layer" else [keep]


def level(start: Sequence[int], keep: int, counts: Sequence[int]) -> list[int]:
    """``keep`` edges over the projections, one fraction of what each had at the start."""
    # empty projections take no part: every other keeps at least one edge
    some = [i for i, n in enumerate(counts) if n]
    left = apportion([start[i] for i in some], keep, [counts[i] for i in some])
    by_projection = dict(zip(some, left, strict=True))
    return [by_projection.get(i, 0) for i in range(len(counts))]
