"""A model's forward pass of one example as steps of which each is linear, with their geometry.

A trace (`rewire.worlds.torch_model.tracing`) writes a :class:`Program`. Norms, softmax and
activations are the identity, biases are 0, products of two activations are sums, and constants
neither feed nor stop anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Options = tuple[Any, ...]


@dataclass(frozen=True)
class Step:
    """One operation: ``op`` of the values ``inputs``, with plain ``options``.

    shapes: of the values that it makes. name: of the layer that it belongs to, "" where unknown.
    """

    op: str
    inputs: tuple[int, ...]
    options: Options
    shapes: tuple[tuple[int, ...], ...]
    name: str = ""


@dataclass(frozen=True)
class Program:
    """Steps in the order of their execution; values are numbered as the steps make them.

    outputs: numbers of the values that the model returns.
    unknown: what could not be followed; the numbers of such a program say nothing.
    """

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.name for step in self.steps if step.op == "unknown"))

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        steps = [[s.op, s.inputs, s.options, s.shapes, s.name] for s in self.steps]
        return {"steps": _lists(steps), "outputs": list(self.outputs)}

    @classmethod
    def from_plain(cls, tree: Mapping[str, Any]) -> Program:
        """The program that :meth:`plain` wrote. Raises ValueError for an operation unknown here."""
        steps, values = [], 0
        for op, inputs, options, shapes, name in tree["steps"]:
            if op not in (*SOURCES, *OPERATIONS, "recurrent"):
                raise ValueError(
                    f"the wiring has an operation {op!r}; those that are known are "
                    f"{', '.join([*SOURCES, *OPERATIONS])}. A newer version wrote it: update."
                )
            if any(not 0 <= i < values for i in inputs):
                raise ValueError(f"the wiring's operation {op!r} reads a value that is not there.")
            values += len(shapes)
            steps.append(Step(op, tuple(inputs), _tuples(options), _tuples(shapes), name))
        if any(not 0 <= i < values for i in tree["outputs"]):
            raise ValueError("the wiring's outputs name a value that is not there.")
        return cls(tuple(steps), tuple(tree["outputs"]))


def _lists(tree: Any) -> Any:
    return [_lists(x) for x in tree] if isinstance(tree, list | tuple) else tree


def _tuples(tree: Any) -> Any:
    return tuple(_tuples(x) for x in tree) if isinstance(tree, list | tuple) else tree


# -- what makes values of nothing ----------------------------------------------------------------

# input: of the example; weight (number of a projection); zeros: constants among activations;
# unknown: what could not be followed
SOURCES = ("input", "weight", "zeros", "unknown")


# -- operations: (values, options, shape of the result) -> result, linear in each value ----------


def _expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.expand(tuple(shape))


def _add(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    first, *others = (v.expand(tuple(shape)) for v in values)
    for other in others:
        first = first + other
    return first


def _pad(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    amounts, mode = options
    x = values[0]
    if mode == "constant":
        return F.pad(x, amounts)
    axes = len(amounts) // 2
    batched = x.dim() == axes + 2
    y = F.pad(x if batched else x[None], amounts, mode=mode)
    return y if batched else y[0]


def _take(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """Entries of a flattened value, by ranges [first, step, count] one after the other."""
    at = indices(options[0])
    return values[0].reshape(-1)[at].reshape(tuple(shape))


def _strided(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    stride, offset = options
    return values[0].reshape(-1)[_positions(shape, stride, offset)]


def _scatter(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """The last value written into the flat first one at strided places; of one value: into 0."""
    stride, offset = options
    source = values[-1]
    base = values[0] if len(values) > 1 else source.new_zeros(tuple(shape))
    at = _positions(source.shape, stride, offset).reshape(-1)
    return base.index_put((at,), torch.zeros((), dtype=base.dtype)).index_add(
        0, at, source.reshape(-1)
    )


def _put(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """The last value written into (or added to) the first one at given places."""
    at, adds = indices(options[0]), options[1]
    source = values[-1]
    base = values[0] if len(values) > 1 else source.new_zeros(tuple(shape))
    flat = base.reshape(-1)
    if not adds:
        flat = flat.index_put((at,), torch.zeros((), dtype=flat.dtype))
    return flat.index_add(0, at, source.reshape(-1)).reshape(tuple(shape))


def _positions(shape: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    at = torch.tensor(offset)
    for axis, (n, step) in enumerate(zip(shape, stride, strict=True)):
        at = at + (torch.arange(n) * step).view(-1, *[1] * (len(shape) - axis - 1))
    return at.expand(tuple(shape))


def indices(ranges: Sequence[Sequence[int]]) -> Tensor:
    """What :func:`ranges_of` wrote.

    >>> indices(ranges_of([3, 5, 7, 0, 1])).tolist()
    [3, 5, 7, 0, 1]
    """
    parts = [torch.arange(count) * step + first for first, step, count in ranges]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def ranges_of(numbers: Sequence[int]) -> list[list[int]]:
    """Whole numbers as ranges [first, step, count].

    >>> ranges_of([3, 5, 7, 0])
    [[3, 2, 3], [0, 0, 1]]
    """
    out: list[list[int]] = []
    for n in numbers:
        if out:
            first, step, count = out[-1]
            if count == 1 or n == first + step * count:
                out[-1] = [first, n - first if count == 1 else step, count + 1]
                continue
        out.append([n, 0, 1])
    return out


def _pool(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """Sums over windows, as max and average pooling see them; options as of max pooling."""
    kernel, stride, padding, dilation = options
    x, axes = values[0], len(kernel)
    lead = x.shape[: x.dim() - axes]
    x = x.reshape(1, math.prod(lead), *x.shape[-axes:])
    need = [
        (out - 1) * s + d * (k - 1) + 1
        for out, s, d, k in zip(shape[-axes:], stride, dilation, kernel, strict=True)
    ]
    amounts = []
    for n, size, p in reversed([*zip(need, x.shape[2:], padding, strict=True)]):
        amounts += [p, n - size - p]
    y = F.pad(x, amounts)
    for axis, (out, s, d, k) in enumerate(
        zip(shape[-axes:], stride, dilation, kernel, strict=True), start=2
    ):
        parts = [y.narrow(axis, tap * d, (out - 1) * s + 1) for tap in range(k)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        y = total[(slice(None),) * axis + (slice(None, None, s),)]
    return y.reshape(tuple(shape))


def _adaptive(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    size = options[0]
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(size) - 1]
    return pool(values[0], size)


def _upsample(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    name, arguments = options
    return getattr(torch.ops.aten, f"upsample_{name}").default(values[0], *map(_list, arguments))


def _list(x: Any) -> Any:
    return list(x) if isinstance(x, tuple) else x


def _conv(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    stride, padding, dilation, transposed, output_padding, groups, ones = options
    x = values[0]
    w = values[1] if ones is None else x.new_ones(tuple(ones))
    return torch.ops.aten.convolution.default(
        x, w, None, list(stride), list(padding), list(dilation), transposed, list(output_padding),
        groups,
    )  # fmt: skip


def _dense(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """Every place along an axis is the sum over it: a matrix product by weights without zeros."""
    (axis,) = options
    return values[0].sum(axis, keepdim=True).expand(tuple(shape))


def _mix(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """A matrix product of two activations, of which either feeds what it meets."""
    a, b = values
    return (a.sum(-1, keepdim=True) + b.sum(-2, keepdim=True)).expand(tuple(shape))


def _attend(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """Attention: values mix over all places; queries and keys reach all units of their head."""
    q, k, v = values
    (repeats,) = options
    if repeats > 1:
        k, v = (x.repeat_interleave(repeats, -3) for x in (k, v))
    scores = q.sum(-1, keepdim=True) + k.sum((-2, -1), keepdim=True)
    return (scores + v.sum(-2, keepdim=True)).expand(tuple(shape))


def _table(values: Sequence[Tensor], options: Options, shape: Sequence[int]) -> Tensor:
    """Rows of a table of embeddings, of which any may be asked for at each place."""
    return values[0].sum(0).expand(tuple(shape))


OPERATIONS: dict[str, Callable[[Sequence[Tensor], Options, Sequence[int]], Tensor]] = {
    "reshape": lambda v, o, shape: v[0].reshape(tuple(shape)),
    "permute": lambda v, o, shape: v[0].permute(o[0]),
    "expand": lambda v, o, shape: _expand(v[0], shape),
    "slice": lambda v, o, shape: v[0][(slice(None),) * o[0] + (slice(o[1], None, o[2]),)].narrow(
        o[0], 0, shape[o[0]]
    ),
    "select": lambda v, o, shape: v[0].select(o[0], o[1]),
    "flip": lambda v, o, shape: v[0].flip(o[0]),
    "roll": lambda v, o, shape: v[0].roll(o[0], o[1]),
    "repeat": lambda v, o, shape: v[0].repeat(o[0]),
    "unfold": lambda v, o, shape: v[0].unfold(*o),
    "diagonal": lambda v, o, shape: v[0].diagonal(*o),
    "tril": lambda v, o, shape: v[0].tril(o[0]),
    "triu": lambda v, o, shape: v[0].triu(o[0]),
    "pixel_shuffle": lambda v, o, shape: F.pixel_shuffle(v[0], o[0]),
    "pixel_unshuffle": lambda v, o, shape: F.pixel_unshuffle(v[0], o[0]),
    "channel_shuffle": lambda v, o, shape: F.channel_shuffle(v[0], o[0]),
    "im2col": lambda v, o, shape: torch.ops.aten.im2col.default(v[0], *map(list, o)),
    "col2im": lambda v, o, shape: torch.ops.aten.col2im.default(v[0], *map(list, o)),
    "pad": _pad,
    "take": _take,
    "strided": _strided,
    "scatter": _scatter,
    "put": _put,
    "cat": lambda v, o, shape: torch.cat(list(v), o[0]),
    "stack": lambda v, o, shape: torch.stack(list(v), o[0]),
    "add": _add,
    "sum": lambda v, o, shape: v[0].sum(o[0], keepdim=o[1]) if o[0] else v[0],
    "cumsum": lambda v, o, shape: v[0].cumsum(o[0]),
    "pool": _pool,
    "adaptive": _adaptive,
    "upsample": _upsample,
    "times": lambda v, o, shape: v[0] * v[1],
    "matmul": lambda v, o, shape: v[0] @ v[1],
    "conv": _conv,
    "dense": _dense,
    "mix": _mix,
    "attend": _attend,
    "table": _table,
}

PRODUCTS = ("times", "matmul", "conv", "table", "recurrent")  # of activations by weights
MOVES = (  # each number of the result is one of the inputs' or 0
    "reshape", "permute", "expand", "slice", "select", "flip", "roll", "repeat", "unfold",
    "diagonal", "tril", "triu", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "im2col",
    "pad", "take", "strided", "scatter", "put", "cat", "stack",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One direction of one layer of a recurrent module: places of its weights among the inputs.

    None for a weight that is not in the graph; ``project``: None as well where there is none.
    """

    inputs: int | None
    hidden: int | None
    project: int | None


def recurrent(
    values: Sequence[Tensor],
    options: Options,
    product: Callable[[Tensor, Tensor | None, int], Tensor],
    ended: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, ...]:
    """The outputs, last states and (of an LSTM) last cells of a recurrent module, (T, B, ...).

    product: (x, weight or None, number of rows) -> x times the weight, or times one without zeros.
    All gates add; an LSTM's cell and a GRU's state persist.
    """
    mode, layers, directions, hidden, state, projected, places, states = options
    x = values[0]
    first_h, first_c = (values[at] if at is not None else None for at in states)
    gates = {"lstm": 4, "gru": 3}.get(mode, 1)
    last_h, last_c = [], []
    for layer in range(layers):
        ways = []
        for way in range(directions):
            k = layer * directions + way
            cell = Cell(*places[k])
            w_in, w_hid, w_out = (
                None if at is None else values[at]
                for at in (cell.inputs, cell.hidden, cell.project)
            )
            come = product(x, w_in, gates * hidden)
            h = x.new_zeros(x.shape[1], state) if first_h is None else first_h[k]
            c = x.new_zeros(x.shape[1], hidden) if first_c is None else first_c[k]
            times = range(len(x)) if way == 0 else range(len(x) - 1, -1, -1)
            outs: list[Tensor] = [h] * len(x)
            for t in times:
                total = come[t] + product(h, w_hid, gates * hidden)
                parts = total.unflatten(-1, (gates, hidden))
                if mode == "lstm":
                    i, f, g, o = parts.unbind(-2)
                    c = ended(c + i + f + g)
                    h = ended(c + o)
                    if projected:
                        h = product(h, w_out, state)
                else:
                    h = ended(parts.sum(-2) + h) if mode == "gru" else ended(parts.sum(-2))
                outs[t] = h
            ways.append(torch.stack(outs))
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(ways, -1)
    out = (x, torch.stack(last_h))
    return (*out, torch.stack(last_c)) if mode == "lstm" else out
