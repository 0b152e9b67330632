"""Numbers that were copied or computed of an edge list remember of which edges they are.

An average of weights by position (``shadow.lerp_(p, 0.1)``, a list of shadow parameters, a state's
entries) mixes synapses that have nothing to do with each other where an edit came between: the
lists are as long as before. Copies of a list are therefore of the type :class:`EdgeNumbers`, which
is any tensor's but for arithmetic with numbers of other edges, and that is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor

from ..torch_model.copies import note_copied

_T: Any = Tensor  # whose attributes are descriptors, which type checkers do not know
Edges = tuple[Tensor, Tensor]  # whose the numbers of a list are: CSR by row of the weight

# Names of functions that compute of two lists, number by number, without underscores around them
# and without the prefix of those that take lists of tensors.
_ARITHMETIC = frozenset({
    "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "truediv",
    "rtruediv", "rdiv", "lerp", "addcmul", "addcdiv", "maximum", "minimum", "where",
})  # fmt: skip
_SETS = frozenset({"copy_", "zero_", "fill_", "normal_", "uniform_", "set_"})  # all numbers anew
# Functions whose results are as long as the list, and no numbers of its edges.
_FRESH = frozenset({
    torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like, torch.rand_like,
    torch.randn_like, torch.randint_like, Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty,
    Tensor.new_full, Tensor.new_tensor,
})  # fmt: skip
_COPIES = frozenset(
    {
        Tensor.clone,
        torch.clone,
        Tensor.to,
        Tensor.cpu,
        Tensor.float,
        Tensor.double,
        Tensor.contiguous,
    }
)  # fmt: skip_VIEWS = frozenset({_T.data.__get__, Tensor.detach, torch.detach, Tensor.view_as})
_VIEWS = frozenset({_T.data.__get__, Tensor.detach, torch.detach, Tensor.view_as})

_stepping = False  # whether an optimiser steps, whose state the world moves with its edges


def stepping(begins: bool) -> None:
    """An optimiser's step begins, within which copies are plain tensors, or it is over."""
    global _stepping
    _stepping = begins


class OfEdges(Tensor):
    """Base: one number for each edge of a list. edges: None where it is not known of which."""

    edges: Edges | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            with torch._C.DisableTorchFunctionSubclass():
                copied = self.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = be(copied, type(self), self.edges)
        return memo[id(self)]


class EdgeNumbers(OfEdges):
    """Numbers that were copied or computed of an edge list, or (``live``) its own memory under
    another name, as of ``p.data``. Pickled they are a plain tensor."""

    live: bool = False

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if getattr(func, "__name__", "") == "__get__" and func not in _VIEWS:
                return func(*args)
            return computed(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            plain = self.view_as(self) if self.requires_grad else self.detach()
        return plain.__reduce_ex__(protocol)


def be(tensor: Tensor, kind: type[Tensor], edges: Edges | None) -> Any:
    """Let a tensor be of a kind that knows its edges, or of another."""
    listed: Any = tensor
    listed.__class__ = kind
    if edges is None:
        vars(listed).pop("edges", None)
    else:
        listed.edges = edges
    return listed


def array(values: Tensor) -> Any:
    """The numbers of a list in numpy: its own memory."""
    with torch._C.DisableTorchFunctionSubclass():
        return values.detach().numpy()


def computed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a function makes of tensors, lists of edges among them. Raises RuntimeError where it
    would compute of numbers of several topologies, or write those of one among the weights of
    another."""
    word = getattr(func, "__name__", "")
    sets = word in _SETS or func == _T.data.__set__
    if sets or word.strip("_").removeprefix("foreach_") in _ARITHMETIC:
        every = (*args, *kwargs.values())
        lists = [a for a in every if isinstance(a, list | tuple)]
        for together in zip_longest(*lists) if lists else (every,):
            _check(func, together, sets=sets)
    if func in _COPIES and not _stepping and (whose := _edges(args[0])) is not None:
        note_copied(lambda world: world.holds(whose))
    out = func(*args, **kwargs)
    if _stepping or func in _FRESH or word == "__set__":
        return out
    if sets:
        whose = _edges(args[1]) if len(args) > 1 else None
        if isinstance(out, EdgeNumbers) and not out.live:
            out.edges = whose
        _know(out, func, whose)
    elif func in _VIEWS:
        _know(out, func, _edges(args[0]))
        if isinstance(out, EdgeNumbers):
            out.live = getattr(args[0], "live", True)  # of a parameter always
    elif isinstance(out, list | tuple):
        for number, each in enumerate(out):
            _know(each, func, _first(tuple(_at(a, number) for a in args)))
    else:
        _know(out, func, _first((*args, *kwargs.values())))
    return out


def _know(out: Any, func: Callable[..., Any], edges: Edges | None) -> None:
    """Let a result know its edges: a tensor of one number for each, with memory of its own or not.

    What autograd derives stays as it is, but for copies, which are detached next.
    """
    if type(out) is not Tensor or edges is None or out.shape != edges[1].shape:
        return
    if out.is_floating_point() and (not out.requires_grad or func in _COPIES):
        be(out, EdgeNumbers, edges)


def _edges(value: Any) -> Edges | None:
    return value.edges if isinstance(value, OfEdges) else None


def _at(value: Any, number: int) -> Any:
    return value[number] if isinstance(value, list | tuple) and number < len(value) else value


def _first(values: tuple[Any, ...]) -> Edges | None:
    flat = chain.from_iterable(a if isinstance(a, list | tuple) else (a,) for a in values)
    return next((edges for a in flat if (edges := _edges(a)) is not None), None)


def _check(func: Callable[..., Any], values: Iterable[Any], *, sets: bool) -> None:
    """Raise RuntimeError for lists of several edges; one that is no parameter may be set anew."""
    lists = [v for v in values if isinstance(v, OfEdges) and v.edges is not None]
    dense = next((v for v in values if isinstance(v, Tensor) and v.dim() > 1), None)
    if lists and dense is not None:
        raise RuntimeError(
            f"{name_of(func)} would mix weights of {tuple(dense.shape)} with a list of "
            f"{len(lists[0]):,} edges (the sparse world's): a copy of the model that was made "
            "before rewire.attach, as a target network or a teacher is, holds dense weights. "
            "Attach with world='masked', or use net.averaged(decay=...)."
        )
    if len(lists) < 2 or (sets and not getattr(lists[0], "live", True)):
        return
    first, *others = (v.edges for v in lists if v.edges is not None)
    for edges in others:
        if not _same(first, edges):
            raise RuntimeError(
                f"{name_of(func)} would mix weights of {len(first[1]):,} edges with those of "
                f"{len(edges[1]):,} others: this list of edges (the sparse world's) was rewired "
                "since one of them was copied, and an average by position mixes synapses that have "
                "nothing to do with each other. Use net.averaged(decay=...), which averages each "
                "edge by its key; to compare, take keys and weights from net.graph."
            )


def _same(one: Edges, other: Edges) -> bool:
    return one is other or all(a is b or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def name_of(func: Callable[..., Any]) -> str:
    """A function of torch's, as a user calls it."""
    if getattr(func, "__name__", "") in ("__get__", "__set__"):  # an attribute of tensors
        return f"Tensor.{func.__self__.__name__}"  # type: ignore[attr-defined]
    return f"{getattr(func, '__name__', func)}()"
