"""Parameters that hold one number for each edge, refused where a dense weight is expected.

A list of edges computes with its layer alone. What reads ``layer.weight`` in a computation of its
own (a tied layer, ``F.linear(x, layer.weight)``, a fused kernel), or lays numbers of another shape
into it, would take the list for the weight; torch calls :meth:`EdgeWeight.__torch_function__` for
every function that such a parameter enters, and those are refused by name. Sums, norms and what an
optimiser does see one number for each edge, as they should. Fused kernels of torch's own
(``nn.TransformerEncoderLayer`` in evaluation mode) stay off for parameters of this type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .edge_numbers import OfEdges, computed, name_of

DENSE = "use net.to_dense(), a copy of the model with dense weights"

_T: Any = Tensor  # whose attributes are descriptors, which type checkers do not know
# Functions that read a weight as rows and columns: a list has none.
_MATRIX = frozenset({
    torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm,
    torch.mv, Tensor.mv, torch.bmm, torch.einsum, torch.tensordot, torch.outer, torch.dot,
    Tensor.dot, torch.inner, torch.addmm, torch.addmv, functional.linear, functional.bilinear,
    functional.embedding, functional.conv1d, functional.conv2d, functional.conv3d,
    functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d,
    Tensor.t, torch.t, Tensor.transpose, torch.transpose, Tensor.permute, torch.permute,
    _T.T.__get__, _T.mT.__get__, _T.H.__get__, torch.linalg.svd, torch.svd,
    torch.linalg.matrix_norm, torch.linalg.norm, nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_, torch.norm_except_dim, torch._weight_norm,
})  # fmt: skip
_GETTERS = frozenset({_T.T.__get__, _T.mT.__get__, _T.H.__get__, _T.data.__get__})
_WRITES = frozenset({_T.data.__set__, Tensor.copy_, Tensor.set_})


class EdgeWeight(OfEdges, nn.Parameter):
    """The weights of a layer's edges, (E,), in the order of their keys."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            plain = nn.Parameter(self.data, self.requires_grad)
        vars(plain).update((k, v) for k, v in vars(self).items() if k != "edges")
        return plain.__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            name = getattr(func, "__name__", "")
            if name == "__get__" and func not in _GETTERS:  # most calls: a shape, a type
                return func(*args)
            if func in _WRITES:
                _check_written(*args[:2], copied=func == Tensor.copy_)
            elif func in _MATRIX or _meets_matrix(args):
                raise _refusal(func, args, kwargs)
            out = computed(func, args, kwargs or {})
            if isinstance(out, Tensor) and out.dim() > 1:
                raise _refusal(func, args, kwargs)
            return out


class ReplacedWeight(nn.Parameter):
    """What was a parameter of the model until its weight got another number of edges: whoever
    still holds it (a list taken before the training) is told so where they ask for its gradient."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (_T.grad.__get__, _T.grad.__set__):
            raise RuntimeError(
                "this parameter is no longer the model's: in the sparse world a weight whose "
                "number of edges changes, by rewire.attach or by a rule, gets another one. Take "
                "model.parameters() anew wherever you use them, or call net.clip(max_norm); with "
                "world='masked' parameters stay."
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def _meets_matrix(args: tuple[Any, ...]) -> bool:
    """Whether another tensor that the function takes has rows and columns."""
    return any(isinstance(a, Tensor) and a.dim() > 1 for a in args)


def _refusal(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
) -> RuntimeError:
    every = (*args, *(kwargs or {}).values())
    flat = [b for a in every for b in (a if isinstance(a, list | tuple) else [a])]
    edges = next(a for a in flat if isinstance(a, EdgeWeight))
    return RuntimeError(
        f"{name_of(func)} is of weights with rows and columns, and this one is a list of its "
        f"{edges.numel():,} edges in the sparse world, with which its own layer alone computes. "
        f"Call the layer, or attach with world='masked'; to compute with the finished model, "
        f"{DENSE}. rewire.attach(exclude=[...]) leaves a weight out."
    )


def _check_written(edges: Tensor, values: Any = None, *, copied: bool) -> None:
    """Raise RuntimeError for numbers that are not one for each edge, and for memory of another
    type, which ``copied`` numbers may have."""
    if not isinstance(edges, EdgeWeight) or not isinstance(values, Tensor):
        return
    fits = edges.shape == values.shape or (copied and values.numel() == 1)
    if not fits or not (copied or (edges.dtype, edges.device) == (values.dtype, values.device)):
        raise RuntimeError(
            f"a weight that is a list of edges holds {_described(edges)}, and was to hold "
            f"{_described(values)}. {CONVERT}"
        )


CONVERT = (
    "In the sparse world load and convert a model before rewire.attach; after training, use "
    "net.to_dense(), a copy of the model with dense weights, which takes any of it."
)


def _described(t: Tensor) -> str:
    return f"numbers of shape {tuple(t.shape)}, {t.dtype} on {t.device}"


def lay(parameter: nn.Parameter, values: Tensor) -> None:
    """Let a list of edges lie in other memory, as the world does that holds it."""
    with torch._C.DisableTorchFunctionSubclass():
        parameter.data = values
