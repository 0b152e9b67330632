"""Which layers' weights the modules around them compute with themselves.

``self.proj.weight @ x`` in a model's own code takes a weight's rows and columns, which a list of
edges has not: such a weight is held dense under its mask. Found in the code that ``forward`` leads
to, every branch of it. What is read otherwise (by functions, through ``getattr``) is refused by
name in the pass that does (:mod:`rewire.worlds.sparse.edge_weight`).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator
from functools import cache
from types import CodeType
from typing import Any, NamedTuple

from torch import nn

# What may be asked of a weight in either form: it is one of the numbers, or of each by itself.
_HARMLESS = frozenset({
    "dtype", "device", "shape", "ndim", "dim", "size", "numel", "requires_grad", "is_cuda",
    "is_meta", "layout", "grad", "abs", "square", "pow", "sum", "mean", "norm",
})  # fmt: skip


class Read(NamedTuple):
    """An attribute that a method reads of something. path: names from ``self`` to it, None where
    it is not reached from there by names alone."""

    path: tuple[str, ...] | None
    attribute: str


def read_directly(
    model: nn.Module, weights: Collection[tuple[nn.Module, str]]
) -> set[tuple[nn.Module, str]]:
    """Those of the weights, (module, attribute), that other modules compute with.

    >>> class Tied(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.down, self.up = nn.Linear(4, 2), nn.Linear(4, 2)
    ...
    ...     def forward(self, x):
    ...         return self.down(x) @ self.up.weight
    >>> model = Tied()
    >>> weights = [(model.up, "weight"), (model.down, "weight")]
    >>> read_directly(model, weights) == {(model.up, "weight")}
    True
    """
    wanted = set(weights)
    attributes = frozenset(attribute for _, attribute in wanted)
    out = set[tuple[nn.Module, str]]()
    for module in model.modules():
        if type(module).__module__.startswith("torch."):
            continue  # whose own code stays off for such parameters
        kind: Any = type(module)
        for path, attribute in _reads_of(kind, attributes):
            if path is None:
                inside = [(m, attribute) for m in module.modules() if m is not module]
            else:
                inside = [(m, attribute) for m in _reached(module, path)]
            out |= wanted.intersection(inside)
    return out


def _reached(module: nn.Module, path: tuple[str, ...]) -> list[nn.Module]:
    """The module at the end of a path of names; "[]" stands for every child of a list."""
    modules = [module]
    for name in path:
        if name == "[]":
            modules = [child for m in modules for child in m.children()]
        else:
            reached = [getattr(m, name, None) for m in modules]
            modules = [m for m in reached if isinstance(m, nn.Module)]
    return modules if path else []


@cache
def _reads_of(kind: type[nn.Module], attributes: frozenset[str]) -> tuple[Read, ...]:
    """What the methods of a class read that ``forward`` leads to."""
    reads, seen, left = list[Read](), {"forward"}, ["forward"]
    while left:
        function = _function(getattr(kind, left.pop(), None))
        if function is None:
            continue
        names = _names(function.__code__)
        called = {n for n in names if n not in seen and _function(getattr(kind, n, None))}
        seen |= called
        left += called
        if names & attributes:
            reads += _reads_in(function, attributes)
    return tuple(dict.fromkeys(reads))


def _function(value: Any) -> Callable[..., Any] | None:
    """The Python function of a method, without decorators that say what they wrap."""
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if callable(value) else None
    return value if inspect.isfunction(value) else None


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _reads_in(function: Any, attributes: frozenset[str]) -> Iterator[Read]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):  # no source: what reads is refused in its pass
        return
    arguments = function.__code__.co_varnames
    itself = arguments[0] if function.__code__.co_argcount else "self"
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in attributes:
            continue
        if not isinstance(node.ctx, ast.Load) or _is_harmless(parents.get(node)):
            continue
        path = _path(node.value, itself)
        if path != ():
            yield Read(path, node.attr)


def _is_harmless(parent: ast.AST | None) -> bool:
    """Whether what is done with a weight asks for no rows and columns."""
    if isinstance(parent, ast.Attribute):
        return parent.attr in _HARMLESS
    if isinstance(parent, ast.Compare):  # weight is None
        return all(isinstance(o, ast.Is | ast.IsNot) for o in parent.ops)
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Name)
        and parent.func.id in ("isinstance", "hasattr", "id", "type")
    )


def _path(node: ast.AST, itself: str) -> tuple[str, ...] | None:
    """The names from ``self`` to a value; None where it comes from elsewhere."""
    names = list[str]()
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node, ast.Subscript):
            names.append("[]")
        else:
            return None
        node = node.value
    return tuple(reversed(names)) if node.id == itself else None
