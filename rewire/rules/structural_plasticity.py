"""Structural plasticity of topographic maps, on spiking and artificial networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..compiled import Ahead, Compiled
from ..fields import Count, Length, Positive
from ..graph import NOTHING, Edit, Graph, Space
from ..kernels.attempts import Triple
from ..rule import Budget, Rule, State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock, Every, When
from .shared.attempts import Attempts, Sheet, batches
from .shared.filling import Rows, filled, slots_of_units
from .shared.turnover import (
    SHEET,
    DistanceDependentFormation,
    Elimination,
    Formation,
    WeightDependentElimination,
    check_probabilities,
)

PAPER = """
@article{bogdan2018structural,
  title = {Structural Plasticity on the {SpiNNaker} Many-Core Neuromorphic System},
  author = {Bogdan, Petrut A. and Rowley, Andrew G. D. and Rhodes, Oliver and Furber, Steve B.},
  journal = {Frontiers in Neuroscience},
  volume = {12},
  pages = {434},
  doi = {10.3389/fnins.2018.00434},
  year = {2018},
}
"""
BLIND = ("uniform", "population")  # ways to draw partners that look at no signal
PARTNERS = ("spiked", *BLIND)  # those of the compiled form, in its order
NO_OUTCOME: tuple[Sequence[int], Sequence[Triple]] = ((), ())


@dataclass(frozen=True, kw_only=True)
class StructuralPlasticity(Rule):
    """Structural plasticity by formation and elimination (Bamford, Murray & Willshaw 2010;
    Bogdan, Rowley, Rhodes & Furber 2018, Frontiers in Neuroscience 12:434).

    Each attempt picks a postsynaptic unit and one of its slots, both uniformly. The synapse in a
    full slot is eliminated with probability ``p_elim_dep`` if it is depressed, else ``p_elim_pot``.
    For an empty slot a presynaptic partner is drawn, and a synapse is formed with probability

        p_form exp(-d^2 / (2 sigma_form^2)),

    d the distance of the two units' positions on the torus. The slot is chosen before the
    partner, so that feed-forward and lateral projections into one population compete for slots.

    attempts:  slots tried in a step, as a fraction of a population's slots. A tick of every(n)
               makes the attempts of n steps, one step after another, each on the result of the
               previous one, with the weights and activity of the tick; other schedules make those
               of one step.
    rate:      attempts per second on each whole target population (f_rew, 1e4 in the paper), in
               worlds with a time of their own; it replaces ``attempts``.
    slots:     s_max, slots of each unit (32). None takes those of the population; if it has none,
               the starting edges of the population's projections are divided evenly among its
               units, the remainder to random units, so that the number of slots equals that of
               starting edges.
    initial:   "uniform" fills every slot with a random partner at the start, "kernel" by the
               formation rule itself (the paper), "given" keeps the starting graph.
    partner:   "activity" draws in proportion to the units' recent activity, "spiked" among those
               that spiked in the last time step (the paper), "uniform" among all units,
               "population" a source population first, then one of its units (what sPyNNaker's
               random selection does: units of small populations are chosen more often).
    p_form, sigma_form: of feed-forward projections; p_form_lateral, sigma_form_lateral: of those
               within one population. Sigmas in sides of the sheet: 2.5 and 1 of the model's 16.
    p_elim_dep, p_elim_pot: 0.0245 and 1.36e-4 for each attempt.
    threshold: weight below which a synapse is depressed (half of g_max in the paper); None: half
               of its projection's mean |weight|.
    birth:     weight of a new synapse: g_max = 0.2 in the paper; 0 leaves it to the world, which
               starts new synapses at 0 unless it says otherwise.

    Deviations:
    - On an artificial network (the defaults) "recently active" is the standard deviation of a
      unit's value over the last batch; depressed means weak in magnitude, as weights have both
      signs; units without a position (outputs) form synapses with p_form at every distance.
    - If the partner is connected already no synapse is formed, unless multapses are allowed. A slot
      is tried at most once per step.
    - On SpiNNaker the memory of a core bounds the row of a presynaptic unit in a projection, and no
      synapse forms in a full row. Here rows are unbounded, unless ``limits=[FanOut(most=...)]``
      bounds them, over all projections.

    The number of synapses stays at or below the slots. ``StructuralPlasticity.bogdan()`` is the
    published model.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.StructuralPlasticity(
    ...     attempts=1.0, slots=4, partner="uniform", p_elim_dep=0.5, p_elim_pot=0.5
    ... )
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges <= 40, net.history.dropped > 0  # 4 slots each of 10 units
    (True, True)
    """

    budget: ClassVar[Budget] = Budget("cap")
    kind: ClassVar[str] = "neuromorphic"
    lives_under: ClassVar[frozenset[str]] = frozenset({"fan_in", "fan_out", "distance", "autapse"})
    source: ClassVar[str] = "Bogdan et al. 2018, doi:10.3389/fnins.2018.00434"
    bibtex: ClassVar[str] = PAPER

    attempts: Annotated[float, Tunable(1e-3, 0.2, log=True)] = 0.01
    rate: Positive | None = None
    slots: Count | None = None
    initial: Literal["uniform", "kernel", "given"] = "uniform"
    partner: str = "activity"
    p_form: float = 0.16
    sigma_form: Length = 2.5 / SHEET
    p_form_lateral: float = 1.0
    sigma_form_lateral: Length = 1.0 / SHEET
    p_elim_dep: Annotated[float, Tunable(1e-3, 0.5, log=True)] = 0.0245
    p_elim_pot: float = 1.36e-4
    threshold: float | None = None
    birth: float = 0.0
    formation: Formation | None = None
    elimination: Elimination | None = None
    when: When = Every(1)

    @classmethod
    def bogdan(cls, **fields: Any) -> StructuralPlasticity:
        """The published model: 32 slots, 10,000 attempts a second, g_max 0.2."""
        published = dict(rate=1e4, slots=32, initial="given", partner="spiked", threshold=0.1,
                         birth=0.2)  # fmt: skip
        return cls(**{**published, **fields})

    def __post_init__(self) -> None:
        check_probabilities(self, "p_form", "p_form_lateral", "p_elim_dep", "p_elim_pot")
        if not 0 < self.attempts <= 1:
            raise ValueError(f"attempts is a fraction of the slots, got {self.attempts}.")

    @property
    def version(self) -> int:  # type: ignore[override]
        """2 where a tick makes the attempts of several steps: it made fewer before."""
        return 2 if isinstance(self.when, Every) and self.when.n > 1 else 1

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.partner in BLIND else frozenset({self.partner})

    @cached_property
    def forms(self) -> Formation:
        """The strategy of formation."""
        return self.formation or DistanceDependentFormation(
            self.p_form, self.sigma_form, self.p_form_lateral, self.sigma_form_lateral
        )

    @cached_property
    def eliminates(self) -> Elimination:
        """The strategy of elimination."""
        return self.elimination or WeightDependentElimination(
            self.p_elim_dep, self.p_elim_pot, self.threshold
        )

    @property
    def timed(self) -> bool:  # type: ignore[override]
        return self.rate is not None

    @cached_property
    def _sheets_of(self) -> WeakKeyDictionary[Space, list[Sheet]]:
        return WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what is derived from them is derived again by a copy."""
        names = {f.name for f in fields(self)}
        return {name: value for name, value in self.__dict__.items() if name in names}

    def _sheets(self, space: Space) -> list[Sheet]:
        """One for each population that receives synapses; built once, read at every tick."""
        sheets = self._sheets_of.get(space)
        if sheets is None:
            sheets = self._sheets_of[space] = [
                Sheet(space, p.name, self.forms, self.eliminates) for p in space.receiving
            ]
        return sheets

    def compiled(self, space: Space) -> Compiled:
        others = []
        if self.when != Every(1):
            others.append(
                "StructuralPlasticity acts at every tick there, when=every(1): the period of ticks "
                "is Wiring's"
            )
        if self.partner not in PARTNERS:
            others.append(f"partner={self.partner!r} is not compiled, {', '.join(PARTNERS)} are")
        sheets = self._sheets(space)
        if any(sheet.law is None or sheet.by_weight is None for sheet in sheets):
            others.append(
                "formation is compiled as DistanceDependentFormation, and elimination as "
                "UniformElimination or as WeightDependentElimination with a threshold"
            )

        def settings(ahead: Ahead) -> list[Any]:
            drawn = batches(sheets, ahead, self._attempts)
            partner = PARTNERS.index(self.partner)
            out: list[Any] = [[partner, len(drawn)], np.array(ahead.newborn(self.birth))]
            return out + [array for batch in drawn for array in batch.settings(ahead)]

        def state(ahead: Ahead, arrays: list[np.ndarray]) -> State:
            drawn = batches(sheets, ahead, self._attempts)
            return {**ahead.state, **{b.sheet.tried: b.last(ahead) for b in drawn if b.counters}}

        return Compiled(settings, state, not_compiled=others)

    # -- the start ------------------------------------------------------------------------------

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        sheets, edit = self._sheets(graph.space), Edit()
        if self.initial != "given":  # else the starting graph stays as it is
            edit = self._filling(graph, signals, rng)
        after = graph.apply(edit)
        state = {sheet.slots: slots_of_units(after, sheet.name, self.slots) for sheet in sheets}
        return edit, state

    def _filling(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        """The edit after which every slot is full, with partners drawn as ``initial`` says."""
        keys, room = [], Rows(graph.space)
        for i, p in enumerate(graph.projections):
            # equally likely partners, or in proportion to the formation rule's probability
            chance = None
            if self.initial == "kernel":
                sheet = next(s for s in self._sheets(graph.space) if s.name == p.target)
                chance = partial(sheet.chances, sheet.into.index(i))
            keys.append(filled(graph, i, self.slots, chance, rng, room))
        partners = torch.cat(keys).sort().values
        row, exists = graph.find(partners)
        stays = torch.zeros(len(graph), dtype=torch.bool)
        stays[row[exists]] = True
        add = partners[~exists]
        birth = {"weight": signals.pair("weight", add)}
        return Edit(drop=(~stays).nonzero().squeeze(1), add=add, birth=birth)

    # -- a tick ---------------------------------------------------------------------------------

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        steps = self.when.n if isinstance(self.when, Every) else 1
        if steps == 1:
            return self._step(graph, signals, state, rng, clock)
        # the attempts of several steps: each meets what the one before left
        row = torch.arange(len(graph))
        later = graph.with_columns({"row": row}).with_birth("row", -1)
        for _ in range(steps):
            edit, state = self._step(later, signals, state, rng, clock)
            later = later if edit is NOTHING else later.apply(edit)
        lived = later["row"] >= 0
        gone = torch.ones(len(graph), dtype=torch.bool)
        gone[later["row"][lived]] = False
        if later.topology is graph.topology:
            return NOTHING, state
        return self._edit(gone.nonzero().squeeze(1).numpy(), later.array[~lived.numpy()]), state

    def _step(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        """The attempts of one step."""
        drop: list[int] = []
        add: list[int] = []
        after, expected = dict(state), partial(self._attempts, clock)
        for sheet in self._sheets(graph.space):
            # some slots of the population, each a unit's, are tried
            attempts = sheet.next_attempts(after, rng, expected)
            if attempts is None:
                continue
            # a full one is emptied, an empty one offered to a partner, each with its probability
            eliminated, formed = self._outcome(graph, signals, sheet, attempts)
            drop += eliminated
            for k, which, pre in formed:
                i, post = sheet.into[which], int(attempts.place[attempts.at, 0, k])
                tap = int(attempts.luck[attempts.at, 2, k] * graph.projections[i].taps)
                key = graph.topology.new_key(i, pre, post, tap)
                if key is not None and (key not in add or graph.space.multapses):
                    add.append(key)
        if add and graph.space.caps:  # none forms where its row is full
            room = Rows(graph.space, np.delete(graph.array, drop))
            add = [key for key in add if room.take(key)]
        if not drop and not add:
            return NOTHING, after
        return self._edit(np.array(sorted(drop), np.int64), np.array(sorted(add), np.int64)), after

    def _edit(self, drop: np.ndarray, add: np.ndarray) -> Edit:
        return Edit(drop=drop, add=add, birth={"weight": self.birth} if self.birth else {})

    def _attempts(self, clock: Clock, slots: int) -> float:
        """How many of a population's slots are tried in a step, on average."""
        if self.rate is None:
            return self.attempts * slots
        if clock.dt is None:
            raise ValueError(
                "StructuralPlasticity.rate is in attempts per second, and this world has no "
                "time of its own: set attempts, a fraction of the slots tried in each step."
            )
        return self.rate * clock.dt

    def _outcome(
        self, graph: Graph, signals: Signals, sheet: Sheet, attempts: Attempts
    ) -> tuple[Sequence[int], Sequence[Triple]]:
        """The rows that are eliminated, and (attempt, projection, presynaptic unit) of the attempts
        that form a synapse, the projection by its place among those into the population."""
        at, place, luck = attempts
        if sheet.by_weight is not None and self.partner not in BLIND:
            # in one pass, where weights can be read one by one and partners are drawn evenly
            weights = getattr(graph.lazy("weight"), "native", None)
            evenly = None if weights is None else signals.among(self.partner, sheet.sources)
            starts = graph.starts(sheet.name)
            if evenly is not None and starts is not None:
                outcome = sheet.native.attempt(
                    starts, place, luck, at, *evenly, weights, *sheet.by_weight
                )
                return outcome or NO_OUTCOME
        free, full = sheet.screen(graph, attempts)
        eliminated = self._eliminated(graph, sheet, attempts, full) if full else []
        if not free:
            return eliminated, ()
        choices = luck[at, 1, free].tolist()
        # one draw over the sources of all projections together: they compete for the slot
        if self.partner == "uniform":
            partners = [int(choice * sheet.ends[-1]) for choice in choices]
        elif self.partner == "population":
            partners = [sheet.by_population(choice) for choice in choices]
        else:
            partners = signals.sample(self.partner, sheet.sources, choices)
        return eliminated, sheet.accepted(attempts, free, partners)

    def _eliminated(
        self, graph: Graph, sheet: Sheet, attempts: Attempts, full: Sequence[Triple]
    ) -> list[int]:
        """The rows, of the attempts (attempt, projection, row) on full slots, that succeed."""
        luck, rows = attempts.luck[attempts.at, 0], [row for _, _, row in full]
        chances = self.eliminates.chances(graph, rows, [sheet.into[i] for _, i, _ in full])
        return [row for (k, _, row), chance in zip(full, chances, strict=True) if luck[k] < chance]
