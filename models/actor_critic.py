"""Policies with a value: what advantage actor-critic trains."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from .layers import initialise, linear

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class ActorCritic(nn.Module):
    """Hidden layers ``fc1``, ``fc2``, ..., then ``policy``, a logit for each action, and ``value``.

    ``classes`` is the number of actions plus one: outputs are logits and, last, the value. Weights
    are drawn from ``generator`` by ``init`` (see :data:`rewire.models.INITS`), biases start at 0.
    ``activation``: "tanh" or "relu", after each hidden layer.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> net = ActorCritic(generator=g, input_shape=(4,), classes=3, hidden=[64, 64])
    >>> net(torch.zeros(5, 4)).shape, net.policy.weight.shape, net.value.weight.shape
    (torch.Size([5, 3]), torch.Size([2, 64]), torch.Size([1, 64]))
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        bias: bool = True,
        init: str = "glorot_uniform",
    ):
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        if min(sizes) < 1 or len(sizes) < 2 or classes < 2:
            raise ValueError(f"hidden = {list(hidden)} and classes = {classes}: a policy with a "
                             "value has hidden layers of 1 or more units and outputs for an action "
                             "and the value at least.")  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ValueError(f"there is no activation {activation!r}; there are "
                             f"{', '.join(ACTIVATIONS)}.")  # fmt: skip
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i, (n_pre, n_post) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
            layers[f"fc{i}"] = linear(n_pre, n_post, bias)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
        self.hidden = nn.Sequential(layers)
        self.policy = linear(sizes[-1], classes - 1, bias)
        self.value = linear(sizes[-1], 1, bias)
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        return torch.cat([self.policy(x), self.value(x)], 1)
