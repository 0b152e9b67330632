"""Fully connected networks, LeNet-300-100 first of all."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Generator, nn

from .layers import Stack, dense_layers


class MLP(Stack):
    """Flatten, then linear layers ``fc1``, ``fc2``, ... with ReLU between them: an nn.Sequential.

    ``sizes`` are the widths from input to output; the output is logits (N, sizes[-1]). Weights are
    drawn from ``generator`` by ``init`` (see :data:`rewire.models.INITS`), biases start at 0.
    ``dropout`` is the fraction of hidden units left out in training; which ones is drawn from
    torch's global generator, as with any nn.Dropout.

    >>> import torch
    >>> MLP([784, 300, 100, 10], generator=torch.Generator().manual_seed(0)).fc1.weight.shape
    torch.Size([300, 784])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        generator: Generator,
        bias: bool = True,
        init: str = "glorot_normal",
        dropout: float = 0.0,
    ):
        sizes = list(sizes)
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes = {sizes}: an MLP needs an input and an output of 1 or more.")
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        layers.update(dense_layers(sizes, bias, dropout))
        super().__init__(layers, init, generator)


def mlp(
    *,
    generator: Generator,
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (300, 100),
    bias: bool = True,
    init: str = "glorot_normal",
    dropout: float = 0.0,
) -> MLP:
    """An MLP for inputs of ``input_shape`` (C, H, W) with hidden layers as wide as ``hidden``.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> [name for name, _ in mlp(generator=g, input_shape=(1, 8, 8), classes=10).named_children()]
    ['flatten', 'fc1', 'fc_relu1', 'fc2', 'fc_relu2', 'fc3']
    """
    sizes = [math.prod(input_shape), *hidden, classes]
    return MLP(sizes, generator=generator, bias=bias, init=init, dropout=dropout)


def lenet_300_100(
    *,
    generator: Generator,
    input_shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    **options: Any,
) -> MLP:
    """LeNet-300-100 (LeCun et al. 1998): 266,200 weights and 410 biases on MNIST.

    By default as in the Lottery Ticket Hypothesis: Glorot normal, biases 0. DEEP R's authors take
    ``bias=False, init="fan_in_normal"``. Options are those of :class:`MLP`.

    >>> import torch
    >>> net = lenet_300_100(generator=torch.Generator().manual_seed(0))
    >>> sum(p.numel() for p in net.parameters())
    266610
    """
    return mlp(
        generator=generator,
        input_shape=input_shape,
        classes=classes,
        hidden=(300, 100),
        **options,
    )
