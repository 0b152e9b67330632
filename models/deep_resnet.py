"""Residual networks for ImageNet (He, Zhang, Ren & Sun 2016, arXiv:1512.03385, table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from .layers import initialise, linear, scaled

CHANNELS = (64, 128, 256, 512)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
BOTTLENECK = 50  # from this depth on
EXPANSION = 4
STEMS = ("imagenet", "cifar")


def _convolution(n_pre: int, n_post: int, side: int, stride: int = 1) -> nn.Conv2d:
    return skip_init(nn.Conv2d, n_pre, n_post, kernel_size=side, stride=stride, padding=side // 2,
                     bias=False)  # fmt: skip


class DeepBlock(nn.Module):
    """relu(branch(x) + shortcut(x)), ``branch`` of convolutions with batch norm, ReLU between them.

    Two of 3 x 3, or a bottleneck: 1 x 1, 3 x 3 and 1 x 1 to four times the channels. The stride is
    that of the first 3 x 3 convolution (for bottlenecks as in torchvision; the paper has it at the
    1 x 1 before). ``shortcut`` is a 1 x 1 convolution with batch norm where the shape changes
    (option B), else nothing.
    """

    def __init__(self, n_pre: int, n_hidden: int, stride: int, bottleneck: bool):
        super().__init__()
        n_post = n_hidden * (EXPANSION if bottleneck else 1)
        self.conv1 = _convolution(n_pre, n_hidden, *((1, 1) if bottleneck else (3, stride)))
        self.norm1 = nn.BatchNorm2d(n_hidden)
        self.relu1 = nn.ReLU()
        self.conv2 = _convolution(n_hidden, n_hidden, 3, stride if bottleneck else 1)
        self.norm2 = nn.BatchNorm2d(n_hidden)
        self.last: nn.Module = nn.Identity()
        if bottleneck:
            self.last = nn.Sequential(
                nn.ReLU(), _convolution(n_hidden, n_post, 1), nn.BatchNorm2d(n_post)
            )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_pre != n_post:
            self.shortcut = nn.Sequential(
                _convolution(n_pre, n_post, 1, stride), nn.BatchNorm2d(n_post)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.last(self.norm2(self.conv2(y)))
        return self.relu2(y + self.shortcut(x))


class DeepResNet(nn.Module):
    """ResNet-18, 34 and 50: a stem, four stages of blocks, global average pooling, linear.

    With 1,000 classes 11,689,512, 21,797,672 and 25,557,032 parameters. The "Resnet-18" of the
    Lottery Ticket Hypothesis is not among them: that is a :class:`rewire.models.ResNet` of 20
    layers with shortcut B.

    stem: "imagenet", a 7 x 7 convolution and 3 x 3 max-pooling with stride 2 each; "cifar", a 3 x 3
        convolution that keeps height and width.
    width: a factor of all channels.

    Weights are drawn from ``generator`` by ``init``; norms start at weight 1 and bias 0.

    >>> import torch
    >>> net = DeepResNet(18, generator=torch.Generator().manual_seed(0), width=0.25)
    >>> net(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1000])

    Raises:
        ValueError: no such depth or stem, or a width that is not above 0.
    """

    def __init__(
        self,
        depth: int = 18,
        *,
        generator: Generator,
        input_shape: Sequence[int] = (3, 224, 224),
        classes: int = 1000,
        width: float = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        init: str = "kaiming_normal",
    ):
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(
                f"depth = {depth}: a residual network for ImageNet has "
                f"{', '.join(map(str, BLOCKS))} layers."
            )
        if stem not in STEMS:
            raise ValueError(f"there is no stem {stem!r}; there are {', '.join(STEMS)}.")
        bottleneck = depth >= BOTTLENECK
        channels = scaled(CHANNELS, width)
        n_pre = channels[0]
        large = stem == "imagenet"
        self.conv = _convolution(input_shape[0], n_pre, *((7, 2) if large else (3, 1)))
        self.norm = nn.BatchNorm2d(n_pre)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        stages = []
        for stage, (n_hidden, n_blocks) in enumerate(zip(channels, BLOCKS[depth], strict=True)):
            blocks = []
            for block in range(n_blocks):
                stride = 2 if stage and not block else 1
                blocks.append(DeepBlock(n_pre, n_hidden, stride, bottleneck))
                n_pre = n_hidden * (EXPANSION if bottleneck else 1)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = linear(n_pre, classes, bias=True)
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.norm(self.conv(x))))
        return self.fc(self.flatten(self.average(self.stages(x))))
