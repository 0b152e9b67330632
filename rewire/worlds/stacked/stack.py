"""The masked world for many replicates at once: parameters stacked under ``torch.func``.

R models of one architecture train in one pass over tensors whose first dimension is the replicate.
Weights, masks, moments, learning rates, data orders, seeds and rules are each replicate's own; its
model and optimiser stay the ordinary objects that they were, as views of the stacks, and its world
serves an ordinary :class:`Session`::

    stack = Stacked(models, optimizers)
    nets = [Session(world, Graph.full(world.space), rule, span=1000, seed=seed, rewinds=True)
            for world, rule, seed in zip(stack.worlds, rules, seeds)]
    drive(*nets, loss=loss, data=Batches(x, y, 60, seeds))

On a GPU the whole step, optimiser included, is one CUDA graph: it reads and writes fixed buffers,
and rules edit between replays. On a CPU separate processes are faster. A replicate equals its solo
run in the masked world but for the order in which sums are rounded (never bit for bit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...graph import Graph
from ...signals import Signal
from ..masked.world import Masked
from .formulas import FORMULAS, Formula, _formula

Loss = Callable[[Any, Any], Tensor]  # (model, batch) -> scalar, as for rewire.train


ALONE = (
    "a replicate makes its steps together with the others: call rewire.worlds.stacked.drive "
    "with the sessions of all of them."
)


# -- the stack ----------------------------------------------------------------------------------


class Stacked:
    """R models and their optimisers, trained together; ``worlds`` holds one for each replicate.

    models: of one architecture, each with its own numbers; their parameters and buffers become
    views of the stacks and must be written in place from then on. optimizers: one each, all SGD
    or all Adam or AdamW, with the same parameter groups; learning rates and all other numbers may
    differ, and a changed ``group["lr"]`` holds from the next step on. options: as for
    :func:`rewire.attach` (include, exclude, embeddings, positions, probe).

    Raises ValueError for models or optimisers that cannot be stacked.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        **options: Any,
    ):
        self.models, self.optimizers = list(models), list(optimizers)
        self.formula = _formula(self.optimizers)
        self._groups, self._flags = _layout(self.models, self.optimizers, self.formula)
        self.dtype, self.device = _kind(self.models)
        stacks, self.buffers = stack_module_state(self.models)
        self.parameters = {  # each replicate's part contiguous, in whatever order its numbers lay
            name: p.detach().contiguous().requires_grad_(p.requires_grad)
            for name, p in stacks.items()
        }
        for r, model in enumerate(self.models):
            for name, p in model.named_parameters():
                p.data = self.parameters[name].detach()[r]
            for name, b in model.named_buffers():
                b.data = self.buffers[name][r]
        n = len(self.models)
        self.worlds = [
            Replicate(self, r, *pair, **options)
            for r, pair in enumerate(zip(self.models, self.optimizers, strict=True))
        ]
        self.masks = self._stack_masks()
        self.moments = self._stack_moments()
        self.steps = torch.zeros(n, device=self.device)  # that the optimisers made
        for world in self.worlds:
            world.adopt()
        self.losses = torch.zeros(n, dtype=self.dtype, device=self.device)
        self.grads: dict[str, Tensor] = {}  # dense, of the step just made
        every = [[self.formula.numbers(g) for g in o.param_groups] for o in self.optimizers]
        numbers = torch.tensor(every, dtype=torch.float64).permute(1, 2, 0)
        self._numbers = Fixed(numbers, self.device)  # (groups, K, R)
        self._live = Fixed(torch.ones(n, dtype=torch.float64), self.device)
        self._active = Fixed(torch.ones(n, dtype=torch.bool), self.device)
        self._batch: list[Tensor] = []
        self._form: Any = None  # how the batch's tensors are nested
        self._captured: tuple[Any, Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self.models)

    def _stack_masks(self) -> dict[str, Tensor]:
        """Masks (R, ...) by parameter name, of which every world's are views."""
        first, out = self.worlds[0], {}
        names = {id(p): name for name, p in first.model.named_parameters()}
        for i, p in enumerate(first.parameters):
            stacked = torch.stack([world.masks[i] for world in self.worlds])
            for world, mask in zip(self.worlds, stacked, strict=True):
                world.masks[i] = mask
            out[names[id(p)]] = stacked
        return out

    def _stack_moments(self) -> dict[str, dict[str, Tensor]]:
        """Zeros (R, ...) for every parameter that is trained, by its name and the moment's."""
        names = self.formula.moments
        if self.formula is FORMULAS[torch.optim.SGD] and not any(
            group["momentum"] for o in self.optimizers for group in o.param_groups
        ):
            names = ()
        return {
            p: {name: torch.zeros_like(self.parameters[p].detach()) for name in names}
            for group in self._groups
            for p in group
        }

    # -- one step -------------------------------------------------------------------------------

    def put(self, batch: Any, row: int | None = None) -> None:
        """Copy a batch into the fixed buffers: one replicate's, or with R leading, everybody's.

        Raises ValueError where its form is not that of the first one.
        """
        leaves, form = tree_flatten(batch)
        if not self._batch:
            lead = () if row is None else (len(self),)
            self._batch = [leaf.new_zeros((*lead, *leaf.shape), device=self.device)
                           for leaf in leaves]  # fmt: skip
            self._form = form
        places = [b if row is None else b[row] for b in self._batch]
        shapes, want = [tuple(x.shape) for x in leaves], [tuple(b.shape) for b in places]
        if shapes != want or form != self._form:
            raise ValueError(
                f"a batch of tensors {shapes} came after batches of {want}: replicates that are "
                "stacked need batches of one form at every step. Leave out a smaller last batch."
            )
        for place, leaf in zip(places, leaves, strict=True):
            place.copy_(leaf, non_blocking=True)

    def step(
        self, loss: Loss, skip: Sequence[bool], active: Sequence[bool], *, graphs: bool
    ) -> None:
        """One step of all on the batches that were put.

        skip: whose optimiser leaves this step out. active: the others stay as they are, buffers
        included. graphs: replay a CUDA graph of it, captured at the first call.
        """
        self._active.set(list(active))
        self._live.set([float(a and not s) for a, s in zip(active, skip, strict=True)])
        self._numbers.set_row(
            0, [[float(o.param_groups[g]["lr"]) for o in self.optimizers]
                for g in range(len(self._groups))],
        )  # fmt: skip
        if graphs:
            self._replay(loss)
        else:
            self._run(loss)
        for world in self.worlds:
            world.see()

    def _run(self, loss: Loss) -> None:
        """What a graph holds: no number of it is read by Python, nothing changes its place."""
        still = {name: b.clone() for name, b in self.buffers.items()}
        trained = {name: p for name, p in self.parameters.items() if p.requires_grad}

        def of_one(parameters: Any, buffers: Any, *leaves: Tensor) -> Tensor:
            def model(*args: Any, **kwargs: Any) -> Any:
                return functional_call(self.models[0], (parameters, buffers), args, kwargs)

            return loss(model, tree_unflatten(list(leaves), self._form))

        losses = vmap(of_one, randomness="different")(self.parameters, self.buffers, *self._batch)
        grads = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        self.losses = losses.detach()
        self.grads = {n: g for n, g in zip(trained, grads, strict=True) if g is not None}
        with torch.no_grad():
            self._update()
            for name, b in self.buffers.items():
                b.copy_(torch.where(_along(self._active.here, b), b, still[name]))

    def _update(self) -> None:
        live = self._live.here
        self.steps += live
        for group, flags, numbers in zip(
            self._groups, self._flags, self._numbers.here, strict=True
        ):
            coefficients = self.formula.prepare(numbers, live, self.steps.double())
            own = [c.to(self.dtype) for c in coefficients]
            for name in group:
                grad, p = self.grads.get(name), self.parameters[name]
                if grad is None:
                    continue
                if name in self.masks:
                    grad = grad * self.masks[name]
                shaped = tuple(_along(c, p) for c in own)
                self.formula.update(p, grad, self.moments[name], shaped, flags)

    def _replay(self, loss: Loss) -> None:
        modes = [m.training for m in self.models[0].modules()]
        key = loss, modes, self._form, [b.shape for b in self._batch]
        if self._captured is None or self._captured[0] != key:
            live, active = self._live.here.clone(), self._active.here.clone()
            self._live.here.zero_()  # the steps that warm up move nothing
            self._active.here.zero_()
            replay = capture(lambda: self._run(loss), self.device)
            self._live.here.copy_(live)
            self._active.here.copy_(active)
            self._captured = key, replay
        self._captured[1]()

    def read_numbers(self) -> None:
        """Take over every number of the optimisers' parameter groups (not only the rates)."""
        every = [[self.formula.numbers(g) for g in o.param_groups] for o in self.optimizers]
        self._numbers.set(torch.tensor(every, dtype=torch.float64).permute(1, 2, 0).tolist())


class Replicate(Masked):
    """One replicate of a :class:`Stacked` as a masked world: its model, optimiser and masks are
    views of the stacks. Its steps are made by :func:`drive`."""

    def __init__(
        self,
        stack: Stacked,
        index: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        **options: Any,
    ):
        super().__init__(model, optimizer, **options)
        self.stack, self.index = stack, index

    @property
    def offered(self) -> Mapping[str, Signal]:
        """As in the masked world but for signals of units: no hook hears one replicate alone."""
        return {name: s for name, s in super().offered.items() if s.kind == "pair"}

    @classmethod
    def unsupported(cls, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        return "stacked replicates have no silent edges" if "gain" in columns else None

    def advance(self, *args: Any, **kwargs: Any) -> tuple[bool, Any]:
        raise RuntimeError(ALONE)

    def learn(self, *args: Any, **kwargs: Any) -> float:
        raise RuntimeError(ALONE)

    def see(self) -> None:
        """Keep this step's dense gradients where a rule will ask for them."""
        if self._want_grads:
            names = self.stack.masks
            slopes = [self.stack.grads.get(name) for name in names]
            self.grads = [None if g is None else g[self.index] for g in slopes]

    def snapshot(self) -> dict[str, Any]:
        saved = super().snapshot()
        for state in saved["optimiser"]["state"].values():
            if "step" in state:
                state["step"] = state["step"].cpu()  # where an optimiser of its own wants it
        return saved

    def load(self, saved: Mapping[str, Any]) -> None:
        super().load(saved)
        self.adopt()

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        super().restore(saved, parts, graph)
        if "optimiser" in parts:
            self.adopt()

    @torch.no_grad()
    def adopt(self) -> None:
        """Write the optimiser's state into the stacks, and let it be views of them."""
        stack, r, counts = self.stack, self.index, list[float]()
        for name, p in self.model.named_parameters():
            if name not in stack.moments:
                continue
            state = self.optimizer.state.pop(p, {})
            views = {}
            for moment, stacked in stack.moments[name].items():
                views[moment] = stacked[r]
                value = state.get(moment)
                views[moment].zero_() if value is None else views[moment].copy_(value)
            if "exp_avg" in views:
                counts.append(float(state.get("step", 0.0)))
                views["step"] = stack.steps[r]
            if views:
                self.optimizer.state[p] = views
        if len(set(counts)) > 1:
            raise ValueError(
                f"the optimizer of replicate {r} has made {sorted(set(counts))} steps on different "
                "parameters; stacked ones step all of theirs together."
            )
        if counts:
            stack.steps[r] = counts[0]


class Fixed:
    """Numbers in a buffer that stays where it is; written only where they change."""

    def __init__(self, values: Tensor, device: torch.device):
        self.here = values.to(device).contiguous()
        self._known = values.tolist()

    def set(self, values: list[Any]) -> None:
        if values != self._known:
            self._known = values
            self.here.copy_(torch.tensor(values, dtype=self.here.dtype))

    def set_row(self, i: int, rows: list[list[float]]) -> None:
        """Row ``i`` of each block."""
        if any(block[i] != row for block, row in zip(self._known, rows, strict=True)):
            self.set([[*block[:i], row, *block[i + 1 :]]
                      for block, row in zip(self._known, rows, strict=True)])  # fmt: skip


def _along(c: Tensor, p: Tensor) -> Tensor:
    """One number for each replicate, shaped to multiply a stack."""
    return c.view(-1, *(1,) * (p.dim() - 1))


def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A CUDA graph of ``run``, as a function that replays it.

    ``run`` is called three times before, on a stream of its own: libraries find their kernels and
    allocate their workspaces then. It must change nothing in these calls.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    return graph.replay


def _layout(
    models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], formula: Formula
) -> tuple[list[list[str]], list[tuple[bool, ...]]]:
    """Parameter names of each group, and its flags, which all replicates share."""
    if len(models) != len(optimizers) or len({id(m) for m in models}) != len(models):
        raise ValueError(
            f"stacking takes one optimizer for each of several models, got {len(models)} models "
            f"({len({id(m) for m in models})} different ones) and {len(optimizers)} optimizers."
        )
    layouts = []
    for r, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        names = {id(p): name for name, p in model.named_parameters()}
        groups: list[list[str]] = []
        for group in optimizer.param_groups:
            strange = [p for p in group["params"] if id(p) not in names]
            if strange:
                raise ValueError(
                    f"optimizer {r} holds {len(strange)} parameters that are not model {r}'s."
                )
            on = [name for name in formula.refuses if group.get(name)]
            if on:
                raise ValueError(
                    f"optimizer {r} sets {', '.join(on)}, which stacked replicates do not have."
                )
            groups.append([names[id(p)] for p in group["params"]])
        flags = [tuple(bool(g.get(f)) for f in formula.flags) for g in optimizer.param_groups]
        layouts.append((groups, flags))
    for r, other in enumerate(layouts):
        if other != layouts[0]:
            raise ValueError(
                f"optimizer {r} groups its parameters, or sets {', '.join(formula.flags)}, in "
                f"another way than the first: {other} and {layouts[0]}."
            )
    return layouts[0]


def _kind(models: Sequence[nn.Module]) -> tuple[torch.dtype, torch.device]:
    """The type and device that all parameters share."""
    shapes = [
        {n: (tuple(t.shape), t.dtype, t.device) for n, t in [*m.named_parameters(),
                                                            *m.named_buffers()]}
        for m in models
    ]  # fmt: skip
    for r, tensors in enumerate(shapes):
        if tensors != shapes[0]:
            odd = sorted(n for n in shapes[0].keys() | tensors.keys()
                         if shapes[0].get(n) != tensors.get(n))  # fmt: skip
            raise ValueError(
                f"model {r} is of another architecture, type or device than the first: "
                f"{', '.join(odd)} differ."
            )
    kinds = {(p.dtype, p.device) for p in models[0].parameters()}
    if len(kinds) != 1 or not {k for k, _ in kinds} <= {torch.float32, torch.float64}:
        raise ValueError(
            "stacked models have parameters of one type, float32 or float64, on one device; got "
            f"{sorted(map(str, kinds))}."
        )
    return kinds.pop()
