"""What the machine offers: devices, cores, threads."""

from __future__ import annotations

import os

from .engines import fork
from .errors import ConfigError


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda" for what an experiment asks. Raises ConfigError for a GPU that is not there.

    The driver is asked without claiming the GPU, which workers could not inherit.
    """
    if device == "cpu":
        return "cpu"
    fork.prepare_parent()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError(
            "device = 'cuda', but torch finds no GPU here; `rewire doctor` says more, "
            "device=auto takes the CPU"
        )
    return "cpu"


def default_workers(device: str, threads: int) -> int:
    """As many workers of ``threads`` each as this process may use cores; two share a GPU.

    >>> default_workers("cpu", threads=10**6)
    1
    """
    if device != "cpu" and resolve_device(device) == "cuda":
        return 2
    return max(1, usable_cores() // threads)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
