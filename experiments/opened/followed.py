"""How the model of an older cell joins its layers: traced again, where its files do not say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..building import empty_model
from ..errors import RewireError
from ..report.graphs import graph_of
from ..trainings.settings import settings

if TYPE_CHECKING:
    from rewire.graph import Graph, Space
    from rewire.graph.wiring import Wiring


def graph_of_cell(keys: Any, meta: Mapping[str, Any], config: Mapping[str, Any]) -> Graph:
    """The graph of a file of a cell, in a space that knows how the model joins its layers.

    Runs of earlier versions did not write that down; the model is followed when it is asked for.
    """
    from rewire.graph import Graph, Space

    graph = graph_of(keys, meta)
    if meta.get("wiring") is not None or config.get("kind") not in ("rule", "branch"):
        return graph
    space = graph.space
    wiring = partial(_traced, config, space)
    return Graph(Space(space.populations, space.projections, wiring=wiring), keys)


def _traced(config: Mapping[str, Any], space: Space) -> Wiring | None:
    """None where the model is not there any more, has other weights, or cannot be followed."""
    import torch

    from rewire.worlds.torch_model.layers import discover
    from rewire.worlds.torch_model.tracing import trace

    try:
        s = settings(config)
        info = s.data.info
        model = empty_model(s.model.name, s.model.options, info)
        x, _ = s.task.example(info, 1, torch.Generator())
        own, parameters, _ = discover(model, include=s.include or None, exclude=s.exclude)
        same = own.projections == space.projections
        return trace(model, own, parameters, x) if same else None
    except (RewireError, RuntimeError, ValueError):
        return None
