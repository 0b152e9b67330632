"""Null models: what a measure's value is held against."""

from __future__ import annotations

from .null import Null as Null

BUILT_IN: tuple[type[Null], ...] = ()


def known() -> dict[str, type[Null]]:
    """Every null model by the name that `null=` takes."""
    return {n.__name__.lower(): n for n in BUILT_IN}
