"""Who may connect: populations, projections and the keys of all possible synapses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, isqrt, prod
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..arguments import checked
from ..fields import Checked, Count, Size
from ..names import did_you_mean, short
from .kinds import KINDS
from .wiring import Wiring

NONE = np.empty(0, np.int64)


def square_sheet(size: int) -> Tensor:
    """Positions of ``size`` units on the squarest grid that holds them, shape (size, 2).

    Units fill the grid row by row; coordinates are cell centres in [0, 1), the sheet is a torus.

    >>> square_sheet(4).tolist()
    [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    """
    width = ceil(size**0.5)
    height = ceil(size / width)
    index = torch.arange(size)
    return torch.stack([(index // width + 0.5) / height, (index % width + 0.5) / width], 1)


@dataclass(frozen=True, eq=False)
class Population(Checked):
    """A named group of units.

    positions: (size, 2), in units of the sheet's side, on a torus; None where units have no place.
    slots: the most incoming edges that one unit may hold, over all its projections; None: no limit.
    fan_in: the same as a limit that is set (`rewire.FanIn`): there are no slots to be numbered.
    labels: one name for each unit, where a graph of somebody else named them; None: its number.

    >>> hidden = Population("hidden", 9, square_sheet(9), slots=64, fan_in=16)
    >>> hidden.most, hidden.grid
    (16, (3, 3))

    Raises ValueError for a size, a name, positions or labels that are none.
    """

    name: str
    size: Size
    positions: Tensor | None = field(default=None, repr=False)
    slots: Size | None = None
    fan_in: Size | None = None
    labels: Sequence[Hashable] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.positions is not None and tuple(self.positions.shape) != (self.size, 2):
            raise ValueError(
                f"positions of {self.name!r} must have shape {(self.size, 2)}, one row a unit, got "
                f"{tuple(self.positions.shape)}."
            )
        if self.labels is not None and len(self.labels) not in (0, self.size):
            raise ValueError(
                f"population {self.name!r} has {self.size} units and {len(self.labels)} labels: "
                "give one for each, or none."
            )

    @property
    def most(self) -> int | None:
        """The most incoming edges of a unit, by slots and limit together."""
        return min((n for n in (self.slots, self.fan_in) if n is not None), default=None)

    @property
    def grid(self) -> tuple[int, int] | None:
        """(height, width) when the units fill a square grid row by row, else None."""
        side = isqrt(self.size)
        return (side, side) if self.positions is not None and side * side == self.size else None


@dataclass(frozen=True)
class Projection(Checked):
    """All possible synapses from one population to another: a weight parameter.

    name:  the parameter's name.
    kind:  how flat indices map to units, one of :data:`KINDS`.
    shape: of the parameter as it is stored.
    multapses: whether a pair may hold several synapses (equal keys, in order of birth).
    groups: groups of a convolution; gates of an LSTM (4) or GRU (3); 3 for attention's in_proj;
        the number of stacked layers.

    A *flat index* numbers the entries of the parameter as it is stored: 0 to size - 1.

    >>> layer = Projection("fc1.weight", "input", "fc1", "linear", (4, 6))  # (n_post, n_pre)
    >>> layer.size
    24
    >>> layer.key_of(pre=5, post=1)
    11
    >>> pre, post = layer.locate(torch.tensor([11]))
    >>> pre.item(), post.item()
    (5, 1)
    """

    name: str
    source: str
    target: str
    kind: str
    shape: tuple[Size, ...]
    multapses: bool = False
    groups: Count = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"projection {self.name!r} has the kind {self.kind!r}; it must be one of "
                f"{', '.join(KINDS)}{did_you_mean(self.kind, KINDS)}."
            )
        if not isinstance(self.shape, tuple):
            object.__setattr__(self, "shape", tuple(self.shape))
        least = 3 if self.kind.startswith("stacked") else 2
        if len(self.shape) < least:
            raise ValueError(
                f"projection {self.name!r} has the shape {self.shape}; a parameter of kind "
                f"{self.kind!r} has {least} axes or more, as (post, pre)."
            )

    @property
    def size(self) -> int:
        """Number of possible synapses."""
        return prod(self.shape)

    @cached_property
    def taps(self) -> int:
        """Parallel synapses that join each pair at different flat indices.

        Positions of a convolution's kernel, gates of a recurrent layer, else 1.

        >>> Projection("conv.weight", "input", "conv", "conv", (8, 3, 5, 5)).taps
        25
        """
        return KINDS[self.kind].taps(self.shape, self.groups)

    @cached_property
    def by_unit(self) -> bool:
        """Whether a postsynaptic unit's synapses lie together, ``shape[1]`` in order of ``pre``."""
        return KINDS[self.kind].by_unit

    @property
    def input_axis(self) -> int:
        """The axis of the parameter along which a unit's inputs lie: 0, 1 or 2."""
        return KINDS[self.kind].input_axis

    def locate(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """Presynaptic and postsynaptic unit of each flat index, each of shape (k,)."""
        return KINDS[self.kind].locate(local, self.shape, self.groups)

    def key_of(self, pre: int, post: int, tap: int = 0) -> int:
        """Flat index of the synapse pre -> post, the inverse of :meth:`locate`.

        tap: which of the parallel synapses, 0 to ``taps`` - 1. -1 where no synapse can join the
        pair, as between groups of a convolution. :meth:`Space.key_of` adds the projection's offset.

        >>> grouped = Projection("conv.weight", "input", "conv", "conv", (4, 1, 3, 3), groups=2)
        >>> grouped.key_of(pre=1, post=2, tap=4), grouped.key_of(pre=1, post=0)
        (22, -1)
        """
        return KINDS[self.kind].index(pre, post, tap, self.shape, self.groups)


T = TypeVar("T")


def _all_of(kind: type[T], what: str, values: Iterable[T]) -> tuple[T, ...]:
    """The values, each of which has to be of that kind."""
    one = kind.__name__
    if isinstance(values, kind) or not isinstance(values, Iterable):
        raise TypeError(f"a space takes a list of {what}, got {short(values)}: write [{one}(...)].")
    listed = tuple(values)
    for value in listed:
        if not isinstance(value, kind):
            raise TypeError(
                f"{short(value)} is no {one.lower()}: a space takes a list of {what}, each a "
                f"rewire.{one}(...)."
            )
    return listed


def _refuse_turned(p: Projection, populations: Mapping[str, Population]) -> None:
    """Raise ValueError where a projection's parameter joins its populations the other way round."""
    if not p.size or p.source == p.target:
        return
    units = tuple(int(unit) + 1 for unit in p.locate(torch.tensor([p.size - 1])))
    sizes = populations[p.source].size, populations[p.target].size
    if units != sizes and units[::-1] == sizes:
        raise ValueError(
            f"projection {p.name!r} with the shape {p.shape} joins {units[0]} units to {units[1]}, "
            f"and its populations {p.source!r} and {p.target!r} have {sizes[0]} and {sizes[1]}. Is "
            "the shape turned round? It is (post, pre)."
        )


class Space:
    """Who may connect: populations, the projections between them, and the keys of all pairs.

    Each projection's keys begin at its offset (``bounds``), in the order of its flat indices.
    ``wiring`` says what else joins the populations, or is called for it when it is first asked for;
    None: nothing is known of it.
    Raises ValueError for a projection between populations that are not there, and for two
    populations or two projections of one name.

    >>> space = Space(
    ...     [Population("input", 6), Population("hidden", 4), Population("output", 2)],
    ...     [
    ...         Projection("fc1.weight", "input", "hidden", "linear", (4, 6)),
    ...         Projection("fc2.weight", "hidden", "output", "linear", (2, 4)),
    ...     ],
    ... )
    >>> space
    Space(32 possible synapses: fc1.weight 4x6, fc2.weight 2x4)
    >>> space.bounds
    [0, 24, 32]
    """

    @checked()
    def __init__(
        self,
        populations: Iterable[Population],
        projections: Iterable[Projection],
        limits: Sequence[Any] = (),
        wiring: Wiring | Callable[[], Wiring | None] | None = None,
    ):
        self.wired = wiring  # for another space of the same populations, without asking yet
        self.populations = _all_of(Population, "populations", populations)
        self.limits = tuple(limits)  # of rewire.limits
        self.projections = _all_of(Projection, "projections", projections)
        # number of the network's last projection, None in a part that lacks it
        self.last: int | None = len(self.projections) - 1
        self.population = {p.name: p for p in self.populations}
        for what, things in (("population", self.populations), ("projection", self.projections)):
            names = [t.name for t in things]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"two {what}s are named {twice[0]!r}; names must differ.")
        for p in self.projections:
            for end in (p.source, p.target):
                if end not in self.population:
                    raise ValueError(
                        f"projection {p.name!r} joins the population {end!r}, which is not among "
                        f"{sorted(self.population)}{did_you_mean(end, self.population)}."
                    )
            _refuse_turned(p, self.population)
        self.sizes = [p.size for p in self.projections]
        self.offsets = torch.tensor([0, *self.sizes]).cumsum(0)  # (P + 1,) int64
        self.bounds: list[int] = self.offsets.tolist()
        self.ends = self.offsets.numpy()
        self.possible = self.bounds[-1]
        self.parallel = [p.multapses for p in self.projections]
        self.multapses = any(self.parallel)
        self.into = {
            p.name: [i for i, q in enumerate(self.projections) if q.target == p.name]
            for p in self.populations
        }
        self.receiving = tuple(p for p in self.populations if self.into[p.name])
        names = [p.name for p in self.populations]
        self.caps = [cap for limit in self.limits for cap in limit.caps(self)]
        bound = any(p.most is not None for p in self.populations) or bool(self.caps)
        self.capped = bound or self.allowed(NONE) is not None
        self.lands = np.array([names.index(p.target) for p in self.projections], np.int64)
        by_unit = all(p.by_unit for p in self.projections)
        self._widths = np.array([p.shape[1] for p in self.projections]) if by_unit else None
        self._firsts: dict[str, np.ndarray | None] = {}
        self._parts: dict[tuple[int, ...], Space] = {}

    @cached_property
    def wiring(self) -> Wiring | None:
        """What joins the populations besides synapses; None where nothing is known of it."""
        return self.wired() if callable(self.wired) else self.wired

    def allowed(self, keys: np.ndarray) -> np.ndarray | None:
        """Whether the limits let each key hold a synapse at all, (k,) bool; None: all may."""
        answers = (limit.allows(self, keys) for limit in self.limits)
        allowed = [answer for answer in answers if answer is not None]
        return np.logical_and.reduce(allowed) if allowed else None

    def __repr__(self) -> str:
        names = ", ".join(f"{p.name} {'x'.join(map(str, p.shape))}" for p in self.projections)
        return f"Space({self.possible:,} possible synapses: {names})"

    def only(self, which: tuple[int, ...]) -> Space:
        """Some of the projections as a space of their own, with those limits that count nothing."""
        if which not in self._parts:
            limits = [limit for limit in self.limits if not limit.caps(self)]
            projections = [self.projections[i] for i in which]
            part = Space(self.populations, projections, limits, self._wiring_of_part)
            part.last = which.index(self.last) if self.last in which else None
            self._parts[which] = part
        return self._parts[which]

    def _wiring_of_part(self) -> Wiring | None:
        """The same without the steps of the pass, which read the weights of every projection."""
        return None if self.wiring is None else replace(self.wiring, program=None)

    def index(self, projection: str) -> int:
        """Number of the projection of that name; KeyError when there is none."""
        for i, p in enumerate(self.projections):
            if p.name == projection:
                return i
        raise KeyError(
            f"there is no projection {projection!r}; there are "
            f"{', '.join(p.name for p in self.projections)}."
        )

    def firsts(self, population: str) -> np.ndarray | None:
        """First key of each unit in each projection into the population, (P, size + 1).

        One past the last key at the end; None where one is not stored unit by unit.
        """
        if population not in self._firsts:
            into = self.into[population]
            if not all(self.projections[i].by_unit for i in into):
                self._firsts[population] = None
            else:
                unit = np.arange(self.population[population].size + 1)
                offset = np.array([self.bounds[i] for i in into], np.int64)
                width = np.array([self.projections[i].shape[1] for i in into], np.int64)
                self._firsts[population] = offset[:, None] + width[:, None] * unit
        return self._firsts[population]

    def targets(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the target population of each key, and the unit in it, each (k,)."""
        which = self.ends.searchsorted(keys, "right") - 1
        if self._widths is None:
            return self.lands[which], self.locate(torch.from_numpy(keys))[2].numpy()
        return self.lands[which], (keys - self.ends[which]) // self._widths[which]

    def key_of(self, i: int, pre: int, post: int, tap: int = 0) -> int | None:
        """Key of the synapse pre -> post of projection ``i``; None where none can join the pair.

        >>> space = Space(
        ...     [Population("a", 3), Population("b", 2)],
        ...     [
        ...         Projection("within", "a", "a", "linear", (3, 3)),
        ...         Projection("across", "a", "b", "linear", (2, 3)),
        ...     ],
        ... )
        >>> key = space.key_of(1, pre=2, post=1)
        >>> key
        14
        >>> [x.item() for x in space.locate(torch.tensor([key]))]
        [1, 2, 1]
        """
        local = self.projections[i].key_of(pre, post, tap)
        return None if local < 0 else self.bounds[i] + local

    def which(self, keys: Tensor) -> Tensor:
        """Number of the projection of each key, shape (k,)."""
        return torch.bucketize(keys, self.offsets[1:], right=True)

    def locate(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projection number, presynaptic and postsynaptic unit of each key, each (k,)."""
        which = self.which(keys)
        pre, post = torch.empty_like(keys), torch.empty_like(keys)
        for i, projection in enumerate(self.projections):
            inside = which == i
            if inside.any():
                pre[inside], post[inside] = projection.locate(keys[inside] - self.bounds[i])
        return which, pre, post
