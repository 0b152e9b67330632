"""A rule that acts on some projections alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..graph import Birth, Edit, Graph, Space
from ..rule import Budget, Rule, State, silences
from ..rule_budget import Falling, budget_of
from ..signals import Signals
from ..streams import Stream
from ..when import Clock


@dataclass(frozen=True)
class OnPart(Budget):
    """The budget of a rule, of which a wrapper sees some projections."""

    inner: Budget = Budget()

    @property
    def at_start(self) -> bool:
        return self.inner.at_start

    @property
    def visits(self) -> bool:
        return self.inner.visits

    def at_last_rate(self, rule: Any) -> bool:
        return self.inner.at_last_rate(rule.rule)

    def starts_at(self, density: float) -> float:
        return self.inner.starts_at(density)

    def towards(self, rule: Any, densities: Sequence[float]) -> Any:
        aimed = replace(rule, rule=self.inner.towards(rule.rule, densities))
        falls = self.inner.visits or isinstance(self.inner, Falling)
        return replace(aimed, density=min(densities)) if falls else aimed

    def aimed(self, rule: Any, counts: Sequence[int]) -> Any:
        """The counts are those of all projections: which of them it sees, its start knows."""
        return replace(rule, counts=tuple(counts))

    def named(self, rule: Any) -> tuple[float, ...]:
        return self.inner.named(rule.rule)

    def unpromised(self, rule: Any, span: int | None) -> str | None:
        return self.inner.unpromised(rule.rule, span)

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        return self.inner.unsuited(rule.rule, span)


@dataclass(frozen=True, kw_only=True)
class On(Rule):
    """A rule on some of the projections: it sees them alone, with their counts and their signals.

    >>> import rewire
    >>> rewire.On(rule=rewire.RigL(), projections=("fc*",)).name
    'RigL on fc*'

    projections: patterns of their names, ``*`` allowed; ".weight" may be left out.

    Budgets hold in what it sees; what it does not see stays as it is, or is another rule's: beside
    one that prunes before training, whole, since that begins with every edge. Where units share
    slots over several projections it takes all of those, or is refused.
    """

    kind: ClassVar[str] = "composition"

    rule: Rule
    projections: tuple[str, ...]
    counts: tuple[int, ...] | None = None  # of all projections, for a rule that prunes at the start
    density: float | None = None  # of all projections, asked for beside a rule that falls to one

    def __post_init__(self) -> None:
        if silences(self.rule):
            raise ValueError(
                f"On: {self.rule.name} has silent edges, whose budget is that of all projections."
            )
        object.__setattr__(self, "when", self.rule.when)

    @property
    def name(self) -> str:
        return f"{self.rule.name} on {', '.join(self.projections)}"

    @property
    def versions(self) -> dict[str, int]:
        return self.rule.versions

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        budget = budget_of(self.rule)
        return OnPart(budget.kept, budget, starting=budget.starting)

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        """Caps count the synapses of all projections, of which it sees some."""
        return self.rule.lives_under & {"distance", "autapse"}

    keeps_slots = property(lambda self: getattr(self.rule, "keeps_slots", True))
    _pace = property(lambda self: self.rule._pace)  # type: ignore[assignment]
    needs = property(lambda self: self.rule.needs)  # type: ignore[assignment]
    columns = property(lambda self: self.rule.columns)  # type: ignore[assignment]
    timed = property(lambda self: self.rule.timed)  # type: ignore[assignment]
    skips_step = property(lambda self: self.rule.skips_step)  # type: ignore[assignment]
    saves = property(lambda self: self.rule.saves)  # type: ignore[assignment]
    source = property(lambda self: self.rule.source)  # type: ignore[assignment]
    bibtex = property(lambda self: self.rule.bibtex)  # type: ignore[assignment]

    def _seen(self, space: Space) -> tuple[int, ...]:
        visible = tuple(
            i
            for i, p in enumerate(space.projections)
            if any(fnmatchcase(p.name, t) or fnmatchcase(p.name, f"{t}.weight")
                   for t in self.projections)
        )  # fmt: skip
        if not visible:
            raise ValueError(
                f"{self.name}: no projection has such a name; there are "
                f"{', '.join(p.name for p in space.projections)}."
            )
        return visible

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        visible = self._seen(graph.space)
        whole = self.density is None and self.counts is None
        if not whole and len(visible) < len(graph.projections):
            raise ValueError(
                f"{self.name} prunes what it sees alone, and a density was asked for, which is of "
                "all projections: leave the density out and set to= of the rule itself, or name "
                "all projections."
            )
        for p in graph.populations:
            apart = {i in visible for i in graph.space.into[p.name]}
            if p.most is not None and len(apart) > 1:
                raise ValueError(
                    f"{self.name} sees some of the projections into {p.name!r}, whose units share "
                    "their slots over all of them: name them all."
                )
        rule = self.rule
        if self.counts is not None:
            rule = budget_of(rule).aimed(rule, [self.counts[i] for i in visible])
        part = _Part(graph, visible)
        edit, state = rule.start(part.graph, PartSignals(signals, part), rng)
        return part.widened(edit), state

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        part = _Part(graph, self._seen(graph.space))
        edit, state = self.rule.update(part.graph, PartSignals(signals, part), state, rng, clock)
        return part.widened(edit), state


class _Part:
    """Some projections of a graph as a graph of its own, and the way back."""

    def __init__(self, whole: Graph, visible: Sequence[int]):
        self.whole, self.visible = whole, list(visible)
        self.space = whole.space.only(tuple(visible))
        spans = [range(whole.bounds[i], whole.bounds[i + 1]) for i in visible]
        self.rows = torch.cat([torch.arange(s.start, s.stop) for s in spans])
        # what a key of the part lacks to be one of the whole, for each of its projections
        starts = [whole.space.bounds[i] for i in visible]
        self._shift = torch.tensor(starts) - self.space.offsets[:-1]

    @cached_property
    def graph(self) -> Graph:
        keys = self.narrow(self.whole.keys[self.rows])
        columns = {name: values[self.rows] for name, values in self.whole.columns.items()}
        births = {n: self._birth(b) for n, b in self.whole.births.items()}
        return Graph(self.space, keys, columns, births)

    def _birth(self, birth: Birth) -> Birth:
        if not callable(birth):
            return birth

        def of_part(keys: Tensor, **how: Any) -> Tensor:
            options = {n: self.widen(v) if isinstance(v, Tensor) else v for n, v in how.items()}
            return birth(self.widen(keys), **options)

        return of_part

    def widen(self, keys: Tensor) -> Tensor:
        """The keys of the whole that these of the part are."""
        return keys + self._shift[self.space.which(keys)]

    def narrow(self, keys: Tensor) -> Tensor:
        """The keys of the part that these of the whole are; they lie in it."""
        which = torch.from_numpy(
            np.searchsorted(self.visible, self.whole.space.which(keys).numpy())
        )
        return keys - self._shift[which]

    def widened(self, edit: Edit) -> Edit:
        """An edit of the part as one of the whole."""
        sets, rows = {}, self.rows.numpy()
        for name, values in edit.set.items():
            sets[name] = self.whole.numbers(name).copy()
            sets[name][rows] = values  # as the column's own type
        return Edit(
            rewind=edit.rewind,
            set=sets,
            drop=rows[edit.drop],
            add=self.widen(torch.from_numpy(edit.add)),
            birth=edit.birth,
            stop=edit.stop,
        )


class PartSignals(Signals):
    """The signals of a world as a rule on some of the projections sees them."""

    def __init__(self, whole: Signals, part: _Part):
        super().__init__(whole._world, part.graph)
        self._whole, self._part = whole, part

    def pair(self, name: str, keys: Tensor, **how: Any) -> Tensor:
        return self._whole.pair(name, self._part.widen(keys), **how)

    def whole(self, name: str) -> Tensor:
        """A pair signal at every possible synapse that the rule sees, (possible,)."""
        return self.pair(name, torch.arange(self._part.space.possible))

    def node(self, name: str, population: str) -> Tensor:
        return self._whole.node(name, population)

    def sample(self, name: str, populations: Sequence[str], u: Sequence[float]) -> list[int]:
        return self._whole.sample(name, populations, u)

    def lr(self, keys: Tensor | None = None) -> float | Tensor | None:
        return self._whole.lr(self._part.widen(self._part.graph.keys if keys is None else keys))

    def largest(
        self, name: str, k: int | Sequence[int], *, without: Tensor | None = None
    ) -> Tensor:
        from ..select.choose import largest

        part, graph = self._part, self._part.graph
        dropped = torch.zeros(len(graph), dtype=torch.bool)
        if without is not None:
            dropped[without] = True
        left = [n - int((~dropped[graph.rows(i)]).sum()) for i, n in enumerate(part.space.sizes)]
        part_counts = [min(k, n) for n in left] if isinstance(k, int) else list(k)
        counts = [0] * len(part.whole.projections)
        for i, n in zip(part.visible, part_counts, strict=True):
            counts[i] = n
        rows = None if without is None else part.rows[without]
        keys = self._whole.largest(name, counts, without=rows)
        if isinstance(k, int):  # over all that it sees: the best of each one's best
            keys = keys[largest(self._whole.pair(name, keys), k, what=name)]
        return part.narrow(keys)

    def at(self, graph: Graph) -> Signals:
        part = self._part
        others = torch.ones(len(part.whole), dtype=torch.bool)
        others[part.rows] = False
        keys = torch.cat([part.whole.keys[others], part.widen(graph.keys)]).sort().values
        whole = Graph(part.whole.space, keys, births=part.whole.births)
        if (
            "weight" in graph.columns and "weight" in part.whole.columns
        ):  # those of the rule's edges
            weight = part.whole["weight"].new_zeros(len(keys))
            weight[whole.find(part.whole.keys[others])[0]] = part.whole["weight"][others]
            weight[whole.find(part.widen(graph.keys))[0]] = graph["weight"]
            whole = whole.with_columns({"weight": weight})
        return PartSignals(self._whole.at(whole), _Part(whole, part.visible))
