"""What a model computes of one example, followed from its input to its outputs.

One forward pass of an empty copy of the model (`skeleton`), without gradients: the numbers are
zeros, only who feeds whom is of interest. Torch's own operations are noted as they are dispatched,
so that any module with a ``forward`` of its own can be followed; recurrent layers, attention and
norms are noted whole. What is not known becomes an ``unknown`` step, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Space, Wiring
from ...graph.program import Program
from ...graph.running import run
from ...graph.wiring import traced_wiring
from .empty_run import tensors_in
from .operations import HANDLERS
from .probe import Probe
from .products import PRODUCTS
from .recording import Recorder, Whole
from .skeleton import first_examples, skeleton, with_own_buffers, zeros_like

MOST_DENSE = 2**28  # weights that are made for the question whether examples meet


def trace(model: nn.Module, space: Space, parameters: Sequence[Tensor], example: Any) -> Wiring:
    """How a model joins the populations of its space.

    parameters: the sparse ones, one for each projection, as `layers.discover` returns them.
    example: what the model takes: a tensor, a tuple of arguments, a mapping of keyword arguments,
        or (arguments, keyword arguments). Only its shapes and types matter; a keyword with "mask"
        in its name is no input. Of a batch whose
        examples do not meet in the model one is followed, else all of it.

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
    few = first_examples(example, 2)
    if few is not None and space.possible <= MOST_DENSE:
        pair = _followed(copy, empty, sparse, few)
        if not pair.unknown and independent(pair):
            return traced_wiring(space, _of_one(copy, empty, sparse, example, pair))
    return traced_wiring(space, _followed(copy, empty, sparse, example))


def _of_one(
    copy: nn.Module, empty: Mapping[int, Tensor], sparse: Sequence[int], example: Any, pair: Program
) -> Program:
    """The steps for one example; those for two where a model treats one alone in another way (a
    squeeze)."""
    try:
        one = _followed(copy, empty, sparse, first_examples(example, 1))
    except RuntimeError:
        return pair
    return one if [s.op for s in one.steps] == [s.op for s in pair.steps] else pair


def _followed(
    copy: nn.Module, empty: Mapping[int, Tensor], sparse: Sequence[int], example: Any
) -> Program:
    """The steps of one pass."""
    weights = [empty[p] for p in sparse]
    copy = with_own_buffers(copy)
    names = {id(p): name.removesuffix(".weight") for name, p in copy.named_parameters()}
    recorder = Recorder(weights, names, {**HANDLERS, **PRODUCTS})
    args, kwargs = _arguments(zeros_like(example))
    try:
        with _running(copy, recorder):
            unmasked = {k: v for k, v in kwargs.items() if "mask" not in k}
            for tensor in tensors_in((args, unmasked)):
                recorder.enter(tensor)
            out = copy(*args, **kwargs)
    except Exception as error:
        raise RuntimeError(
            f"the model cannot be followed: on an example of zeros it stops with "
            f"{type(error).__name__}: {error}. Pass an example= that it takes."
        ) from error
    return recorder.program(out)


class Trace:
    """How a world's model joins the populations of its space, followed when it is first asked for.

    example: what the model takes; None: what the loss of ``probe`` gives it, and without one what a
    model of linear layers alone must take. What cannot be followed joins nothing; an example of
    one's own that does not run raises RuntimeError.
    """

    def __init__(self, model: nn.Module, space: Space, parameters: Sequence[Tensor]):
        self.copy, self.empty = skeleton(model)
        self.space, self.sparse = space, [id(p) for p in parameters]
        self.example: Any = None
        self.probe: Probe | None = None
        self._wiring: list[Wiring | None] = []

    def __deepcopy__(self, memo: Any) -> Trace:
        return self

    def __reduce__(self) -> Any:  # what is not followed yet stays behind
        return _Known, (self._wiring[0] if self._wiring else None,)

    def __call__(self) -> Wiring | None:
        if not self._wiring:
            self._wiring = [self._follow()]
        return self._wiring[0]

    def _follow(self) -> Wiring | None:
        if self.example is not None:
            return self._of(self.example)
        try:
            example = self._unasked()
            return None if example is None else self._of(example)
        except Exception:
            return None

    def _of(self, example: Any) -> Wiring:
        return trace_skeleton(self.copy, self.empty, self.space, self.sparse, example)

    def _unasked(self) -> Any:
        if self.probe is not None and len(self.probe.batches):
            return given_to_model(self.probe)
        layers = [m for m in self.copy.modules() if m._parameters]
        if layers and all(isinstance(m, nn.Linear) or _is_norm(m) for m in layers):
            first = next(m for m in layers if isinstance(m, nn.Linear))
            return torch.zeros(1, first.in_features)
        return None


class _Known:
    """A wiring that is known."""

    def __init__(self, wiring: Wiring | None):
        self.wiring = wiring

    def __call__(self) -> Wiring | None:
        return self.wiring


class _Called(Exception):
    """The arguments that a loss gave its model."""


def given_to_model(probe: Probe) -> Any:
    """What a probe's loss gives the model of its first batch: (arguments, keyword arguments).

    >>> probe = Probe([(torch.ones(4, 3), None)], lambda model, batch: model(batch[0]).sum())
    >>> args, kwargs = given_to_model(probe)
    >>> args[0].shape, kwargs
    (torch.Size([4, 3]), {})
    """

    def model(*args: Any, **kwargs: Any) -> Tensor:
        raise _Called(args, kwargs)

    try:
        probe.loss(model, probe.batches[0])
    except _Called as call:
        args, kwargs = call.args
        return args, kwargs
    return None


def independent(program: Program) -> bool:
    """Whether the first of two examples reaches only the first half of every output.

    >>> from rewire.graph.program import Step
    >>> source = Step("input", (), (), ((2, 3),))
    >>> summed = Step("sum", (0,), ((0,), True), ((1, 3),))
    >>> independent(Program((source,), (0,))), independent(Program((source, summed), (1,)))
    (True, False)
    """

    def first(shape: Sequence[int]) -> Tensor:
        x = torch.zeros(tuple(shape))
        if x.dim():
            x[:1] = 1
        return x

    with torch.no_grad():
        outputs = run(program, lambda i, shape: torch.ones(tuple(shape)), first)
    return all(y.dim() and len(y) == 2 and not y[1:].any() for y in outputs)


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
        for module in copy.modules():
            if _is_norm(module):
                module.__dict__["forward"] = partial(recorder.norm, module.forward)
        stack.enter_context(Whole(recorder))
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
