"""What a rule is, and what it asks of a world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .rule_budget import Budget, Kept
from .strategy import Plain
from .when import Bound, Clock, Every, Schedule, When

if TYPE_CHECKING:
    from .graph import Birth, Edit, Graph
    from .signals import Signals
    from .streams import Stream

State = Mapping[str, Any]  # tensors and numbers by name
# What rules of earlier versions answered one by one, and their budget says at once.
BY_BUDGET = frozenset(
    {"towards", "aimed", "starts_at", "visits_densities", "prunes_at_start", "unsuited"}
)


@dataclass(frozen=True, kw_only=True)
class Rule(Plain):
    """A connectivity-update rule: hyper-parameters as fields, behaviour as two pure functions.

    Class attributes and properties that a rule may set:

    needs:      names of the signals it reads; checked against the world before step 0.
    columns:    per-edge state, name -> birth value (a number, or a function of keys and seed);
                it follows the edges through everybody's edits. ``gain`` multiplies the weight in
                the forward pass: an edge of gain 0 is silent, there but no part of a budget.
                Beside it ``slope``, d(weight x gain) / d weight, multiplies the step's gradients.
    trains:     of a rule with the column ``gain``, which edges the world's step moves: "all", the
                silent ones included (straight through their gain); "live", those of gain 0 keep
                weight and moments; "none"; or the name of a column, those where it is not 0.
    timed:      its rates are per second: it needs a world with a time of its own.
    skips_step: on this rule's ticks the whole optimiser step is left out, biases included.
    budget:     how many edges it leaves: "exact", "cap" or "reported", or a value of
                :mod:`rewire.rule_budget` that says more.
    saves:      training steps whose state must be kept for a rewind.
    lives_under: kinds of limits on who may connect that the rule keeps: all where it grows by
                ``sample_absent`` or ``Signals.largest`` alone, in each projection as many as it
                drops there, or over all of them together.
    keeps_slots: False where it may grow at units whose slots, a fixed number, are all in use; a
                rule that does not say so keeps them.

    A state's entry ``timesteps`` is how many time steps a model that has an attribute of that name
    simulates from then on, 0 its own number (`EarlyTime`).

    And for people, as of everything that has a table: ``kind``, ``source``, ``bibtex``.

    A number that changes over a round and has no ``stop`` of its own ends where ``when`` ends.

    >>> import rewire
    >>> rewire.RigL(when=rewire.every(100, stop=0.5)).fraction
    Cosine(start=0.3, stop=0.5)
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[Mapping[str, Any]] = {}
    trains: ClassVar[str] = "all"
    timed: ClassVar[bool] = False
    skips_step: ClassVar[bool] = False
    budget: ClassVar[Budget | Kept] = Budget()
    saves: ClassVar[frozenset[int]] = frozenset()
    lives_under: ClassVar[frozenset[str]] = frozenset(
        {"fan_in", "fan_out", "distance", "autapse", "memory"}
    )
    _writes_weights: ClassVar[bool] = False  # which worlds refuse whose synapses have none
    _paced_by: ClassVar[str] = "when"  # the field that says when the graph is edited
    kind: ClassVar[str] = "during training"

    when: When = Every(1)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if old := sorted(BY_BUDGET & vars(cls).keys()):
            raise TypeError(
                f"{cls.__name__} defines {', '.join(old)}, which no rule is asked any more: its "
                "budget says that, a value of rewire.rule_budget."
            )

    @property
    def versions(self) -> dict[str, int]:
        own, pace = super().versions, self._pace
        # once such a period was due after the last step of a round too
        other = isinstance(pace, Every) and pace.n > 1 and pace.stop is None
        usual = type(self).__dataclass_fields__[self._paced_by].default
        return {type(self).__name__: 2} if not own and other and pace != usual else own

    @property
    def _pace(self) -> When:
        return getattr(self, self._paced_by)

    @classmethod
    def _end(cls, pace: When) -> Bound:
        """Where numbers that change over a round end, for a rule that edits the graph so."""
        return pace.end

    def _complete(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if (ending := _ending(number, self._end(self._pace))) is not number:
                object.__setattr__(self, field.name, ending)

    def _default(self, field: Field[Any]) -> Any:
        default = super()._default(field)
        usual: Any = type(self).__dataclass_fields__[self._paced_by].default
        return _ending(default, self._end(usual))

    @property
    def parts(self) -> tuple[Rule, ...]:
        """The rules that act in a session, this one alone unless it is made of several."""
        return (self,)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        """The edit that puts ``graph`` in the form that the rule assumes, and its first state."""
        from .graph import Edit

        return Edit(), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        """One edit of ``graph`` and the next state; ``state`` itself is not changed."""
        raise NotImplementedError(f"{self.name} does not say what it does: write its update().")


def pace_of(rule: Rule) -> When:
    """When a rule edits the graph: its ``when``, but for rules that look at more steps than that.

    >>> import rewire
    >>> rewire.SNFS().when, pace_of(rewire.SNFS())
    (Every(n=1, first=None, stop=None), Every(n=100, first=None, stop=None))
    """
    return rule._pace


def _ending(number: Any, end: Bound) -> Any:
    """A number that changes over a round and names no stop, with this one; others as they are."""
    if isinstance(number, Schedule) and getattr(number, "stop", end) is None:
        return replace(number, stop=end)  # type: ignore[call-arg]
    return number


def silences(rule: Rule) -> bool:
    """Whether the rule has silent edges, which only some worlds can hold."""
    return "gain" in rule.columns


def births_of(rule: Rule, seed: int) -> dict[str, Birth]:
    """The birth values of the rule's columns with the run's seed filled in."""
    return {
        name: partial(birth, seed=seed) if callable(birth) else birth
        for name, birth in rule.columns.items()
    }
