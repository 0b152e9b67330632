"""What a rule is, when it runs, and what it may observe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .strategy import Plain
from .when import Clock, Every, When

if TYPE_CHECKING:
    from .graph import Birth, Edit, Graph
    from .signals import Signals
    from .streams import Stream

State = Mapping[str, Any]  # tensors and numbers by name
Budget = Literal["exact", "cap", "reported"]


@dataclass(frozen=True, kw_only=True)
class Rule(Plain):
    """A connectivity-update rule: hyper-parameters as fields, behaviour as two pure functions.

    Class attributes and properties that a rule may set:

    needs:      names of the signals it reads; checked against the world before step 0.
    columns:    per-edge state, name -> birth value (a number, or a function of keys and seed);
                it follows the edges through everybody's edits. ``gain`` multiplies the weight in
                the forward pass: an edge of gain 0 is silent, there but no part of a budget.
    trains:     of a rule with the column ``gain``, which edges the world's step moves: "all", the
                silent ones included (straight through their gain); "live", those of gain 0 keep
                weight and moments; "none"; or the name of a column, those where it is not 0.
    timed:      its rates are per second: it needs a world with a time of its own.
    skips_step: on this rule's ticks the whole optimiser step is left out, biases included.
    budget:     "exact" keeps the number of live edges (per projection, or over all where
                ``scope`` is "global"), "cap" stays at or below it, "reported" lets it float.
    saves:      training steps whose state must be kept for a rewind.
    visits_densities: one run visits several densities (IMP), from dense downwards.
    prunes_at_start: begins with every edge and cuts to its budget before step 0 (SNIP).
    branch:     not a rule of its own but a new start from a finished run's edges.
    lives_under: kinds of limits on who may connect that the rule keeps: all where it grows by
                ``sample_absent`` or ``Signals.largest`` alone, in each projection as many as it
                drops there, or over all of them together.
    source:     "Authors year, arXiv:NUMBER" (or doi:...), or "control: what it is for".
    bibtex:     the full BibTeX entry of that source, for `rewire cite`; without it, one is made
                of ``source``, with no title.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[Mapping[str, Any]] = {}
    trains: ClassVar[str] = "all"
    timed: ClassVar[bool] = False
    skips_step: ClassVar[bool] = False
    budget: ClassVar[Budget] = "exact"
    saves: ClassVar[frozenset[int]] = frozenset()
    visits_densities: ClassVar[bool] = False
    prunes_at_start: ClassVar[bool] = False
    branch: ClassVar[bool] = False
    lives_under: ClassVar[frozenset[str]] = frozenset({"fan_in", "fan_out", "distance", "memory"})
    kind: ClassVar[str] = "during training"
    source: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""

    when: When = Every(1)

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def silences(self) -> bool:
        """Whether the rule has silent edges, which only some worlds can hold."""
        return "gain" in self.columns

    @property
    def rewinds(self) -> bool:
        """Whether the rule asks for rewinds, which only a loop of ours can carry out."""
        return bool(self.saves)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        """The edit that puts ``graph`` in the form that the rule assumes, and its first state."""
        from .graph import Edit

        return Edit(), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        """One edit of ``graph`` and the next state; ``state`` itself is not changed."""
        raise NotImplementedError(f"{self.name} does not say what it does: write its update().")

    def births(self, seed: int) -> dict[str, Birth]:
        """The columns' birth values with the run's seed filled in."""
        return {
            name: partial(birth, seed=seed) if callable(birth) else birth
            for name, birth in self.columns.items()
        }

    def towards(self, densities: Sequence[float]) -> Rule:
        """The rule that ends at, or visits, these densities, where that is a rule's to say."""
        return self

    def aimed(self, counts: Sequence[int]) -> Rule:
        """The rule that leaves this many edges of each projection, where it prunes at the start."""
        return self

    def starts_at(self, density: float) -> float:
        """The density that a run asked for ``density`` begins with: another where a rule prunes."""
        return density

    def unsuited(self, span: int | None) -> str | None:
        """Why a training of ``span`` steps (None: not known) cannot serve this rule, or None."""
        return None
