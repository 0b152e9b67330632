"""Attention whose projections are lists of edges.

It computes what ``nn.MultiheadAttention`` does, by torch's product of queries, keys and values.
Torch computes a layer in one function of its dense weights, which no list can enter; here the
projections are sparse products and the rest is as there.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .edge_linear import linear
from .edge_state import EdgeState
from .edge_weight import DENSE
from .inputs import check_input

# how torch reads the masks of attention: boolean ones become 0 and minus infinity
_canonical: Any = functional._canonical_mask  # type: ignore[attr-defined]
_dtype_of: Any = functional._none_or_dtype  # type: ignore[attr-defined]
_check_shapes: Any = functional._mha_shape_check  # type: ignore[attr-defined]


class EdgeOutProjection(EdgeState, NonDynamicallyQuantizableLinear):
    """The last layer of an attention's; the attention calls it."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.wires["weight"])


class EdgeMultiheadAttention(EdgeState, nn.MultiheadAttention):
    """Queries, keys and values by lists of edges, or by dense weights where those are left out."""

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        self._check_inputs(query, key, value)
        batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, self.num_heads)
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask, and there is none: give both.")
        q, k, v = self._projected(query, key, value)  # (..., E), as the inputs lie
        if not batched:
            q, k, v = (t.unsqueeze(1) for t in (q, k, v))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif self.batch_first:
            q, k, v = (t.transpose(0, 1) for t in (q, k, v))
        if is_causal and key_padding_mask is None and not need_weights:
            mask = None
        else:
            is_causal = is_causal and key_padding_mask is None
            mask = self._mask(attn_mask, key_padding_mask, q, k)
        q, k, v, mask = self._extended(q, k, v, mask)
        out, weights = self._attended(q, k, v, mask, need_weights, is_causal)
        out = self.out_proj(out)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return out.squeeze(1), None if weights is None else weights.squeeze(0)
        return out.transpose(0, 1) if self.batch_first else out, weights

    def _check_inputs(self, *inputs: Tensor) -> None:
        attribute = next(iter(self.wires), "in_proj_weight")
        weight = self._parameters[attribute]
        assert weight is not None
        for x in inputs:
            check_input(x, weight)
            if x.is_nested:
                raise TypeError(
                    "attention with lists of edges takes padded tensors and key_padding_mask, got "
                    f"a nested tensor: to_padded_tensor makes one. For nested ones, {DENSE}."
                )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        e, biases = self.embed_dim, self.in_proj_bias
        if not self._qkv_same_embed_dim:
            each = [None] * 3 if biases is None else biases.chunk(3)
            parts = zip("qkv", (query, key, value), each, strict=True)
            return [self._product(x, f"{letter}_proj_weight", b) for letter, x, b in parts]
        if query is key and key is value:
            return [*self._part(query, 0, 3 * e).chunk(3, -1)]
        if key is value:
            return [self._part(query, 0, e), *self._part(key, e, 3 * e).chunk(2, -1)]
        inputs = enumerate((query, key, value))
        return [self._part(x, i * e, (i + 1) * e) for i, x in inputs]

    def _product(self, x: Tensor, attribute: str, bias: Tensor | None) -> Tensor:
        weight = getattr(self, attribute)
        if attribute in self.wires:
            return linear(x, weight, bias, self.wires[attribute])
        return functional.linear(x, weight, bias)

    def _part(self, x: Tensor, first: int, end: int) -> Tensor:
        """The product with some rows of the weight that holds all three projections."""
        weight, wires = self.in_proj_weight, self.wires.get("in_proj_weight")
        bias = None if self.in_proj_bias is None else self.in_proj_bias[first:end]
        if wires is None:
            return functional.linear(x, weight[first:end], bias)
        if end - first == wires.shape[0]:
            return linear(x, weight, bias, wires)
        lo, hi = int(wires.indptr[first]), int(wires.indptr[end])
        return linear(x, weight[lo:hi], bias, wires.part(first, end))

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """What is added to scores, (N or 1, heads or 1, L or 1, S). q: (L, N, E); k: (S, N, E)."""
        (length, n, _), size, kind = q.shape, len(k), q.dtype
        padding = _canonical(
            mask=padding, mask_name="key_padding_mask", other_type=_dtype_of(attn_mask),
            other_name="attn_mask", target_type=kind,
        )  # fmt: skip
        mask = _canonical(
            mask=attn_mask, mask_name="attn_mask", other_type=None, other_name="",
            target_type=kind, check_other=False,
        )  # fmt: skip
        if mask is not None:
            fits = (length, size) if mask.dim() == 2 else (n * self.num_heads, length, size)
            if mask.shape != fits:
                raise RuntimeError(f"attn_mask must have shape {fits}, got {tuple(mask.shape)}.")
            mask = mask.view(-1, 1 if mask.dim() == 2 else self.num_heads, length, size)
        if padding is None:
            return mask
        if padding.shape != (n, size):
            raise RuntimeError(
                f"key_padding_mask must have shape {(n, size)}, got {tuple(padding.shape)}."
            )
        padding = padding.view(n, 1, 1, size)
        return padding if mask is None else mask + padding

    def _extended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Keys and values that belong to no input appended, which every query sees."""
        n, more = q.shape[1], 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.repeat(1, n, 1)])
            v = torch.cat([v, self.bias_v.repeat(1, n, 1)])
            more += 1
        if self.add_zero_attn:
            k, v = (torch.cat([t, t.new_zeros(1, n, t.shape[2])]) for t in (k, v))
            more += 1
        return q, k, v, None if mask is None else functional.pad(mask, (0, more))

    def _attended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(L, N, E) before the last projection, and the weights (N, heads, L, S) if needed."""
        length, n, _ = q.shape
        shape = n, self.num_heads, self.head_dim
        q, k, v = (t.reshape(len(t), *shape).permute(1, 2, 0, 3) for t in (q, k, v))
        rate, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            scores = (q * sqrt(1 / self.head_dim)) @ k.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = functional.dropout(weights, rate) if rate else weights
            out = weights @ v
        else:
            out = functional.scaled_dot_product_attention(q, k, v, mask, rate, causal)
        return out.permute(2, 0, 1, 3).reshape(length, n, self.embed_dim), weights
