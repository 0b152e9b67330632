"""Whether and how this process may fork."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stopping import _Flag


def fork_available() -> bool:
    """False on Windows, and on macOS, whose system libraries do not survive a fork."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def prepare_parent() -> None:
    """Call before anything asks for CUDA: lets torch look for a GPU without claiming it."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


@contextmanager
def _frozen_heap(stop: _Flag) -> Iterator[None]:
    """A child's garbage collector leaves the parent's objects alone, so their pages stay shared.

    After a signal the heap stays frozen: without a last collection of all of torch the process
    ends seconds sooner on a busy machine.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not stop.signum:
            gc.unfreeze()


def _import_what_children_would() -> None:
    """A first optimiser imports torch's compiler: half a second that every cell would pay."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.optim.SGD([torch.zeros(1)])


def _refuse_cuda_before_fork() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError(
            "CUDA was initialised before the workers were forked, and they could not use it; call "
            "prepare_parent() first and keep tensors on the CPU until work() runs, or workers=0"
        )
