"""Who may connect: populations, projections and the keys of all possible synapses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .graph import Graph

NONE = np.empty(0, np.int64)


def square_sheet(size: int) -> Tensor:
    """Positions of ``size`` units on the squarest grid that holds them, shape (size, 2).

    Units fill the grid row by row; coordinates are cell centres in [0, 1), the sheet is a torus.
    """
    width = ceil(size**0.5)
    height = ceil(size / width)
    index = torch.arange(size)
    return torch.stack([(index // width + 0.5) / height, (index % width + 0.5) / width], 1)


@dataclass(frozen=True, eq=False)
class Population:
    """A named group of units.

    positions: (size, 2), in units of the sheet's side, on a torus; None where units have no place.
    slots: the most incoming edges that one unit may hold, over all its projections; None: no limit.
    fan_in: the same as a limit that is set (`rewire.FanIn`): there are no slots to be numbered.
    """

    name: str
    size: int
    positions: Tensor | None = field(default=None, repr=False)
    slots: int | None = None
    fan_in: int | None = None

    @property
    def most(self) -> int | None:
        """The most incoming edges of a unit, by slots and limit together."""
        return min((n for n in (self.slots, self.fan_in) if n is not None), default=None)

    @property
    def grid(self) -> tuple[int, int] | None:
        """(height, width) when the units fill a square grid row by row, else None."""
        side = isqrt(self.size)
        return (side, side) if self.positions is not None and side * side == self.size else None


def _matrix(local: Tensor, shape: tuple[int, ...], groups: int) -> tuple[Tensor, Tensor]:
    post = local // shape[1]
    return local - post * shape[1], post


def _table(local: Tensor, shape: tuple[int, ...], groups: int) -> tuple[Tensor, Tensor]:
    pre = local // shape[1]
    return pre, local - pre * shape[1]


def _convolution(local: Tensor, shape: tuple[int, ...], groups: int) -> tuple[Tensor, Tensor]:
    taps = prod(shape[2:])
    post, pre = local // (shape[1] * taps), local // taps % shape[1]
    return pre + post // (shape[0] // groups) * shape[1], post


def _transposed(local: Tensor, shape: tuple[int, ...], groups: int) -> tuple[Tensor, Tensor]:
    taps = prod(shape[2:])
    pre, post = local // (shape[1] * taps), local // taps % shape[1]
    return pre, post + pre // (shape[0] // groups) * shape[1]


def _gates(local: Tensor, shape: tuple[int, ...], groups: int) -> tuple[Tensor, Tensor]:
    row = local // shape[1]
    return local - row * shape[1], row % (shape[0] // groups)


# How a flat index into a stored parameter maps to (pre, post). Stored shapes, with what `groups`
# counts: linear, spiking (n_post, n_pre); embedding (n_pre, n_post); conv (out, in / groups,
# *kernel); conv_transpose (in, out / groups, *kernel); rnn (gates x n_post, n_pre) and attention
# (3 x n_post, n_pre), whose `groups` is the number of gates, or 3: parallel edges of one pair.
KINDS: Mapping[str, Callable[[Tensor, tuple[int, ...], int], tuple[Tensor, Tensor]]] = {
    "linear": _matrix,
    "spiking": _matrix,
    "embedding": _table,
    "conv": _convolution,
    "conv_transpose": _transposed,
    "rnn": _gates,
    "attention": _gates,
}


@dataclass(frozen=True)
class Projection:
    """All possible synapses from one population to another: a weight parameter.

    name:  the parameter's name.
    kind:  how flat indices map to units, one of :data:`KINDS`.
    shape: of the parameter as it is stored.
    multapses: whether a pair may hold several synapses (equal keys, in order of birth).
    groups: groups of a convolution; gates of an LSTM (4) or GRU (3); 3 for attention's in_proj.
    """

    name: str
    source: str
    target: str
    kind: str
    shape: tuple[int, ...]
    multapses: bool = False
    groups: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"projection {self.name!r} has the kind {self.kind!r}; it must be one of "
                f"{', '.join(KINDS)}."
            )

    @property
    def size(self) -> int:
        """Number of possible synapses."""
        return prod(self.shape)

    def locate(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """Presynaptic and postsynaptic unit of each flat index, each of shape (k,)."""
        return KINDS[self.kind](local, self.shape, self.groups)


class Space:
    """Who may connect: populations, the projections between them, and the keys of all pairs.

    Raises ValueError for a projection between populations that are not there, and for two
    populations or two projections of one name.
    """

    def __init__(
        self,
        populations: Iterable[Population],
        projections: Iterable[Projection],
        limits: Sequence[Any] = (),
    ):
        self.populations = tuple(populations)
        self.limits = tuple(limits)  # of rewire.limits
        self.projections = tuple(projections)
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
                        f"{sorted(self.population)}."
                    )
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
        by_unit = all(p.kind in ("linear", "spiking") for p in self.projections)
        self._widths = np.array([p.shape[1] for p in self.projections]) if by_unit else None
        self._firsts: dict[str, np.ndarray | None] = {}
        self._parts: dict[tuple[int, ...], Space] = {}

    def allowed(self, keys: np.ndarray) -> np.ndarray | None:
        """Whether the limits let each key hold a synapse at all, (k,) bool; None: all may."""
        told = [a for limit in self.limits if (a := limit.allows(self, keys)) is not None]
        return np.logical_and.reduce(told) if told else None

    def __repr__(self) -> str:
        names = ", ".join(f"{p.name} {'x'.join(map(str, p.shape))}" for p in self.projections)
        return f"Space({self.possible:,} possible synapses: {names})"

    def only(self, which: tuple[int, ...]) -> Space:
        """Some of the projections as a space of their own, with those limits that count nothing."""
        if which not in self._parts:
            limits = [limit for limit in self.limits if not limit.caps(self)]
            chosen = [self.projections[i] for i in which]
            self._parts[which] = Space(self.populations, chosen, limits)
        return self._parts[which]

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
            if any(self.projections[i].kind not in ("linear", "spiking") for i in into):
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

    def which(self, keys: Tensor) -> Tensor:
        """Number of the projection of each key, shape (k,)."""
        return torch.bucketize(keys, self.offsets[1:], right=True)

    def locate(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projection number, presynaptic and postsynaptic unit of each key, each (k,)."""
        which = self.which(keys)
        pre, post = torch.empty_like(keys), torch.empty_like(keys)
        for i, projection in enumerate(self.projections):
            here = which == i
            if here.any():
                pre[here], post[here] = projection.locate(keys[here] - self.bounds[i])
        return which, pre, post


def pair_key(graph: Graph, i: int, pre: int, post: int, luck: float) -> int | None:
    """Key of a new synapse pre -> post; None where there can be none, or is one already."""
    p = graph.projections[i]
    if p.kind in ("linear", "spiking"):
        local = post * p.shape[1] + pre
    elif p.kind == "embedding":
        local = pre * p.shape[1] + post
    else:  # several parallel synapses join a pair: one of them, at random
        local = _parallel(p, pre, post, luck)
    key = local + graph.space.bounds[i]
    if p.multapses:
        return key
    return None if local < 0 or graph.find(torch.tensor([key]))[1] else key


def _parallel(p: Projection, pre: int, post: int, luck: float) -> int:
    """Flat index of one of a pair's parallel synapses; -1 where a grouped pair has none."""
    shape = p.shape
    if p.kind in ("rnn", "attention"):  # one row for each gate
        return (int(luck * p.groups) * (shape[0] // p.groups) + post) * shape[1] + pre
    row, column = (post, pre) if p.kind == "conv" else (pre, post)
    block = column - row // (shape[0] // p.groups) * shape[1]
    taps = prod(shape[2:])
    return (row * shape[1] + block) * taps + int(luck * taps) if 0 <= block < shape[1] else -1
