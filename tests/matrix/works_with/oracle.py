"""The oracle: plain torch, with masks applied by hand.

A session is recorded as it trains: which steps rules took the place of, and each of their edits.
The same model, optimiser and trainer then train again without rewire. Around each step of the
optimiser's, gradients, weights and moments of absent synapses are set to 0 by selection, and the
recorded edits are made. After every step all numbers of the two are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Dense = dict[str, Tensor]


@dataclass
class Snapshot:
    """All numbers of a run after one step, sparse ones in their dense shape."""

    weights: Dense
    masks: Dense
    moments: dict[str, Dense]
    rest: Dense


@dataclass
class RecordedEdit:
    """An edit of a rule's: the dense weights and masks that it began with, and those it left."""

    before: Dense
    before_masks: Dense
    weights: Dense
    masks: Dense
    reborn: Dense
    sets: bool


@dataclass
class RecordedStep:
    skipped: bool
    edits: list[RecordedEdit]
    after: Snapshot


@dataclass
class Recording:
    """What a session does, step by step."""

    net: Any
    steps: list[RecordedStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        net = self.net
        self.first = snapshot(net)
        self._edits: list[RecordedEdit] = []
        self._pending = False
        self._total = net.clock.total
        self._edit, self._rewire, self._settle = net._edit, net.rewire, net.world.settle
        net._edit, net.rewire, net.world.settle = self.edit, self.rewire, self.settle

    def edit(self, shown: Any, edit: Any) -> None:
        before, before_masks = dense(shown)
        self._edit(shown, edit)
        graph = self.net._graph
        weights, masks = dense(graph)
        added = set(edit.add.tolist())
        reborn = {
            p.name: torch.tensor(
                [int(k) in added for k in graph.keys[graph.rows(i)]], dtype=torch.bool
            )
            for i, p in enumerate(graph.projections)
        }
        for i, p in enumerate(graph.projections):
            mask = torch.zeros(p.size, dtype=torch.bool)
            mask[graph.local(i)] = reborn[p.name]
            reborn[p.name] = mask.view(p.shape)
        self._edits.append(
            RecordedEdit(before, before_masks, weights, masks, reborn, "weight" in edit.set)
        )

    def rewire(self) -> None:
        self._rewire()
        self._pending = self.net.clock.total != self._total
        self._total = self.net.clock.total

    def settle(self) -> None:
        self._settle()
        if self._pending:
            self._pending = False
            self.steps.append(RecordedStep(self.net.skipped, self._edits, snapshot(self.net)))
            self._edits = []


def dense(graph: Any) -> tuple[Dense, Dense]:
    """Weights and masks of a graph, by projection."""
    weights, masks = {}, {}
    for i, p in enumerate(graph.projections):
        weights[p.name] = graph.dense(i).clone()
        masks[p.name] = graph.mask(i).clone()
    return weights, masks


def snapshot(net: Any) -> Snapshot:
    """Everything that a session's model and optimiser hold now."""
    graph, model = net.graph, net.world.model
    sparse = net.world.sparse_parameters()
    weights, masks, moments = {}, net.masks(), {}
    for i, (projection, p) in enumerate(zip(graph.projections, sparse, strict=True)):
        name, shape = projection.name, projection.shape
        weights[name] = _laid_out(p.detach(), graph, i, shape)
        moments[name] = {
            kind: _laid_out(v, graph, i, shape)
            for kind, v in _state(net.optimizer, p).items()
            if isinstance(v, Tensor) and v.shape == p.shape and v.is_floating_point()
        }
    own = {id(p) for p in sparse}
    rest = {n: p.detach().clone() for n, p in model.named_parameters() if id(p) not in own}
    rest |= {n: b.detach().clone() for n, b in model.named_buffers() if b.is_floating_point()}
    return Snapshot(weights, masks, moments, rest)


def _laid_out(numbers: Tensor, graph: Any, i: int, shape: tuple[int, ...]) -> Tensor:
    if tuple(numbers.shape) == tuple(shape):
        return numbers.detach().clone()
    out = numbers.new_zeros(torch.Size(shape).numel())
    out[graph.local(i)] = numbers.detach().reshape(-1)
    return out.view(shape)


def _state(optimizer: Any, p: Tensor) -> dict[str, Any]:
    """What an optimiser, and those that it wraps, remember of a weight."""
    out: dict[str, Any] = {}
    links = [optimizer]
    while links:
        link = links.pop()
        out |= link.state.get(p, {})
        inner = (getattr(link, n, None) for n in ("optimizer", "base_optimizer"))
        links += [o for o in inner if isinstance(o, torch.optim.Optimizer) and o is not link]
    return out


class Reference:
    """Plain torch, masked by hand around each step of ``optimizer``.

    ``mixed`` names state that is no number of a single weight: it is left as it is.
    ``births`` says what state starts with where that is not 0, at a learning rate.
    ``drawn``: the rule draws the weights to start from, which are taken as recorded.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recording: Recording,
        *,
        mixed: frozenset[str] = frozenset(),
        births: Any,
        drawn: bool = False,
        tolerance: float = 1e-6,
    ):
        self.model, self.optimizer, self.recording = model, optimizer, recording
        self.mixed, self.births, self.tolerance = mixed, births, tolerance
        self.at, self.worst, self.where = 0, 0.0, ""
        self.problems: list[str] = []
        self.masks = {n: m.clone() for n, m in recording.first.masks.items()}
        named = dict(model.named_parameters(remove_duplicate=False))
        self.sparse = {n: named[n] for n in self.masks}
        own = {id(p) for p in self.sparse.values()}
        self.rest = {n: p for n, p in model.named_parameters() if id(p) not in own}
        self.slopes: Dense = {}
        with torch.no_grad():
            for name, p in self.sparse.items() if drawn else ():
                p.copy_(recording.first.weights[name])
            self._masked()
        for name, p in self.sparse.items():
            p.register_hook(self._keep(name))
            p.register_post_accumulate_grad_hook(self._mask(name))
        self._compare("the start", recording.first)
        self._hook()

    def _keep(self, name: str) -> Any:
        def keep(gradient: Tensor) -> None:
            earlier = self.slopes.get(name)
            self.slopes[name] = gradient.detach() if earlier is None else earlier + gradient

        return keep

    def _mask(self, name: str) -> Any:
        def mask(p: Tensor) -> None:
            p.grad = selected(p.grad, self.masks[name])

        return mask

    def _hook(self) -> None:
        kind, reference = type(self.optimizer), self

        def step(self: Any, closure: Any = None) -> Any:
            return reference.step(super(hand, self).step, closure)

        hand = type(f"{kind.__name__}ByHand", (kind,), {"step": step})
        self.optimizer.__class__ = hand

    def step(self, step: Any, closure: Any) -> Any:
        if self.at >= len(self.recording.steps):
            self.problems.append(f"the session made {self.at} steps, plain torch makes more")
            return step() if closure is None else step(closure)
        recorded = self.recording.steps[self.at]
        if recorded.skipped:
            with torch.enable_grad():
                loss = None if closure is None else closure()
        elif closure is None:
            loss = step()
        else:
            loss = step(closure)
        self._masked()
        for edit in recorded.edits:
            self._edit(edit)
        self.at += 1
        self.slopes = {}
        self._compare(f"step {self.at}", recorded.after)
        return loss

    @torch.no_grad()
    def _masked(self) -> None:
        for name, p in self.sparse.items():
            p.copy_(selected(p, self.masks[name]))
            for kind, v in _state(self.optimizer, p).items():
                if self._of_each(kind, v, p):
                    v.copy_(selected(v, self.masks[name]))

    def _of_each(self, kind: str, v: Any, p: Tensor) -> bool:
        shaped = isinstance(v, Tensor) and v.shape == p.shape and v.is_floating_point()
        return shaped and kind not in self.mixed

    @torch.no_grad()
    def _edit(self, edit: RecordedEdit) -> None:
        births = self.births(self.optimizer.param_groups[0]["lr"])
        for name, p in self.sparse.items():
            self._differ(f"{name} before the edit of step {self.at + 1}", edit.before[name], p)
            kept = edit.masks[name] & self.masks[name] & ~edit.reborn[name]
            new = edit.weights[name].to(p)
            p.copy_(selected(new if edit.sets else torch.where(kept, p, new), edit.masks[name]))
            for kind, v in _state(self.optimizer, p).items():
                if self._of_each(kind, v, p):
                    birth = torch.full_like(v, births.get(kind, 0.0))
                    v.copy_(torch.where(kept, v, selected(birth, edit.masks[name])))
            self.masks[name] = edit.masks[name].clone()

    def _compare(self, when: str, actual: Snapshot) -> None:
        for name, p in self.sparse.items():
            if not torch.equal(actual.masks[name], self.masks[name]):
                self.problems.append(f"{when}: masks of {name} differ")
            absent = ~self.masks[name]
            for what, v in {"weights": actual.weights[name], **actual.moments[name]}.items():
                if what in self.mixed:
                    continue
                n = int((v[absent] != 0).sum())
                if n:
                    self.problems.append(f"{when}: {n} absent synapses of {name} have {what}")
            self._differ(f"{name} at {when}", actual.weights[name], p)
            own = _state(self.optimizer, p)
            for kind, v in actual.moments[name].items():
                if kind in own and isinstance(own[kind], Tensor) and own[kind].shape == v.shape:
                    self._differ(f"{kind} of {name} at {when}", v, own[kind])
        for name, p in {**self.rest, **dict(self.model.named_buffers())}.items():
            if name in actual.rest:
                self._differ(f"{name} at {when}", actual.rest[name], p)

    def _differ(self, what: str, actual: Tensor, expected: Tensor) -> None:
        if actual.shape != expected.shape:
            self.problems.append(f"{what} has shape {tuple(actual.shape)}")
            return
        if not actual.numel():
            return
        expected = expected.detach()
        scale = max(1.0, float(expected.abs().max()))
        apart = float((actual - expected).abs().max()) / scale
        if apart != apart:
            apart = float("inf") if not torch.equal(actual.isnan(), expected.isnan()) else 0.0
        if apart > self.worst:
            self.worst, self.where = apart, what
        if apart > self.tolerance:
            self.problems.append(f"{what} differs by {apart:.1e}")


def selected(numbers: Tensor, mask: Tensor) -> Tensor:
    """Numbers where a mask says so, else 0: NaN too."""
    return torch.where(mask, numbers, torch.zeros_like(numbers))


def births_of(make: Any, rate: float) -> dict[str, float]:
    """State of a weight of 0 whose gradient is 0, where that is a number other than 0 that steps
    do not move."""
    p = nn.Parameter(torch.zeros(4, 4))
    optimizer, seen = make([p]), []
    optimizer.param_groups[0]["lr"] = rate
    try:
        for _ in range(3):
            p.grad = torch.zeros_like(p)
            optimizer.step(lambda: p.grad.sum())
            seen.append(
                {k: v.clone() for k, v in _state(optimizer, p).items() if isinstance(v, Tensor)}
            )
    except Exception:
        return {}
    return {
        kind: float(v.reshape(-1)[0])
        for kind, v in seen[-1].items()
        if v.shape == p.shape and v.any() and all(torch.equal(v, s.get(kind, v)) for s in seen)
    }
