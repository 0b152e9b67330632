"""A trained spiking network in Brian2: the same time-discrete equations, the same spikes.

Each layer is a group of neurons whose equations are evaluated once a time step, each matrix a
Synapses object with a synapse for every weight that is not 0. Brian2 hands spikes on after the
groups of a step have been evaluated, so that a layer runs one step after the one before it: layer l
makes at step t + l what the network in torch makes at step t. What is returned is shifted back.

>>> import torch
>>> from rewire import models
>>> net = models.build("lsnn", generator=torch.Generator().manual_seed(0), input_shape=(8, 12),
...                    classes=3, hidden=[9], init="kaiming_normal").double()
>>> events = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(1)) < 0.4
>>> run = simulate(net, events.numpy())
>>> run.spikes["lif1"].shape, bool(np.allclose(run.outputs, net(events.double()).detach()))
((2, 8, 9), True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .brian import code_target
from .neurons import ALIF
from .nir_graphs import dense_layers
from .trained import SpikingNet

MILLISECONDS = 1.0  # of Brian2's clock in a time step of the network; nothing depends on it


@dataclass(frozen=True, eq=False)
class Run:
    """What a network did with N examples of T steps.

    spikes: by the name of the units, "lif1" and so on, (N, T, units) uint8. outputs: logits
    (N, classes). nearest: the smallest distance of any potential from its threshold: where the
    arithmetic of two programs differs by less, so do no spikes.
    """

    spikes: dict[str, np.ndarray]
    outputs: np.ndarray
    nearest: float


def simulate(model: SpikingNet, events: np.ndarray) -> Run:
    """Show examples to the network in Brian2 (numpy target), one after another from rest.

    events: (N, T, ...) of 0 and 1. Numbers are float64, whatever the model's.

    Raises:
        ImportError: Brian2 is not installed.
        ValueError: another class of model, events that are not 0 or 1, or of another shape.
    """
    spikes = _checked(model, events)
    with torch.no_grad(), code_target("numpy") as b2:
        network = _Network(model, spikes.shape[1], b2)
        runs = [network.shown(example) for example in spikes]
        currents = torch.from_numpy(np.stack([run[1] for run in runs], 1))  # (T, N, classes)
        outputs = model.readout(currents).numpy()
    names = [f"lif{i}" for i in range(1, model.layers + 1)]
    return Run(
        {name: np.stack([run[0][i] for run in runs]) for i, name in enumerate(names)},
        outputs,
        min((run[2] for run in runs), default=np.inf),
    )


def _checked(model: Any, events: np.ndarray) -> np.ndarray:
    """The events of each step in one row, (N, T, inputs) bool, the model's own steps alone."""
    inputs = dense_layers(model)["fc1"][0].shape[1]
    events = np.asarray(events)
    if events.ndim < 3 or not np.isin(events, (0, 1)).all():
        raise ValueError("events are (N, T, ...) of 0 and 1: Brian2 takes spikes, no currents.")
    rows = events[:, : model.timesteps].reshape(len(events), -1, int(np.prod(events.shape[2:])))
    if rows.shape[2] != inputs:
        raise ValueError(f"events have {rows.shape[2]} channels, the network takes {inputs}.")
    return rows.astype(bool)


class _Network:
    """The network in Brian2, run from rest for each example."""

    def __init__(self, model: SpikingNet, steps: int, b2: Any):
        self.b2 = b2
        self.dt, self.steps, self.layers = MILLISECONDS * b2.ms, steps, model.layers
        clock = {"dt": self.dt}
        layers = dense_layers(model)
        self.source = b2.SpikeGeneratorGroup(
            layers["fc1"][0].shape[1], [], [] * b2.ms, **clock
        )  # fmt: skip
        self.groups, synapses, before = [], [], self.source
        for i in range(1, model.layers + 1):
            weight, bias = layers[f"fc{i}"]
            group = self._units(model.get_submodule(f"lif{i}"), len(weight), bias, i)
            synapses.append(self._synapses(before, group, weight))
            if model.recurrent:
                synapses.append(self._synapses(group, group, layers[f"rec{i}"][0]))
            self.groups.append(group)
            before = group
        head, bias = layers[f"fc{model.layers + 1}"]
        self.bias = 0.0 if bias is None else bias.astype(np.float64)
        self.head = b2.NeuronGroup(len(head), "I : 1", **clock)
        synapses.append(self._synapses(before, self.head, head))
        self.seen = [b2.SpikeMonitor(group) for group in self.groups]
        self.margins = [
            b2.StateMonitor(group, "margin", record=True, when="after_thresholds", **clock)
            for group in self.groups
        ]
        # what has arrived at the head in a step is read at its end, and then taken away
        self.currents = b2.StateMonitor(self.head, "I", record=True, when="after_synapses", **clock)
        clear = self.head.run_regularly("I = 0", when="end", **clock)
        self.network = b2.Network(
            self.source, *self.groups, self.head, *synapses, *self.seen, *self.margins,
            self.currents, clear,
        )  # fmt: skip
        self.network.store("rest")

    def _units(self, units: Any, n: int, bias: np.ndarray | None, layer: int) -> Any:
        """Neurons that are evaluated from step ``layer`` on, when the first spikes reach them."""
        b2 = self.b2
        adapts = isinstance(units, ALIF)
        equations = "v : 1\nI : 1\nbias : 1 (constant)\nmargin : 1"
        if adapts:
            equations += "\na : 1\nadaptation : 1 (constant)"
        threshold = "theta + adaptation * a" if adapts else "theta"
        reset = "v = 0" if units.reset == "zero" else "v = v - theta"
        group = b2.NeuronGroup(
            n, equations, threshold="margin > 0",
            reset=reset + ("\na = a + 1" if adapts else ""), dt=self.dt,
            namespace={"leak": units.leak, "theta": units.threshold, "first": layer,
                       "recovery": units.recovery if adapts else 0.0},
        )  # fmt: skip
        # in each step: a leaks after the threshold that it raised was held against v
        step = "awake = int(t_in_timesteps >= first)\nv = (leak * v + (I + bias)) * awake\n"
        step += f"margin = (v - ({threshold})) * awake - (1 - awake)\nI = 0"
        if adapts:
            step += "\na = recovery * a * awake"
        group.run_regularly(step, when="groups", dt=self.dt)
        if bias is not None:
            group.bias = bias.astype(np.float64)
        if adapts:
            group.adaptation = units.adaptation.double().numpy()
        return group

    def _synapses(self, source: Any, target: Any, weight: np.ndarray) -> Any:
        post, pre = np.nonzero(weight)
        synapses = self.b2.Synapses(source, target, "w : 1", on_pre="I_post += w", dt=self.dt)
        if len(pre):
            synapses.connect(i=pre, j=post)
            synapses.w = weight[post, pre].astype(np.float64)
        else:
            synapses.active = False  # Brian2 refuses a Synapses object without a synapse
        return synapses

    def shown(self, example: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, float]:
        """Spikes of each layer (T, units), currents into the readout (T, classes), and how near a
        potential came to its threshold."""
        b2 = self.b2
        self.network.restore("rest")
        step, neuron = np.nonzero(example)
        self.source.set_spikes(neuron, step * MILLISECONDS * b2.ms)
        self.network.run((self.steps + self.layers) * self.dt)
        layers, nearest = [], np.inf
        for i, (group, seen, margins) in enumerate(
            zip(self.groups, self.seen, self.margins, strict=True), start=1
        ):
            raster = np.zeros((self.steps + self.layers, len(group)), np.uint8)
            at = np.rint(np.asarray(seen.t / self.dt)).astype(int)
            raster[at, np.asarray(seen.i)] = 1
            layers.append(raster[i : i + self.steps])
            nearest = min(nearest, float(np.abs(margins.margin[:, i : i + self.steps]).min()))
        currents = np.asarray(self.currents.I).T[self.layers : self.layers + self.steps]
        return layers, currents + self.bias, nearest
