"""Slots of units, and a start that fills them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...graph import NONE, Graph, Space
from ...streams import Stream


def slots_of_units(graph: Graph, population: str, slots: int | None) -> Tensor:
    """Slots of all units before each, and at the end of all together, (size + 1,).

    slots: of each unit; None: the population's own, and where it has none as many as each unit
    holds now. Raises ValueError where a unit holds more, or may not hold as many.
    """
    units, fan_in = graph.space.population[population], graph.fan_in(population)
    many = units.slots if slots is None else slots
    if many is None:
        return torch.cat([torch.zeros(1, dtype=torch.int64), fan_in.cumsum(0)])
    most = many if units.most is None else units.most
    if slots is not None and slots > most:
        raise ValueError(
            f"StructuralPlasticity asks for {slots} slots, and units of {population!r} "
            f"may hold {most}: leave out slots= to take those."
        )
    many = min(many, most)
    if int(fan_in.max()) > many:
        raise ValueError(
            f"a unit of {population!r} starts with {int(fan_in.max())} synapses, but has "
            f"{many} slots; ask for a lower density or more slots."
        )
    return torch.arange(units.size + 1) * many


class Rows:
    """What is free under the caps of a space (on outgoing synapses, say) beside some edges."""

    def __init__(self, space: Space, keys: np.ndarray = NONE):
        self._caps = [
            (cap.of, cap.most - np.bincount(cap.of(keys), minlength=len(cap.most)))
            for cap in space.caps
        ]

    @property
    def endless(self) -> bool:
        return not self._caps

    def take(self, key: int) -> bool:
        """Whether there is room for a synapse, which then holds it."""
        one = np.array([key])
        places = [(free, int(of(one)[0])) for of, free in self._caps]
        if any(free[at] < 1 for free, at in places):
            return False
        for free, at in places:
            free[at] -= 1
        return True


def filled(
    graph: Graph,
    i: int,
    slots: int | None,
    chance: Callable[[Tensor, Tensor], Tensor] | None,
    rng: Stream,
    room: Rows,
) -> Tensor:
    """Keys that fill the slots of every target unit of projection ``i``, ascending by unit.

    slots: of each unit, shared by the projections into its population; None: as many as make up
    the edges there are, the remainder at random units. chance: (pre, post) -> weight of each pair
    in the draw of partners; None: all alike. room: what caps leave free. Pairs that the limits
    rule out are not drawn. Raises ValueError for slots that cannot be filled.
    """
    p, space = graph.projections[i], graph.space
    n_post = space.population[p.target].size
    if slots is None:  # the starting graph's edges in all, spread evenly
        total = graph.bounds[i + 1] - graph.bounds[i]
        fan_in = torch.full((n_post,), total // n_post)
        fan_in[rng.permutation(n_post)[: total % n_post]] += 1
    else:
        shared = sum(q.target == p.target for q in graph.projections)
        fan_in = torch.full((n_post,), slots // shared)
    local = torch.arange(p.size)
    pre, post = p.locate(local)
    allowed = space.allowed((local + space.bounds[i]).numpy())
    may = torch.ones(p.size, dtype=torch.bool) if allowed is None else torch.from_numpy(allowed)
    possible = torch.bincount(post[may], minlength=n_post)
    if (fan_in > possible).any():
        least = int(possible[fan_in > possible].min())
        raise ValueError(
            f"{p.name!r} has {least} possible synapses for each unit, fewer than "
            f"the {int(fan_in.max())} slots to fill; ask for fewer slots."
        )
    # the smallest of Exp(1) / chance are a draw without replacement in proportion to chance
    weight = torch.ones(p.size) if chance is None else chance(pre, post).clamp(min=1e-300)
    clock = -(1 - rng.uniform(p.size).double()).log() / weight
    clock[~may] = torch.inf
    if not room.endless:
        return _within_caps(local + space.bounds[i], post, fan_in, clock, room)
    # rank each pair among those of its unit, and take the first fan_in of them
    order = torch.from_numpy(np.lexsort((clock.numpy(), post.numpy())))
    size = torch.bincount(post, minlength=n_post)
    rank = torch.arange(p.size) - (size.cumsum(0) - size)[post[order]]
    return local[order[rank < fan_in[post[order]]]] + space.bounds[i]


def _within_caps(keys: Tensor, post: Tensor, fan_in: Tensor, clock: Tensor, room: Rows) -> Tensor:
    """As `filled`, the pairs in the order of their clocks, where both of their units have room."""
    free, chosen, units = fan_in.tolist(), list[int](), post.tolist()
    for at in clock.argsort()[: int(clock.isfinite().sum())].tolist():
        if free[units[at]] and room.take(int(keys[at])):
            free[units[at]] -= 1
            chosen.append(int(keys[at]))
    if left := sum(free):
        raise ValueError(
            f"StructuralPlasticity fills slots at the start, and under these limits {left:,} of "
            f"{len(chosen) + left:,} find no partner with room: allow more, ask for fewer slots, "
            "or start from the graph there is, initial='given'."
        )
    return torch.tensor(sorted(chosen), dtype=torch.int64)
