"""VGG networks for CIFAR (Simonyan & Zisserman 2015, arXiv:1409.1556), with batch norm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Generator, nn

from .layers import Stack, convolution, linear, scaled

CHANNELS = (64, 128, 256, 512, 512)
BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Stack):
    """Five blocks of 3 x 3 convolutions with batch norm and ReLU, average pooling, a linear layer.

    ``depth`` counts the layers of the original, of which three were fully connected: 11, 13, 16
    and 19 have 8, 10, 13 and 16 convolutions of 64 to 512 channels. 2 x 2 max-pooling stands
    between the blocks. On 3 x 32 x 32 and with 10 classes that is 9,228,362, 9,413,066, 14,724,042
    and 20,035,018 parameters.

    The end is that of the Lottery Ticket Hypothesis's VGG-19 (Frankle & Carbin 2019: 20.0 million)
    as its author's later code has it (open_lth): average pooling to 1 x 1 and one linear layer in
    place of the original's three. Convolutions have no biases, which batch norm would take out.

    width: a factor of all channels. Weights are drawn from ``generator`` by ``init``; norms start
    at weight 1 and bias 0.

    >>> import torch
    >>> net = VGG(19, generator=torch.Generator().manual_seed(0))
    >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 3, 32, 32)).shape
    (20035018, torch.Size([2, 10]))

    Raises:
        ValueError: no such depth, a width that is not above 0, or inputs smaller than 16 x 16.
    """

    def __init__(
        self,
        depth: int = 19,
        *,
        generator: Generator,
        input_shape: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        init: str = "kaiming_normal",
    ):
        if depth not in BLOCKS:
            raise ValueError(f"depth = {depth}: a VGG has {', '.join(map(str, BLOCKS))} layers.")
        n_pre, *sides = input_shape
        if min(sides) < 16:
            raise ValueError(
                f"inputs of {tuple(input_shape)} are too small to be halved 4 times: take at least "
                "16 x 16."
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        n_layers = 0
        blocks = zip(BLOCKS[depth], scaled(CHANNELS, width), strict=True)
        for block, (convolutions, n_post) in enumerate(blocks, start=1):
            if block > 1:
                layers[f"pool{block - 1}"] = nn.MaxPool2d(2)
            for _ in range(convolutions):
                n_layers += 1
                layers[f"conv{n_layers}"] = convolution(n_pre, n_post, bias=False)
                layers[f"norm{n_layers}"] = nn.BatchNorm2d(n_post)
                layers[f"relu{n_layers}"] = nn.ReLU()
                n_pre = n_post
        layers["average"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = linear(n_pre, classes, bias=True)
        super().__init__(layers, init, generator)
