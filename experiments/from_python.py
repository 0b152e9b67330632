"""Objects in the tree of an experiment, data and models, as the names that they are known by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config.problems import Problems
from .errors import DataError


def in_names(tree: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """The tree with a name in the place of each object that was given from Python.

    >>> from torch import nn
    >>> in_names({"model": nn.Identity, "data": "digits"}, Problems())["model"]
    'torch.nn.modules.linear:Identity'
    """
    named = dict(tree)
    for key, register in (("data", _data), ("model", _model)):
        value = tree.get(key)
        try:
            if isinstance(value, Mapping) and "name" in value:
                if not isinstance(value["name"], str):
                    named[key] = {**value, "name": register(value["name"])}
            elif not isinstance(value, str | None):
                named[key] = register(value)
        except (DataError, ValueError) as error:
            problems.add(key, str(error))
            named[key] = "unknown"
    return named


def _data(value: Any) -> Any:
    from .data.own import register

    if isinstance(value, Mapping) and "train" not in value:
        return value  # a table of a file, which is checked as such
    return register(value)


def _model(value: Any) -> Any:
    if isinstance(value, Mapping | int | float):
        return value
    from rewire.models.own import register

    return register(value)
