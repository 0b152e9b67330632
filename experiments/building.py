"""Models, optimisers and spaces built as an experiment's settings say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .config.schema import Data, Experiment
from .threads import one_thread

if TYPE_CHECKING:
    from .config.values import Table

TOO_MANY = 2**28  # weights, 1 GB: a wider model is made of its edges alone


def build_model(name: str, options: Mapping[str, Any], data: Any, generator: Any) -> Any:
    """The model ``name`` for inputs and classes of ``data`` (a DatasetInfo or a Dataset)."""
    from rewire import models

    with one_thread():
        return models.build(
            name, generator=generator, input_shape=data.shape, classes=data.classes, **options
        )


def empty_model(name: str, options: Mapping[str, Any], data: Any) -> Any:
    """The same model on the meta device: shapes, and no numbers, however many they would be."""
    import torch

    with torch.device("meta"):
        return build_model(name, options, data, torch.Generator())


def model_for(name: str, options: Mapping[str, Any], data: Any, world: str, draw: Any) -> Any:
    """The model, drawn from ``draw()``; without numbers where only lists of edges could hold it."""
    if world != "masked":
        empty = empty_model(name, options, data)
        if sum(p.numel() for p in empty.parameters()) > TOO_MANY:
            return empty
    return build_model(name, options, data, draw())


def space_of(experiment: Experiment) -> Any:
    """All synapses that the experiment's model may have, as a rewire.graph.Space.

    Raises ValueError for patterns that name no parameter, or one that cannot be sparse.
    """
    from rewire.worlds.torch_model.layers import discover

    info = experiment.data.info
    model = empty_model(experiment.model.name, experiment.model.options, info)
    include = experiment.include or None
    return discover(model, include=include, exclude=experiment.exclude)[0]


def n_train(data: Data) -> int:
    """Training examples of a data set, its validation split held out; 0 where they are made while
    a model trains. Reads no data."""
    info = data.info
    if info.endless:
        return 0
    return info.train + (info.validation - data.validation if data.validation else 0)


class _Torch(NamedTuple):
    """An optimiser of torch: its class, tensors it keeps per parameter, whether it has kernels
    that update all in one pass."""

    name: str
    moments: int
    fused: bool


TORCH_OPTIMIZERS = {
    "sgd": _Torch("SGD", 1, True),
    "adam": _Torch("Adam", 2, True),
    "nadam": _Torch("NAdam", 2, False),
    "radam": _Torch("RAdam", 2, False),
    "adamax": _Torch("Adamax", 2, False),
    "adamw": _Torch("AdamW", 2, True),
    "rmsprop": _Torch("RMSprop", 1, False),
    "adagrad": _Torch("Adagrad", 1, True),
}


def build_optimizer(optimizer: Table, parameters: Iterable[Any]) -> Any:
    """The torch optimiser that ``optimizer`` describes, fused where it can be."""
    import torch

    options = optimizer.model_dump(exclude={"name"})
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    entry = TORCH_OPTIMIZERS[optimizer.name]  # type: ignore[attr-defined]
    if entry.fused:
        options["fused"] = True
    return getattr(torch.optim, entry.name)(parameters, **options)
