"""Limits on which synapses may exist together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..graph import Space
from .limit import Cap, Limit, Units, positive, some


@dataclass(frozen=True, kw_only=True)
class FanIn(Limit):
    """At most ``most`` incoming synapses a unit, over all projections, like slots on SpiNNaker.

    to: pattern of the populations it is for.

    >>> from rewire.graph import Edit, Graph, Population, Projection
    >>> from rewire.limits import limited
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
        positive(self, "most", self.most)
        names = {p.name for p in space.receiving if fnmatchcase(p.name, self.to)}
        some(self, self.to, names, [p.name for p in space.receiving])
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
        positive(self, "most", self.most)
        sending = [p.name for p in space.populations if any(q.source == p.name
                   for q in space.projections)]  # fmt: skip
        some(self, self.of, [n for n in sending if fnmatchcase(n, self.of)], sending)
        return space

    def caps(self, space: Space) -> list[Cap]:
        many = 2**62  # where the pattern does not fit
        most = [self.most if fnmatchcase(p.name, self.of) else many for p in space.populations]
        units = Units(space)
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
            positive(self, name, getattr(self, name))
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
        positive(self, "most", self.most)
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
        some(self, self.of, [n for n in names if fnmatchcase(n, self.of)], sorted(names))
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
