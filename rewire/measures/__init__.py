"""Measures of connectivity: one file each, held against an oracle by one contract test.

A package adds one under the entry point ``rewire.measures``: a subclass of :class:`Measure`, or a
function ``measure(graph) -> float``.
"""

from __future__ import annotations

from ..plugins import with_installed
from .layer_density import LayerDensity
from .measure import Measure as Measure
from .measure import Refused as Refused
from .measure import matrix as matrix

BUILT_IN: tuple[type[Measure], ...] = (LayerDensity,)


def known() -> dict[str, type[Measure]]:
    """Every measure by name, those of installed packages included."""
    return with_installed("rewire.measures", {m.__name__: m for m in BUILT_IN}, Measure)
