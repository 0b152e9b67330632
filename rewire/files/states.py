"""Dense states of models: safetensors, and files of torch.save, whose zeros are absent synapses."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..atomic import replacing, write_atomic
from ..graph import Graph
from ..graph.described import description, space_of
from ..graph.listing import ABOUT
from .errors import GraphFileError
from .matrices import of_named
from .zips import check_unpacked


def write(graph: Graph, path: Path) -> None:
    """Write what computes, dense, by the names of its parameters: absent synapses are 0.

    Multapses add up, and a synapse of weight 0 is absent when the file is read.
    """
    if "weight" not in graph.columns:
        raise ValueError("a state holds weights, and this graph has none.")
    graph = graph.effective()
    state = {p.name: graph.dense(i).contiguous() for i, p in enumerate(graph.projections)}
    if path.suffix.lower() == ".safetensors":
        about = description(graph.space)
        if graph.space.wiring is not None:
            about["wiring"] = graph.space.wiring.plain()
        write_atomic(path, save(state, metadata={ABOUT: json.dumps(about)}))
    else:
        with replacing(path) as temporary:
            torch.save(state, temporary)


def read(path: Path, chain: bool = False, groups: Mapping[str, int] | None = None) -> Graph:
    """The graph of a state's weights that are not 0; pairs of torch's prune by their masks.

    What this program wrote to safetensors says how its projections join populations; chain, groups:
    of others, as for `matrices.of_named`. A state says little of a model:
    `Graph.of(model)` knows its layers.
    """
    about, state = _safe(path) if path.suffix.lower() == ".safetensors" else (None, _pickled(path))
    arrays = {name: _array(name, tensor) for name, tensor in state.items()}
    if about is None:
        return of_named(arrays, chain, groups)
    described = json.loads(about)
    for p in described["populations"]:
        p["labels"] = None
    space = space_of(described)
    masks = {p.name: torch.from_numpy(arrays[p.name]) != 0 for p in space.projections}
    graph = Graph.from_masks(space, masks)
    flat = [torch.from_numpy(arrays[p.name])[masks[p.name]] for p in space.projections]
    return graph.with_columns({"weight": torch.cat(flat)})


def _array(name: str, tensor: Tensor) -> Any:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise GraphFileError(f"{name!r} is no plain dense tensor.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise GraphFileError(f"{name!r} has the shape {tuple(tensor.shape)} over few numbers.")
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _safe(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get(ABOUT)
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise GraphFileError(str(error)) from error


def _pickled(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file of torch.save, without running what it pickles."""
    if not zipfile.is_zipfile(path):
        raise GraphFileError("it is no zip archive, as torch.save writes since 1.6.")
    with zipfile.ZipFile(path) as archive:
        check_unpacked(path, archive)
    state = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise GraphFileError(f"it holds a {type(state).__name__}, not a state by names.")
    return {str(name): t for name, t in state.items() if isinstance(t, Tensor)}
