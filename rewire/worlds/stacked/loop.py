"""Running stacked replicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...compatibility import refuse_no_last_rate
from ...streams import rng_for
from ...world import Run
from .stack import Loss, Replicate, Stacked


class Batches:
    """Data in memory, drawn by every replicate in an order of its own; full batches only.

    x: (N, ...), y: (N, ...), on the device to train on. seeds: one for each replicate, of its
    order: in epoch e that of ``rng_for(seed, "data", e)``.
    """

    def __init__(self, x: Tensor, y: Tensor, size: int, seeds: Sequence[int]):
        self.x, self.y, self.size, self.seeds = x, y, size, list(seeds)
        self.per_epoch = len(x) // size
        if not self.per_epoch:
            raise ValueError(f"a batch of {size} is more than the {len(x)} examples.")
        self._epochs = [-1] * len(self.seeds)
        self._orders = torch.zeros(len(self.seeds), len(x), dtype=torch.int64, device=x.device)
        self._within = torch.arange(size, device=x.device)

    def __call__(self, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The batches of all replicates, (R, size, ...), each at a step of its own."""
        at = []
        for r, step in enumerate(steps):
            epoch, i = divmod(step, self.per_epoch)
            if epoch != self._epochs[r]:
                self._epochs[r] = epoch
                self._orders[r] = self._order(r, epoch).to(self.x.device)
            at.append(i * self.size)
        first = torch.tensor(at, device=self.x.device)
        rows = self._orders.gather(1, first[:, None] + self._within)
        return self.x[rows], self.y[rows]

    def of(self, r: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        """One replicate's batches by step, for a run of its own."""

        def batch(step: int) -> tuple[Tensor, Tensor]:
            epoch, i = divmod(step, self.per_epoch)
            rows = self._order(r, epoch)[i * self.size : (i + 1) * self.size].to(self.x.device)
            return self.x[rows], self.y[rows]

        return batch

    def _order(self, r: int, epoch: int) -> Tensor:
        return rng_for(self.seeds[r], "data", epoch).permutation(len(self.x))


def drive(
    *sessions: Run,
    loss: Loss,
    data: Callable[[Sequence[int]], Any] | Sequence[Callable[[int], Any]],
    steps: int | None = None,
    schedule: Callable[[int], float] | None = None,
    on_step: Callable[[Tensor], None] | None = None,
    on_round: Callable[[Any], None] | None = None,
    graphs: bool | None = None,
) -> None:
    """Train all replicates of a stack, and let each session's rules edit its own.

    sessions: a :class:`rewire.Session` for each of the stack's worlds, in any order. One that is
        done stays as it is while others go on.
    loss: (model, batch) -> scalar, as for :func:`rewire.train`; it runs under ``torch.func.vmap``.
    data: a function for each session, step -> batch; or one for all, which takes the steps of all
        and returns batches with the replicate as first dimension (:class:`Batches`).
    steps: to make at most; None goes on until every session is done.
    schedule: step -> factor on the learning rates, as LambdaLR.
    on_step: called after each step, before the rules, with the losses, (R,), on the device.
    on_round: called with a session at the end of each of its rounds, before its rules act on it.
    graphs: replay CUDA graphs, which needs a loss that reads no number on the way (no ``item()``);
        by default where the stack is on a CUDA device.

    Raises ValueError for sessions of other worlds, for graphs without a CUDA device, and for rules
    that train on at a last rate of 0.
    """
    stack = _shared(sessions)
    graphs = stack.device.type == "cuda" if graphs is None else graphs
    if graphs and not can_capture(stack.device):
        raise ValueError(
            f"CUDA graphs need a CUDA device, and the stack is on {stack.device}: pass "
            "graphs=False, or move the models before they are stacked."
        )
    if steps is None and any(s.endless for s in sessions):
        raise ValueError("a session without an end needs a number of steps: pass steps=.")
    if len({m.training for m in stack.models}) > 1:
        raise ValueError("some models are in training mode, some not: stacked ones share it.")
    if schedule is not None:
        for net in sessions:
            refuse_no_last_rate(net.rules, schedule, net.clock.span)
    stack.read_numbers()
    nets = sorted(sessions, key=lambda s: s.world.index)
    order = [sessions.index(s) for s in nets]
    data = data if callable(data) else [data[i] for i in order]
    at = [net.data_step for net in nets]
    left = steps
    while (left is None or left > 0) and not all(net.done for net in nets):
        active = [not net.done for net in nets]
        going = [net for net in nets if not net.done]
        if schedule is not None:
            _set_rates(going, schedule)
        at = [net.data_step if on else last
              for net, on, last in zip(nets, active, at, strict=True)]  # fmt: skip
        _fetch(stack, data, at, active)
        skip = [on and net.plan() for net, on in zip(nets, active, strict=True)]
        for net, on in zip(nets, active, strict=True):
            net.world.want_grads(on and net.wants_grads)
        stack.step(loss, skip, active, graphs=graphs)
        if on_step is not None:
            on_step(stack.losses.clone())  # a graph writes the next ones there
        for net in going:
            _finish(net, on_round)
        left = None if left is None else left - 1


def can_capture(device: torch.device) -> bool:
    """Whether CUDA graphs can be captured there."""
    return device.type == "cuda" and torch.cuda.is_available()


def _finish(net: Run, on_round: Callable[[Any], None] | None) -> None:
    """The rules' part of a step."""
    try:
        if on_round is not None and net.clock.step == net.clock.span:
            on_round(net)
        net.tick()
    except Exception as error:
        error.add_note(f"in replicate {net.world.index} (seed {net.seed})")
        raise


def _set_rates(nets: Sequence[Run], schedule: Callable[[int], float]) -> None:
    for net in nets:
        factor = schedule(net.schedule_step)
        for group in net.world.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def _fetch(stack: Stacked, data: Any, at: Sequence[int], active: Sequence[bool]) -> None:
    if callable(data):
        stack.put(data(at))
        return
    for r, (batches, step) in enumerate(zip(data, at, strict=True)):
        if active[r]:
            stack.put(batches(step), r)


def _shared(sessions: Sequence[Run]) -> Stacked:
    worlds = [s.world for s in sessions]
    if not worlds or not all(isinstance(w, Replicate) for w in worlds):
        raise ValueError("drive() takes the sessions of a Stacked's worlds.")
    stack = worlds[0].stack
    if {id(w) for w in worlds} != {id(w) for w in stack.worlds} or len(worlds) != len(stack):
        raise ValueError(
            f"drive() takes one session for each of the {len(stack)} worlds of one Stacked, got "
            f"{len(worlds)}."
        )
    return stack
