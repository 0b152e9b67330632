"""Residual networks for CIFAR (He, Zhang, Ren & Sun 2016, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils import skip_init

from .layers import initialise, linear

SHORTCUTS = ("A", "B")


def _conv3x3(n_pre: int, n_post: int, stride: int) -> nn.Conv2d:
    return skip_init(nn.Conv2d, n_pre, n_post, kernel_size=3, stride=stride, padding=1, bias=False)


class Subsample(nn.Module):
    """The shortcut A: every ``stride``-th pixel, with channels of zeros up to ``n_post``.

    Half of the new channels stand before the old ones, half after them. No parameters.

    >>> import torch
    >>> Subsample(2, 4, stride=2)(torch.ones(1, 2, 4, 4))[0].sum((1, 2)).tolist()
    [0.0, 4.0, 4.0, 0.0]
    """

    def __init__(self, n_pre: int, n_post: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (n_post - n_pre) // 2
        self.after = n_post - n_pre - self.before

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class Block(nn.Module):
    """relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x)), with 3 x 3 convolutions."""

    def __init__(self, n_pre: int, n_post: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = _conv3x3(n_pre, n_post, stride)
        self.norm1 = nn.BatchNorm2d(n_post)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3x3(n_post, n_post, 1)
        self.norm2 = nn.BatchNorm2d(n_post)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_pre != n_post:
            self.shortcut = (
                Subsample(n_pre, n_post, stride) if shortcut == "A"
                else nn.Sequential(
                    skip_init(nn.Conv2d, n_pre, n_post, kernel_size=1, stride=stride, bias=False),
                    nn.BatchNorm2d(n_post),
                )
            )  # fmt: skip
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


def _stage(n_pre: int, n_post: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
    return nn.Sequential(
        Block(n_pre, n_post, stride, shortcut),
        *(Block(n_post, n_post, 1, shortcut) for _ in range(blocks - 1)),
    )


class ResNet(nn.Module):
    """A 3 x 3 convolution, three stages of ``blocks`` blocks each, global average pooling, linear.

    The stages have ``widths`` channels; the second and third begin with stride 2. ``depth`` counts
    the layers with weights, 6 * blocks + 2: 20, 32, 44 and 56 have 3, 5, 7 and 9 blocks a stage, 8
    and 14 (not in the paper) 1 and 2. With widths 16, 32, 64, option A and 10 classes on 3 x 32 x
    32 depths of 20 to 56 have 269,722, 464,154, 658,586 and 853,018 parameters (the paper gives
    .27, .46, .66 and .85 million).

    shortcut: "A", zero-padded channels without parameters, as in the paper's results on CIFAR; "B",
        a 1 x 1 convolution with batch norm, where the shape changes. The "Resnet-18" of the Lottery
        Ticket Hypothesis is depth 20 with B: 272,474 parameters, 270,256 of them convolutions.
        That paper prunes neither shortcuts nor the output: ``exclude=["*.shortcut.*", "fc.*"]``.

    Weights are drawn from ``generator`` by ``init`` (the paper: He et al. 2015, which is
    "kaiming_normal"); norms start at weight 1 and bias 0.

    >>> import torch
    >>> net = ResNet(20, generator=torch.Generator().manual_seed(0))
    >>> sum(p.numel() for p in net.parameters())
    269722

    Raises:
        ValueError: a depth that is not 6 n + 2, another shortcut, or widths that are not three
            rising numbers.
    """

    def __init__(
        self,
        depth: int = 20,
        *,
        generator: Generator,
        input_shape: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        widths: Sequence[int] = (16, 32, 64),
        shortcut: str = "A",
        init: str = "kaiming_normal",
    ):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(
                f"depth = {depth}: a residual network for CIFAR has 6 n + 2 layers, such as 20, "
                "32, 44 or 56."
            )
        if shortcut not in SHORTCUTS:
            raise ValueError(
                f"there is no shortcut {shortcut!r}; there are {', '.join(SHORTCUTS)}."
            )
        if len(widths) != 3 or list(widths) != sorted(widths) or min(widths) < 1:
            raise ValueError(
                f"widths = {list(widths)}: give the channels of the three stages, none narrower "
                "than the one before it."
            )
        self.conv = _conv3x3(input_shape[0], widths[0], 1)
        self.norm = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        narrow, middle, wide = widths
        self.stage1 = _stage(narrow, narrow, blocks, 1, shortcut)
        self.stage2 = _stage(narrow, middle, blocks, 2, shortcut)
        self.stage3 = _stage(middle, wide, blocks, 2, shortcut)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = linear(wide, classes, bias=True)
        initialise(self, init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))
