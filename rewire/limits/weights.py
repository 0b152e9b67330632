"""Limits on which values weights may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..graph import Birth, Graph, Space
from ..rule import Rule
from ..streams import Stream, rng_for
from .limit import Limit, Units, some

if TYPE_CHECKING:
    from ..offer import Offer


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
        some(self, self.of, [n for n in names if fnmatchcase(n, self.of)], names)
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
        signs, units = self.signs(space, seed), Units(space)
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
    from ..select.pairs import pair_sign

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
