"""Products of activations with weights, in the graph or not, and tables of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .operations import Handler, handles
from .recording import DECIDED, NOTHING, Call, Recorder

PRODUCTS: dict[str, Handler] = {}


@handles("mm", "bmm", "matmul", "addmm", "baddbmm", "addbmm", "mv", "dot", "linear", "addmv",
          "_addmm_activation", among=PRODUCTS)  # fmt: skip
def _product(recorder: Recorder, call: Call) -> Any:
    keys = [*call.arguments]
    bias: Tensor | None = None
    if call.name == "linear":
        a, b, bias = call["input"], call["weight"], call["bias"]
        weight = recorder.value(b)
        order = tuple(reversed(range(b.dim())))
        if weight is not None:
            weight = recorder.step("permute", (weight,), (order,), b.shape[::-1])
        return _with_bias(
            recorder, call, bias,
            _times(recorder, a, b, recorder.value(a), weight, b.shape[::-1], call.shape),
        )  # fmt: skip
    if "add" in call.name:
        bias, a, b = (call[k] for k in keys[:3])
    else:
        a, b = (call[k] for k in keys[:2])
    if call.name not in ("mm", "bmm", "matmul", "addmm", "baddbmm", "_addmm_activation"):
        return None
    product = _times(recorder, a, b, recorder.value(a), recorder.value(b), b.shape, call.shape)
    return _with_bias(recorder, call, bias, product)


def _with_bias(recorder: Recorder, call: Call, bias: Tensor | None, product: Any) -> Any:
    extra = None if bias is None else recorder.value(bias)
    if product is None or extra is None:
        return product
    return extra if product is NOTHING else recorder.summed([product, extra], call.shape)


def _times(
    recorder: Recorder, a: Tensor, b: Tensor, left: int | None, right: int | None,
    b_shape: Sequence[int], shape: Sequence[int],
) -> Any:  # fmt: skip
    """The product of two factors, of which either may be a constant."""
    if left is None and right is None:
        return NOTHING
    if left is not None and right is not None:
        weights = [v in recorder.of_weights for v in (left, right)]
        if all(weights):
            return None
        return recorder.step("matmul" if any(weights) else "mix", (left, right), (), shape)
    value = left if left is not None else right
    assert value is not None
    if value in recorder.of_weights:
        return NOTHING  # a constant times weights: no path from the input
    axis = len(shape) - 1 if left is not None else len(shape) - 2
    constant = b if left is not None else a
    if len(recorder.shapes[value]) != len(shape):
        return None
    name = recorder.base.get(id(constant)) or recorder.names.get(id(constant), "")
    return recorder.step("dense", (value,), (axis,), shape, name=name)


@handles("convolution", "_convolution", "convolution_overrideable", "conv2d", "conv1d", "conv3d",
          "mkldnn_convolution", "cudnn_convolution", among=PRODUCTS)  # fmt: skip
def _convolved(recorder: Recorder, call: Call) -> Any:
    if call.name not in ("convolution", "_convolution"):
        return None
    x, w = call["input"], call["weight"]
    value, weight = recorder.value(x), recorder.value(w)
    if value is None:
        return NOTHING if weight is None or weight in recorder.of_weights else None
    if value in recorder.of_weights or (weight is not None and weight not in recorder.of_weights):
        return None
    geometry = [call[k] for k in ("stride", "padding", "dilation", "transposed", "output_padding",
                                  "groups")]  # fmt: skip
    axes = w.dim() - 2
    geometry = [list(g) * (axes // len(g)) if isinstance(g, list) else g for g in geometry]
    name = recorder.base.get(id(w)) or recorder.names.get(id(w), "")
    inputs = (value,) if weight is None else (value, weight)
    ones = tuple(w.shape) if weight is None else None
    product = recorder.step("conv", inputs, (*geometry, ones), call.shape, name=name)
    return _with_bias(recorder, call, call["bias"], product)


@handles(
    "embedding", "_embedding_bag", "embedding_bag", "_embedding_bag_forward_only", among=PRODUCTS
)
def _looked_up(recorder: Recorder, call: Call) -> Any:
    weight, rows = call["weight"], call["indices"]
    kind, value = recorder.whole(rows), recorder.value(weight)
    if kind is None:
        return NOTHING  # constants: a table of places, say
    if kind == DECIDED or (value is not None and value not in recorder.of_weights):
        return None
    if value is None:
        name = recorder.names.get(id(weight), "")
        return [recorder.step("input", (), (), call.shape, name=name)]
    return [recorder.step("table", (value,), (), call.shape)]


@handles("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
          "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
          "_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math",
          among=PRODUCTS)  # fmt: skip
def _attended(recorder: Recorder, call: Call) -> Any:
    q, k, v = (call[name] for name in ("query", "key", "value"))
    value = recorder.attended(q, k, v, call.shape, repeats=q.shape[-3] // k.shape[-3])
    return [NOTHING if value is None else value, *[NOTHING] * (len(call.out) - 1)]
