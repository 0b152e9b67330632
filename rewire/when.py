"""When a rule is due, and numbers that change over training: frozen values that print and hash.

Steps count from 1 within a round. A bound may be an integer (a step) or a float in (0, 1] (that
fraction of the round).

One meaning for all rules: ``every(n)`` is due at n, 2 n, ... between the steps of a round, and not
after its last one, where nothing that a rule grows would ever be trained; ``every(n, stop=1.0)``
asks for that too. ``every(1)`` is every step, the last one as well: a part of the step. A number
that changes over a round ends where its rule's ``when`` does, unless it has a ``stop`` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, Any, NamedTuple

from .arguments import checked
from .fields import Checked, Range, Steps

Bound = Annotated[int | float, Range(0, above=True)]


def step_of(bound: Bound, span: int) -> float:
    """The step that a bound names: itself, or a fraction of ``span`` where it is a float <= 1.

    >>> step_of(0.75, 1000), step_of(300, 1000)
    (750.0, 300)
    """
    return bound * span if isinstance(bound, float) and bound <= 1 else bound


@dataclass(frozen=True)
class When(Checked):
    """Base of the schedules that say at which steps a rule is due."""

    def __call__(self, clock: Clock) -> bool:
        raise NotImplementedError

    @property
    def end(self) -> Bound:
        """Where it ends: what it names as its end, or the end of the round."""
        return 1.0


@dataclass(frozen=True)
class Every(When):
    """Due at steps first, first + n, ..., up to and including ``stop``; ``first`` defaults to n.

    Without a ``stop`` up to the step before the round's last one, or with n = 1 that one too.

    >>> schedule = Every(100, stop=0.75)
    >>> [step for step in range(1, 501) if schedule(Clock(step, span=500))]
    [100, 200, 300]
    >>> schedule.last(500)
    300
    >>> Every(100).last(500), Every(100, stop=1.0).last(500), Every(1).last(500)
    (400, 500, 500)
    """

    n: int = 1
    first: Steps | None = None
    stop: Bound | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"every({self.n}) is not a period: it takes a whole number from 1 up.")

    def __call__(self, clock: Clock) -> bool:
        step = clock.step - (self.n if self.first is None else self.first)
        if step < 0 or step % self.n:
            return False
        return clock.step <= self._until(clock.span)

    @property
    def end(self) -> Bound:
        return 1.0 if self.stop is None else self.stop

    def _until(self, span: int) -> float:
        """The step up to which it is due."""
        if self.stop is not None:
            return step_of(self.stop, span)
        return span if self.n == 1 else span - 1

    def last(self, span: int, stop: Bound | None = None) -> int:
        """The last step due in a round of ``span`` steps, not after ``stop``; 0 if none is."""
        first = self.n if self.first is None else self.first
        ends = [self._until(span), span, *([] if stop is None else [step_of(stop, span)])]
        end = int(min(ends))
        return first + (end - first) // self.n * self.n if end >= first else 0


@dataclass(frozen=True)
class AtEnd(When):
    """Due after the last step of each round."""

    def __call__(self, clock: Clock) -> bool:
        return clock.step == clock.span


@dataclass(frozen=True)
class Last(When):
    """Due at the last ``n`` steps of each round.

    >>> [step for step in range(1, 11) if Last(2)(Clock(step, span=10))]
    [9, 10]
    """

    n: int = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"last({self.n}) is no number of steps: it is a whole one from 1 up.")

    def __call__(self, clock: Clock) -> bool:
        return clock.step > clock.span - self.n


@dataclass(frozen=True)
class AtSteps(When):
    """Due at exactly these steps."""

    steps: tuple[int, ...] = ()

    def __call__(self, clock: Clock) -> bool:
        return clock.step in self.steps


@dataclass(frozen=True)
class Never(When):
    """Never due: the topology stays."""

    def __call__(self, clock: Clock) -> bool:
        return False


@checked(needs={"n": "the number of steps from one to the next"})
def every(n: int, first: int | None = None, stop: Bound | None = None) -> Every:
    """Due every ``n`` steps; see :class:`Every`.

    >>> every(10, stop=0.5)(Clock(50, span=100)), every(10, stop=0.5)(Clock(60, span=100))
    (True, False)
    """
    return Every(n, first, stop)


@checked()
def between(start: int, stop: Bound, n: int = 1) -> Every:
    """Due every ``n`` steps from ``start`` to ``stop``, both included.

    >>> [step for step in range(1, 11) if between(4, 8, 2)(Clock(step, span=10))]
    [4, 6, 8]
    """
    return Every(n, start, stop)


def at_steps(*steps: int) -> AtSteps:
    """Due at exactly these steps.

    >>> at_steps(1, 500)(Clock(500, span=1000))
    True
    """
    return AtSteps(steps)


at_end = AtEnd()
never = Never()


@dataclass(frozen=True)
class Schedule(Checked):
    """Base of numbers that change over a round: called with a clock, they return a float.

    Those with a field ``stop`` end there; None: where the ``when`` of the rule that holds them
    ends, which the rule fills in, or without a rule at the round's end.
    """

    def __call__(self, clock: Clock) -> float:
        raise NotImplementedError

    def _ends(self, span: int) -> float:
        stop: Bound | None = getattr(self, "stop", None)
        return span if stop is None else step_of(stop, span)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From ``start`` at step 0 down to 0 at ``stop``: start / 2 (1 + cos(pi step / stop))."""

    start: float
    stop: Bound | None = None

    def __call__(self, clock: Clock) -> float:
        progress = min(clock.step / self._ends(clock.span), 1.0)
        return self.start / 2 * (1 + cos(pi * progress))


@dataclass(frozen=True)
class Linear(Schedule):
    """From ``start`` at step 0 to ``end`` at ``stop``, then constant."""

    start: float
    end: float = 0.0
    stop: Bound | None = None

    def __call__(self, clock: Clock) -> float:
        progress = min(clock.step / self._ends(clock.span), 1.0)
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cubic(Schedule):
    """Zhu & Gupta's ramp: end + (start - end) (1 - t)^3, t from 0 at ``begin`` to 1 at ``stop``."""

    start: float
    end: float
    begin: Annotated[int | float, Range(0)] = 0
    stop: Bound | None = None

    def __call__(self, clock: Clock) -> float:
        begin, stop = step_of(self.begin, clock.span), self._ends(clock.span)
        progress = min(max((clock.step - begin) / (stop - begin), 0.0), 1.0)
        return self.end + (self.start - self.end) * (1 - progress) ** 3


Fraction = Annotated[float | Schedule, Range(0, 1)]
Rate = Annotated[float | Schedule, Range(0)]


@checked()
def cosine(start: float, stop: Bound | None = None) -> Cosine:
    """A cosine decay to 0; see :class:`Cosine`.

    >>> [round(cosine(0.3)(Clock(step, span=100)), 2) for step in (0, 50, 100)]
    [0.3, 0.15, 0.0]
    """
    return Cosine(start, stop)


@checked()
def linear(start: float, end: float = 0.0, stop: Bound | None = None) -> Linear:
    """A straight line; see :class:`Linear`.

    >>> linear(0.5, 0.1)(Clock(25, span=100))
    0.4
    """
    return Linear(start, end, stop)


@checked()
def cubic(start: float, end: float, begin: Bound = 0, stop: Bound | None = None) -> Cubic:
    """A cubic ramp; see :class:`Cubic`.

    >>> round(cubic(1.0, 0.2, stop=100)(Clock(50, span=1000)), 3)
    0.3
    """
    return Cubic(start, end, begin, stop)


def value(number: float | Schedule, clock: Clock) -> float:
    """The number now: itself, or what the schedule says.

    >>> value(0.3, Clock(1, span=10)), value(linear(1.0), Clock(5, span=10))
    (0.3, 0.5)
    """
    return number(clock) if isinstance(number, Schedule) else number


# -- as plain tables, for experiment files: {every = 100, stop = 0.75}, {cosine = 0.3}, "at_end" --

_WORDS: Mapping[str, When] = {"at_end": at_end, "never": never}
_TABLES: Mapping[str, tuple[Callable[..., Any], str]] = {
    "every": (Every, "n"),
    "at_steps": (lambda steps: AtSteps(tuple(steps)), "steps"),
    "cosine": (Cosine, "start"),
    "linear": (Linear, "start"),
    "cubic": (Cubic, "start"),
    "last": (Last, "n"),
}


def from_table(table: str | int | Mapping[str, Any]) -> When | Schedule:
    """A schedule from its plain form: the key that names it holds its first argument.

    ``{every = 100, stop = 0.75}``, ``{cosine = 0.3}``, ``"at_end"``, ``"never"``; a bare number
    n is every(n). Raises ValueError for anything else.

    >>> from_table({"every": 100, "stop": 0.75})
    Every(n=100, first=None, stop=0.75)
    >>> from_table("at_end")
    AtEnd()
    """
    if isinstance(table, bool) or not isinstance(table, str | int | Mapping):
        raise ValueError(f"{table!r} is no schedule; write, for example, {{every = 100}}.")
    if isinstance(table, int):
        return Every(table)
    if isinstance(table, str):
        if table not in _WORDS:
            raise ValueError(f"{table!r} is no schedule; the words are {', '.join(_WORDS)}.")
        return _WORDS[table]
    named = [k for k in table if k in _TABLES]
    if len(named) != 1:
        raise ValueError(
            f"{dict(table)!r} is no schedule: it must hold exactly one of {', '.join(_TABLES)}."
        )
    make, first = _TABLES[named[0]]
    rest = {k: v for k, v in table.items() if k != named[0]}
    try:
        return make(**{first: table[named[0]]}, **rest)
    except TypeError as e:
        raise ValueError(f"{named[0]!r} schedule: {str(e).split(') ', 1)[-1]}.") from None


def to_table(schedule: When | Schedule) -> Any:
    """The plain form of a schedule, from which :func:`from_table` makes it again.

    >>> to_table(every(100, stop=0.75)), to_table(never)
    ({'every': 100, 'stop': 0.75}, 'never')
    """
    for word, known in _WORDS.items():
        if schedule == known:
            return word
    if isinstance(schedule, AtSteps):
        return {"at_steps": list(schedule.steps)}
    name = type(schedule).__name__.lower()
    fields = {k: v for k, v in vars(schedule).items() if v is not None}
    return {name: fields.pop(_TABLES[name][1]), **fields}


class Clock(NamedTuple):
    """Where training stands.

    step:  training steps done in this round; a rewind sets it back.
    span:  steps in a round.
    round: rewinds so far.
    total: steps since the start; never goes back.
    dt:    seconds that one step stands for, where the world has a time of its own, else None.

    >>> Clock(step=3, span=10).total
    0
    """

    step: int
    span: int
    round: int = 0
    total: int = 0
    dt: float | None = None
