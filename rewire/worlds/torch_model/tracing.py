"""What a model computes of one example, followed from its input to its outputs.

One forward pass of an empty copy of the model (`skeleton`), without gradients: the numbers are
zeros, only who feeds whom is of interest. Torch's own operations are noted as they are dispatched,
so that any module with a ``forward`` of its own can be followed; recurrent layers, attention and
norms are noted whole. What is not known becomes an ``unknown`` step, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ...graph import Space, Wiring
from ...graph.program import Program, Step, ranges_of
from .skeleton import one_example, skeleton, with_own_buffers


def trace(model: nn.Module, space: Space, parameters: Sequence[Tensor], example: Any) -> Wiring:
    """How a model joins the populations of its space.

    parameters: the sparse ones, one for each projection, as `layers.discover` returns them.
    example: what the model takes: a tensor with a batch before it, or a tuple of arguments, or a
        mapping of keyword arguments. Only its shapes and types matter.

    The model itself is neither run nor changed. Raises RuntimeError where it does not run on such
    an example.

    >>> from rewire.graph import Graph
    >>> from rewire.worlds.torch_model.layers import discover
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
    ...
    ...     def forward(self, x):
    ...         return x + self.b(self.a(x).relu())
    >>> model = Residual()
    >>> space, parameters, _ = discover(model)
    >>> wiring = trace(model, space, parameters, torch.zeros(8, 3))
    >>> [step.op for step in wiring.program.steps]
    ['input', 'weight', 'permute', 'matmul', 'weight', 'permute', 'matmul', 'add']
    """
    copy, empty = skeleton(model)
    return trace_skeleton(copy, empty, space, [id(p) for p in parameters], example)


def trace_skeleton(
    copy: nn.Module,
    empty: Mapping[int, Tensor],
    space: Space,
    sparse: Sequence[int],
    example: Any,
) -> Wiring:
    """The same for a skeleton; sparse: ids of the parameters that it was made of."""
    weights = [empty[p] for p in sparse]
    copy = with_own_buffers(copy)
    names = {id(p): name.removesuffix(".weight") for name, p in copy.named_parameters()}
    recorder = Recorder(weights, names)
    args, kwargs = _arguments(one_example(example))
    try:
        with _running(copy, recorder):
            for tensor in tensors_in((args, kwargs)):
                recorder.enter(tensor)
            out = copy(*args, **kwargs)
    except Exception as error:
        raise RuntimeError(
            f"the model cannot be followed: on one example of zeros it stops with "
            f"{type(error).__name__}: {error}. Pass an example= that it takes."
        ) from error
    program = recorder.program(out)
    return Wiring(program=program)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        if len(example) == 2 and isinstance(example[0], tuple) and isinstance(example[1], dict):
            return example[0], example[1]
        return tuple(example), {}
    return (example,), {}


@contextmanager
def _running(copy: nn.Module, recorder: Recorder) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        for name, module in copy.named_modules():
            if _is_norm(module):
                module.__dict__["forward"] = recorder.unchanged
            module.__dict__["_forward_name"] = name
        stack.enter_context(_Whole(recorder))
        stack.enter_context(recorder)
        yield


def _is_norm(module: nn.Module) -> bool:
    """A norm of whatever package, by its name: it acts on units as they are."""
    kind = type(module).__name__.lower()
    return (
        "norm" in kind
        and not any(True for _ in module.children())
        and not any(
            p is not None and sum(n > 1 for n in p.shape) > 1 for p in module._parameters.values()
        )
    )


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """All tensors of nested sequences, mappings and plain objects (a model's output)."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, list | tuple | set):
        for value in tree:
            yield from tensors_in(value)
    elif hasattr(tree, "__dataclass_fields__"):
        for name in tree.__dataclass_fields__:
            yield from tensors_in(getattr(tree, name))


def _mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(x, change) for x in tree)
    if isinstance(tree, dict):
        return {k: _mapped(v, change) for k, v in tree.items()}
    return tree


class _Followed:
    """A tensor of the pass: the value that it holds, as of which write to its memory."""

    __slots__ = ("tensor", "value", "version")

    def __init__(self, tensor: Tensor, value: int | None, version: int):
        self.tensor, self.value, self.version = tensor, value, version


class _Memory:
    """What several tensors show parts of: how often it was written to, and its flat value."""

    __slots__ = ("flat", "version", "whole")

    def __init__(self) -> None:
        self.version = 0
        self.flat: int | None = None
        self.whole: Tensor | None = None


# What integers of the pass are made of: of the input alone, or decided by activations.
INPUT, DECIDED = "input", "decided"


class Recorder(TorchDispatchMode):
    """Notes the operations of a pass as steps of a :class:`rewire.graph.program.Program`."""

    def __init__(self, weights: Sequence[Tensor], names: Mapping[int, str]):
        super().__init__()
        self.steps: list[Step] = []
        self.shapes: list[tuple[int, ...]] = []  # of each value
        self.of_weights: set[int] = set()  # values that depend on sparse weights alone
        self.names = names
        self.paused = 0
        self.followed: dict[int, _Followed] = {}
        self.memories: dict[int, _Memory] = {}
        self.whole_numbers: dict[int, tuple[Tensor, str]] = {}
        self.kept: list[Any] = []  # ids and addresses must not be used again
        self.base: dict[int, str] = {}  # id of a dense weight or view of one -> its name
        self.sparse = {id(w): i for i, w in enumerate(weights)}
        self._weights: dict[int, int] = {}  # number of a projection -> its value

    # -- values ---------------------------------------------------------------------------------

    def step(
        self, op: str, inputs: Sequence[int], options: Sequence[Any], *shapes: Sequence[int],
        name: str = "",
    ) -> int:  # fmt: skip
        """Note a step; the number of its first value."""
        first = len(self.shapes)
        plain = tuple(_plain(o) for o in options)
        sizes = tuple(tuple(int(n) for n in shape) for shape in shapes)
        self.steps.append(Step(op, tuple(inputs), plain, sizes, name))
        self.shapes += sizes
        if inputs and all(i in self.of_weights for i in inputs):
            self.of_weights.update(range(first, len(self.shapes)))
        return first

    def enter(self, tensor: Tensor) -> None:
        """A tensor of the example."""
        self.kept.append(tensor)
        if tensor.is_floating_point() or tensor.is_complex():
            self.hold(tensor, self.step("input", (), (), tensor.shape))
        elif tensor.dtype != torch.bool:
            self.whole_numbers[id(tensor)] = (tensor, INPUT)

    def hold(self, tensor: Tensor, value: int | None) -> None:
        """Let a new tensor be this value."""
        self.kept.append(tensor)
        memory = self.memory(tensor)
        self.followed[id(tensor)] = _Followed(tensor, value, memory.version if memory else 0)

    def memory(self, tensor: Tensor) -> _Memory | None:
        try:
            address = tensor.untyped_storage()._cdata
        except (RuntimeError, NotImplementedError):
            return None
        memory = self.memories.get(address)
        if memory is None:
            memory = self.memories[address] = _Memory()
        if memory.whole is None and _covers(tensor):
            memory.whole = tensor
        return memory

    def value(self, tensor: Tensor) -> int | None:
        """The value that a tensor holds; None of a constant."""
        i = self.sparse.get(id(tensor))
        if i is not None:
            if i not in self._weights:
                value = self.step("weight", (), (i,), tensor.shape)
                self._weights[i] = value
                self.of_weights.add(value)
            return self._weights[i]
        entry = self.followed.get(id(tensor))
        memory = self.memory(tensor)
        if memory is None or memory.version == 0:
            return entry.value if entry is not None else None
        if entry is not None and entry.version == memory.version:
            return entry.value
        if memory.flat is None:
            return None
        value = self.step(
            "strided", (memory.flat,), (tensor.stride(), tensor.storage_offset()), tensor.shape
        )
        self.hold(tensor, value)
        return value

    def write(self, tensor: Tensor, value: int | None) -> None:
        """A tensor's numbers are this value from now on, and so are those of its views."""
        memory = self.memory(tensor)
        before = self.value(tensor)
        if before is None and value is None:
            return
        if memory is None:
            raise RuntimeError("a tensor without memory is written to")
        size = tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1)
        if _covers(tensor):
            flat = None if value is None else self.step("reshape", (value,), (), (size,))
        else:
            flat = self._flat(tensor, size)
            source = value if value is not None else self.zeros(tensor.shape)
            inputs = (source,) if flat is None else (flat, source)
            flat = self.step("scatter", inputs, (tensor.stride(), tensor.storage_offset()), (size,))
        memory.flat = flat
        memory.version += 1
        self.kept.append(tensor)
        self.followed[id(tensor)] = _Followed(tensor, value, memory.version)

    def _flat(self, tensor: Tensor, size: int) -> int | None:
        """The flat value of the memory that a tensor is a part of; None of constants."""
        memory = self.memory(tensor)
        assert memory is not None
        if memory.version:
            return memory.flat
        if memory.whole is not None:
            value = self.value(memory.whole)
            return None if value is None else self.step("reshape", (value,), (), (size,))
        if any(
            f.value is not None
            and f.tensor.untyped_storage()._cdata == tensor.untyped_storage()._cdata
            for f in [*self.followed.values()]
        ):
            return self.unknown("a write into a part of a tensor", (size,))
        return None

    def zeros(self, shape: Sequence[int]) -> int:
        return self.step("zeros", (), (), shape)

    def unknown(self, name: str, shape: Sequence[int]) -> int:
        return self.step("unknown", (), (), shape, name=name)

    def whole(self, tensor: Tensor) -> str | None:
        """What whole numbers are made of, None of constants."""
        entry = self.whole_numbers.get(id(tensor))
        return entry[1] if entry is not None else None

    # -- the pass -------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = _run(func, args, kwargs)
        self.kept.append(out)
        if not self.paused:
            self.note(func, args, kwargs, out)
        return out

    def note(self, func: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """Note one operation of torch's."""
        name = func._schema.name.split("::")[-1]
        writes = func._schema.is_mutable and name.endswith("_")
        inputs = [*tensors_in((args, kwargs))]
        values = [self.value(t) for t in inputs]
        numbers = {self.whole(t) for t in inputs} - {None}
        for t in inputs:
            if id(t) in self.names:
                for made in tensors_in(out):
                    self.base.setdefault(id(made), self.names[id(t)])
            elif id(t) in self.base and not any(v is not None for v in values):
                for made in tensors_in(out):
                    self.base.setdefault(id(made), self.base[id(t)])
        if not numbers and all(v is None for v in values):
            return
        results = [*tensors_in(out)]
        if not any(r.is_floating_point() or r.is_complex() for r in results):
            self._note_whole(name, numbers, values, results)
            return
        plain = name.removesuffix("_") if writes else name
        handler = HANDLERS.get(plain)
        if handler is None or (writes and plain in VIEWS):
            made: Any = None
        else:
            made = handler(self, _Call(self, func, args, kwargs, results))
        if made is None:
            made = [self.unknown(name, r.shape) if r.is_floating_point() else None for r in results]
        made = made if isinstance(made, list) else [made]
        for result, value in zip(results, made, strict=False):
            value = None if value is NOTHING else value
            if writes:
                if value != self.value(result):
                    self.write(result, value)
            elif id(result) not in {id(t) for t in inputs}:
                self.hold(result, value)

    def _note_whole(
        self, name: str, numbers: set[Any], values: Sequence[int | None], results: Sequence[Tensor]
    ) -> None:
        """Whole numbers and truths: masks are no path, numbers of the input lead to tables."""
        decided = DECIDED in numbers or any(v is not None for v in values)
        for r in results:
            self.followed.pop(id(r), None)
            if r.dtype != torch.bool and name not in COMPARISONS:
                self.whole_numbers[id(r)] = (r, DECIDED if decided else INPUT)

    # -- whole layers ---------------------------------------------------------------------------

    def unchanged(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """In place of a norm: each unit as it is."""
        value = self.value(x)
        with self.silent():
            out = torch.empty_like(x).zero_()
        self.hold(out, value)
        return out

    @contextmanager
    def silent(self) -> Iterator[None]:
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """In place of torch's attention."""
        with self.silent():
            out = torch.zeros((*q.shape[:-1], v.shape[-1]), dtype=q.dtype)
        values = [self.value(t) for t in (q, k, v)]
        if all(value is None for value in values):
            return out
        parts = [
            self.zeros(t.shape) if value is None else value
            for t, value in zip((q, k, v), values, strict=True)
        ]
        repeats = q.shape[-3] // k.shape[-3] if q.dim() > 2 and kwargs.get("enable_gqa") else 1
        self.hold(out, self.step("attend", parts, (repeats,), out.shape))
        return out

    def recurrent(self, mode: str, x: Tensor, hx: Any, weights: Sequence[Tensor], bias: bool,
                  layers: int, dropout: float, train: bool, both: bool,
                  batch_first: bool) -> tuple[Tensor, ...]:  # fmt: skip
        """In place of torch's recurrent layers."""
        directions = 2 if both else 1
        first = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        per_cell = len(weights) // (layers * directions)
        projected = mode == "lstm" and per_cell == (5 if bias else 3)
        rows = weights[1].shape[0]
        hidden = rows // {"lstm": 4, "gru": 3}.get(mode, 1)
        state = weights[1].shape[1]
        batch = x.shape[0] if batch_first else x.shape[1]
        time = x.shape[1] if batch_first else x.shape[0]
        with self.silent():
            shape = (batch, time) if batch_first else (time, batch)
            y = torch.zeros(*shape, state * directions)
            last = [torch.zeros(layers * directions, batch, state)]
            if mode == "lstm":
                last.append(torch.zeros(layers * directions, batch, hidden))
        source, starts = self.value(x), [self.value(t) for t in first]
        if source is None and all(s is None for s in starts):
            return (y, *last)
        inputs: list[int] = [source if source is not None else self.zeros(x.shape)]
        if batch_first:
            inputs = [self.step("permute", inputs, ((1, 0, 2),), (time, batch, x.shape[-1]))]

        def place(value: int | None) -> int | None:
            if value is None:
                return None
            inputs.append(value)
            return len(inputs) - 1

        places = []
        for k in range(layers * directions):
            own = weights[k * per_cell : (k + 1) * per_cell]
            out_weight = own[-1] if projected else None
            places.append(
                (
                    place(self.value(own[0])),
                    place(self.value(own[1])),
                    None if out_weight is None else place(self.value(out_weight)),
                )
            )
        states = [place(s) for s in (*starts, None)[:2]]
        name = self.names.get(id(weights[0]), "").rpartition(".")[0]
        done = self.step(
            "recurrent", inputs,
            (mode, layers, directions, hidden, state, projected, places, states),
            (time, batch, state * directions), *(t.shape for t in last), name=name,
        )  # fmt: skip
        value = done
        if batch_first:
            value = self.step("permute", (done,), ((1, 0, 2),), y.shape)
        self.hold(y, value)
        for n, t in enumerate(last, start=1):
            self.hold(t, done + n)
        return (y, *last)

    def program(self, out: Any) -> Program:
        """What was noted, with these outputs."""
        values = [self.value(t) for t in tensors_in(out) if t.is_floating_point()]
        return Program(tuple(self.steps), tuple(dict.fromkeys(v for v in values if v is not None)))


def _plain(x: Any) -> Any:
    if isinstance(x, torch.Size | list | tuple):
        return tuple(_plain(y) for y in x)
    if isinstance(x, bool | int | float | str) or x is None:
        return x
    return int(x)


def _covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory, in order."""
    size = tensor.untyped_storage().nbytes()
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == size


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation itself; where weights without numbers meet others, zeros of its shape."""
    given = [*tensors_in((args, kwargs))]
    empty = [t.is_meta for t in given]
    if not any(empty) or all(empty):
        return func(*args, **kwargs)
    if func._schema.is_mutable and isinstance(args[0], Tensor):
        return args[0]
    device = next(t.device for t in given if not t.is_meta)
    kwargs = {k: v for k, v in kwargs.items() if k != "device"}
    shapes = func(*_mapped(args, lambda t: t.to("meta")), **_mapped(kwargs, lambda t: t.to("meta")))

    def filled(t: Tensor) -> Tensor:
        return torch.zeros(t.shape, dtype=t.dtype, device=device)

    return _mapped(shapes, filled)


class _Whole(TorchFunctionMode):
    """Takes recurrent layers, attention and norms in one piece."""

    RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
    NORMS = (F.layer_norm, F.rms_norm, F.group_norm, F.instance_norm, F.batch_norm,
             F.local_response_norm)  # fmt: skip

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.recorder.attend(*args, **kwargs)
        if func in self.NORMS:
            x = args[0] if args else kwargs["input"]
            if self.recorder.value(x) is not None:
                return self.recorder.unchanged(x)
        name = getattr(func, "__name__", "")
        if name in self.RECURRENT and func is getattr(torch._VF, name, None) and len(args) == 9:
            if isinstance(args[3], bool):
                return self.recorder.recurrent(name, *args)
        return func(*args, **kwargs)


# -- what each of torch's operations is ----------------------------------------------------------

NOTHING: Any = object()  # a constant comes out


class _Call:
    """One call of an operation: its arguments by the names of the schema."""

    def __init__(self, recorder: Recorder, func: Any, args: Any, kwargs: Any, out: list[Tensor]):
        self.recorder, self.out = recorder, out
        self.name = func._schema.name.split("::")[-1]
        self.arguments: dict[str, Any] = {}
        for at, argument in enumerate(func._schema.arguments):
            if at < len(args):
                self.arguments[argument.name] = args[at]
            else:
                self.arguments[argument.name] = kwargs.get(argument.name, argument.default_value)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def first(self) -> Tensor:
        return next(iter(self.arguments.values()))

    @property
    def shape(self) -> torch.Size:
        return self.out[0].shape

    def values(self) -> list[tuple[Tensor, int]]:
        """The tensors among the arguments that are no constants, with their values."""
        out = []
        for t in tensors_in(list(self.arguments.values())):
            value = self.recorder.value(t)
            if value is not None:
                out.append((t, value))
        return out


Handler = Callable[[Recorder, _Call], Any]
HANDLERS: dict[str, Handler] = {}


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


@_handles(
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
def _unitwise(recorder: Recorder, call: _Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return NOTHING if not call.values() else None
    return [value]


@_handles("_to_copy", "to")
def _converted(recorder: Recorder, call: _Call) -> Any:
    value = recorder.value(call.first)
    if value is not None:
        return [value]
    if recorder.whole(call.first) == INPUT:  # numbers of the input, as they are
        return recorder.step("input", (), (), call.shape)
    return NOTHING


@_handles(
    "add", "sub", "rsub", "mul", "div", "true_divide", "minimum", "maximum", "fmin", "fmax", "pow",
    "atan2", "where", "addcmul", "addcdiv", "lerp", "fmod", "remainder", "copysign", "logaddexp",
    "logaddexp2", "hypot", "_prelu_kernel", "prelu", "xlogy", "ldexp", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "floor_divide", "clamp_Tensor", "heaviside", "nextafter",
)  # fmt: skip
def _elementwise(recorder: Recorder, call: _Call) -> Any:
    """Sums, products (gates) and choices of activations: each feeds the result."""
    if call.out[0].dim() == 0 and "loss" in call.name:
        return None
    operands = [(t, v) for t, v in call.values()]
    if not operands:
        return NOTHING
    values = [v for _, v in operands]
    acts = [v for v in values if v not in recorder.of_weights]
    own = [v for v in values if v in recorder.of_weights]
    if acts and own:
        if call.name not in ("mul", "mul_") or len(values) != 2:
            return None
        return recorder.step("times", (acts[0], own[0]), (), call.shape)
    return _sum(recorder, values, call.shape)


def _sum(recorder: Recorder, values: Sequence[int], shape: Sequence[int]) -> int:
    values = [*dict.fromkeys(values)]
    if len(values) == 1:
        if recorder.shapes[values[0]] == tuple(shape):
            return values[0]
        return recorder.step("expand", values, (), shape)
    return recorder.step("add", values, (), shape)


@_handles("glu")
def _gated(recorder: Recorder, call: _Call) -> Any:
    value, axis = recorder.value(call.first), call["dim"] % call.first.dim()
    n = call.shape[axis]
    halves = [recorder.step("slice", (value,), (axis, at, 1), call.shape) for at in (0, n)]
    return recorder.step("add", halves, (), call.shape)


# -- moves --


@_handles("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten",
          "_view_copy", "view_copy", "unsafe_view")  # fmt: skip
def _reshaped(recorder: Recorder, call: _Call) -> Any:
    if "dtype" in call.arguments and isinstance(call["dtype"], torch.dtype):
        return None
    return _move(recorder, call, "reshape")


def _move(recorder: Recorder, call: _Call, op: str, *options: Any) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return NOTHING if not call.values() else None
    return recorder.step(op, (value,), options, call.shape)


@_handles("permute", "permute_copy")
def _permuted(recorder: Recorder, call: _Call) -> Any:
    n = call.first.dim()
    return _move(recorder, call, "permute", tuple(d % n for d in call["dims"]))


@_handles("transpose", "swapaxes")
def _transposed(recorder: Recorder, call: _Call) -> Any:
    n = call.first.dim()
    order = [*range(n)]
    if n:
        a, b = call["dim0"] % n, call["dim1"] % n
        order[a], order[b] = b, a
    return _move(recorder, call, "permute", tuple(order))


@_handles("t", "mT", "adjoint")
def _turned(recorder: Recorder, call: _Call) -> Any:
    n = call.first.dim()
    return _move(recorder, call, "permute", tuple(reversed(range(n))))


@_handles("expand", "expand_copy", "broadcast_to")
def _expanded(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "expand")


@_handles("select")
def _selected(recorder: Recorder, call: _Call) -> Any:
    axis = call["dim"] % call.first.dim()
    return _move(recorder, call, "select", axis, call["index"] % call.first.shape[axis])


@_handles("slice")
def _sliced(recorder: Recorder, call: _Call) -> Any:
    axis = call["dim"] % call.first.dim()
    n = call.first.shape[axis]
    start = call["start"] or 0
    start = min(max(start + n if start < 0 else start, 0), n)
    return _move(recorder, call, "slice", axis, start, call["step"])


@_handles("split", "split_with_sizes", "unsafe_split", "chunk", "tensor_split",
          "unsafe_split_with_sizes", "unsafe_chunk", "split_copy")  # fmt: skip
def _split(recorder: Recorder, call: _Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return None
    axis = call["dim"] % call.first.dim()
    out, start = [], 0
    for part in call.out:
        out.append(recorder.step("slice", (value,), (axis, start, 1), part.shape))
        start += part.shape[axis]
    return out


@_handles("unbind")
def _unbound(recorder: Recorder, call: _Call) -> Any:
    value = recorder.value(call.first)
    if value is None:
        return None
    axis = call["dim"] % call.first.dim()
    return [
        recorder.step("select", (value,), (axis, at), part.shape)
        for at, part in enumerate(call.out)
    ]


@_handles("flip")
def _flipped(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "flip", call["dims"])


@_handles("roll")
def _rolled(recorder: Recorder, call: _Call) -> Any:
    shifts, dims = call["shifts"], call["dims"]
    return _move(recorder, call, "roll", shifts, dims) if dims else None


@_handles("repeat")
def _repeated(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "repeat", call["repeats"])


@_handles("unfold")
def _unfolded(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "unfold", call["dimension"], call["size"], call["step"])


@_handles("diagonal")
def _diagonal(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "diagonal", call["offset"], call["dim1"], call["dim2"])


@_handles("tril", "triu")
def _triangle(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, call.name, call["diagonal"])


@_handles("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def _shuffled(recorder: Recorder, call: _Call) -> Any:
    factor = [v for k, v in call.arguments.items() if k != "self"][0]
    return _move(recorder, call, call.name.removeprefix("native_"), factor)


@_handles("im2col", "col2im")
def _columns(recorder: Recorder, call: _Call) -> Any:
    options = [v for k, v in call.arguments.items() if k != "self"]
    return _move(recorder, call, call.name, *options)


@_handles("constant_pad_nd")
def _padded(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "pad", call["pad"], "constant")


@_handles("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
          "replication_pad2d", "replication_pad3d")  # fmt: skip
def _mirrored(recorder: Recorder, call: _Call) -> Any:
    mode = "reflect" if call.name.startswith("reflection") else "replicate"
    return _move(recorder, call, "pad", call["padding"], mode)


@_handles("cat", "stack", "concat")
def _joined(recorder: Recorder, call: _Call) -> Any:
    parts = call["tensors"]
    values = [recorder.value(t) for t in parts]
    if call.name == "cat":
        kept = [(t, v) for t, v in zip(parts, values, strict=True) if t.shape != (0,)]
        parts, values = [t for t, _ in kept], [v for _, v in kept]
    if all(v is None for v in values):
        return NOTHING
    inputs = [
        recorder.zeros(t.shape) if v is None else v for t, v in zip(parts, values, strict=True)
    ]
    axis = call["dim"] % call.out[0].dim()
    return recorder.step("stack" if call.name == "stack" else "cat", inputs, (axis,), call.shape)


@_handles("as_strided")
def _restrided(recorder: Recorder, call: _Call) -> Any:
    if not _covers(call.first):
        return None
    return _move(recorder, call, "strided", call["stride"], call["storage_offset"] or 0)


@_handles(
    "index",
    "index_select",
    "gather",
    "take",
    "repeat_interleave",
    "masked_select",
    "take_along_dim",
)
def _indexed(recorder: Recorder, call: _Call) -> Any:
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


@_handles("index_put", "index_copy", "index_add", "scatter", "scatter_add", "masked_scatter",
          "slice_scatter", "select_scatter", "_index_put_impl")  # fmt: skip
def _put_at(recorder: Recorder, call: _Call) -> Any:
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


@_handles("copy")
def _copied(recorder: Recorder, call: _Call) -> Any:
    source = call["src"]
    value = recorder.value(source)
    if value is None:
        if recorder.whole(source) == INPUT:
            return recorder.step("input", (), (), call.shape)
        return NOTHING
    if recorder.shapes[value] != tuple(call.shape):
        return recorder.step("expand", (value,), (), call.shape)
    return [value]


@_handles("fill", "zero", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like",
          "randn_like", "new_zeros", "new_ones", "new_empty", "new_full", "normal", "uniform",
          "new_empty_strided")  # fmt: skip
def _constant(recorder: Recorder, call: _Call) -> Any:
    others = [t for k, t in call.arguments.items() if k != "self" and isinstance(t, Tensor)]
    return None if any(recorder.value(t) is not None for t in others) else NOTHING


# -- sums and windows --


@_handles("sum", "mean", "amax", "amin", "nansum", "logsumexp", "prod", "var", "std", "var_mean",
          "std_mean", "linalg_vector_norm", "norm", "aminmax", "max", "min")  # fmt: skip
def _reduced(recorder: Recorder, call: _Call) -> Any:
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
    done = recorder.step("sum", (value,), (axes, keep), call.shape)
    if call.name in ("max", "min"):
        return [done, NOTHING]
    return [done] * len(call.out)


@_handles("cumsum", "cumprod", "logcumsumexp")
def _running_sum(recorder: Recorder, call: _Call) -> Any:
    return _move(recorder, call, "cumsum", call["dim"] % call.first.dim())


@_handles("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
          "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
          "mkldnn_max_pool2d")  # fmt: skip
def _pooled(recorder: Recorder, call: _Call) -> Any:
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
    done = recorder.step(
        "pool", (value,), (kernel, stride, full(call["padding"]), dilation), call.shape
    )
    return [done, NOTHING]


@_handles("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
          "adaptive_max_pool2d", "adaptive_max_pool3d", "adaptive_max_pool1d",
          "adaptive_avg_pool2d")  # fmt: skip
def _adapted(recorder: Recorder, call: _Call) -> Any:
    value = recorder.value(call.first)
    size = call["output_size"]
    axes = len(size)
    if value is None or call.first.dim() not in (axes + 1, axes + 2):
        return None
    done = recorder.step("adaptive", (value,), (tuple(call.shape[-axes:]),), call.shape)
    return [done, NOTHING]


@_handles(*(f"upsample_{n}" for n in ("nearest1d", "nearest2d", "nearest3d", "linear1d",
                                      "bilinear2d", "trilinear3d")),
          *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)))  # fmt: skip
def _upsampled(recorder: Recorder, call: _Call) -> Any:
    if call.name.startswith("_"):
        return None
    options = [v for k, v in call.arguments.items() if k not in ("self", "input")]
    if call.arguments.get("scale_factors") is not None:
        return _upsampled_by_factor(recorder, call)
    return _move(recorder, call, "upsample", call.name.removeprefix("upsample_"), options)


def _upsampled_by_factor(recorder: Recorder, call: _Call) -> Any:
    factors = list(call["scale_factors"])
    size = list(call.shape[2:])
    align = [bool(call["align_corners"])] if "align_corners" in call.arguments else []
    return _move(
        recorder, call, "upsample", call.name.removeprefix("upsample_"), [size, *align, *factors]
    )


# -- products --


@_handles("mm", "bmm", "matmul", "addmm", "baddbmm", "addbmm", "mv", "dot", "linear", "addmv",
          "_addmm_activation")  # fmt: skip
def _product(recorder: Recorder, call: _Call) -> Any:
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
    made = _times(recorder, a, b, recorder.value(a), recorder.value(b), b.shape, call.shape)
    return _with_bias(recorder, call, bias, made)


def _with_bias(recorder: Recorder, call: _Call, bias: Tensor | None, made: Any) -> Any:
    extra = None if bias is None else recorder.value(bias)
    if made is None or extra is None:
        return made
    return extra if made is NOTHING else _sum(recorder, [made, extra], call.shape)


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


@_handles("convolution", "_convolution", "convolution_overrideable", "conv2d", "conv1d", "conv3d",
          "mkldnn_convolution", "cudnn_convolution")  # fmt: skip
def _convolved(recorder: Recorder, call: _Call) -> Any:
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
    made = recorder.step("conv", inputs, (*geometry, ones), call.shape, name=name)
    return _with_bias(recorder, call, call["bias"], made)


@_handles("embedding", "_embedding_bag", "embedding_bag", "_embedding_bag_forward_only")
def _looked_up(recorder: Recorder, call: _Call) -> Any:
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


VIEWS = {"squeeze", "unsqueeze", "transpose", "t", "as_strided", "swapaxes"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "logical_and",
               "logical_or", "logical_not", "logical_xor", "any", "all"}  # fmt: skip
