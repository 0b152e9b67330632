"""The whole training step of a sparse model as one native call, where the model can be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...native import sparse as engine
from .plan import plan, tracing
from .plan.fingerprint import Outline
from .weights import Weight

SMALL = 2**20  # weights of a dense linear layer whose product the plan makes faster than torch


class NativeStep:
    """The native plans of a model: one that trains it, and one that looks at it.

    plan: of the training step; None until the first batch, and where there can be none.
    untraceable: why there can be none; the model then runs layer by layer.
    fused: whether the plan makes the optimiser's step as well.
    fuses: whether it may, where it can.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, weights: Sequence[Weight]
    ):
        self.model, self.optimizer, self.weights = model, optimizer, weights
        self.plan: plan.Plan | None = None
        self.untraceable: str | None = None
        self.fused, self.fuses = False, True
        self._edges: dict[str, tracing.Edges] = {}  # as the plan holds them
        self._stepped: dict[str, nn.Parameter] | None = None  # the parameters that the plan steps
        self._options: list[dict[str, Any]] = []  # of the optimiser, as the plan follows them
        self._state: Any = None  # of the optimiser, as the plan holds it
        self._stale = True  # whether the plan holds other state than the optimiser
        self._viewer: plan.Plan | None = None  # for evaluations
        self._outdated = False  # whether the viewer holds other edges than the plan
        self._outline: Outline | None = None  # of the model when a plan of it was made, or tried
        self._viewed: Outline | None = None  # and one for evaluations

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its own plans."""
        fresh = NativeStep(self.model, self.optimizer, self.weights)
        if self._outline is None:  # for another reason than the model
            fresh.untraceable = self.untraceable
        return vars(fresh)

    # -- making plans -----------------------------------------------------------------------------

    def ready(self, x: Tensor, dtype: torch.dtype, keeping: bool) -> bool:
        """Whether there is a plan for batches like ``x``; it is made when first asked for.

        A model that is another one than was traced (a norm frozen since, a layer replaced) is
        traced anew. keeping: whether rules ask for gradients.
        """
        if self._outline is not None and not self._outline.holds():
            self.plan = self._outline = self.untraceable = None
        return self.trace_if_due(x, dtype, keeping)

    def trace_if_due(self, x: Tensor, dtype: torch.dtype, keeping: bool) -> bool:
        """A plan pays where some weight is a list of edges, or all are those of small layers; it
        computes in one type, layers under torch.autocast in two."""
        if torch.is_autocast_enabled("cpu"):
            return False
        if self.plan is None and self.untraceable is None:
            small = all(
                isinstance(w.module, nn.Linear) and w.shape.numel() <= SMALL for w in self.weights
            )
            if small or any(w.form == "edges" for w in self.weights):
                self._trace(x, dtype, keeping)
        return self.plan is not None

    def _trace(self, x: Tensor, dtype: torch.dtype, keeping: bool) -> None:
        """Make the plan of the model, or note why there can be none."""
        try:
            self._edges = {w.name: self._edges_of(w) for w in self.weights if w.wires is not None}
            if keeping:
                self._check_gradients()
            self.plan = self._traced(x, dtype, training=True)
            self._stale, self._stepped, self._viewer = True, None, None
        except tracing.NotTraceable as error:
            self.plan, self.untraceable = None, str(error)
        self._outline = self._outlined()

    def viewing(self, x: Tensor, dtype: torch.dtype) -> plan.Plan:
        """A plan for evaluations alone, so that what the last training pass left stays there for
        rules that ask for gradients. Raises NotTraceable."""
        if self._viewed is not None and not self._viewed.holds():
            self._viewer = None
        if self._viewer is None:
            self._viewer = self._traced(x, dtype, training=False)
            self._viewed = self._outlined()
        elif self._outdated:
            for name, edges in self._edges.items():
                self._viewer.rewire(name, edges, trusted=True)
        self._outdated = False
        return self._viewer

    def _outlined(self) -> Outline:
        return Outline(self.model, frozenset(id(w.parameter) for w in self.weights))

    def _check_gradients(self) -> None:
        """Layer by layer a frozen weight has no gradient: no plan may give rules another one."""
        frozen = [w.name for w in self.weights if not w.parameter.requires_grad]
        if frozen:
            raise tracing.NotTraceable(f"a rule asks for gradients, and {frozen[0]!r} is frozen.")

    def _check_places(self) -> None:
        """Lists of edges stand for the weights of the layers that they were made for."""
        modules = dict(self.model.named_modules())
        for w in self.weights:
            if w.wires is not None and modules.get(w.name.rpartition(".")[0]) is not w.module:
                raise tracing.NotTraceable(
                    f"the layer of {w.name!r} was replaced, and its edges with it: attach anew to "
                    "make the new one sparse."
                )

    def _traced(self, x: Tensor, dtype: torch.dtype, *, training: bool) -> plan.Plan:
        self._check_places()
        shape = tuple(x.shape[1:])
        return plan.trace(
            self.model, self._edges, shape, dtype=dtype, training=training, engine=engine
        )

    def _edges_of(self, w: Weight) -> tracing.Edges:
        assert w.wires is not None
        with torch._C.DisableTorchFunctionSubclass():
            value, before = w.parameter.detach(), self._edges.get(w.name)
        fits = before is not None and before.gradient.shape == value.shape
        gradient = before.gradient if fits else torch.zeros_like(value)  # type: ignore[union-attr]
        return tracing.Edges(w.wires.indptr, w.wires.index, value, gradient)

    # -- steps ------------------------------------------------------------------------------------

    def step(self, x: Tensor, y: Tensor, rows: Tensor | None, skip: bool) -> float:
        """Forward and backward pass and, where the plan makes it and but for ``skip``, the
        optimiser's step: the loss."""
        assert self.plan is not None
        if self.fused and not self.fuses:
            self._stale = True
        if self._stale or self.optimizer.state is not self._state:  # load_state_dict makes another
            self._adopt()
        elif self.fused and self._options != (now := _options(self.optimizer)):
            self._follow(now)
        return self.plan.train_step(x, y, rows, step=self.fused and not skip)

    def _adopt(self) -> None:
        """Let the plan step the optimiser's parameters, if it has such an optimiser."""
        assert self.plan is not None
        self._stale, self._state = False, self.optimizer.state
        if not self.fuses:
            self.fused = False
            return
        if self._stepped is None:
            named = self.model.named_parameters()
            self._stepped = {n: p for n, p in named if n in self.plan.places and p.requires_grad}
        try:
            self.plan.adopt(self.optimizer, self._stepped)
            self.fused, self._options = True, _options(self.optimizer)
        except tracing.NotTraceable:
            self.fused = False

    def _follow(self, now: list[dict[str, Any]]) -> None:
        """Let the plan step with the optimiser's options of now; all but a rate may need state."""
        assert self.plan is not None
        if [{**g, "lr": 0.0} for g in now] == [{**g, "lr": 0.0} for g in self._options]:
            self.plan.follow(self.optimizer)
            self._options = now
        else:
            self._adopt()

    def give_gradients(self) -> None:
        """Hand the plan's gradients to the parameters, for a step of torch's."""
        assert self.plan is not None
        self.optimizer.zero_grad(set_to_none=True)
        known = dict(self.model.named_parameters())
        gradients = {n: e.gradient for n, e in self._edges.items()} | self.plan.gradients
        for name, gradient in gradients.items():
            if known[name].requires_grad:
                known[name].grad = gradient

    def passed(self) -> None:
        """A pass was made layer by layer: what it changes in the model is no other model."""
        if self._outline is not None:
            self._outline.renew()

    # -- what happens to the model ----------------------------------------------------------------

    def replaced(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """A sparse parameter has become another object."""
        self._stepped = None
        for outline in (self._outline, self._viewed):
            if outline is not None:
                outline.replace(old, new)

    def drop(self) -> None:
        """Some weight is held in another form: plans are to be made anew."""
        self.plan = self._viewer = None

    def rewire(self) -> None:
        """All lists of edges may be other ones, and the optimiser's state with them."""
        if self.plan is None:
            return
        for w in self.weights:
            if w.wires is not None:
                self._edges[w.name] = self._edges_of(w)
                self.plan.rewire(w.name, self._edges[w.name], trusted=True)
        self._stale = self._outdated = True

    def rewire_in_place(self, w: Weight) -> None:
        """One list holds other edges, as many as before; values and state stay where they are."""
        self._outdated = True
        if self.plan is None:
            return
        assert w.wires is not None
        last = self._edges[w.name]
        edges = tracing.Edges(w.wires.indptr, w.wires.index, last.value, last.gradient)
        self._edges[w.name] = edges
        self.plan.rewire(w.name, edges, trusted=True)


def _options(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The numbers of each group, and how many parameters it has."""
    return [{**g, "params": len(g["params"]), "lr": float(g["lr"])} for g in optimizer.param_groups]
