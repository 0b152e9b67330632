"""The graph of anybody's sparse model: zeros, masks and parametrisations, without an optimizer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .coverage import LISTED, Coverage
from .graph import Graph, Space
from .worlds.torch_model.copies import own_copy
from .worlds.torch_model.covering import coverage_of
from .worlds.torch_model.declared import Kinds
from .worlds.torch_model.layers import clean, discover
from .worlds.torch_model.mask_state import masks_of, unpacked
from .worlds.torch_model.tracing import trace
from .worlds.torch_model.twin import bare, strip

NOTHING = object()  # no example: None is an argument that a model may take


def of(
    model: nn.Module,
    *,
    example: Any = NOTHING,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    projections: Kinds | None = None,
    positions: Mapping[str, Tensor | None] | None = None,
) -> Graph:
    """The graph of a model's weights that are not 0, with the column ``weight``.

    Of weights under masks of `torch.nn.utils.prune` the masks say what is absent, and of a model
    that a session holds in the masked world its session; parametrised weights, weight norms and
    spectral norms are computed first, as the model would. The model stays as it is.

    example: an input of the model, or a tuple of several: one pass of zeros of its shape shows how
        the model joins its layers. Without one, layers of an `nn.Sequential` are joined, and the
        others stand alone: ``graph.pieces`` says which.
    include, exclude, embeddings, projections, positions: as for `rewire.attach`. Frozen weights
        are in the graph. Warns where most weights of the model are not.

    >>> from torch.nn.utils import prune
    >>> model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> _ = prune.l1_unstructured(model[0], "weight", 18)
    >>> graph = Graph.of(model, example=torch.zeros(1, 6))
    >>> graph, graph.counts().tolist()
    (Graph(14 of 32 synapses, density 0.4375, columns ['weight']), [6, 8])

    Raises ValueError for a model without a weight that could be sparse, for a model whose weights
    are lists of edges (``net.graph`` is its graph), and for NaN.
    """
    if isinstance(getattr(model, "graph", None), Graph):
        return model.graph  # type: ignore[return-value]  # a session
    plain, masks = _plain(bare(model))
    options = {"include": include, "exclude": exclude, "embeddings": embeddings}
    named = {**options, "projections": projections, "positions": positions}
    space, parameters, _ = discover(plain, **named)  # type: ignore[arg-type]
    _warn_of_others(coverage_of(plain, space, parameters, **named))  # type: ignore[arg-type]
    edges, weights = {}, {}
    for p, weight in zip(space.projections, parameters, strict=True):
        values = weight.detach().cpu()
        if values.is_floating_point() and bool(values.isnan().any()):
            raise ValueError(f"{p.name!r} holds NaN, which is neither a synapse nor none.")
        edges[p.name] = values != 0 if p.name not in masks else masks[p.name].reshape(p.shape)
        weights[p.name] = values
    if example is not NOTHING:
        wiring = trace(plain, space, parameters, example)
        space = Space(space.populations, space.projections, wiring=wiring)
    column = [weights[p.name][edges[p.name]] for p in space.projections]
    return Graph.from_masks(space, edges).with_columns({"weight": torch.cat(column)})


def _plain(model: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy whose weights are plain parameters, and the masks that said what is absent."""
    for name, module in model.named_modules():
        if getattr(module, "wires", None):
            raise ValueError(
                f"{name!r} holds lists of edges, as a session in the sparse world makes them: "
                "take net.graph, or Graph.of(net.to_dense())."
            )
    # torch copies no tensor that was computed, as weights under masks and norms are
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    masks = {clean(name): bits for name, bits in masks_of(model.state_dict()).items()}
    with own_copy():
        plain = copy.deepcopy(model, computed)
    strip(plain)
    plain.eval()
    sizes = {clean(name): p.numel() for name, p in plain.named_parameters()}
    absent = {name: _mask(bits, sizes[name]) for name, bits in masks.items() if name in sizes}
    with torch.no_grad():
        for prefix, module in plain.named_modules():
            for attribute, mask in _computed(module):
                if mask is not None:
                    absent[clean(f"{prefix}.{attribute}" if prefix else attribute)] = mask
    plain.requires_grad_(True)
    return plain, absent


def _mask(bits: Tensor, size: int) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[unpacked(bits, size)] = True
    return mask


def _computed(module: nn.Module) -> Iterator[tuple[str, Tensor | None]]:
    """Make a module's computed weights parameters; the name of each, and its mask where pruned."""
    if parametrize.is_parametrized(module):
        # torch would take the property from a class that the copy shares with the model
        attributes = list(module.parametrizations)  # type: ignore[arg-type]
        values = [getattr(module, attribute).detach().clone() for attribute in attributes]
        module.__class__ = type(module).__bases__[0]
        del module._modules["parametrizations"]
        for attribute, value in zip(attributes, values, strict=True):
            module.register_parameter(attribute, nn.Parameter(value))
            yield attribute, None
    for number, hook in list(module._forward_pre_hooks.items()):
        kind, attribute = type(hook).__name__, getattr(hook, "_tensor_name", None)
        if attribute is not None and f"{attribute}_mask" in module._buffers:
            mask = module._buffers[f"{attribute}_mask"]
            hook.remove(module)  # type: ignore[attr-defined]  # the weight times its mask, as prune.remove leaves it
            del module._forward_pre_hooks[number]
            yield attribute, None if mask is None else (mask != 0).cpu()
        elif kind in ("WeightNorm", "SpectralNorm") and hasattr(hook, "name"):
            hook(module, ())
            value = getattr(module, hook.name).detach().clone()
            for name in [n for n in module._parameters if n.startswith(f"{hook.name}_")]:
                del module._parameters[name]
            vars(module).pop(hook.name, None)
            del module._forward_pre_hooks[number]
            module.register_parameter(hook.name, nn.Parameter(value))
            yield hook.name, None


def _warn_of_others(coverage: Coverage) -> None:
    """Warn by name where most weights of a model are in no projection of its graph."""
    left_out = coverage.left_out
    others = sum(d.size for d in left_out)
    if coverage.governed >= others:
        return
    listed = ", ".join(f"{d.name!r} ({d.size:,}: {d.reason})" for d in left_out[:LISTED])
    more = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED else ""
    warnings.warn(
        f"the graph holds {coverage.governed:,} of the model's {coverage.weights:,} weights "
        f"({coverage.percent}); not in it are {listed}{more}. "
        + "".join(f"{hint}. " for hint in dict.fromkeys(d.hint for d in left_out if d.hint))
        + "Name them in exclude= to leave them out without this warning.",
        stacklevel=4,
    )
