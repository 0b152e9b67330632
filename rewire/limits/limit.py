"""What a limit is, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..graph import Birth, Graph, Space
from ..rule import Rule
from ..strategy import Plain
from ..streams import Stream

if TYPE_CHECKING:
    from ..offer import Offer


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


class Units:
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


def positive(limit: Limit, field: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{limit.name}.{field} must be above 0, got {value}.")


def some(limit: Limit, pattern: str, names: Any, known: Sequence[str]) -> None:
    if not names:
        raise ValueError(
            f"{limit.name}: {pattern!r} names no population; there are {', '.join(known)}."
        )
