"""Layers whose weight is a list of edges: they compute with those alone, forward and backward.

A layer becomes one by :func:`wire`, which changes its class and what its weight holds, and back by
:func:`unwire`; name, bias, place in the model and the parameter object itself stay. With the
native engine these run on compressed rows; without it linear layers run on torch's sparse matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ...native import sparse
from .edge_attention import EdgeMultiheadAttention, EdgeOutProjection
from .edge_conv import conv2d
from .edge_linear import linear
from .edge_numbers import array, be
from .edge_state import EdgeState
from .edge_weight import DENSE, EdgeWeight
from .inputs import check_input, lowered, lowers
from .once import derived_once
from .spiking import spikes_over_time
from .wires import Pass, Wires


class EdgeLinear(EdgeState, nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.wires["weight"])

    def spikes_over_time(
        self, currents: Tensor, units: Mapping[str, Any], *, recurrent: bool
    ) -> Tensor | None:
        """Spikes (T, B, n) of units that this layer feeds with ``currents`` or, where
        ``recurrent``, joins with each other; None where the model has to go step by step.

        units: ``leak``, ``threshold``, ``subtracts``, ``surrogate``, ``steepness``, ``recovery``
        and ``adaptation`` (n,) or None, as :mod:`rewire.models.spiking.neurons` has them.
        """
        if lowers(self.weight):
            return None
        check_input(currents, self.weight)
        return spikes_over_time(
            currents, units, (self.weight, self.bias, self.wires["weight"]) if recurrent else None
        )


# -- convolutions -------------------------------------------------------------------------------


class EdgeConv2d(EdgeState, nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        wires = self.wires["weight"]
        check_input(x, self.weight)
        options = self.kernel_size, self.stride, self.padding, self.groups
        tensors = x, self.weight, self.bias
        if lowers(self.weight):
            return lowered(lambda *lower: self._product(lower, wires, options), tensors)
        return self._product(tensors, wires, options)

    def _product(self, tensors: tuple[Any, ...], wires: Wires, options: Any) -> Tensor:
        x, weight, bias = tensors
        y = conv2d(x, weight, bias, wires, options)
        if wires.keeping and y.requires_grad:
            wires.product = self._rows
            y.register_hook(lambda dy: wires.note(x, dy))
        return y

    def _rows(self, made: Pass, first: int, end: int) -> Tensor:
        per_group = self.out_channels // self.groups
        parts = []
        for g in range(first // per_group, -(-end // per_group)):  # groups that these rows lie in
            lo, hi = max(first, g * per_group), min(end, (g + 1) * per_group)
            wide = self.in_channels // self.groups
            parts.append(conv2d_weight(
                made.x[:, g * wide : (g + 1) * wide], (hi - lo, *self.weight_shape[1:]),
                made.dy[:, lo:hi], self.stride, self.padding,
            ).reshape(hi - lo, -1))  # fmt: skip
        return torch.cat(parts)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.wires["weight"].shape


# -- recurrent layers ---------------------------------------------------------------------------


def _lstm(gates: Tensor, h: tuple[Tensor, ...], hidden: Tensor) -> tuple[Tensor, ...]:
    i, f, g, o = (gates + hidden).chunk(4, 1)
    c = f.sigmoid() * h[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(gates: Tensor, h: tuple[Tensor, ...], hidden: Tensor) -> tuple[Tensor, ...]:
    (r, z, n), (hr, hz, hn) = gates.chunk(3, 1), hidden.chunk(3, 1)
    z = (z + hz).sigmoid()
    new = (n + (r + hr).sigmoid() * hn).tanh()
    return (new + z * (h[0] - new),)


def _tanh(gates: Tensor, h: tuple[Tensor, ...], hidden: Tensor) -> tuple[Tensor, ...]:
    return ((gates + hidden).tanh(),)


def _relu(gates: Tensor, h: tuple[Tensor, ...], hidden: Tensor) -> tuple[Tensor, ...]:
    return ((gates + hidden).relu(),)


class _NativeRecurrent(Function):
    """A recurrent layer's steps in one direction, in one call each way.

    x: (T, B, n_pre), or (T, B, gates) where the input's wires are None; h, c: (B, n). Returns
    (T, B, n), and h and c after the last step, c None but for an LSTM.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor | None, input_value: Tensor | None,
        input_bias: Tensor | None, value: Tensor, bias: Tensor | None,
        wires: tuple[Wires | None, Wires], mode: str, backwards: bool, keep: bool,
    ) -> Any:  # fmt: skip
        assert sparse is not None
        ctx.set_materialize_grads(False)
        for each in wires:
            if each is not None:
                each.check()
        ctx.save_for_backward(*[v for v in (input_value, value) if v is not None])
        into = None if wires[0] is None else _given(wires[0], input_value, input_bias)
        x, h, c = x.contiguous(), h.contiguous(), None if c is None else c.contiguous()
        out, *ends, ctx.run = sparse.recurrent_forward(
            mode, x.numpy(), into, _given(wires[1], value, bias), h.numpy(),
            None if c is None else c.numpy(), backwards, keep,
        )  # fmt: skip
        made = torch.from_numpy(out)
        ctx.wires, ctx.backwards = wires, backwards
        ctx.keeping = [keep and w is not None and w.keeping for w in wires]
        ctx.kept = (x, h, made) if any(ctx.keeping) else None
        ctx.shape = out.shape
        return made, *[None if end is None else torch.from_numpy(end) for end in ends]

    @staticmethod
    @derived_once
    def backward(ctx: Any, dout: Tensor | None, dh: Tensor | None, dc: Tensor | None) -> Any:
        assert sparse is not None
        ctx.saved_tensors  # noqa: B018
        for each in ctx.wires:
            if each is not None:
                each.check()
        if dout is None:
            dout = next(d for d in (dh, dc) if d is not None).new_zeros(ctx.shape)
        dx, dh_first, dc_first, *slopes = sparse.recurrent_backward(
            ctx.run, *[None if d is None else d.contiguous().numpy() for d in (dout, dh, dc)],
            ctx.needs_input_grad[0], *ctx.keeping,
        )  # fmt: skip
        found = [None if d is None else torch.from_numpy(d) for d in (dx, dh_first, dc_first)]
        for wires, made, of_state in zip(ctx.wires, slopes, (False, True), strict=True):
            value, bias, passed = made or (None, None, None)
            found += [None if d is None else torch.from_numpy(d) for d in (value, bias)]
            if passed is not None:
                x, h, out = ctx.kept
                if of_state:  # what each step began with
                    x = torch.cat([out[1:], h[None]] if ctx.backwards else [h[None], out[:-1]])
                dy = torch.from_numpy(passed)
                wires.note(x.flatten(0, 1), dy.flatten(0, 1))
        return *found, None, None, None, None


def _given(wires: Wires, value: Tensor | None, bias: Tensor | None) -> tuple[Any, ...]:
    assert value is not None
    numbers = array(value), None if bias is None else bias.detach().numpy()
    return wires.indptr.numpy(), wires.index.numpy(), *numbers


# (gates from the input, state before, gates from the state) -> state
CELLS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": _lstm, "GRU": _gru, "RNN_TANH": _tanh, "RNN_RELU": _relu,
}  # fmt: skip


class _EdgeRecurrent(EdgeState, nn.RNNBase):
    """A recurrent layer, step by step; input (T, B, n) or (T, n), or with the batch first."""

    def forward(self, x: Any, hx: Any = None) -> Any:  # type: ignore[override]
        if not isinstance(x, Tensor):
            raise TypeError(
                f"a {self.mode} with a list of edges takes a tensor, got {type(x).__name__}: pad "
                "sequences instead of packing them."
            )
        check_input(x, getattr(self, next(iter(self.wires))))
        if lowers(getattr(self, next(iter(self.wires)))):
            raise RuntimeError(
                f"a {self.mode} with a list of edges computes in the type of its weights alone, "
                "not under torch.autocast: call it within torch.autocast('cpu', enabled=False), or "
                "attach with world='masked'."
            )
        if torch.jit.is_tracing():
            raise RuntimeError(
                f"a {self.mode} with a list of edges cannot be traced by torch.jit. To trace the "
                f"finished model, {DENSE}."
            )
        single = x.dim() == 2
        steps = x.unsqueeze(1) if single else x.transpose(0, 1) if self.batch_first else x
        ways = 2 if self.bidirectional else 1
        if hx is None:
            zeros = steps.new_zeros(self.num_layers * ways, steps.shape[1], self.hidden_size)
            state: tuple[Tensor, ...] = (zeros, zeros) if self.mode == "LSTM" else (zeros,)
        else:
            state = hx if isinstance(hx, tuple) else (hx,)
            state = tuple(s.unsqueeze(1) if single else s for s in state)
        ends = []
        for layer in range(self.num_layers):
            outs = []
            for way in range(ways):
                at = layer * ways + way
                suffix = f"l{layer}" + ("_reverse" if way else "")
                out, end = self._run(steps, suffix, tuple(s[at] for s in state), bool(way))
                outs.append(out)
                ends.append(end)
            steps = torch.cat(outs, -1) if ways == 2 else outs[0]
            if layer + 1 < self.num_layers and self.dropout:
                steps = functional.dropout(steps, self.dropout, self.training)
        last = tuple(torch.stack(s) for s in zip(*ends, strict=True))
        last = tuple(s.squeeze(1) if single else s for s in last)
        out = steps.squeeze(1) if single else steps.transpose(0, 1) if self.batch_first else steps
        return out, last if self.mode == "LSTM" else last[0]

    def _run(
        self, steps: Tensor, suffix: str, state: tuple[Tensor, ...], backwards: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        weight = f"weight_hh_{suffix}"
        if sparse is not None and weight in self.wires:
            return self._run_natively(steps, suffix, state, backwards)
        cell = CELLS[self.mode]
        gates = self._product(steps, f"weight_ih_{suffix}", f"bias_ih_{suffix}")
        order = range(len(steps) - 1, -1, -1) if backwards else range(len(steps))
        out: list[Any] = [None] * len(steps)
        for t in order:
            hidden = self._product(state[0], weight, f"bias_hh_{suffix}")
            state = cell(gates[t], state, hidden)
            out[t] = state[0]
        return torch.stack(out), state

    def _run_natively(
        self, steps: Tensor, suffix: str, state: tuple[Tensor, ...], backwards: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All steps at once; an input weight that is dense multiplies them beforehand."""
        into, of_state = f"weight_ih_{suffix}", f"weight_hh_{suffix}"
        values: list[Tensor | None] = [getattr(self, into), None, getattr(self, of_state), None]
        if self.bias:
            values[1::2] = getattr(self, f"bias_ih_{suffix}"), getattr(self, f"bias_hh_{suffix}")
        input_wires = self.wires.get(into)
        if input_wires is None:
            steps, values[:2] = self._product(steps, into, f"bias_ih_{suffix}"), (None, None)
        h, c = state[0], state[1] if len(state) > 1 else None
        arrays = steps, h, c, *values
        keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in arrays)
        wires = input_wires, self.wires[of_state]
        out, *ends = _NativeRecurrent.apply(*arrays, wires, self.mode, backwards, keep)
        return out, tuple(ends[: len(state)])

    def _product(self, x: Tensor, weight: str, bias: str) -> Tensor:
        offset = getattr(self, bias) if self.bias else None
        if weight in self.wires:
            return linear(x, getattr(self, weight), offset, self.wires[weight])
        return functional.linear(x, getattr(self, weight), offset)


class EdgeLSTM(_EdgeRecurrent, nn.LSTM):
    pass


class EdgeGRU(_EdgeRecurrent, nn.GRU):
    pass


class EdgeRNN(_EdgeRecurrent, nn.RNN):
    pass


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.MultiheadAttention: EdgeMultiheadAttention,
    NonDynamicallyQuantizableLinear: EdgeOutProjection,
    nn.Linear: EdgeLinear,
    nn.Conv2d: EdgeConv2d,
    nn.LSTM: EdgeLSTM,
    nn.GRU: EdgeGRU,
    nn.RNN: EdgeRNN,
}
PLAIN = {edge: plain for plain, edge in LAYERS.items()}


def can_wire(module: nn.Module) -> bool:
    """Whether this layer has a form that computes with a list of edges."""
    if isinstance(module, nn.RNNBase) and module.proj_size:
        return False
    if isinstance(module, nn.Conv2d):
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if sparse is None or not plain or module.dilation != (1, 1):
            return False
    return type(module) in LAYERS or type(module) in PLAIN


def wire(module: nn.Module, attribute: str, wires: Wires) -> None:
    """Let a layer's weight be a list of these edges; its parameter holds (E,) numbers by then."""
    if type(module) in LAYERS:
        module.__class__ = LAYERS[type(module)]
        module.wires = {}  # type: ignore[assignment]
    lists: Any = module.wires
    lists[attribute] = wires
    weight = module._parameters[attribute]
    assert weight is not None
    be(weight, EdgeWeight, (wires.indptr, wires.index))


def unwire(module: nn.Module, attribute: str) -> None:
    """Let a layer's weight be dense again; its parameter holds the dense numbers by then."""
    lists = getattr(module, "wires", {})
    if lists.pop(attribute, None) is not None:
        be(module._parameters[attribute], nn.Parameter, None)  # type: ignore[arg-type]
    if not lists and type(module) in PLAIN:
        module.__class__ = PLAIN[type(module)]
        del module.wires


def _rows(wires: Wires, made: Pass, first: int, end: int) -> Tensor:
    """The dense gradient of some rows that one pass makes."""
    if wires.product is not None:
        return wires.product(made, first, end)
    return made.dy[:, first:end].T @ made.x


def gradient_at(wires: Wires, rows: Tensor, columns: Tensor) -> Tensor:
    """dL/dw at pairs (k,) of the weight, from the passes that were kept."""
    if not wires.passes:
        raise ValueError("there is no gradient yet: it is known after a backward pass.")
    out = torch.empty(len(rows), dtype=wires.passes[0].dy.dtype)
    for first, end, block in _blocks(wires):
        inside = (rows >= first) & (rows < end)
        if inside.any():
            out[inside] = block()[rows[inside] - first, columns[inside]]
    return out


def dense_gradient(wires: Wires) -> Tensor:
    """dL/dw at every pair of the weight, (rows, width), from the passes that were kept."""
    if not wires.passes:
        raise ValueError("there is no gradient yet: it is known after a backward pass.")
    return torch.stack([_rows(wires, use, 0, wires.shape[0]) for use in wires.passes]).sum(0)


def _blocks(wires: Wires) -> Iterator[tuple[int, int, Callable[[], Tensor]]]:
    """The dense gradient in blocks of rows, each made when it is asked for."""
    many = max(1, 4 * BLOCK // wires.width)
    for first in range(0, wires.shape[0], many):
        end = min(first + many, wires.shape[0])

        def block(first: int = first, end: int = end) -> Tensor:
            parts = [_rows(wires, use, first, end) for use in wires.passes]
            return torch.stack(parts).sum(0)

        yield first, end, block


BLOCK = 8192  # a quarter of the weights whose dense gradient is made at once


def top_absent(wires: Wires, k: int, leaving: Tensor | None) -> tuple[Tensor, Tensor, int, int]:
    """As :meth:`rewire.worlds.sparse.plan.plan.Plan.top_absent`, from the passes that were kept.

    Row blocks of the dense gradient are made one after the other, never the whole of it.
    """
    width, best = wires.width, torch.empty(0, dtype=torch.int64)
    scores, absent, nan = torch.empty(0), 0, 0
    if not wires.passes:
        raise ValueError("there is no gradient yet: it is known after a backward pass.")
    for first, end, made in _blocks(wires):
        block = made().abs().reshape(-1)
        lo, hi = int(wires.indptr[first]), int(wires.indptr[end])
        row = torch.arange(end - first).repeat_interleave(wires.indptr[first : end + 1].diff())
        listed = row * width + wires.index[lo:hi].long()
        if leaving is not None:
            listed = listed[~leaving[lo:hi]]
        free = torch.ones(len(block), dtype=torch.bool)
        free[listed] = False
        at = free.nonzero().squeeze(1)
        values = block[at]
        absent += len(at)
        nan += int(values.isnan().sum())
        best = torch.cat([best, at + first * width])
        scores = torch.cat([scores.to(values), values])
        if len(best) > 2 * k:
            best, scores = _top(best, scores, k)
    return *_top(best, scores, k), absent, nan


def _top(keys: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest, the smaller key first among equals, by rising key."""
    order = np.lexsort((keys.numpy(), -scores.numpy()))[:k]
    chosen = torch.from_numpy(np.sort(order))
    return keys[chosen], scores[chosen]
