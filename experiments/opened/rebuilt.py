"""The model of a cell, rebuilt with its trained weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ..building import build_model
from ..errors import ConfigError, StoreError
from ..trainings.settings import settings
from .replay import Recorded, level_ends, level_of, reading

if TYPE_CHECKING:
    from torch import Tensor, nn


def model_of(cell: Recorded, level: int | None) -> nn.Module:
    """See `OpenedCell.model`."""
    import torch

    if cell.config.get("kind") not in ("rule", "branch"):
        raise ConfigError(
            f"{cell.name} is of the kind {cell.config.get('kind')!r} and has no torch model; "
            "graph() gives its connectivity"
        )
    level = level_of(cell, level_ends(cell), level)
    files = cell.files
    with reading(files):
        tree, meta = files.read_level(level)
        if "model" not in tree:
            raise ConfigError(
                f"{cell.name}: the whole model was not kept at level {level}, only its edges and "
                "their weights (levels at a density that was asked for keep it, where it is not "
                "too big): graph(level=) gives those"
            )
        state = dict(tree["model"])
        projections = meta["projections"]
        keys, weights = tree["keys"], tree["weight"]
    s = settings(cell.config)
    model = build_model(s.model.name, s.model.options, s.data.info, torch.Generator())
    with reading(files):
        state = {name: value for name, value in state.items() if not name.startswith("rewire.")}
        state |= _sparse(projections, keys, weights)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise StoreError(f"{files.path}, level {level}: {error}") from error
    return model.eval()


def _sparse(projections: Any, keys: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """The sparse parameters by name: the weights at the edges, exactly 0 elsewhere."""
    import torch

    first, parameters = 0, {}
    for p in projections:
        shape = tuple(p["shape"])
        size = prod(shape)
        inside = (keys >= first) & (keys < first + size)
        values = torch.zeros(size, dtype=weights.dtype)
        values.index_add_(0, keys[inside] - first, weights[inside])
        parameters[p["name"]] = values.reshape(shape)
        first += size
    return parameters
