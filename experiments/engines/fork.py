"""Whether and how this process may fork."""

from __future__ import annotations

import os
import sys


def fork_available() -> bool:
    """False on Windows, and on macOS, whose system libraries do not survive a fork."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def prepare_parent() -> None:
    """Call before anything asks for CUDA: lets torch look for a GPU without claiming it."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def import_what_children_would() -> None:
    """A first optimiser imports torch's compiler: half a second that every cell would pay."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.optim.SGD([torch.zeros(1)])


def refuse_cuda_before_fork() -> None:
    """Raise RuntimeError if this process holds a CUDA context, which no child could use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError(
            "CUDA was initialised before the workers were forked, and they could not use it; call "
            "prepare_parent() first and keep tensors on the CPU until work() runs, or workers=0"
        )
