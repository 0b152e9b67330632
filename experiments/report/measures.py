"""Measures of a cell's final graph that installed packages bring: the group ``rewire.measures``.

A measure is a function ``measure(graph) -> float``, or a subclass of
:class:`rewire.measures.Measure` whose number of the whole network is taken. It becomes a column of
a report's table of results and of `rewire results`, and a figure against density. One that raises
is named and costs its own numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rewire.plugins import installed_functions

if TYPE_CHECKING:
    from rewire.graph import Graph
    from rewire.measures import Measure as ByParts

GROUP = "rewire.measures"


@dataclass(frozen=True)
class Measure:
    """A number of a graph. about: the first line of the function's documentation."""

    name: str
    of: Callable[[Graph], float]
    about: str = ""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


def installed_measures() -> list[Measure]:
    """The measures of installed packages, by name."""
    loaded = installed_functions(GROUP)
    return [
        Measure(name, _number_of(measure), _first_line(measure.__doc__))
        for name, measure in loaded.items()
    ]


def _number_of(measure: Callable[[Graph], float] | type[ByParts]) -> Callable[[Graph], float]:
    """What computes a column: a function itself, or the whole network's number of a class."""
    from rewire.measures import Measure as ByParts

    if not isinstance(measure, type) or not issubclass(measure, ByParts):
        return cast("Callable[[Graph], float]", measure)
    cls: type[ByParts] = measure

    def whole(graph: Graph) -> float:
        numbers = cls().of(graph)
        if "" not in numbers:
            raise ValueError(
                f"{cls.__name__} has numbers of parts ({', '.join(numbers)}) and none of the "
                "whole network, which a column takes: register a function that returns one of them."
            )
        return numbers[""]

    return whole


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].rstrip(".")


@dataclass
class Measurements:
    """Values of measures, one per graph and measure, and the reasons of those that failed."""

    values: dict[tuple[str, Hashable], float | None] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def take(self, measure: Measure, graph: Graph, key: Hashable, whose: str) -> float | None:
        """A measure of the graph that ``key`` names; None where it fails or is not finite.

        >>> size = Measure("size", len)
        >>> Measurements().take(size, [1, 2], key=0, whose="SET, seed 0")
        2.0
        """
        if (measure.name, key) not in self.values:
            self.values[measure.name, key] = self._value(measure, graph, whose)
        return self.values[measure.name, key]

    def _value(self, measure: Measure, graph: Graph, whose: str) -> float | None:
        try:
            value = float(measure.of(graph))
        except Exception as error:  # of somebody's package: whatever it raises is told
            reason = f"{whose}: {type(error).__name__}: {error}"
            self.failures.setdefault(measure.name, []).append(reason)
            return None
        return value if math.isfinite(value) else None

    @property
    def problems(self) -> list[str]:
        """One sentence for each measure that failed.

        >>> numbers = Measurements(failures={"size": ["SET, seed 0: TypeError: no len()"]})
        >>> numbers.problems
        ["the measure 'size' failed for 1 network, first for SET, seed 0: TypeError: no len()"]
        """
        return [
            f"the measure {name!r} failed for {len(reasons)} "
            f"{'network' if len(reasons) == 1 else 'networks'}, first for {reasons[0]}"
            for name, reasons in self.failures.items()
        ]


def with_measures(
    out: Path, rows: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Measure], list[str]]:
    """Result rows with a column for each installed measure; the measures; what went wrong.

    A row has None where its cell saved no connectivity, or where the measure failed.
    """
    from rewire.checkpoint import CheckpointError

    from ..errors import StoreError
    from .graphs import read_graph

    measures, numbers, problems = installed_measures(), Measurements(), []
    extended = []
    for row in rows:
        whose = f"{row['label']}, seed {row['seed']}"
        graph = None
        try:
            graph = read_graph(out, row, weights=True) if measures else None
        except (CheckpointError, StoreError, KeyError, TypeError, ValueError) as error:
            problems.append(f"the connectivity of {whose}: {error}")
        key = (row["cell"], row["level"])
        columns = {
            measure.name: None if graph is None else numbers.take(measure, graph, key, whose)
            for measure in measures
            if measure.name not in row  # a column of the store keeps its own value
        }
        extended.append({**row, **columns})
    return extended, measures, problems + numbers.problems
