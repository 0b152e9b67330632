"""Spiking networks that torch trains on events in time, (N, T, ...) of one time step after another.

The spikes of a step go through all layers within that step; those that a recurrent layer sends
itself arrive a step later. Feed-forward weights see all steps in one product, so that only the
units, and recurrent weights, go step by step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import max_pool2d

from ..layers import convolution, initialise, linear
from .neurons import ALIF, LIF, Readout, Reset, one_of

NEURONS = ("lif", "alif")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class SpikingNet(nn.Module):
    """Layers ``fc1``, ``fc2``, ... of spiking units ``lif1``, ``lif2``, ..., and a readout.

    input_shape: (T, ...) of one example, flattened at each step; the output is logits (N, classes).
    hidden: units of each layer. recurrent: whether each layer also has weights ``rec1``, ...
        among its own units. neuron: "lif" (:class:`LIF`) or "alif" (:class:`ALIF`).
    leak, threshold, reset, surrogate, steepness: of the units; the reset is that of their class
        unless given. The triangle damps gradients, which the arc tangent lets explode in recurrent
        layers. adaptation, recovery, adaptive: of ALIF units.
    readout, readout_leak: see :class:`Readout`.

    The attribute ``timesteps``, T at first, may be set to a smaller number: the first steps are
    read. ``takes_spikes`` names the layers whose inputs are spikes: all, where the input is.
    Weights are drawn from ``generator`` by ``init``, biases start at 0; recurrent layers have none.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = SpikingNet(generator=g, input_shape=(8, 2, 5, 5), classes=3, hidden=[20],
    ...                  recurrent=True, neuron="alif", init="kaiming_normal")
    >>> events = (torch.rand(4, 8, 2, 5, 5, generator=g) < 0.2).float()
    >>> net(events).shape, [name for name, _ in net.named_parameters()]
    (torch.Size([4, 3]), ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias', 'rec1.weight'])

    Raises:
        ValueError: no hidden layer, a size below 1, no such neuron, or what its class refuses.
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (128,),
        recurrent: bool = False,
        neuron: Literal["lif", "alif"] = "lif",
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset | None = None,
        surrogate: str = "triangle",
        steepness: float = 1.0,
        adaptation: float = 0.2,
        recovery: float = 0.97,
        adaptive: float = 1.0,
        readout: Literal["mean", "max", "last"] = "mean",
        readout_leak: float = 0.0,
        bias: bool = True,
        init: str = "fan_in_normal",
    ):
        super().__init__()
        self.timesteps = steps_of(input_shape)
        sizes = [math.prod(input_shape[1:]), *hidden, classes]
        if len(sizes) < 3 or min(sizes) < 1:
            raise ValueError(
                f"hidden = {list(hidden)}: a spiking network has hidden layers of 1 unit or more."
            )
        one_of("neuron", neuron, NEURONS)
        options = {"leak": leak, "threshold": threshold, "surrogate": surrogate}
        options |= {"steepness": steepness} | ({} if reset is None else {"reset": reset})
        for i, (n_pre, n_post) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
            self.add_module(f"fc{i}", linear(n_pre, n_post, bias))
        for i, n in enumerate(hidden, start=1):
            if recurrent:
                self.add_module(f"rec{i}", linear(n, n, bias=False))
            units = LIF(**options) if neuron == "lif" else ALIF(  # type: ignore[arg-type]
                n, adaptation=adaptation, recovery=recovery, adaptive=adaptive, **options  # type: ignore[arg-type]
            )  # fmt: skip
            self.add_module(f"lif{i}", units)
        self.readout = Readout(leak=readout_leak, over=readout)
        self.layers, self.recurrent = len(hidden), recurrent
        names = range(1, self.layers + 1)
        # which layer's units feed another, and which weights add to the input of the same units
        self.fed_by = {f"fc{i + 1}": f"fc{i}" for i in names}
        self.adds_to = {f"rec{i}": f"fc{i}" for i in names if recurrent}
        self.fed_by |= {rec: fc for rec, fc in self.adds_to.items()}
        self.takes_spikes = (*(f"fc{i}" for i in (*names, self.layers + 1)), *self.adds_to)
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of events (N, T, ...)."""
        return self.readout(self.outputs(x))

    def outputs(self, x: Tensor) -> Tensor:
        """The currents into the readout at each step, (T, N, classes)."""
        spikes = numbers(x)[:, : self.timesteps].flatten(2).transpose(0, 1)
        for i in range(1, self.layers + 1):
            before = self.get_submodule(f"fc{i}")
            among = self.get_submodule(f"rec{i}") if self.recurrent else None
            spikes = over_time(self.get_submodule(f"lif{i}"), before(spikes), among, before)
        return self.get_submodule(f"fc{self.layers + 1}")(spikes)


class SpikingConvNet(nn.Module):
    """Convolutions ``conv1``, ``conv2``, ... of LIF units and a readout ``fc``, on events in time.

    input_shape: (T, C, H, W) of one example. channels: of each convolution of 3 x 3, whose spikes
    are pooled: 1 where a unit among 2 x 2 spikes, as in Fang et al. 2021 (arXiv:2007.05785), so
    that what the next layer takes are spikes. The rest is as in :class:`SpikingNet`.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = SpikingConvNet(generator=g, input_shape=(5, 2, 9, 9), classes=3, channels=[4, 6])
    >>> net(torch.ones(2, 5, 2, 9, 9)).shape, net.fc.weight.shape
    (torch.Size([2, 3]), torch.Size([3, 24]))

    Raises:
        ValueError: no channels, a picture too small to be halved so often, or what `LIF` refuses.
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        channels: Sequence[int] = (8, 16),
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "zero",
        surrogate: str = "arctan",
        steepness: float = 1.0,
        readout: Literal["mean", "max", "last"] = "mean",
        readout_leak: float = 0.0,
        bias: bool = True,
        init: str = "kaiming_normal",
    ):
        super().__init__()
        self.timesteps = steps_of(input_shape)
        if len(input_shape) != 4:
            raise ValueError(
                f"an input of shape {tuple(input_shape)}: convolutions of events take (T, C, H, W)."
            )
        height, width = (side >> len(channels) for side in input_shape[2:])
        if not channels or min(*channels, classes, height, width) < 1:
            raise ValueError(
                f"channels = {list(channels)}: choose 1 or more of each layer, and no more layers "
                f"than {tuple(input_shape[2:])} pixels can be halved."
            )
        before = input_shape[1]
        for i, n in enumerate(channels, start=1):
            self.add_module(f"conv{i}", convolution(before, n, bias))
            self.add_module(f"lif{i}", LIF(leak=leak, threshold=threshold, reset=reset,
                                           surrogate=surrogate, steepness=steepness))  # fmt: skip
            before = n
        self.fc = linear(before * height * width, classes, bias)
        self.readout = Readout(leak=readout_leak, over=readout)
        self.layers = len(channels)
        self.fed_by = {f"conv{i + 1}": f"conv{i}" for i in range(1, self.layers)}
        self.takes_spikes = (*(f"conv{i}" for i in range(1, self.layers + 1)), "fc")
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of events (N, T, C, H, W)."""
        spikes = numbers(x)[:, : self.timesteps].transpose(0, 1)
        steps = spikes.shape[:2]
        for i in range(1, self.layers + 1):
            currents = self.get_submodule(f"conv{i}")(spikes.flatten(0, 1)).unflatten(0, steps)
            fired = over_time(self.get_submodule(f"lif{i}"), currents)
            spikes = max_pool2d(fired.flatten(0, 1), 2).unflatten(0, steps)
        return self.readout(self.fc(spikes.flatten(2)))


def over_time(
    units: nn.Module,
    currents: Tensor,
    among: nn.Module | None = None,
    before: nn.Module | None = None,
) -> Tensor:
    """The spikes of units at each step, of currents (T, N, ...) and of the spikes that ``among``
    sends back a step later.

    A layer that has `spikes_over_time` (``among``, or ``before``, which made the currents) is asked
    to compute all steps at once, unless somebody listens to the units or to ``among``.
    """
    engine = before if among is None else among
    at_once = getattr(engine, "spikes_over_time", None)
    if at_once is not None and type(units) in (LIF, ALIF) and not _heard(units, among):
        spikes = at_once(currents, units.equations, recurrent=among is not None)
        if spikes is not None:
            return spikes
    state, steps = (), []
    spikes = torch.zeros_like(currents[0])
    for current in currents.unbind(0):
        spikes, state = units(current if among is None else current + among(spikes), state)
        steps.append(spikes)
    return torch.stack(steps)


def _heard(*modules: nn.Module | None) -> bool:
    """Whether somebody listens to what one of these takes or makes, step by step."""
    own = (vars(m) for m in modules if m is not None)
    return any(m[hooks] for m in own for hooks in HOOKS)


def numbers(events: Tensor) -> Tensor:
    """Events that layers can multiply: whole numbers, as they are stored, as floating point."""
    return events if events.is_floating_point() else events.to(torch.get_default_dtype())


def steps_of(input_shape: Sequence[int]) -> int:
    """T of (T, ...).

    Raises ValueError for a shape without time and something at each step.
    """
    if len(input_shape) < 2 or min(input_shape) < 1:
        raise ValueError(
            f"an input of shape {tuple(input_shape)}: events in time have the shape (T, ...)."
        )
    return input_shape[0]
