"""What each of torch's operations is in a program: a move, a sum, a product with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...graph.program import ranges_of
from .empty_run import tensors_in
from .recording import DECIDED, INPUT, NOTHING, Call, Recorder, covers

Handler = Callable[[Recorder, Call], Any]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str, among: dict[str, Handler] = HANDLERS) -> Callable[[Handler], Handler]:
    """Enter a function as what notes these operations: it returns the values of the results, None
    where it cannot say."""

    def enter(handler: Handler) -> Handler:
        among.update(dict.fromkeys(names, handler))
        return handler

    return enter


@handles(
    "relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid",
    "leaky_relu", "elu", "celu", "selu", "softplus", "mish", "softshrink", "hardshrink",
    "threshold", "log_sigmoid_forward", "abs", "neg", "exp", "exp2", "expm1", "log", "log2",
    "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "tan", "atan", "sinh",
    "cosh", "erf", "erfc", "sign", "floor", "ceil", "round", "trunc", "frac", "clamp", "clamp_min",
    "clamp_max", "nan_to_num", "logit", "clone", "detach", "alias", "lift_fresh", "contiguous",
    "dropout", "native_dropout", "_softmax", "_log_softmax", "_safe_softmax", "softmax",
    "native_layer_norm", "native_group_norm", "native_batch_norm", "cudnn_batch_norm",
    "miopen_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update", "_fused_rms_norm", "renorm", "positive", "bernoulli", "polygamma",
    "lgamma", "digamma", "sgn", "masked_fill", "fake_quantize_per_tensor_affine", "asinh", "acosh",
    "atanh", "asin", "acos", "sinc", "rrelu_with_noise", "rrelu",
)  # fmt: skip
def _unitwise(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return NOTHING if not call.values() else None
    return [value]


@handles("_to_copy", "to")
def _converted(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    if value is not None:
        return [value]
    if recorder.whole(call.first) == INPUT:  # numbers of the input, as they are
        return recorder.step("input", (), (), call.shape)
    return NOTHING if recorder.whole(call.first) is None else None


@handles(
    "add", "sub", "rsub", "mul", "div", "true_divide", "minimum", "maximum", "fmin", "fmax", "pow",
    "atan2", "where", "addcmul", "addcdiv", "lerp", "fmod", "remainder", "copysign", "logaddexp",
    "logaddexp2", "hypot", "_prelu_kernel", "prelu", "xlogy", "ldexp", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "floor_divide", "clamp_Tensor", "heaviside", "nextafter",
)  # fmt: skip
def _elementwise(recorder: Recorder, call: Call) -> Any:
    """Sums, products (gates) and choices of activations: each feeds the result."""
    if call.out[0].dim() == 0 and "loss" in call.name:
        return None
    operands = [(t, v) for t, v in call.values()]
    if not operands:
        return NOTHING
    if any(recorder.whole(t) == DECIDED for t in tensors_in([*call.arguments.values()])):
        return None
    values = [v for _, v in operands]
    acts = [v for v in values if v not in recorder.of_weights]
    own = [v for v in values if v in recorder.of_weights]
    if acts and own:
        if call.name not in ("mul", "mul_") or len(values) != 2:
            return None
        return recorder.step("times", (acts[0], own[0]), (), call.shape)
    return recorder.summed(values, call.shape)


@handles("glu")
def _gated(recorder: Recorder, call: Call) -> Any:
    value, axis = recorder.value(call.first), call["dim"] % call.first.dim()
    if value is None:
        return None
    n = call.shape[axis]
    halves = [recorder.step("slice", (value,), (axis, at, 1), call.shape) for at in (0, n)]
    return recorder.step("add", halves, (), call.shape)


# -- moves --


@handles("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten",
          "_view_copy", "view_copy", "unsafe_view")  # fmt: skip
def _reshaped(recorder: Recorder, call: Call) -> Any:
    if "dtype" in call.arguments and isinstance(call["dtype"], torch.dtype):
        return None
    return _move(recorder, call, "reshape")


def _move(recorder: Recorder, call: Call, op: str, *options: Any) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return NOTHING if not call.values() else None
    return recorder.step(op, (value,), options, call.shape)


@handles("permute", "permute_copy")
def _permuted(recorder: Recorder, call: Call) -> Any:
    n = call.first.dim()
    return _move(recorder, call, "permute", tuple(d % n for d in call["dims"]))


@handles("transpose", "swapaxes")
def _transposed(recorder: Recorder, call: Call) -> Any:
    n = call.first.dim()
    order = [*range(n)]
    if n:
        a, b = call["dim0"] % n, call["dim1"] % n
        order[a], order[b] = b, a
    return _move(recorder, call, "permute", tuple(order))


@handles("t", "mT", "adjoint")
def _turned(recorder: Recorder, call: Call) -> Any:
    n = call.first.dim()
    return _move(recorder, call, "permute", tuple(reversed(range(n))))


@handles("expand", "expand_copy", "broadcast_to")
def _expanded(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "expand")


@handles("select")
def _selected(recorder: Recorder, call: Call) -> Any:
    axis = call["dim"] % call.first.dim()
    return _move(recorder, call, "select", axis, call["index"] % call.first.shape[axis])


@handles("slice")
def _sliced(recorder: Recorder, call: Call) -> Any:
    axis = call["dim"] % call.first.dim()
    n = call.first.shape[axis]
    start = call["start"] or 0
    start = min(max(start + n if start < 0 else start, 0), n)
    return _move(recorder, call, "slice", axis, start, call["step"])


@handles("split", "split_with_sizes", "unsafe_split", "chunk", "tensor_split",
          "unsafe_split_with_sizes", "unsafe_chunk", "split_copy")  # fmt: skip
def _split(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return None
    axis = call["dim"] % call.first.dim()
    out, start = [], 0
    for part in call.out:
        out.append(recorder.step("slice", (value,), (axis, start, 1), part.shape))
        start += part.shape[axis]
    return out


@handles("unbind")
def _unbound(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return None
    axis = call["dim"] % call.first.dim()
    return [
        recorder.step("select", (value,), (axis, at), part.shape)
        for at, part in enumerate(call.out)
    ]


@handles("flip")
def _flipped(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "flip", call["dims"])


@handles("roll")
def _rolled(recorder: Recorder, call: Call) -> Any:
    shifts, dims = call["shifts"], call["dims"]
    return _move(recorder, call, "roll", shifts, dims) if dims else None


@handles("repeat")
def _repeated(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "repeat", call["repeats"])


@handles("unfold")
def _unfolded(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "unfold", call["dimension"], call["size"], call["step"])


@handles("diagonal")
def _diagonal(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "diagonal", call["offset"], call["dim1"], call["dim2"])


@handles("tril", "triu")
def _triangle(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, call.name, call["diagonal"])


@handles("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def _shuffled(recorder: Recorder, call: Call) -> Any:
    factor = [v for k, v in call.arguments.items() if k != "self"][0]
    return _move(recorder, call, call.name.removeprefix("native_"), factor)


@handles("im2col", "col2im")
def _columns(recorder: Recorder, call: Call) -> Any:
    options = [v for k, v in call.arguments.items() if k != "self"]
    return _move(recorder, call, call.name, *options)


@handles("constant_pad_nd")
def _padded(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "pad", call["pad"], "constant")


@handles("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
          "replication_pad2d", "replication_pad3d")  # fmt: skip
def _mirrored(recorder: Recorder, call: Call) -> Any:
    mode = "reflect" if call.name.startswith("reflection") else "replicate"
    return _move(recorder, call, "pad", call["padding"], mode)


@handles("cat", "stack", "concat")
def _joined(recorder: Recorder, call: Call) -> Any:
    parts = call["tensors"]
    values = [recorder.value(t) for t in parts]
    if call.name == "cat":
        filled = [(t, v) for t, v in zip(parts, values, strict=True) if t.shape != (0,)]
        parts, values = [t for t, _ in filled], [v for _, v in filled]
    if all(v is None for v in values):
        return NOTHING
    inputs = [
        recorder.zeros(t.shape) if v is None else v for t, v in zip(parts, values, strict=True)
    ]
    axis = call["dim"] % call.out[0].dim()
    return recorder.step("stack" if call.name == "stack" else "cat", inputs, (axis,), call.shape)


@handles("as_strided")
def _restrided(recorder: Recorder, call: Call) -> Any:
    if not covers(call.first):
        return None
    return _move(recorder, call, "strided", call["stride"], call["storage_offset"] or 0)


@handles(
    "index",
    "index_select",
    "gather",
    "take",
    "repeat_interleave",
    "masked_select",
    "take_along_dim",
)
def _indexed(recorder: Recorder, call: Call) -> Any:
    """Entries at places that are constants: which, shows an array of numbers in their order."""
    indices = [t for k, t in call.arguments.items() if k != "self" for t in tensors_in(t)]
    if any(t.is_meta or recorder.whole(t) or recorder.value(t) is not None for t in indices):
        return None
    value = recorder.value(call.first)
    if value is None:
        return None
    number = torch.arange(call.first.numel()).view(call.first.shape)
    operation = getattr(torch.ops.aten, call.name)
    arguments = {k: v for k, v in call.arguments.items() if k != "self"}
    try:
        at = _positioned(operation, number, arguments)
    except Exception:
        return None
    return recorder.step("take", (value,), (ranges_of(at.reshape(-1).tolist()),), call.shape)


def _positioned(operation: Any, number: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    arguments = {k: v for k, v in arguments.items() if k != "sparse_grad"}
    return operation(number, *arguments.values())


@handles("index_put", "index_copy", "index_add", "scatter", "scatter_add", "masked_scatter",
          "slice_scatter", "select_scatter", "_index_put_impl")  # fmt: skip
def _put_at(recorder: Recorder, call: Call) -> Any:
    if call.name.removesuffix("_") not in (
        "index_put",
        "_index_put_impl",
        "index_copy",
        "index_add",
        "slice_scatter",
        "select_scatter",
    ):
        return None
    operands = call.arguments
    source = operands.get("values", operands.get("source", operands.get("src")))
    if not isinstance(source, Tensor):
        return None
    places = [t for k, x in operands.items() if k in ("indices", "index") for t in tensors_in([x])]
    if any(t.is_meta or recorder.whole(t) or recorder.value(t) is not None for t in places):
        return None
    number = torch.arange(call.first.numel()).view(call.first.shape)
    if "indices" in operands:
        at = torch.ops.aten.index(number, operands["indices"])
        adds = bool(operands.get("accumulate"))
    elif "index" in operands and call.name.startswith("index_"):
        at = number.index_select(operands["dim"], operands["index"])
        adds = call.name.startswith("index_add")
    elif call.name.startswith("slice"):
        at = torch.ops.aten.slice(
            number, operands["dim"], operands["start"], operands["end"], operands["step"]
        )
        adds = False
    else:
        at = number.select(operands["dim"], operands["index"])
        adds = False
    value, base = recorder.value(source), recorder.value(call.first)
    if value is None and base is None:
        return NOTHING
    if value is None:
        if adds:
            return [base]
        value = recorder.zeros(source.shape)
    if recorder.shapes[value] != tuple(at.shape):
        value = recorder.step("expand", (value,), (), at.shape)
    inputs = (value,) if base is None else (base, value)
    return recorder.step("put", inputs, (ranges_of(at.reshape(-1).tolist()), adds), call.shape)


@handles("copy")
def _copied(recorder: Recorder, call: Call) -> Any:
    source = call["src"]
    value = recorder.value(source)
    if value is None:
        if recorder.whole(source) == INPUT:
            return recorder.step("input", (), (), call.shape)
        return NOTHING if recorder.whole(source) is None else None
    if recorder.shapes[value] != tuple(call.shape):
        return recorder.step("expand", (value,), (), call.shape)
    return [value]


@handles("fill", "zero", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like",
          "randn_like", "new_zeros", "new_ones", "new_empty", "new_full", "normal", "uniform",
          "new_empty_strided")  # fmt: skip
def _constant(recorder: Recorder, call: Call) -> Any:
    others = [t for k, t in call.arguments.items() if k != "self" and isinstance(t, Tensor)]
    return None if any(recorder.value(t) is not None for t in others) else NOTHING


# -- sums and windows --


@handles("sum", "mean", "amax", "amin", "nansum", "logsumexp", "prod", "var", "std", "var_mean",
          "std_mean", "linalg_vector_norm", "norm", "aminmax", "max", "min")  # fmt: skip
def _reduced(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    others = [
        t for k, t in call.arguments.items() if k not in ("self", "x") and isinstance(t, Tensor)
    ]
    if value is None or others:
        return _elementwise(recorder, call) if others else None
    dims = call.arguments.get("dim")
    n = call.first.dim()
    if dims is None or (isinstance(dims, list | tuple) and not dims):
        dims = [*range(n)]
    axes = tuple(sorted(d % n for d in ([dims] if isinstance(dims, int) else dims))) if n else ()
    keep = bool(call.arguments.get("keepdim", False))
    total = recorder.step("sum", (value,), (axes, keep), call.shape)
    if call.name in ("max", "min"):
        return [total, NOTHING]
    return [total] * len(call.out)


@handles("cumsum", "cumprod", "logcumsumexp")
def _runningsummed(recorder: Recorder, call: Call) -> Any:
    return _move(recorder, call, "cumsum", call["dim"] % call.first.dim())


@handles("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
          "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
          "mkldnn_max_pool2d")  # fmt: skip
def _pooled(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    kernel = call["kernel_size"]
    axes = int(next(c for c in call.name if c.isdigit()))
    if value is None or call.first.dim() not in (axes + 1, axes + 2):
        return None

    def full(x: Any) -> tuple[int, ...]:
        return tuple(x) * (axes // len(x)) if isinstance(x, list | tuple) else (x,) * axes

    kernel = full(kernel)
    stride = full(call["stride"]) if call["stride"] else kernel
    dilation = full(call.arguments.get("dilation") or [1])
    total = recorder.step(
        "pool", (value,), (kernel, stride, full(call["padding"]), dilation), call.shape
    )
    return [total, NOTHING]


@handles("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
          "adaptive_max_pool2d", "adaptive_max_pool3d", "adaptive_max_pool1d",
          "adaptive_avg_pool2d")  # fmt: skip
def _adapted(recorder: Recorder, call: Call) -> Any:
    value = recorder.value(call.first)
    size = call["output_size"]
    axes = len(size)
    if value is None or call.first.dim() not in (axes + 1, axes + 2):
        return None
    total = recorder.step("adaptive", (value,), (tuple(call.shape[-axes:]),), call.shape)
    return [total, NOTHING]


@handles(*(f"upsample_{n}" for n in ("nearest1d", "nearest2d", "nearest3d", "linear1d",
                                      "bilinear2d", "trilinear3d")),
          *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)))  # fmt: skip
def _upsampled(recorder: Recorder, call: Call) -> Any:
    if call.name.startswith("_"):
        return None
    options = [v for k, v in call.arguments.items() if k not in ("self", "input")]
    if call.arguments.get("scale_factors") is not None:
        return _upsampled_by_factor(recorder, call)
    return _move(recorder, call, "upsample", call.name.removeprefix("upsample_"), options)


def _upsampled_by_factor(recorder: Recorder, call: Call) -> Any:
    factors = list(call["scale_factors"])
    size = list(call.shape[2:])
    align = [bool(call["align_corners"])] if "align_corners" in call.arguments else []
    return _move(
        recorder, call, "upsample", call.name.removeprefix("upsample_"), [size, *align, *factors]
    )
