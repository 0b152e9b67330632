"""Weights held as lists of their edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ...graph import Graph, Space
from ...kernels.keys import columns_after, columns_of
from ...native import sparse as engine
from ...select.pairs import pair_hash
from ..torch_model.declared import Kinds
from ..torch_model.layers import owners
from .direct_reads import read_directly
from .edge_layers import can_wire
from .wires import Wires

Form = Literal["edges", "masked"]
CROSSOVER = 0.6 if engine is not None else 0.3  # density above which a dense product is faster
RECURRENT = 0.35 if engine is not None else 0.0  # the same of a recurrent layer as a whole


@dataclass
class Weight:
    """One sparse parameter: who owns it, and in which form it is held.

    wires: of its edges, in the form "edges"; mask: in the form "masked". last: the parameter, as
    this world last put it in its place; None before it did. read: whether another module computes
    with it itself, so that it is held dense.
    """

    name: str
    module: nn.Module
    attribute: str
    shape: torch.Size
    form: Form = "masked"
    wires: Wires | None = None
    mask: Tensor | None = None
    last: nn.Parameter | None = None
    read: bool = False

    def rewire(self, wires: Wires | None) -> None:
        """Have these edges in the place of those of before."""
        if self.wires is not None:
            self.wires.gone = True
        self.wires = wires

    @property
    def parameter(self) -> nn.Parameter:
        p = self.module._parameters.get(self.attribute)
        if p is None:
            raise RuntimeError(
                f"{self.name!r} is no longer a parameter of its layer: something took it away "
                "after rewire.attach (pruning, weight_norm, a parametrisation). Attach anew to "
                "the model that you want to train."
            )
        return p


def weights_of(
    model: nn.Module,
    space: Space,
    parameters: Sequence[nn.Parameter],
    projections: Kinds | None = None,
) -> list[Weight]:
    """A weight for each projection of the space. Raises ValueError for one that modules share."""
    holders = owners(model, parameters, projections)
    read = read_directly(model, holders)
    return [
        Weight(projection.name, *holder, p.shape, read=holder in read)
        for projection, p, holder in zip(space.projections, parameters, holders, strict=True)
    ]


@dataclass
class Held:
    """The edges that a world holds.

    keys: rising. flat: their weights, which are the memory of the lists. bounds: rows where each
    weight's edges begin. starts: the first key of each projection.
    """

    keys: Tensor  # (E,) int64
    flat: Tensor  # (E,)
    bounds: Sequence[int]
    starts: Sequence[int]

    def rows(self, i: int) -> slice:
        """The rows of a projection's edges."""
        return slice(self.bounds[i], self.bounds[i + 1])

    def local(self, i: int) -> Tensor:
        """Flat indices of a projection's edges in its dense weight."""
        return self.keys[self.rows(i)] - self.starts[i]


def suitable(
    weights: Sequence[Weight], bounds: Sequence[int], choose: Literal["sparse", "auto"]
) -> Iterator[Form]:
    """The form for each weight; those of one layer share it. bounds: rows where edges begin.

    An attention and its last projection are one layer: torch computes with both at once.
    """
    layers = _layers(weights)
    room = dict[nn.Module | None, float]()
    for i, (w, layer) in enumerate(zip(weights, layers, strict=True)):
        crossover = RECURRENT if isinstance(w.module, nn.RNNBase) else CROSSOVER
        left = crossover * w.shape.numel() - (bounds[i + 1] - bounds[i])
        room[layer] = room.get(layer, 0.0) + left
    read = {layer for w, layer in zip(weights, layers, strict=True) if w.read}
    for layer in layers:
        few = choose == "sparse" or room[layer] >= 0
        wires = few and layer is not None and can_wire(layer) and layer not in read
        yield "edges" if wires else "masked"


def _layers(weights: Sequence[Weight]) -> list[nn.Module | None]:
    """The layer that each weight is of; None for the last projection of an attention that has no
    sparse weight else, and computes with a dense one."""
    attentions = [w.module for w in weights if isinstance(w.module, nn.MultiheadAttention)]
    of_projection = {id(module.out_proj): module for module in attentions}
    return [
        of_projection.get(id(w.module))
        if isinstance(w.module, NonDynamicallyQuantizableLinear) else w.module
        for w in weights
    ]  # fmt: skip


def give_memory(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: Sequence[Weight]
) -> None:
    """Real memory for what is on the meta device; sparse weights get theirs with their edges."""
    lists = {id(w.parameter) for w in weights}
    for module in model.modules():
        for name, p in list(module._parameters.items()):
            if p is None or not p.is_meta:
                continue
            first = torch.empty(0, dtype=p.dtype) if id(p) in lists else _first(module, name, p)
            fresh = nn.Parameter(first, requires_grad=p.requires_grad)
            replace(optimizer, p, fresh)
            setattr(module, name, fresh)
        for name, b in list(module._buffers.items()):
            if b is not None and b.is_meta:
                ones = name == "running_var"
                module._buffers[name] = torch.full(b.shape, int(ones), dtype=b.dtype)


def replace(optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter) -> None:
    """Let the optimizer step another parameter in the place of one, with its state."""
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    if old in optimizer.state:
        optimizer.state[new] = optimizer.state.pop(old)


def _first(module: nn.Module, name: str, p: Tensor) -> Tensor:
    """First values of a parameter that is not sparse: 0, but 1 for the scale of a norm."""
    norm = name == "weight" and p.dim() == 1
    return torch.full(p.shape, float(norm), dtype=p.dtype)


def csr(
    graph: Graph, i: int, shape: torch.Size, held: tuple[Wires, int, np.ndarray] | None = None
) -> tuple[Tensor, Tensor]:
    """Row pointers (rows + 1,) int64 and columns (E_i,) int32 of a projection's edges.

    held: the wires before the edit that led to ``graph``, their first row, and all that it dropped.
    """
    p, first, width = graph.projections[i], graph.space.bounds[i], shape.numel() // shape[0]
    of_units = graph.starts(p.target) if p.by_unit else None
    if of_units is not None:
        starts = of_units[graph.space.into[p.target].index(i)]
    else:
        rows = first + np.arange(shape[0] + 1, dtype=np.int64) * width
        starts = graph.array.searchsorted(rows)
    if held is None:
        index = columns_of(graph.array, starts, first, width)
    else:  # only what the edit touched is computed anew
        wires, before, drop = held
        index = columns_after(
            wires.index.numpy(), before, drop, graph.array, graph.born, graph.rows(i), first, width
        )
    return torch.from_numpy(starts - starts[0]), torch.from_numpy(index)


def drawn(w: Weight, keys: Tensor, seed: int) -> Tensor:
    """First weights of edges, uniform of variance 2 / fan-in, by their keys and a seed, (E_i,)."""
    fan_in = max(len(keys) / w.shape[0], 1.0)
    u = pair_hash(keys, seed).double() * 2.0**-62 - 1  # in [-1, 1)
    return (u * sqrt(6 / fan_in)).to(w.parameter.dtype)
