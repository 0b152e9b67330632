"""What is measured on trained cells for a paper's rows, each a class in a file of its own.

>>> "Barrier" in available()
True

One of your own is a subclass of :class:`Analysis` under the entry point ``rewire.analyses``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from rewire.names import unknown

from ... import installed
from ...errors import ConfigError
from .analysis import Analysis, trained

__all__ = ["Analysis", "available", "of_table", "trained"]

ENTRY_POINTS = "rewire.analyses"
BUILT_IN = {  # "module:class", imported when it is asked for
    "Barrier": ".barrier:Barrier",
    "Deletion": ".deletion:Deletion",
    "Evaluation": ".evaluation:Evaluation",
    "Relabelling": ".relabelling:Relabelling",
    "WeightNoise": ".weight_noise:WeightNoise",
}


def available() -> list[str]:
    """The names of all analyses, those of installed packages included."""
    return sorted({*BUILT_IN, *_installed()})


def _installed() -> dict[str, type[Analysis]]:
    return installed.available("analysis", ENTRY_POINTS, {}, Analysis)  # type: ignore[type-abstract]


def of_table(name: str, fields: Mapping[str, Any]) -> Analysis:
    """The analysis of that name with these fields.

    Raises ConfigError for a name or a field that is none.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        cls = getattr(importlib.import_module(module, __package__), attribute)
    else:
        others = _installed()
        if name not in others:
            raise ConfigError(unknown("analysis", name, [*BUILT_IN, *others]))
        cls = others[name]
    try:
        return cls.from_table(fields)
    except ValueError as error:
        raise ConfigError(str(error)) from None
