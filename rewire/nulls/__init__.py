"""Null models: what a measure's value is held against."""

from __future__ import annotations

from .counts import Counts
from .degrees import Degrees
from .distance import Distance
from .layers import Layers
from .null import Null as Null
from .start import Start

BUILT_IN: tuple[type[Null], ...] = (Degrees, Counts, Distance, Layers, Start)

__all__ = ["BUILT_IN", "Counts", "Degrees", "Distance", "Layers", "Null", "Start", "known"]


def known() -> dict[str, type[Null]]:
    """Every null model by the name that `null=` takes.

    >>> sorted(known())
    ['counts', 'degrees', 'distance', 'layers', 'start']
    """
    return {n.__name__.lower(): n for n in BUILT_IN}
