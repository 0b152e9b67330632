"""Units that cannot take part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..analysis import metrics
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class DeadUnits(Measure):
    """Fraction of the units of each population that cannot take part (definition).

    "NAME: no incoming" and "NAME: no outgoing" are units without an edge on that side (never
    inputs, or outputs); "NAME: off path" those on no path from an input to an output, which the
    former two are as well. As :func:`rewire.analysis.metrics.dead_units` counts them.

    >>> from rewire.analysis.examples import two_layers
    >>> DeadUnits().of(two_layers())["hidden: off path"]
    0.3333333333333333
    """

    kind: ClassVar[str] = "units"
    source: ClassVar[str] = "definition"
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, dead in metrics.dead_units(graph).items():
            if len(dead.off_path):
                out[f"{name}: no incoming"] = float(dead.no_incoming.mean())
                out[f"{name}: no outgoing"] = float(dead.no_outgoing.mean())
                out[f"{name}: off path"] = float(dead.off_path.mean())
        return out
