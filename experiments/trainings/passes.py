"""Forward and backward passes of a training: layout, precision, compilation, world."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rewire.world import Trainable
from rewire.worlds.masked.world import Masked

from ..errors import ConfigError
from .settings import Settings


def laid_out(model: nn.Module, s: Settings) -> nn.Module:
    """The model with its numbers in the order that a cell asks for, in place."""
    if s.memory_format == "channels_last":
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def make_passes(world: Trainable, s: Settings) -> None:
    """Let the world train as a cell asks for: under autocast, or compiled.

    Raises ConfigError where nothing can compile.
    """
    if not isinstance(world, Masked):
        return
    device = next(world.model.parameters()).device
    passes: Callable[[Tensor], Tensor] = world.model
    if s.compile:
        if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
            raise ConfigError("compile = true needs a C++ compiler, such as g++; none is here")
        torch.compiler.reset()  # it would not look for hooks of this model where it knew another
        passes = torch.compile(world.model)
    world.passes = _InBf16(passes, device.type) if s.precision == "bf16" else passes


@dataclass(frozen=True)
class _InBf16:
    """Passes whose products are made in bfloat16, from float32 weights to float32 outputs."""

    passes: Callable[[Tensor], Tensor]
    device: str

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16):
            return self.passes(x).float()


def form_of(forms: Mapping[str, str]) -> str:
    """How a net's weights are held: "masked", "sparse", or which layers are lists of edges."""
    edges = [name.removesuffix(".weight") for name, form in forms.items() if form == "edges"]
    if len(edges) in (0, len(forms)):
        return "sparse" if edges else "masked"
    return f"sparse: {', '.join(edges)}"
