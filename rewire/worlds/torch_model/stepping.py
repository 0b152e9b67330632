"""Whoever calls ``optimizer.step()`` makes the session's step.

Hooks of torch's optimisers run before and after each step that is really made: by a loop of one's
own, a trainer, a GradScaler (which leaves a step out where it finds an overflow), an accumulation
of gradients (which calls the optimiser once in several batches), a closure.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .optimizers import OWN_HOOKS


class Steps(Protocol):
    """What hooks do with a session."""

    def before_step(self, closure: Callable[[], Any] | None) -> Callable[[], Any] | None: ...
    def after_step(self, *, made: bool) -> None: ...


DEPTH = 4  # frames from a hook up to who called step(), with a scheduler's counter between
_watching: list[Any] = []  # the handle of the hook on all optimisers


def watch_others(refuse: Callable[[torch.optim.Optimizer], None]) -> None:
    """Before each step of an optimiser that no session listens to, call ``refuse`` with it."""
    if _watching:
        return

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        hooks = optimizer._optimizer_step_pre_hooks.values()
        if not any(isinstance(getattr(h, "__self__", None), Stepping) for h in hooks):
            refuse(optimizer)

    handle = register_optimizer_step_pre_hook(before)
    OWN_HOOKS.add(handle.id)
    _watching.append(handle)


class Stepping:
    """Hooks on an optimiser and on those that it wraps: the outermost call is one session step.

    Within it (``with stepping:``) the session makes the step itself, and the hooks let it.
    """

    def __init__(self, steps: Steps, optimizers: list[torch.optim.Optimizer]):
        self._steps = steps
        self._own = 0  # how often it was entered
        # whose step() is running, outermost first, and the frame that called its hooks
        self._open: list[tuple[torch.optim.Optimizer, FrameType]] = []
        self._handles = []
        for optimizer in optimizers:
            if hasattr(optimizer, "_optimizer_step_pre_hooks"):
                self._handles += [
                    optimizer.register_step_pre_hook(self._before),
                    optimizer.register_step_post_hook(self._after),
                ]

    @property
    def running(self) -> bool:
        """Whether a step of this session is being made, within which wrapped optimisers step."""
        return bool(self._own or self._open)

    def hooks(self) -> frozenset[int]:
        """Ids of the hooks, by which a world knows that nobody else watches its optimiser."""
        return frozenset(handle.id for handle in self._handles)

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> None:
        self._own += 1

    def __exit__(self, *error: object) -> None:
        self._own -= 1

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        if self._own:
            return None
        calling = sys._getframe(1)
        if _makes_state(calling):
            return None
        self._forget_failed(calling)
        self._open.append((optimizer, calling))
        if len(self._open) > 1:
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0]: the optimiser
        try:
            hooked = self._steps.before_step(closure)
        except BaseException:
            self._open.clear()
            raise
        if hooked is closure:
            return None
        if len(args) > 1:
            return (args[0], hooked, *args[2:]), kwargs
        return args, {**kwargs, "closure": hooked}

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._own or not self._open:
            return
        calling = sys._getframe(1)
        while self._open and self._open.pop()[1] is not calling:
            pass  # those inside that failed, and whose error was caught
        if self._open:
            return
        overflow = getattr(optimizer, "found_inf", None)  # of a GradScaler, for fused optimisers
        self._steps.after_step(made=overflow is None or not float(overflow))

    def _forget_failed(self, calling: FrameType) -> None:
        """Steps whose ``step()`` ended in an error run no more: the session takes them back."""
        if not self._open:
            return
        running = set[FrameType]()
        frame: FrameType | None = calling
        while frame is not None:
            running.add(frame)
            frame = frame.f_back
        if self._open[0][1] not in running:
            self._open.clear()
            self._steps.after_step(made=False)


def _makes_state(frame: FrameType | None) -> bool:
    """Whether torch's functions of distributed states make a step without gradients or rates, so
    that the optimizer has a state: none of the training."""
    for _ in range(DEPTH):
        if frame is None:
            return False
        if frame.f_code.co_name == "_init_optim_state":
            return frame.f_globals.get("__name__") == "torch.distributed.checkpoint.state_dict"
        frame = frame.f_back
    return False


def refuse_accumulating(optimizer: Any) -> None:
    """Raise RuntimeError where accelerate leaves this optimizer's steps out for now, because it
    accumulates gradients over batches, and the session would make one."""
    states = sys.modules.get("accelerate.state")
    if states is None or states.GradientState._shared_state.get("sync_gradients", True):
        return
    prepared = sys.modules["accelerate.optimizer"].AcceleratedOptimizer
    if any(isinstance(o, prepared) and o.optimizer is optimizer for o in gc.get_objects()):
        raise RuntimeError(
            "accelerate accumulates gradients and leaves this step out, which net.step() would "
            "make: call step() of the optimizer that accelerator.prepare returned, or attach to "
            "that optimizer."
        )
