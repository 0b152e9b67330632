"""The topology that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .budget import counts_for, random_graph
from .compatibility import as_rules
from .graph import Graph
from .rule import Rule
from .rule_budget import budget_of
from .select.choose import largest
from .streams import rng_for

if TYPE_CHECKING:
    from .world import World


def aimed(
    rules: Rule | Sequence[Rule], density: float | None, distribution: Any
) -> tuple[tuple[Rule, ...], float | None]:
    """The rules that end at, or visit, ``density``, and the density to start from.

    Raises ValueError where a rule prunes down to it and ``distribution`` sets the counts as well.
    """
    rules = as_rules(rules)
    if density is None:
        return rules, None
    budgets = [budget_of(rule) for rule in rules]
    rules = tuple(b.towards(r, (density,)) for b, r in zip(budgets, rules, strict=True))
    if any(budget.visits for budget in budgets):
        return rules, None
    starts = [budget.starts_at(density) for budget in budgets]
    start = max(starts, default=density)
    if start != density and not isinstance(distribution, str):
        falling = next(r.name for r, s in zip(rules, starts, strict=True) if s != density)
        raise ValueError(
            f"{falling} prunes from density {start:g} to {density:g} and shares that out itself: "
            "leave out the counts or densities by projection."
        )
    return rules, start


def first_graph(
    world: World,
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
    initial: str | Graph,
    seed: int,
) -> Graph:
    """The topology to start from: given, or counts by ``distribution`` and places by ``initial``.

    "random": uniform in each projection. "magnitude": the largest weights of the model as it is.
    """
    space = world.space
    if isinstance(initial, Graph):
        joins, has = ([(p.name, p.shape) for p in s.projections] for s in (initial, space))
        if joins != has:
            raise ValueError(f"the initial graph joins {joins}, the model has {has}.")
        return Graph(space, initial.keys)
    if initial not in ("random", "magnitude"):
        raise ValueError(f"initial must be 'random', 'magnitude' or a Graph, got {initial!r}.")
    if density is None and isinstance(distribution, str):
        density = 1.0
    counts = counts_for(space, density, distribution)
    if counts == space.sizes:
        return Graph.full(space)
    if initial == "random":
        return random_graph(space, counts, rng_for(seed, "topology"))
    full = world.read(Graph.full(space))
    ranges = list(zip(space.bounds[:-1], space.bounds[1:], strict=True))
    rows = largest(full["weight"], counts, ranges, magnitude=True, what="|weight|")
    return Graph(space, rows)


def _start_of(
    world: World,
    rule: Rule | Sequence[Rule],
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
    initial: str | Graph,
    seed: int,
) -> tuple[tuple[Rule, ...], Graph]:
    """The rules and the topology to start from: whole where a rule is to prune it itself."""
    rules, density = aimed(rule, density, distribution)
    budgets = [budget_of(rule) for rule in rules]
    if any(budget.at_start for budget in budgets):
        if density is not None or not isinstance(distribution, str):
            counts = counts_for(world.space, density, distribution)
            rules = tuple(b.aimed(r, counts) for b, r in zip(budgets, rules, strict=True))
        density, distribution = None, "erk"
    return rules, first_graph(world, density, distribution, initial, seed)
