"""The record of a pass: which tensor holds which value of a program, whatever is a view of what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ...graph.program import Program, Step
from .empty_run import carries, run_empty, tensors_in

VIEWS = {"squeeze", "unsqueeze", "transpose", "t", "as_strided", "swapaxes"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not",
               "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not",
               "bitwise_xor"}  # fmt: skip
LEAVES = ("numpy", "tolist", "__array__", "__dlpack__", "data_ptr")  # for where nobody follows


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

    def __init__(
        self, weights: Sequence[Tensor], names: Mapping[int, str], handlers: Mapping[str, Any]
    ):
        super().__init__()
        self.handlers = handlers
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

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, for a second, to leave this class alone

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
        if op != "table" and inputs and all(i in self.of_weights for i in inputs):
            self.of_weights.update(range(first, len(self.shapes)))
        return first

    def enter(self, tensor: Tensor) -> None:
        """A tensor of the example."""
        self.kept.append(tensor)
        if carries(tensor):
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
        if memory.whole is None and covers(tensor):
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
        if covers(tensor):
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
        out = run_empty(func, args, kwargs)
        self.kept.append(out)
        if not self.paused:
            self.note(func, args, kwargs, out)
        return out

    def note(self, func: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """Note one operation of torch's."""
        name = func._schema.name.split("::")[-1]
        writes = func._schema.is_mutable and name.endswith("_")
        inputs, results = [*tensors_in((args, kwargs))], [*tensors_in(out)]
        values = [self.value(t) for t in inputs]
        numbers = {self.whole(t) for t in inputs} - {None}
        for t in inputs:
            name_of = self.names.get(id(t), self.base.get(id(t)))
            if name_of is not None and all(v is None for v in values):
                for result in results:
                    self.base.setdefault(id(result), name_of)
        if not numbers and all(v is None for v in values):
            return
        if not results and func._schema.is_mutable:
            raise RuntimeError(f"{name} writes into several tensors at once, which is not followed")
        if not any(map(carries, results)):
            self._note_whole(name, numbers, inputs, results)
            return
        plain = name.removesuffix("_") if writes else name
        handler = self.handlers.get(plain)
        new: Any = None
        if handler is not None and not (writes and plain in VIEWS):
            new = handler(self, Call(self, func, args, kwargs, results))
        if new is None:
            new = [self.unknown(name, r.shape) if carries(r) else None for r in results]
        for result, value in zip(results, new if isinstance(new, list) else [new], strict=False):
            value = None if value is NOTHING else value
            if not any(result is t for t in inputs):
                self.hold(result, value)
            elif value != self.value(result):
                self.write(result, value)

    def _note_whole(
        self, name: str, numbers: set[Any], inputs: Sequence[Tensor], results: Sequence[Tensor]
    ) -> None:
        """Whole numbers and truths. Numbers of the input lead to tables, and what is compared with
        them is a mask, no path; a step of an activation carries it on; all else is decided."""
        values = [v for v in map(self.value, inputs) if v is not None]
        step = name.removesuffix("_") in COMPARISONS and bool(values)
        for r in results:
            self.followed.pop(id(r), None)
            if step:
                self.hold(r, self.summed(values, r.shape))
            elif values or DECIDED in numbers:
                self.whole_numbers[id(r)] = (r, DECIDED)
            elif r.dtype != torch.bool:
                self.whole_numbers[id(r)] = (r, INPUT)

    def summed(self, values: Sequence[int], shape: Sequence[int]) -> int:
        """The sum of values whose shapes broadcast to this one."""
        values = [*dict.fromkeys(values)]
        if len(values) > 1:
            return self.step("add", values, (), shape)
        if self.shapes[values[0]] == tuple(shape):
            return values[0]
        return self.step("expand", values, (), shape)

    # -- whole layers ---------------------------------------------------------------------------

    def norm(self, forward: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        """In place of a norm's own ``forward``: each unit as it is, if it gives what it takes."""
        others = [t for t in tensors_in((args, kwargs)) if self.value(t) is not None]
        with self.silent():
            out = forward(x, *args, **kwargs)
        if others or not isinstance(out, Tensor) or out.shape != x.shape:
            return forward(x, *args, **kwargs)
        return self.unchanged(x)

    def unchanged(self, x: Tensor) -> Tensor:
        """A tensor of its own with the same value."""
        with self.silent():
            out = torch.empty_like(x).zero_()
        self.hold(out, self.value(x))
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
        repeats = q.shape[-3] // k.shape[-3] if q.dim() > 2 and kwargs.get("enable_gqa") else 1
        value = self.attended(q, k, v, out.shape, repeats)
        if value is not None:
            self.hold(out, value)
        return out

    def attended(
        self, q: Tensor, k: Tensor, v: Tensor, shape: Sequence[int], repeats: int
    ) -> int | None:
        """The value of attention; None of constants. repeats: heads that share one of k and v."""
        values = [self.value(t) for t in (q, k, v)]
        if all(value is None for value in values):
            return None
        parts = [
            self.zeros(t.shape) if value is None else value
            for t, value in zip((q, k, v), values, strict=True)
        ]
        return self.step("attend", parts, (repeats,), shape)

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
        first_value = self.step(
            "recurrent", inputs,
            (mode, layers, directions, hidden, state, projected, places, states),
            (time, batch, state * directions), *(t.shape for t in last), name=name,
        )  # fmt: skip
        value = first_value
        if batch_first:
            value = self.step("permute", (first_value,), ((1, 0, 2),), y.shape)
        self.hold(y, value)
        for n, t in enumerate(last, start=1):
            self.hold(t, first_value + n)
        return (y, *last)

    def program(self, out: Any) -> Program:
        """What was noted, with these outputs."""
        values = [self.value(t) for t in tensors_in(out) if carries(t)]
        return Program(tuple(self.steps), tuple(dict.fromkeys(v for v in values if v is not None)))


def _plain(x: Any) -> Any:
    if isinstance(x, torch.Size | list | tuple):
        return tuple(_plain(y) for y in x)
    if isinstance(x, bool | int | float | str) or x is None:
        return x
    return int(x)


def covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory, in order."""
    size = tensor.untyped_storage().nbytes()
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == size


class Whole(TorchFunctionMode):
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
        if name in LEAVES and args and self.recorder.value(args[0]) is not None:
            self.recorder.unknown(name, args[0].shape)
        if name in self.RECURRENT and func is getattr(torch._VF, name, None) and len(args) == 9:
            if isinstance(args[3], bool):
                return self.recorder.recurrent(name, *args)
        return func(*args, **kwargs)


NOTHING: Any = object()  # a constant comes out


class Call:
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
