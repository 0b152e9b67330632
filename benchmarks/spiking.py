"""Spiking layers in the sparse world: ``python -m benchmarks.spiking [--json] [--quick]``.

========================================= ============================================ ====
name                                      what is divided by what                      bar
========================================= ============================================ ====
``rnn_64_05_steps_over_engine`` and so on a training step of a recurrent LIF network   1.5
                                          whose units torch takes step by step / one
                                          whose units the engine takes in one call
``lsnn_256_10_steps_over_engine``         the same of adaptive units                   1.5
``net_256_10_steps_over_engine``          the same without recurrent weights
``rnn_256_10_masked_over_engine``         a step under masks / in the sparse world
``..._layer_...``                         the units and their recurrent weights alone,
                                          forward and backward pass
========================================= ============================================ ====

Names say hidden units (64, 256, 512) and density (.05, .1, .2); 80 inputs, 50 time steps of spikes
at a rate of .2 (``_t100``: 100), batch 32, cross-entropy, Adam, edges that stay. In both variants
edges are the engine's; by steps means that each time step is a product of its own with the
recurrent edges, and that torch derives the units' equations. ``..._rate``: spikes of a hidden unit
in a time step. Gradients of both are compared before they are timed, in float64. Numbers above 1
are times by which the engine's pass is faster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks.suite import Result, at_least, command, unmeasured
from benchmarks.timing import interleaved, ratio
from rewire import models, native
from rewire.models.spiking.trained import over_time

INPUTS, CLASSES, BATCH = 80, 10, 32
CASES: dict[str, tuple[str, int, float, int]] = {  # model, hidden units, density, time steps
    "rnn_64_05": ("spiking-rnn", 64, 0.05, 50),
    "rnn_64_20": ("spiking-rnn", 64, 0.2, 50),
    "rnn_256_05": ("spiking-rnn", 256, 0.05, 50),
    "rnn_256_10": ("spiking-rnn", 256, 0.1, 50),
    "rnn_256_20": ("spiking-rnn", 256, 0.2, 50),
    "rnn_256_10_t100": ("spiking-rnn", 256, 0.1, 100),
    "rnn_512_05": ("spiking-rnn", 512, 0.05, 50),
    "rnn_512_20": ("spiking-rnn", 512, 0.2, 50),
    "lsnn_256_10": ("lsnn", 256, 0.1, 50),
    "net_256_10": ("spiking-net", 256, 0.1, 50),
}
QUICK = ("rnn_256_10", "lsnn_256_10", "net_256_10")  # one of each model
BARS = {f"{name}_steps_over_engine": at_least(1.5) for name in CASES if name != "net_256_10"}


def stepwise(model: nn.Module) -> None:
    """Let torch take the units step by step, as it does where somebody listens to them."""
    model.lif1.register_forward_hook(lambda *_: None)


class Training:
    """A training step on each call."""

    def __init__(
        self, case: tuple[str, int, float, int], by_steps: bool, world: str, dtype: torch.dtype
    ):
        name, hidden, density, steps = case
        generator = torch.Generator().manual_seed(0)
        self.model = models.build(name, generator=generator, input_shape=(steps, INPUTS),
                                  classes=CLASSES, hidden=[hidden]).to(dtype)  # fmt: skip
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.net = rewire.attach(self.model, self.optimizer, rewire.Static(), density=density,
                                 world=world, steps=10**6)  # fmt: skip
        if by_steps:
            stepwise(self.model)
        self.x = (torch.rand(BATCH, steps, INPUTS, generator=generator) < 0.2).to(dtype)
        self.y = torch.arange(BATCH) % CLASSES

    def slopes(self) -> list[Tensor]:
        self.optimizer.zero_grad()
        cross_entropy(self.model(self.x), self.y).backward()
        # gradients of lists of edges are of the engine's own type of tensor
        return [torch.as_tensor(p.grad.detach().numpy()) for p in self.model.parameters()]

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        cross_entropy(self.model(self.x), self.y).backward()
        self.net.step()

    def rate(self) -> float:
        with torch.no_grad():
            return float(self.spikes(self.currents()).mean())

    def currents(self) -> Tensor:
        return self.model.fc1(self.x.transpose(0, 1))

    def spikes(self, currents: Tensor) -> Tensor:
        among = self.model.rec1 if self.model.recurrent else None
        return over_time(self.model.lif1, currents, among, self.model.fc1)

    def layer(self) -> Callable[[], object]:
        """The units and what joins them, forward and backward."""
        currents = self.currents().detach().requires_grad_()
        slope = torch.randn(currents.shape, generator=torch.Generator().manual_seed(1))
        wanted = [currents, *(self.model.rec1.parameters() if self.model.recurrent else ())]
        return lambda: torch.autograd.grad(self.spikes(currents), wanted, slope)


def compare(case: tuple[str, int, float, int]) -> None:
    """Raise AssertionError where gradients of the engine's pass are not those of steps."""
    engine, steps = (Training(case, by, "sparse", torch.float64) for by in (False, True))
    for found, expected in zip(engine.slopes(), steps.slopes(), strict=True):
        worst = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not worst < 1e-9:
            raise AssertionError(f"gradients differ by {worst:.1e} of the largest.")


def measure(quick: bool = False) -> Result:
    if native.sparse is None:
        return unmeasured(BARS, "the sparse engine was not built")
    result: Result = {}
    for name, case in CASES.items():
        if quick and name not in QUICK:
            continue
        small = (case[0], 24, 0.3, 6) if quick else case
        compare(small)
        engine = Training(small, False, "sparse", torch.float32)
        steps = Training(small, True, "sparse", torch.float32)
        variants = {"engine": engine, "steps": steps, "engine_layer": engine.layer(),
                    "steps_layer": steps.layer()}  # fmt: skip
        if name == "rnn_256_10":
            variants["masked"] = Training(small, False, "masked", torch.float32)
        result[f"{name}_rate"] = engine.rate()
        times = interleaved(variants, 1 if quick else 11, 1 if quick else 3)
        result[f"{name}_steps_over_engine"] = ratio(times, "steps", "engine")
        result[f"{name}_layer_steps_over_engine"] = ratio(times, "steps_layer", "engine_layer")
        result[f"{name}_engine_ms"] = 1e3 * float(
            sorted(times["engine"])[len(times["engine"]) // 2]
        )
        if "masked" in variants:
            result[f"{name}_masked_over_engine"] = ratio(times, "masked", "engine")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    return command("spiking", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())
