"""Slots of units, and a start that fills them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...graph import Graph
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


def filled(
    graph: Graph,
    i: int,
    slots: int | None,
    chance: Callable[[Tensor, Tensor], Tensor] | None,
    rng: Stream,
) -> Tensor:
    """Keys that fill the slots of every target unit of projection ``i``, ascending by unit.

    slots: of each unit, shared by the projections into its population; None: as many as make up
    the edges there are, the remainder at random units. chance: (pre, post) -> weight of each pair
    in the draw of partners; None: all alike.
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
    if int(fan_in.max()) > p.size // n_post:
        raise ValueError(
            f"{p.name!r} has {p.size // n_post} possible synapses for each unit, fewer than "
            f"the {int(fan_in.max())} slots to fill; ask for fewer slots."
        )
    # the smallest of Exp(1) / chance are a draw without replacement in proportion to chance
    weight = torch.ones(p.size) if chance is None else chance(pre, post).clamp(min=1e-300)
    clock = -(1 - rng.uniform(p.size).double()).log() / weight
    # rank each pair among those of its unit, and take the first fan_in of them
    order = torch.from_numpy(np.lexsort((clock.numpy(), post.numpy())))
    size = torch.bincount(post, minlength=n_post)
    rank = torch.arange(p.size) - (size.cumsum(0) - size)[post[order]]
    return local[order[rank < fan_in[post[order]]]] + space.bounds[i]
