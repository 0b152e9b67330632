"""Training steps of a ResNet-20 under masks: channels last, in bf16, compiled. Part of core."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import rewire
from benchmarks.timing import interleaved, ratio
from rewire import models

DENSITY = 0.1


class ConvStep:
    """One step on pictures of 32 x 32, dense or under a rule, on each call.

    bf16: passes under autocast. compiled: by torch.compile.
    """

    def __init__(
        self,
        batch: int,
        rule: rewire.Rule | None = None,
        *,
        layout: torch.memory_format = torch.channels_last,
        bf16: bool = False,
        compiled: bool = False,
    ):
        g = torch.Generator().manual_seed(0)
        model = models.build("resnet-20", generator=g, input_shape=(3, 32, 32), classes=10)
        self.model = model.to(memory_format=layout)  # type: ignore[call-overload]
        self.x = torch.randn(batch, 3, 32, 32, generator=g).contiguous(memory_format=layout)
        self.y = torch.randint(10, (batch,), generator=g)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.advance: Callable[[], Any] = self.optimizer.step
        self.net = None
        if rule is not None:
            self.net = rewire.attach(
                self.model, self.optimizer, rule, density=DENSITY, steps=10**6, seed=0
            )
            self.advance = self.net.step
        self.passes: Callable[[Tensor], Tensor] = (
            torch.compile(self.model) if compiled else self.model
        )
        self.bf16 = bf16

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            out = self.passes(self.x)
        cross_entropy(out.float(), self.y).backward()
        self.advance()

    def check(self, name: str) -> None:
        """Raise AssertionError where a weight is not 0 outside its mask."""
        if self.net is None:
            return
        for parameter, mask in self.net.masks().items():
            if self.model.get_parameter(parameter).detach()[~mask].count_nonzero():
                raise AssertionError(f"{name}: {parameter} is not 0 outside its mask.")


def conv_ratios(batch: int, repetitions: int, compiled: bool) -> dict[str, float | None]:
    """Ratios of whole steps; None for the compiled one where it is not asked for or cannot be."""
    static = rewire.Static()
    variants = {
        "dense": ConvStep(batch),
        "dense_again": ConvStep(batch),
        "masked": ConvStep(batch, static),
        "deep_r": ConvStep(batch, rewire.DeepR()),
        "contiguous": ConvStep(batch, static, layout=torch.contiguous_format),
        "bf16": ConvStep(batch, static, bf16=True),
    }
    if compiled and shutil.which("g++"):
        torch.compiler.reset()
        variants["compiled"] = ConvStep(batch, static, compiled=True)
    for step in variants.values():
        step()
    times = interleaved(variants, repetitions)
    for name, step in variants.items():
        step.check(name)
    return {
        "conv_dense_over_dense": ratio(times, "dense_again", "dense"),
        "conv_masked_over_dense": ratio(times, "masked", "dense"),
        "conv_deep_r_over_dense": ratio(times, "deep_r", "dense"),
        "conv_contiguous_over_channels_last": ratio(times, "contiguous", "masked"),
        "conv_bf16_over_float32": ratio(times, "bf16", "masked"),
        "conv_compiled_over_eager": (
            ratio(times, "compiled", "masked") if "compiled" in times else None
        ),
    }
