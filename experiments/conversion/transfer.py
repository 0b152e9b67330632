"""Spiking networks that torch trained, run in Brian2 as they are, beside torch itself.

Both compute in float64: the network in torch step by step, its spikes listened to, and
`rewire.models.spiking.in_brian`. A row says how often each is right about the same examples, how
many spikes of hidden units differ (of one neuron at one step; 0 unless a potential comes nearer to
its threshold than rounding), spikes of each layer and synaptic operations in Brian2, and the time
of both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from rewire.models.spiking import in_brian
from rewire.models.spiking.nir_graphs import dense_layers
from rewire.models.spiking.trained import SpikingNet

from ..data import Split
from .run import ConversionRun

Rasters = Mapping[str, np.ndarray]  # by the units' name, (N, T, units) of 0 and 1


def transfers(model: nn.Module) -> bool:
    """Whether a model spikes already, so that it is run as it is."""
    return isinstance(model, SpikingNet)


class TransferRun(ConversionRun):
    """A training's spiking networks, shown the same examples by torch and by Brian2."""

    costs = ("simulated", "stepped")
    block = 10  # type: ignore[assignment]
    model: SpikingNet

    @property
    def fresh(self) -> dict[str, Any]:  # type: ignore[override]
        names = (f"lif{i}" for i in range(1, self.model.layers + 1))
        sums = dict.fromkeys(("right", "torch_right", "unequal", "operations", *names), 0)
        return {**sums, "nearest": None}

    def prepared(self) -> SpikingNet:
        return self.model.double()

    def look(self, prepared: SpikingNet, images: Split, level: int) -> None:
        labels, started = images.y.numpy(), time.perf_counter()
        expected, outputs = in_torch(prepared, images.x)
        stepped = time.perf_counter()
        run = in_brian.simulate(prepared, images.x.numpy())
        self.spent["stepped"] += stepped - started
        self.spent["simulated"] += time.perf_counter() - stepped
        sums = self.sums
        sums["torch_right"] += int((outputs.argmax(1) == labels).sum())
        sums["right"] += int((run.outputs.argmax(1) == labels).sum())
        sums["unequal"] += sum(int((run.spikes[n] != expected[n]).sum()) for n in expected)
        sums["operations"] += operations(prepared, images.x.numpy(), run.spikes)
        near = run.nearest if sums["nearest"] is None else min(sums["nearest"], run.nearest)
        sums["nearest"] = near
        for name, raster in run.spikes.items():
            sums[name] += int(raster.sum())

    def measured(self, n: int) -> dict[str, Any]:
        by_layer = {name: self.sums[name] / n for name in self.fresh if name.startswith("lif")}
        return {
            "ann_accuracy": self.sums["torch_right"] / n,
            "spiking_accuracy": self.sums["right"] / n,
            "spikes_per_image": sum(by_layer.values()),
            "events_per_image": self.sums["operations"] / n,
            "spikes_by_layer": by_layer,
            "unequal_spikes": self.sums["unequal"],
            "nearest_to_threshold": self.sums["nearest"],
            "torch_images_per_second": n / self.spent["stepped"],
        }


@torch.no_grad()
def in_torch(model: SpikingNet, events: torch.Tensor) -> tuple[Rasters, np.ndarray]:
    """Spikes of the hidden units and logits (N, classes) of events (N, T, ...)."""
    heard: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for name in (f"lif{i}" for i in range(1, model.layers + 1)):
        steps = heard[name] = []
        hooks.append(model.get_submodule(name).register_forward_hook(
            lambda module, args, output, steps=steps: steps.append(output[0])
        ))  # fmt: skip
    try:
        outputs = model(events.to(next(model.parameters()).dtype)).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.stack(steps, 1).numpy() for name, steps in heard.items()}, outputs


def operations(model: SpikingNet, events: np.ndarray, spikes: Rasters) -> int:
    """Synaptic operations: each spike counts once for every weight that is not 0 and carries it.

    Spikes among the units of a layer arrive a step later, those of the last step never.
    """
    sent = {"fc1": events[:, : model.timesteps].reshape(-1, int(np.prod(events.shape[2:])))}
    for i in range(1, model.layers + 1):
        raster = spikes[f"lif{i}"]
        sent[f"fc{i + 1}"] = raster.reshape(-1, raster.shape[2])
        sent[f"rec{i}"] = raster[:, :-1].reshape(-1, raster.shape[2])
    layers = dense_layers(model)
    fan_out = {name: np.count_nonzero(weight, axis=0) for name, (weight, _) in layers.items()}
    return sum(int(sent[name].sum(0, dtype=np.int64) @ n) for name, n in fan_out.items())
