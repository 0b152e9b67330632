"""The topology that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .budget import check_density, counts_for, random_graph
from .compatibility import as_rules
from .graph import Graph
from .names import did_you_mean
from .rule import Rule
from .rule_budget import budget_of
from .select.choose import largest
from .starts import BUILT_IN, StartingTopology, named
from .streams import rng_for

if TYPE_CHECKING:
    import networkx as nx
    from torch import Tensor

    from .graph import Space
    from .world import World

Initial: TypeAlias = "str | StartingTopology | Graph | nx.Graph | Mapping[str, Tensor]"


def aimed(
    rules: Rule | Sequence[Rule], density: float | None, distribution: Any
) -> tuple[tuple[Rule, ...], float | None]:
    """The rules that end at, or visit, ``density``, and the density to start from.

    Raises ValueError where a rule names another, or prunes down to it and ``distribution`` sets the
    counts as well.
    """
    rules = as_rules(rules)
    if density is None:
        return rules, None
    check_density(density)
    budgets = [budget_of(rule) for rule in rules]
    for budget, rule in zip(budgets, rules, strict=True):
        if (named := budget.named(rule)) and density not in named:
            raise ValueError(
                f"{rule.name} names its own density, to={', '.join(f'{d:g}' for d in named)}, and "
                f"density={density:g} was asked for as well: leave one of them out."
            )
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
    initial: Initial,
    seed: int,
) -> Graph:
    """The topology to start from: given, or counts by ``distribution`` and places by ``initial``.

    "random": uniform in each projection. "magnitude": the largest weights of the model as it is.
    "nonzero": where its weights are not 0. A Graph, also of networkx, or a mask for each projection
    by name. "small-world", "scale-free", "receptive-field", "bipartite-receptive-field", "regular",
    "ramanujan": see `starts`.
    """
    space = world.space
    topology = _named_topology(world, initial)
    if topology is not None:
        return topology
    if density is None and isinstance(distribution, str):
        density = 1.0
    counts = counts_for(space, density, distribution)
    start = named(initial)
    if counts == space.sizes:
        if start is not None:
            raise ValueError(
                f"initial={initial!r} says where edges are, and every projection begins with all "
                "of them (density None or 1, or rules that begin with every edge): leave it out."
            )
        return Graph.full(space)
    if start is not None:
        return start.graph(space, counts, seed)
    if initial == "random":
        return random_graph(space, counts, rng_for(seed, "topology"))
    full = world.read(Graph.full(space))
    ranges = list(zip(space.bounds[:-1], space.bounds[1:], strict=True))
    rows = largest(full["weight"], counts, ranges, magnitude=True, what="|weight|")
    return Graph(space, rows)


def _named_topology(world: World, initial: Initial) -> Graph | None:
    """The topology that ``initial`` names edge by edge; None where counts are to be spread.

    Raises ValueError for what is no topology, or not one of this world's space.
    """
    space = world.space
    graph = _of_networkx(initial)
    if graph is not None:
        joins, has = ([(p.name, p.shape) for p in s.projections] for s in (graph.space, space))
        if joins != has:
            raise ValueError(f"the initial graph joins {joins}, the model has {has}.")
        return Graph(space, graph.keys)
    if named(initial) is not None:
        return None
    if isinstance(initial, Mapping):
        _check_masks(space, initial)
        return Graph.from_masks(space, initial)
    if initial == "nonzero":
        return _nonzero(world)
    if not is_spread(initial):
        names = ["random", "magnitude", "nonzero", *BUILT_IN]
        hint = did_you_mean(initial, names) if isinstance(initial, str) else ""
        raise ValueError(
            "initial must be 'random', 'magnitude' or a Graph, 'nonzero' or a mask for each "
            f"projection by name, a graph of networkx, or one of {', '.join(map(repr, BUILT_IN))}; "
            f"got {initial!r}{hint}."
        )
    return None


def is_spread(initial: Any) -> bool:
    """Whether ``initial`` says where counts of edges are placed, and does not name each edge.

    >>> is_spread("random"), is_spread("regular"), is_spread("nonzero")
    (True, True, False)
    """
    if named(initial) is not None:
        return True
    return isinstance(initial, str) and initial in ("random", "magnitude")


def _of_networkx(initial: Initial) -> Graph | None:
    """A Graph as it is, one of networkx with the space that it names; None for anything else."""
    import networkx as nx

    return (
        Graph.from_networkx(initial)
        if isinstance(initial, nx.Graph)
        else (initial if isinstance(initial, Graph) else None)
    )


def _check_masks(space: Space, masks: Mapping[str, Any]) -> None:
    names = [p.name for p in space.projections]
    missing, unknown = ([n for n in a if n not in b] for a, b in ((names, masks), (masks, names)))
    if missing or unknown:
        raise ValueError(
            f"initial needs a mask for each of {', '.join(names)}"
            + (f"; there is none for {', '.join(missing)}" if missing else "")
            + (f"; {', '.join(map(repr, unknown))} is no projection" if unknown else "")
            + ". A weight that is to keep all its synapses has a mask of ones."
        )


def _nonzero(world: World) -> Graph:
    full = world.read(Graph.full(world.space))
    graph = Graph(world.space, full.keys[full["weight"] != 0])
    for p, n in zip(graph.projections, graph.live_counts(), strict=True):
        if not n:
            raise ValueError(
                f"all weights of {p.name!r} are 0, and initial='nonzero' would leave it without a "
                "synapse: leave it out with exclude=, or give a mask for each weight."
            )
    return graph


def _check_agrees(
    graph: Graph,
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
) -> None:
    """Raise ValueError where counts were asked for beside a topology that has others."""
    if not isinstance(distribution, str):
        try:
            agrees = counts_for(graph.space, density, distribution) == graph.live_counts()
        except ValueError:
            agrees = False
        if agrees:
            return
    if distribution != "erk":
        raise ValueError(
            f"initial names every edge ({graph.live_counts()} by projection): leave out "
            f"distribution={distribution!r}."
        )
    if density is None:
        return
    edges, possible = len(graph), graph.space.possible
    wanted = round(density * possible)
    if abs(wanted - edges) > len(graph.projections):  # each may have been rounded by itself
        raise ValueError(
            f"initial names {edges:,} edges of {possible:,}, density {edges / possible:.4g}, and "
            f"density={density:g} asks for {wanted:,}: leave density out."
        )


def _start_of(
    world: World,
    rule: Rule | Sequence[Rule],
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
    initial: Initial,
    seed: int,
) -> tuple[tuple[Rule, ...], Graph]:
    """The rules and the topology to start from: whole where a rule is to prune it itself."""
    asked = density
    rules, density = aimed(rule, density, distribution)
    budgets = [budget_of(rule) for rule in rules]
    if any(budget.at_start for budget in budgets):
        if density is not None or not isinstance(distribution, str):
            counts = counts_for(world.space, density, distribution)
            rules = tuple(b.aimed(r, counts) for b, r in zip(budgets, rules, strict=True))
        density, distribution = None, "erk"
    graph = first_graph(world, density, distribution, initial, seed)
    if not is_spread(initial):
        _check_agrees(graph, density if density == asked else None, distribution)
    return rules, graph
