"""What a rule is, when it runs, and what it may observe."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from .when import Every, Schedule, When, from_table, to_table

if TYPE_CHECKING:
    from .graph import Birth, Edit, Graph
    from .signals import Signals
    from .streams import Stream

State = Mapping[str, Any]  # tensors and numbers by name
Budget = Literal["exact", "cap", "reported"]


class Clock(NamedTuple):
    """Where training stands.

    step:  training steps done in this round; a rewind sets it back.
    span:  steps in a round.
    round: rewinds so far.
    total: steps since the start; never goes back.
    dt:    seconds that one step stands for, where the world has a time of its own, else None.
    """

    step: int
    span: int
    round: int = 0
    total: int = 0
    dt: float | None = None


@dataclass(frozen=True)
class Plain:
    """Frozen dataclasses that the plain tables of experiment files are written from and read to."""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """One from plain values, as in an experiment file.

        Raises ValueError that lists every unknown field (with the nearest known one), every value
        of a wrong type, and what the rule itself refuses.
        """
        from pydantic import ConfigDict, TypeAdapter, ValidationError

        known = {f.name: f for f in fields(cls)}
        hints = typing.get_type_hints(cls)
        good, problems = {}, []
        for key, given in table.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                problems.append(
                    f"{cls.__name__} has no parameter {key!r}{hint}; it takes {', '.join(known)}."
                )
                continue
            try:
                if _is_schedule(hints[key]) and isinstance(given, str | dict):
                    given = from_table(given)
                elif (kind := _strategy(hints[key])) and isinstance(given, Mapping):
                    given = kind.from_table(given)
                elif hints[key] is When and isinstance(given, int):
                    given = from_table(given)
                adapter = TypeAdapter(hints[key], config=_config(hints[key], ConfigDict))
                good[key] = adapter.validate_python(given)
            except ValidationError as e:
                said = e.errors()[0]["msg"]
                problems.append(f"{cls.__name__}.{key} = {given!r}: {said}.")
            except ValueError as e:
                problems.append(f"{cls.__name__}.{key}: {e}")
        missing = [
            name for name, f in known.items()
            if name not in table and f.default is MISSING and f.default_factory is MISSING
        ]  # fmt: skip
        problems += [f"{cls.__name__}.{name} is missing: it has no default." for name in missing]
        if not problems:
            try:
                return cls(**good)
            except ValueError as e:
                problems.append(str(e))
        raise ValueError("\n".join(problems))

    def to_table(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain values."""
        out = {}
        for f in fields(self):
            here = getattr(self, f.name)
            default = f.default if f.default is not MISSING else None
            if f.default_factory is not MISSING:
                default = f.default_factory()
            if here != default:
                out[f.name] = _plain(here)
        return out


@dataclass(frozen=True)
class Strategy:
    """A part of a rule that can be exchanged: a frozen value, ``{kind = "Name", ...}`` in a file.

    A class of yours that derives from one that a rule's field takes can stand in that field.
    """

    @classmethod
    def from_table(cls, table: Any) -> Strategy:
        """The strategy that ``table`` describes, of this class or one derived from it.

        Raises ValueError, naming the kinds there are, for another.
        """
        known = {c.__name__: c for c in _derived(cls)}
        kind = table.get("kind") if isinstance(table, Mapping) else None
        if kind not in known:
            raise ValueError(
                f"{table!r} is none: write {{ kind = ..., ... }} with one of {', '.join(known)}."
            )
        rest = {k: v for k, v in table.items() if k != "kind"}
        taken = [f.name for f in fields(known[kind])]
        if unknown := sorted(set(rest) - set(taken)):
            raise ValueError(f"{kind} has no {unknown[0]!r}; it takes {', '.join(taken)}.")
        return known[kind](**rest)

    def to_table(self) -> dict[str, Any]:
        """The plain form, from which :meth:`from_table` makes it again."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": type(self).__name__, **{k: v for k, v in held.items() if v is not None}}


def _derived(base: type[Strategy]) -> list[type[Strategy]]:
    """Classes derived from one, at whatever remove."""
    below = base.__subclasses__()
    return [c for each in below for c in (each, *_derived(each))]


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


def _is_schedule(hint: Any) -> bool:
    parts = typing.get_args(hint) or (hint,)
    return any(isinstance(p, type) and issubclass(p, When | Schedule) for p in parts)


def _strategy(hint: Any) -> type[Strategy] | None:
    parts = typing.get_args(hint) or (hint,)
    return next((p for p in parts if isinstance(p, type) and issubclass(p, Strategy)), None)


def _config(hint: Any, make: Any) -> Any:
    """pydantic refuses a config for dataclasses, which bring their own."""
    return (
        None
        if isinstance(hint, type) and issubclass(hint, When | Schedule | Strategy)
        else make(arbitrary_types_allowed=True)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, When | Schedule):
        return to_table(value)
    if isinstance(value, Strategy):
        return value.to_table()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
