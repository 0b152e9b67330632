"""The other libraries that ours are measured beside, where they are installed (extra ``bench``)."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def peer(module: str, distribution: str) -> tuple[Any | None, str]:
    """A module, or None, and its distribution's version, or why it is not measured."""
    try:
        return importlib.import_module(module), importlib.metadata.version(distribution)
    except (ImportError, OSError) as error:
        return None, f"not measured: {error}"


def rigl_torch() -> tuple[Any | None, str]:
    """rigl-torch, which imports torchvision for two classes that it compares with."""
    with _torchvision():
        return peer("rigl_torch.RigL", "rigl-torch")


def sparseprop() -> tuple[Any | None, str]:
    """SparseProp (Nikdan et al. 2023, arXiv:2302.04852)."""
    return peer("sparseprop.modules", "sparseprop")


def deep_rewire() -> tuple[Any | None, str]:
    """deep-rewire, DEEP R as an optimiser on dense weights."""
    return peer("deep_rewire", "deep-rewire")


@contextmanager
def _torchvision() -> Iterator[None]:
    """Empty classes stand in for torchvision's where it is missing, and are gone afterwards."""
    missing = importlib.util.find_spec("torchvision") is None
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet")
    if missing:
        made: list[Any] = [types.ModuleType(name) for name in names]
        made[0].models, made[1].resnet = made[1], made[2]
        made[2].Bottleneck, made[2].BasicBlock = type("Bottleneck", (), {}), type("Basic", (), {})
        sys.modules |= dict(zip(names, made, strict=True))
    try:
        yield
    finally:
        for name in names if missing else ():
            del sys.modules[name]
