"""What the rules that prune before the first step share: a budget, a ranking, rounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...budget import allot, counts_for
from ...graph import NOTHING, Edit, Graph
from ...rule import Budget, Rule, State
from ...rule_budget import AtStart, Falling
from ...select.choose import counts_by, groups, smallest
from ...select.rows import row_numbers
from ...signals import Signals
from ...streams import Stream
from ...when import AtEnd, Clock, Last, Never, When, never

Scope = Literal["global", "layer", "row"]
AT_END = Last(2)


@dataclass(frozen=True)
class AtTheEnd(Falling):
    """Ends at the density in the rule's field ``to``, by a cut at the step before the last."""

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        if span is not None and span < 3:
            return f"its last two steps move no weight, and there are {span}"
        return None


@dataclass(frozen=True, kw_only=True)
class PruneAtStart(Rule):
    """Base: drops the synapses of smallest score once, before step 0 or at the end of training.

    Where another rule acts beside it (``rule=[SNIP(), RigL()]``), that one goes on from what is
    left.

    scope: "global" ranks all projections together, and only the total is given; "layer" ranks
        within each projection, to the counts that ``distribution`` gives it; "row" within each
        unit's incoming weights (of a gate, where it has gates), which get even shares of the
        projection's count, one more for the first where it does not come out even.
    to: where no ``density`` is given to ``attach``: the density to end at (but for "global" spread
        as "erk"), or the edges of each projection.
    when: ``never`` cuts when the rule is attached; ``at_end``, which is kept as ``last(2)``, at the
        end of a training that is dense until then: the last two steps move no weight, the first of
        them cuts, and what is measured at the last is what is left.
    """

    at_once: ClassVar[Budget] = AtStart()  # its budget where it cuts when it is attached
    in_the_end: ClassVar[Budget] = AtTheEnd("cap")  # and at the end of training
    spread: ClassVar[str] = "erk"  # of a density in ``to`` over the projections
    kind: ClassVar[str] = "at initialisation"

    scope: Scope = "global"
    to: float | tuple[int, ...] | None = None
    when: When = never

    def __post_init__(self) -> None:
        if isinstance(self.to, int | float) and not 0 < self.to <= 1:
            raise ValueError(f"{self.name} cuts to a density in (0, 1], got to={self.to}.")
        if isinstance(self.when, AtEnd):
            object.__setattr__(self, "when", AT_END)
        if not isinstance(self.when, Never) and self.when != AT_END:
            raise ValueError(
                f"{self.name} cuts once, when it is attached (when=never) or at the end of the "
                f"training (when=at_end), got {self.when}."
            )
        if self.waits and isinstance(self.to, tuple):
            raise ValueError(f"{self.name} ends at a density, not at counts, got to={self.to}.")

    @property
    def waits(self) -> bool:
        """Whether it cuts at the end of the training."""
        return not isinstance(self.when, Never)

    @property
    def wide(self) -> bool:
        """Whether all projections are ranked together, and only the total is given."""
        return self.scope not in ("layer", "row")

    @property
    def skips_step(self) -> bool:  # type: ignore[override]
        return self.waits

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return self.in_the_end if self.waits else self.at_once

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if not self.waits:
            edit = self.cut(graph, signals, rng)
            warn_of_empty(self.name, graph, edit)
            return edit, {}
        self.check(graph, signals)
        return NOTHING, {"cut": 0}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        if state["cut"]:
            return NOTHING, state
        edit = self.cut(graph, signals, rng)
        warn_of_empty(self.name, graph, edit)
        return edit, {"cut": clock.step}

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        """The edit that leaves what the rule keeps."""
        raise NotImplementedError(f"{self.name} does not say what it keeps: write its cut().")

    def check(self, graph: Graph, signals: Signals) -> None:
        """Raise ValueError before step 0 for a cut that cannot be made at the end."""
        self.counts(graph)

    def prune(
        self,
        graph: Graph,
        score: Callable[[Graph], Tensor],
        rounds: int = 1,
        counts: Sequence[int] | None = None,
        *,
        returning: bool = False,
    ) -> Edit:
        """The edit that drops what scores least, in rounds that shrink the graph alike.

        score: (E,) of the edges of a graph; each round's is computed in what the one before left.
        counts: edges to keep of each projection, in the place of the rule's own.
        returning: every round ranks the edges of the whole graph, those dropped before as well;
            the score is of all of them then, in what the round before left.
        """
        # round i of n leaves first^(1 - i/n) last^(i/n) edges, ranked in what is left before it
        counts = self.counts(graph) if counts is None else counts
        first, last = _sizes(graph, self.scope), self._shares(graph, counts)
        smaller, left = graph, torch.arange(len(graph))
        for i in range(1, rounds + 1):
            pool = graph if returning else smaller
            have = _sizes(pool, self.scope)
            keep = [_after(*n, i / rounds) for n in zip(first, last, have, strict=True)]
            drop = [n - k for n, k in zip(have, keep, strict=True)]
            if any(drop):
                within = _groups(pool, self.scope)
                rows = smallest(score(smaller), drop, within, what=self._what)
                stays = torch.ones(len(pool), dtype=torch.bool)
                stays[rows] = False
                left = stays.nonzero().squeeze(1) if returning else left[stays]
                smaller = pool.apply(Edit(drop=rows))
        dropped = torch.ones(len(graph), dtype=torch.bool)
        dropped[left] = False
        return Edit(drop=dropped.nonzero().squeeze(1))

    @property
    def _what(self) -> str:
        return f"{self.name}'s score"

    def counts(self, graph: Graph) -> list[int]:
        """Edges to end at: one number where all are ranked together, else one a projection."""
        possible = graph.possible
        have = [len(graph)] if self.wide else graph.counts().tolist()
        if self.to is None:
            raise ValueError(
                f"{self.name} cuts to a density, and none was given: pass density= to attach, or "
                f"{self.name}(to=0.05)."
            )
        if isinstance(self.to, tuple):  # counts, such as ``aimed`` gives
            if len(self.to) != len(graph.projections):
                raise ValueError(
                    f"{self.name} was given the counts {list(self.to)} for "
                    f"{len(graph.projections)} projections; give one for each."
                )
            counts = list(self.to)
        elif self.wide:
            counts = [round(self.to * possible)]
        else:
            counts = counts_for(graph.space, self.to, self.spread)
        if self.wide:  # one ranking over all: only the total is kept
            counts = [sum(counts)]
        if self.waits:  # another rule may have dropped more already
            counts = [min(k, n) for k, n in zip(counts, have, strict=True)]
        if sum(counts) < 1 or any(k > n for k, n in zip(counts, have, strict=True)):
            raise ValueError(
                f"{self.name} cannot cut {have} edges to {counts} (scope {self.scope!r}, "
                f"{possible:,} possible): it keeps at least one, and adds none. Ask for another "
                "density."
            )
        return counts

    def _shares(self, graph: Graph, counts: Sequence[int]) -> list[int]:
        """Edges to end at of each group that is ranked: the counts, or those of their rows."""
        if self.scope != "row":
            return list(counts)
        have, firsts = _sizes(graph, "row"), row_numbers(graph)[1]
        return [
            share
            for count, lo, hi in zip(counts, firsts, firsts[1:], strict=False)
            for share in even(count, have[lo:hi])
        ]


def even(count: int, room: Sequence[int]) -> list[int]:
    """A count in even shares, one more for the first ones where it does not come out even; what
    one has no room for goes to the others.

    >>> even(8, [4, 4, 4]), even(8, [4, 1, 4])
    ([3, 3, 2], [4, 1, 3])
    """
    return allot(count, [1.0] * len(room), room)


def warn_of_empty(name: str, graph: Graph, edit: Edit) -> None:
    """Warn by name where a cut leaves a projection without an edge: nothing passes it any more."""
    lost = counts_by(torch.from_numpy(edit.drop).sort().values, groups(graph, "layer"))
    have = graph.counts().tolist()
    empty = [p.name for p, n, k in zip(graph.projections, have, lost, strict=True) if 0 < n == k]
    if empty:
        left = len(graph) - sum(lost)
        warnings.warn(
            f"{name} leaves no edge in {', '.join(map(repr, empty))}, of {left:,} in all: unless "
            "the model has a shortcut around such a layer nothing passes it. Ask for a higher "
            "density, for scope='layer', or leave the layer out.",
            stacklevel=2,
        )


def _groups(graph: Graph, scope: str) -> list[tuple[int, int]] | Tensor:
    return row_numbers(graph)[0] if scope == "row" else groups(graph, scope)


def _sizes(graph: Graph, scope: str) -> list[int]:
    """Edges of each group that is ranked by itself."""
    if scope == "row":
        numbers, firsts = row_numbers(graph)
        return torch.bincount(numbers, minlength=firsts[-1]).tolist()
    return [hi - lo for lo, hi in groups(graph, scope)]


def _after(first: int, last: int, have: int, part: float) -> int:
    """Edges after a ``part`` of the rounds: every round keeps the same fraction."""
    if part == 1:  # exact at the end, whatever rounding did before
        return last
    return max(last, min(have, round(max(first, 1) ** (1 - part) * max(last, 1) ** part)))
