"""What graphs share, pair by pair, and what chance would share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from rewire.analysis.overlap import overlap

from ..errors import ConfigError
from .chosen import Found

MOST = 500  # pairs, each with a row for each projection


def compared(graphs: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """One row for each pair of graphs and projection, and one for all projections together.

    Raises ConfigError where there are not two graphs, or two that join other units.
    """
    if len(graphs) < 2:
        titles = ", ".join(one.title for one in graphs)
        raise ConfigError(f"two graphs are compared, and there is one: {titles or None}")
    pairs = [pair for pair in combinations(graphs, 2) if _alike(*pair, len(graphs) == 2)]
    if len(pairs) > MOST:
        raise ConfigError(
            f"{len(graphs)} graphs have {len(pairs)} pairs to compare, more than {MOST}: choose "
            "with --rule, --density or --seed"
        )
    for a, b in pairs:
        _check_same_units(a, b)
        live = [one.graph.effective() for one in (a, b)]
        for part in overlap(live[0].keys, live[1].keys, live[0].projections):
            yield {
                "a": a.title,
                "b": b.title,
                "projection": part.name,
                "edges_a": part.edges_a,
                "edges_b": part.edges_b,
                "shared": part.shared,
                "expected": part.expected,
                "jaccard": part.jaccard,
                "expected_jaccard": part.expected_jaccard,
                "z": part.z,
            }


def _alike(a: Found, b: Found, alone: bool) -> bool:
    """Whether two graphs of one density are compared; two graphs that were named always are."""
    return alone or a.names.get("density") == b.names.get("density")


def _check_same_units(a: Found, b: Found) -> None:
    joins = [[(p.name, p.kind, p.shape) for p in one.graph.projections] for one in (a, b)]
    if joins[0] != joins[1]:
        raise ConfigError(
            f"{a.title} joins {_names(joins[0])}, and {b.title} joins {_names(joins[1])}: graphs "
            "of the same units and projections are compared"
        )


def _names(joins: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, _, shape in joins)
