"""Plans: a whole net traced into the operations of the native sparse engine.

A plan runs gather, forward pass, loss, backward pass and optimiser step in one native call, on
memory that stays the model's, the optimiser's and the graph's. :func:`trace` makes it from an
``nn.Module`` by way of torch.fx; a module that it does not know raises :class:`NotTraceable`, which
names it, and the caller trains layer by layer instead.

What is handed over, and when:

- :func:`trace` takes, for every weight that is sparse, its :class:`Edges`; the module's own
  weight is then never looked at, and may be empty. All other parameters are the model's own
  tensors: they are read and written in place. Their gradients are in ``plan.gradients``.
- After an edit of the graph, :meth:`Plan.rewire` takes the new arrays of each projection that
  changed, and :meth:`Plan.adopt` (or ``set_optimiser``) the optimiser's new state arrays.
- Whatever was handed over must be handed over again when it moves to other memory; changes in
  place need no call. The plan keeps what it holds alive.
- :meth:`Plan.follow` copies an optimiser's hyper-parameters (a scheduler's learning rate).

All tensors are contiguous and on the CPU. Calls release the GIL; one plan runs in one thread at a
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from ....native import missing, sparse
from . import images
from .fingerprint import hooked, hooks
from .layers import _dropout, _elementwise, _flatten, _identity, _linear
from .optimizers import NUMBERS, Entry, numbers, state_of
from .tracing import Add, Edges, NotTraceable, Tracing, Value

MODULES: dict[type[nn.Module], Add] = {}
FUNCTIONS: dict[Any, Add] = {}  # by function, or by the name of a tensor's method


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, name: str) -> bool:
        known = _handler(m) is not None or hasattr(m, "wires")
        return known or super().is_leaf_module(m, name)


def trace(
    model: nn.Module,
    edges: Mapping[str, Edges],
    input_shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    training: bool = True,
    engine: ModuleType | None = sparse,
) -> Plan:
    """The plan of a model for inputs of ``input_shape`` (C, H, W), or (features,).

    edges: of each sparse weight, by the name of its parameter; weights that are not in it run
    dense. training=False makes a plan for evaluation alone, in which dropout is the identity.
    engine: one of rewire.native.engines(), the best of them unless said.

    Raises:
        NotTraceable: something in the model is not known here, or the engine was not built.
    """
    if engine is None:
        raise NotTraceable(f"there is no sparse engine: {missing or 'it was not built'}.")
    kind = {torch.float32: engine.PlanFloat32, torch.float64: engine.PlanFloat64}.get(dtype)
    if kind is None:
        raise NotTraceable(f"a plan works in float32 or float64, not in {dtype}.")
    shape = tuple(input_shape) if len(input_shape) == 3 else (int(np.prod(input_shape)), 1, 1)
    _check_plain(model)
    alone = _handler(model) is not None  # a single layer, whose parameters have no prefix
    graph = _fx_graph(nn.Sequential(model) if alone else model)
    modules = {"": model, "0": model} if alone else dict(model.named_modules())
    tracing = Tracing(kind(*shape), modules, edges, training, alone)
    values = tracing.values
    try:
        for node in graph.nodes:
            if node.op == "placeholder":
                if values:
                    raise NotTraceable("a plan has one input; this model has several.")
                values[node] = Value(0, *shape)
            elif node.op == "output":
                _check_output(node, values)
            else:
                values[node] = _add(tracing, node, values)
    except ValueError as error:
        if isinstance(error, NotTraceable):
            raise
        raise NotTraceable(f"{tracing.node.target!r}: {error}") from error
    unused = set(edges) - set(tracing.places)
    if unused:
        raise NotTraceable(f"the forward pass does not use the weights {sorted(unused)}.")
    return Plan(tracing, dtype)


def _check_plain(model: nn.Module) -> None:
    """Refuse modules that do more in a pass than their class says."""
    for name, module in model.named_modules():
        called = f"{name or 'the model'} ({type(module).__name__})"
        if any(hooks(module)) or any(map(hooked, module._parameters.values())):
            raise NotTraceable(f"{called} has hooks, which a plan would not call.")
        if "forward" in vars(module):
            raise NotTraceable(f"{called} has another forward pass than its class.")
        if hasattr(module, "parametrizations"):
            raise NotTraceable(f"{called} computes its parameters, which a plan would not.")


def _fx_graph(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except Exception as error:
        raise NotTraceable(
            f"torch.fx cannot trace {type(model).__name__}: {error}. A forward pass must not "
            "depend on the values of its input."
        ) from error


def _check_output(node: fx.Node, values: Mapping[fx.Node, Value]) -> None:
    result = node.args[0]
    if not isinstance(result, fx.Node) or values[result].buffer != max(
        v.buffer for v in values.values()
    ):
        raise NotTraceable("a plan returns one tensor, what its last operation makes.")


def _handler(module: nn.Module) -> Add | None:
    known: Any = next((t for t in type(module).__mro__ if t in MODULES), None)
    if known is None or not (hasattr(module, "wires") or type(module).forward is known.forward):
        return None  # not known, or by a base class whose forward pass is another
    return MODULES[known]


def _add(tracing: Tracing, node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
    tracing.node = node
    inputs = tuple(values[n] for n in node.all_input_nodes if n in values)
    if node in tracing.fused:
        return inputs[0]
    module: nn.Module | None = None
    if node.op == "call_module":
        module = tracing.modules.get(str(node.target))
        assert module is not None
        handler, called = _handler(module), f"{node.target} ({type(module).__name__})"
    else:
        handler = FUNCTIONS.get(node.target) if node.op.startswith("call") else None
        called = getattr(node.target, "__name__", str(node.target))
    if handler is None:
        known = sorted(t.__name__ for t in MODULES)
        raise NotTraceable(f"a plan does not know {called}; it knows {', '.join(known)}.")
    return handler(tracing, str(node.target), module, inputs)


MODULES.update({
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.ReLU: _elementwise("relu"),
    nn.Tanh: _elementwise("tanh"),
    nn.Identity: _identity,
    nn.Dropout: _dropout,
    **images.MODULES,
})  # fmt: skip
FUNCTIONS.update({
    torch.relu: MODULES[nn.ReLU],
    functional.relu: MODULES[nn.ReLU],
    "relu": MODULES[nn.ReLU],
    torch.tanh: MODULES[nn.Tanh],
    "tanh": MODULES[nn.Tanh],
    torch.flatten: _flatten,
    "flatten": _flatten,
    **images.FUNCTIONS,
})  # fmt: skip


# -- the plan -------------------------------------------------------------------------------------


class Plan:
    """A traced net; made by :func:`trace`.

    places:    where each parameter is: (operation, which of its parameters).
    gradients: of the dense parameters, by name, written by every backward pass: give them to
               ``parameter.grad`` for an optimiser of torch's. Those of edges are in their Edges.
    """

    def __init__(self, tracing: Tracing, dtype: torch.dtype):
        self.dtype = dtype
        self.places = tracing.places
        self.gradients = tracing.gradients
        self._native = tracing.native
        self._numbers = np.zeros((0, NUMBERS))

    # -- what is handed over --------------------------------------------------------------------

    def rewire(self, name: str, edges: Edges, *, trusted: bool = False) -> None:
        """Hold these edges from now on, instead of those that parameter ``name`` had.

        An optimiser's table that names it must be set again before the next step. trusted: the
        indices are not looked at; they must rise within each row, and fit.
        """
        self._native.rewire(self.places[name][0], *edges.arrays(), trusted)

    def set_optimiser(self, method: str, table: np.ndarray, entries: Sequence[Entry]) -> None:
        """Step these parameters, by ``method`` with the numbers of their groups, see numbers()."""
        self._numbers = np.ascontiguousarray(table, np.float64)
        rows = [
            (*self.places[e.name], e.group, [s.detach().numpy() for s in e.state]) for e in entries
        ]
        self._native.set_optimiser(method, self._numbers, rows)

    def adopt(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Mapping[str, Tensor],
        slices: Mapping[str, slice] | None = None,
    ) -> None:
        """Take over the step of a torch optimiser, whose state stays where it is.

        parameters: the optimiser's own tensors, by the plan's names; several names may share one
        tensor, of which ``slices`` then says their parts (edge arrays of all projections in a row).
        A parameter that the optimiser does not hold is not stepped.

        Raises:
            NotTraceable: another optimiser than SGD, Adam and AdamW, or an option not known here.
        """
        method, table = numbers(optimizer)
        groups = {id(p): g for g, o in enumerate(optimizer.param_groups) for p in o["params"]}
        entries = []
        for name, p in parameters.items():
            if id(p) not in groups:
                continue
            state = state_of(optimizer, p, groups[id(p)])
            part = slices.get(name) if slices else None
            if part is not None:
                state = tuple(s[part] if s.dim() else s for s in state)
            entries.append(Entry(name, groups[id(p)], state))
        self.set_optimiser(method, table, entries)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the optimiser's hyper-parameters, where a schedule changed them."""
        self._numbers[:] = numbers(optimizer)[1]

    def scale(self, scale: Sequence[float], offset: Sequence[float]) -> None:
        """How uint8 inputs become numbers: x * scale + offset, one for all or one a channel."""
        self._native.set_scale(list(scale), list(offset))

    # -- passes -----------------------------------------------------------------------------------

    def train_step(
        self, x: Tensor, y: Tensor, rows: Tensor | None = None, *, step: bool = True
    ) -> float:
        """Gather, forward pass, mean cross-entropy, backward pass and optimiser step in one call.

        x: (N, ...) float32, float64 or uint8; y: (N,) int64; rows: (B,) int64, the examples of this
        batch, else all N. Gradients hold until the next step. step=False leaves the step out. x is
        read again where a gradient at absent synapses is asked for: leave it as it is until then.
        """
        return self._native.train_step(x.numpy(), y.numpy(), _rows(rows), step)

    def forward(self, x: Tensor, rows: Tensor | None = None, *, training: bool = False) -> Tensor:
        """Logits (B, classes); any batch, in chunks, where not ``training``."""
        return torch.from_numpy(self._native.forward(x.numpy(), _rows(rows), training))

    def loss_and_backward(self, y: Tensor) -> float:
        """Mean cross-entropy of the last forward pass in training mode, and all gradients."""
        return self._native.backward(y.numpy(), False)

    def step(self) -> None:
        """The optimiser's step on the gradients as they are."""
        self._native.step()

    def evaluate(self, x: Tensor, y: Tensor, rows: Tensor | None = None) -> tuple[float, int]:
        """Mean cross-entropy, and how many examples are classified right, without gradients."""
        return self._native.evaluate(x.numpy(), y.numpy(), _rows(rows))

    # -- gradients at synapses that need not exist ------------------------------------------------

    def sddmm(self, name: str, rows: Tensor, columns: Tensor) -> Tensor:
        """dL/dw at pairs (k,) of a sparse weight, from the last backward pass.

        columns: as in Edges.index. Raises ValueError after another forward pass.
        """
        op = self.places[name][0]
        return torch.from_numpy(self._native.gradient_at(op, rows.numpy(), columns.numpy()))

    def dense_gradient(self, name: str) -> Tensor:
        """dL/dw of a sparse weight at every pair, (rows, columns): as large as the dense weight."""
        return torch.from_numpy(self._native.dense_gradient(self.places[name][0]))

    def top_absent(
        self, name: str, k: int, leaving: Tensor | None = None
    ) -> tuple[Tensor, Tensor, int, int]:
        """The ``k`` absent synapses of a sparse weight with the largest |dL/dw|, exactly.

        leaving: (E,) bool, edges that count as absent. Returns their flat indices in the weight as
        it is stored, rising, and |dL/dw| there, fewer where fewer are absent; how many are absent;
        and how many gradients at them are NaN (the selection is then of no use). Among equals the
        smaller index wins. O(k) memory beside a tile of 1 MB.
        """
        dropped = None if leaving is None else leaving.numpy().view(np.uint8)
        keys, scores, absent, nan = self._native.top_absent(self.places[name][0], k, dropped)
        return torch.from_numpy(keys), torch.from_numpy(scores), absent, nan


def _rows(rows: Tensor | None) -> np.ndarray | None:
    return None if rows is None else rows.numpy()
