"""Limits that hold for any rule: checked after every edit, and known to whatever grows synapses.

    net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.05,
                        limits=[rewire.FanIn(most=64), rewire.Dale(excitatory=0.8)])

`FanIn`, `FanOut`, `Distance` and `Memory` say which synapses may exist together: `sample_absent`
and `Signals.largest` choose among those that still may, so that a rule's counts stay exact, and
`Graph.apply` refuses any other edit. `Dale` and `FixedPoint` say which weights may be: after every
step, and after the rules' edits, the weights are made to. A rule that cannot live under a limit is
refused before step 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .graph import Birth, Graph, Space
from .names import did_you_mean, short
from .plugins import with_installed
from .rule import Rule
from .strategy import Plain
from .streams import Stream, rng_for

if TYPE_CHECKING:
    from .offer import Offer


class Cap(NamedTuple):
    """At most ``most[a]`` synapses on each account a, which ``of`` names for each key."""

    most: np.ndarray  # (accounts,) int64
    of: Callable[[np.ndarray], np.ndarray]  # keys (k,) -> accounts (k,)
    name: Callable[[int], str]  # of an account, for a message


@dataclass(frozen=True, kw_only=True)
class Limit(Plain):
    """What no synapse, or no weight, may break. A subclass says one of the following."""

    kind: ClassVar[str] = ""

    @property
    def name(self) -> str:
        return type(self).__name__

    def narrowed(self, space: Space) -> Space:
        """The space under this limit; ValueError where it can bind nothing there."""
        return space

    def caps(self, space: Space) -> list[Cap]:
        """How many synapses may share what."""
        return []

    def allows(self, space: Space, keys: np.ndarray) -> np.ndarray | None:
        """Whether each key may hold a synapse at all, (k,) bool; None: all may."""
        return None

    def births(self, space: Space, seed: int) -> Mapping[str, Birth]:
        """Values of newborn synapses that hold whatever a rule declares."""
        return {}

    def first(self, graph: Graph, seed: int) -> Tensor | None:
        """The weights to start with, (E,); None: as they are."""
        return None

    def held(self, graph: Graph, seed: int, rng: Stream) -> Tensor | None:
        """The weights after a step as the limit lets them be, (E,); None: as they are."""
        return None

    def unsuited(self, rule: Rule, world: Offer) -> str | None:
        """Why the rule cannot live under this limit in that world, or None."""
        if self.connects and self.kind not in rule.lives_under:
            return "it chooses or shares out absent synapses in a way that knows no such limit"
        return None

    @property
    def connects(self) -> bool:
        """Whether it is about which synapses there are, rather than about their weights."""
        return True


# -- who may connect -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FanIn(Limit):
    """At most ``most`` incoming synapses a unit, over all projections, like slots on SpiNNaker.

    to: pattern of the populations it is for.

    >>> from rewire.graph import Edit, Population, Projection
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> graph = Graph(limited(space, [FanIn(most=2)]), torch.tensor([0, 1, 5]))
    >>> graph.apply(Edit(add=torch.tensor([2])))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: unit 0 of 'a' would hold 3 incoming edges, but may hold 2: 1 units overflow...
    """

    kind: ClassVar[str] = "fan_in"

    most: int
    to: str = "*"

    def narrowed(self, space: Space) -> Space:
        _positive(self, "most", self.most)
        names = {p.name for p in space.receiving if fnmatchcase(p.name, self.to)}
        _some(self, self.to, names, [p.name for p in space.receiving])
        populations = [
            replace(p, fan_in=self.most if p.fan_in is None else min(p.fan_in, self.most))
            if p.name in names else p
            for p in space.populations
        ]  # fmt: skip
        return Space(populations, space.projections, space.limits, space.wired)


@dataclass(frozen=True, kw_only=True)
class FanOut(Limit):
    """At most ``most`` outgoing synapses a unit, over all projections.

    of: pattern of the populations it is for.
    """

    kind: ClassVar[str] = "fan_out"

    most: int
    of: str = "*"

    def narrowed(self, space: Space) -> Space:
        _positive(self, "most", self.most)
        sending = [p.name for p in space.populations if any(q.source == p.name
                   for q in space.projections)]  # fmt: skip
        _some(self, self.of, [n for n in sending if fnmatchcase(n, self.of)], sending)
        return space

    def caps(self, space: Space) -> list[Cap]:
        many = 2**62  # where the pattern does not fit
        most = [self.most if fnmatchcase(p.name, self.of) else many for p in space.populations]
        units = _Units(space)
        return [
            Cap(
                np.repeat(np.array(most, np.int64), [p.size for p in space.populations]),
                units.pre,
                lambda a: f"unit {units.name(a)} would hold more than {self.most} outgoing edges",
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Memory(Limit):
    """At most ``bytes`` of synapses on a core that holds ``units`` neighbouring postsynaptic units.

    edge: bytes of a synapse (4: a 16-bit weight and a 16-bit index). unit: bytes that each unit
    takes besides. Every population fills cores of its own, in the order of its units.

    >>> Memory(bytes=65_536, units=256, unit=64).edges
    12288
    """

    kind: ClassVar[str] = "memory"

    bytes: int
    units: int = 256
    edge: int = 4
    unit: int = 0

    def narrowed(self, space: Space) -> Space:
        for name in ("bytes", "units", "edge"):
            _positive(self, name, getattr(self, name))
        if self.edges < 1:
            raise ValueError(f"{self!r} leaves no byte for synapses: {self.units} units need more.")
        return space

    @property
    def edges(self) -> int:
        """Synapses that fit on a core."""
        return (self.bytes - self.units * self.unit) // self.edge

    def caps(self, space: Space) -> list[Cap]:
        cores = np.array([-(-p.size // self.units) for p in space.populations])
        first = np.cumsum([0, *cores])
        names = [p.name for p in space.populations]

        def core(keys: np.ndarray) -> np.ndarray:
            lands, post = space.targets(keys)
            return first[lands] + post // self.units

        def name(a: int) -> str:
            at = int(first.searchsorted(a, "right")) - 1
            return (
                f"core {a - first[at]} of {names[at]!r} would need more than the "
                f"{self.edges * self.edge} bytes it has for {self.edges} edges"
            )

        return [Cap(np.full(first[-1], self.edges, np.int64), core, name)]


@dataclass(frozen=True, kw_only=True)
class Distance(Limit):
    """No synapse between units further apart than ``most``, on the torus of side 1.

    It binds where both populations have positions (pixels on their grid, hidden units on the
    squarest one); the others, outputs usually, connect as they like.

    >>> from rewire.graph import Population, Projection, square_sheet
    >>> sheet = Population("sheet", 16, square_sheet(16))
    >>> space = Space([sheet], [Projection("p", "sheet", "sheet", "linear", (16, 16))])
    >>> keys = np.arange(4)  # from units 0 to 3, a row of the sheet, to unit 0
    >>> Distance(most=0.3).allows(space, keys).tolist()
    [True, True, False, True]
    """

    kind: ClassVar[str] = "distance"

    most: float

    def narrowed(self, space: Space) -> Space:
        _positive(self, "most", self.most)
        if not any(self._ends(space, i) for i in range(len(space.projections))):
            raise ValueError(
                f"{self!r} binds nothing: no projection joins two populations with positions. "
                "Pass positions= to attach."
            )
        return space

    @staticmethod
    def _ends(space: Space, i: int) -> tuple[Tensor, Tensor] | None:
        p = space.projections[i]
        pre, post = (space.population[n].positions for n in (p.source, p.target))
        return None if pre is None or post is None else (pre, post)

    def allows(self, space: Space, keys: np.ndarray) -> np.ndarray:
        out = np.ones(len(keys), bool)
        which, pre, post = (x.numpy() for x in space.locate(torch.from_numpy(keys)))
        for i in np.unique(which).tolist():
            ends = self._ends(space, i)
            if ends is None:
                continue
            at = np.flatnonzero(which == i)
            start, end = ends[0].numpy()[pre[at]], ends[1].numpy()[post[at]]
            apart = 0.5 - np.abs(np.abs(start - end) - 0.5)  # around the torus
            out[at] = (apart**2).sum(1) <= self.most**2
        return out


@dataclass(frozen=True, kw_only=True)
class NoAutapses(Limit):
    """No synapse from a unit to itself (an autapse): i != j.

    of: pattern of the populations it is for, of those that a projection joins with themselves.

    >>> from rewire.graph import Population, Projection
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> NoAutapses().allows(space, np.arange(9)).reshape(3, 3).tolist()
    [[False, True, True], [True, False, True], [True, True, False]]
    """

    kind: ClassVar[str] = "autapse"

    of: str = "*"

    def narrowed(self, space: Space) -> Space:
        names = {p.source for i, p in enumerate(space.projections) if self._shift(space, i) == 0}
        _some(self, self.of, [n for n in names if fnmatchcase(n, self.of)], sorted(names))
        return space

    def _shift(self, space: Space, i: int) -> int | None:
        """Number of the postsynaptic unit that is the presynaptic unit 0; None: no unit is both."""
        p = space.projections[i]
        return 0 if p.source == p.target and fnmatchcase(p.source, self.of) else None

    def allows(self, space: Space, keys: np.ndarray) -> np.ndarray:
        out = np.ones(len(keys), bool)
        which, pre, post = (x.numpy() for x in space.locate(torch.from_numpy(keys)))
        for i in np.unique(which).tolist():
            if (shift := self._shift(space, i)) is not None:
                out[(which == i) & (post == pre + shift)] = False
        return out


CONNECTIVITY = frozenset(c.kind for c in (FanIn, FanOut, Memory, Distance, NoAutapses))


class _Units:
    """Units numbered over all populations."""

    def __init__(self, space: Space):
        self.space = space
        self.first = np.cumsum([0, *(p.size for p in space.populations)])
        names = [p.name for p in space.populations]
        self.names = names
        self.sources = np.array([self.first[names.index(p.source)] for p in space.projections])

    def pre(self, keys: np.ndarray) -> np.ndarray:
        which, pre, _ = (x.numpy() for x in self.space.locate(torch.from_numpy(keys)))
        return self.sources[which] + pre

    def name(self, a: int) -> str:
        at = int(self.first.searchsorted(a, "right")) - 1
        return f"{a - self.first[at]} of {self.names[at]!r}"


# -- which weights may be ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dale(Limit):
    """Dale's principle: all outgoing weights of a unit have one sign.

    excitatory: the fraction of each population's units whose sign is +1, exactly round(fraction x
        size) of them, drawn by the seed; the others are inhibitory.
    of: pattern of the populations it is for; others keep their freedom.

    The starting weights take their unit's sign and keep their magnitude. After each step, and again
    after the rules' edits, a weight on the wrong side of 0 is 0. A rule's column ``sign`` (DEEP R)
    is this one; what crosses 0 comes to DEEP R as 0, and is dropped where drift and noise leave it
    below.

    >>> from rewire.graph import Population
    >>> space = Space([Population("a", 10), Population("b", 5)], [])
    >>> signs = Dale(excitatory=0.8).signs(space, seed=0)
    >>> int((signs[:10] > 0).sum()), int((signs[10:] > 0).sum())
    (8, 4)
    """

    kind: ClassVar[str] = "dale"

    excitatory: float = 0.8
    of: str = "*"

    @property
    def connects(self) -> bool:
        return False

    def narrowed(self, space: Space) -> Space:
        if not 0 <= self.excitatory <= 1:
            raise ValueError(f"Dale.excitatory is a fraction in [0, 1], got {self.excitatory}.")
        names = [p.name for p in space.populations]
        _some(self, self.of, [n for n in names if fnmatchcase(n, self.of)], names)
        return space

    def signs(self, space: Space, seed: int) -> np.ndarray:
        """+1 or -1 for each unit of all populations in a row, 0 where the limit does not bind."""
        parts = []
        for p in space.populations:
            sign = np.zeros(p.size, np.float32)
            if fnmatchcase(p.name, self.of):
                order = rng_for(seed, f"dale/{p.name}").permutation(p.size).numpy()
                sign[:] = -1
                sign[order[: round(self.excitatory * p.size)]] = 1
            parts.append(sign)
        return np.concatenate(parts)

    def births(self, space: Space, seed: int) -> Mapping[str, Birth]:
        return {"sign": partial(_dale_sign, self._of_keys(space, seed), seed)}

    def _of_keys(self, space: Space, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        signs, units = self.signs(space, seed), _Units(space)
        return lambda keys: signs[units.pre(keys)]

    def _sign(self, graph: Graph, seed: int) -> Tensor:
        def compute() -> Tensor:
            return torch.from_numpy(self._of_keys(graph.space, seed)(graph.array))

        return graph.topology.derived((self, seed), compute)

    def first(self, graph: Graph, seed: int) -> Tensor | None:
        sign = self._sign(graph, seed).to(graph["weight"].dtype)
        return torch.where(sign == 0, graph["weight"], graph["weight"].abs() * sign)

    def held(self, graph: Graph, seed: int, rng: Stream) -> Tensor | None:
        weight = graph["weight"]
        wrong = weight * self._sign(graph, seed) < 0
        return weight.masked_fill(wrong, 0.0) if wrong.any() else None

    def unsuited(self, rule: Rule, world: Offer) -> str | None:
        if "sign" in world.births:
            return f"the {world.name} world gives all synapses one sign"
        if getattr(rule, "signs", "fixed") == "drawn":
            return "it draws the sign of a woken synapse anew, and here those of a unit share one"
        return None


def _dale_sign(
    of: Callable[[np.ndarray], np.ndarray], seed: int, keys: Tensor, turned: Tensor | None = None
) -> Tensor:
    """The sign of each key's unit; where the limit binds none, that of the key itself."""
    from .select.pairs import pair_sign

    of_units = torch.from_numpy(of(keys.numpy()))
    return torch.where(of_units == 0, pair_sign(keys, seed, turned), of_units)


@dataclass(frozen=True, kw_only=True)
class FixedPoint(Limit):
    """Weights are multiples of 2^-fraction in ``bits`` bits, as a synaptic word holds them.

    bits: in all, the sign's among them. fraction: of those, behind the point: 16 bits with 12
        behind it reach from -8 to 8 in steps of 0.00024.
    rounding: "stochastic", up with the probability of the remainder, so that steps far below a
        multiple add up on average; or "nearest", where they are lost.

    Rounded after every step and again after the rules' edits; what is beyond the range is its end.
    Moments and biases keep the world's own precision.

    >>> from rewire.graph import Population, Projection
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> graph = Graph(space, torch.arange(3), {"weight": torch.tensor([0.3, -0.3, 9.0])})
    >>> FixedPoint(bits=4, fraction=2).first(graph, seed=0).tolist()
    [0.25, -0.25, 1.75]
    """

    kind: ClassVar[str] = "fixed_point"

    bits: int = 16
    fraction: int = 12
    rounding: Literal["stochastic", "nearest"] = "stochastic"

    @property
    def connects(self) -> bool:
        return False

    def narrowed(self, space: Space) -> Space:
        if not (2 <= self.bits <= 24 and self.fraction >= 0):  # what float32 holds exactly
            raise ValueError(f"FixedPoint has 2 to 24 bits and a fraction from 0 up, got {self!r}.")
        return space

    def first(self, graph: Graph, seed: int) -> Tensor | None:
        return self._rounded(graph["weight"], 0.5)

    def held(self, graph: Graph, seed: int, rng: Stream) -> Tensor | None:
        weight = graph["weight"]
        up: Tensor | float = 0.5
        if self.rounding == "stochastic":
            up = torch.from_numpy(rng.doubles(len(weight))).to(weight.dtype).clamp_(max=1 - 2**-20)
        return self._rounded(weight, up)

    def _rounded(self, weight: Tensor, up: Tensor | float) -> Tensor:
        scale, most = 2.0**self.fraction, 2 ** (self.bits - 1)
        return (weight * scale + up).floor_().clamp_(-most, most - 1).div_(scale)


LIMITS: Mapping[str, type[Limit]] = {
    c.__name__: c for c in (FanIn, FanOut, Distance, NoAutapses, Memory, Dale, FixedPoint)
}


def available() -> dict[str, type[Limit]]:
    """Every limit by name: the built-in ones, then those of installed packages.

    Raises ValueError where a package's limit takes a built-in name or is no Limit.
    """
    return with_installed("rewire.limits", LIMITS, Limit)


def from_tables(tables: Sequence[Mapping[str, Any]]) -> tuple[Limit, ...]:
    """Limits from an experiment file: tables with the key ``limit`` and the fields of that limit.

    Raises ValueError with what is wrong, the nearest name where there is no such limit.

    >>> from_tables([{"limit": "FanIn", "most": 64}])
    (FanIn(most=64, to='*'),)
    """
    out, known = [], available()
    for table in tables:
        fields = dict(table)
        name = fields.pop("limit", None)
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ValueError(f"there is no limit {name!r}{hint}; they are {', '.join(known)}.")
        out.append(known[name].from_table(fields))
    return tuple(out)


def limited(space: Space, limits: Sequence[Limit]) -> Space:
    """The space whose synapses keep these limits too. Raises ValueError for one that binds none.

    >>> from rewire.graph import Population, Projection
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> limited(space, [FanIn(most=2)]).population["a"].most
    2
    """
    if isinstance(limits, str) or not isinstance(limits, Sequence):
        example = repr(limits) if isinstance(limits, Limit) else "rewire.FanIn(most=9)"
        raise TypeError(
            f"limits are several, in a list, got {short(limits)}: write limits=[{example}]."
        )
    for limit in limits:
        if not isinstance(limit, Limit):
            raise TypeError(
                f"{short(limit)} is no limit: pass instances of classes of rewire.limits, such as "
                "rewire.limits.FanIn(most=9)."
            )
        space = limit.narrowed(space)
    if not limits:
        return space
    return Space(space.populations, space.projections, (*space.limits, *limits), space.wired)


def _positive(limit: Limit, field: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{limit.name}.{field} must be above 0, got {value}.")


def _some(limit: Limit, pattern: str, names: Any, known: Sequence[str]) -> None:
    if not names:
        raise ValueError(
            f"{limit.name}: {pattern!r} names no population; there are {', '.join(known)}."
        )
