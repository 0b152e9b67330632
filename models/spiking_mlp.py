"""A spiking network that reads pictures: each is a constant current in every time step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from .layers import initialise, linear
from .spiking.neurons import LIF, State
from .spiking.surrogates import Spike

__all__ = ["Spike", "SpikingMLP"]


class SpikingMLP(nn.Module):
    """Linear layers ``fc1``, ``fc2``, ... with leaky integrate-and-fire units between them.

    A picture is a current into ``fc1`` in each of ``timesteps`` steps. A hidden unit's potential
    falls to ``leak`` of itself in a step and adds what comes in; above 1 it spikes and starts
    anew at 0. The last layer does not spike: the output is the mean of its sums over the steps,
    logits (N, classes). A spike has the slope of :class:`Spike`, the restart none. Weights are
    drawn from ``generator`` by ``init`` (see :data:`rewire.models.INITS`), biases start at 0.
    Recordings of events are read by :class:`rewire.models.SpikingNet`.

    The attribute ``timesteps`` may be set to another number at any time. ``takes_spikes`` names
    the layers whose inputs are spikes, all but the first.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = SpikingMLP(generator=g, input_shape=(1, 8, 8), classes=10, hidden=[32])
    >>> net(torch.rand(5, 1, 8, 8)).shape, net.timesteps
    (torch.Size([5, 10]), 5)

    Raises:
        ValueError: no hidden layer, a size or ``timesteps`` below 1, a ``leak`` outside [0, 1].
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (300, 100),
        timesteps: int = 5,
        leak: float = 0.5,
        bias: bool = True,
        init: str = "kaiming_normal",
    ):
        super().__init__()
        sizes = [math.prod(input_shape), *hidden, classes]
        if len(sizes) < 3 or min(sizes) < 1 or timesteps < 1:
            raise ValueError(
                f"hidden = {list(hidden)}, timesteps = {timesteps}: a spiking network has hidden "
                "layers of 1 unit or more, and 1 time step or more."
            )
        units = LIF(leak=leak)
        self.timesteps = timesteps
        for i, (n_pre, n_post) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
            self.add_module(f"fc{i}", linear(n_pre, n_post, bias))
        self.lif = units  # one for all layers: it holds no state
        self.layers = len(sizes) - 1
        self.takes_spikes = tuple(f"fc{i}" for i in range(2, self.layers + 1))
        initialise(self, init, generator=generator)

    @property
    def leak(self) -> float:
        return self.lif.leak

    @leak.setter
    def leak(self, leak: float) -> None:
        self.lif.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = (self.get_submodule(f"fc{i}") for i in range(1, self.layers + 1))
        current, outputs = first(x.flatten(1)), []  # the current is the same in each step
        states: list[State] = [()] * len(rest)
        for _ in range(self.timesteps):
            signal = current
            for i, layer in enumerate(rest):
                spikes, states[i] = self.lif(signal, states[i])
                signal = layer(spikes)
            outputs.append(signal)
        return torch.stack(outputs).mean(0)
