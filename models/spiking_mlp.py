"""Spiking networks that torch trains: leaky integrate-and-fire units and a surrogate gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from .layers import initialise, linear


class Spike(torch.autograd.Function):
    """1 where a potential is above 0, else 0; backwards the slope of an arc tangent, 1 / (1 +
    (pi v)^2).

    >>> v = torch.tensor([-0.5, 0.5], requires_grad=True)
    >>> spikes = Spike.apply(v)
    >>> spikes.sum().backward()
    >>> spikes.tolist(), [round(g, 3) for g in v.grad.tolist()]
    ([0.0, 1.0], [0.288, 0.288])
    """

    @staticmethod
    def forward(ctx, potential: Tensor) -> Tensor:
        ctx.save_for_backward(potential)
        return (potential > 0).to(potential)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        (potential,) = ctx.saved_tensors
        return slope / (1 + (math.pi * potential) ** 2)


class SpikingMLP(nn.Module):
    """Linear layers ``fc1``, ``fc2``, ... with leaky integrate-and-fire units between them.

    A picture is a current into ``fc1`` in each of ``timesteps`` steps. A hidden unit's potential
    falls to ``leak`` of itself in a step and adds what comes in; above 1 it spikes and starts
    anew at 0. The last layer does not spike: the output is the mean of its sums over the steps,
    logits (N, classes). A spike has the slope of :class:`Spike`, the restart none. Weights are
    drawn from ``generator`` by ``init`` (see :data:`rewire.models.INITS`), biases start at 0.

    The attribute ``timesteps`` may be set to another number at any time.

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
        if not 0 <= leak <= 1:
            raise ValueError(f"leak = {leak}: the part of a potential that stays, from 0 to 1.")
        self.timesteps, self.leak = timesteps, leak
        for i, (n_pre, n_post) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
            self.add_module(f"fc{i}", linear(n_pre, n_post, bias))
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.children()
        current, outputs = first(x.flatten(1)), []  # the current is the same in each step
        potentials: list[Tensor | float] = [0.0] * len(rest)
        for _ in range(self.timesteps):
            signal = current
            for i, layer in enumerate(rest):
                v = self.leak * potentials[i] + signal
                spikes = Spike.apply(v - 1)
                potentials[i] = v * (1 - spikes.detach())
                signal = layer(spikes)
            outputs.append(signal)
        return torch.stack(outputs).mean(0)
