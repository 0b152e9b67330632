"""Conv-2, Conv-4 and Conv-6 of the Lottery Ticket Hypothesis (Frankle & Carbin 2019), and the
network of TensorFlow's tutorial on CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Generator, nn

from .layers import Stack, convolution, dense_layers, scaled

HIDDEN = (256, 256)


class ConvNet(Stack):
    """Pairs of 3 x 3 convolutions, each pair followed by 2 x 2 max-pooling; then 256, 256, classes.

    One pair for each of ``channels``; ``conv1``, ``conv2``, ... and ``fc1`` to ``fc3`` with ReLU
    between them, an nn.Sequential. Convolutions keep height and width ('same' padding). With 64,
    128 and 256 channels on 3 x 32 x 32 that is 4,301,642, 2,425,930 and 2,262,602 parameters by
    arithmetic; the 1.7 million that the paper gives Conv-6 do not follow from its own description,
    which is what is built here.

    width: a factor of all channels and of both hidden layers, for networks that are narrower than
    the paper's.

    ``dropout`` acts on the two hidden fully connected layers; the paper's variant has .5 and does
    not say where. Weights are drawn from ``generator`` by ``init``, biases start at 0.

    >>> import torch
    >>> net = ConvNet((64, 128), generator=torch.Generator().manual_seed(0))  # Conv-4
    >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 3, 32, 32)).shape
    (2425930, torch.Size([2, 10]))
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        generator: Generator,
        input_shape: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        bias: bool = True,
        init: str = "glorot_normal",
        dropout: float = 0.0,
    ):
        n_pre, height, breadth = input_shape
        height, breadth = height >> len(channels), breadth >> len(channels)
        if not height or not breadth:
            raise ValueError(
                f"inputs of {tuple(input_shape)} are too small to be halved {len(channels)} times: "
                f"take at least {2 ** len(channels)} x {2 ** len(channels)} or a shallower model."
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for pair, n_post in enumerate(scaled(channels, width), start=1):
            for i in (2 * pair - 1, 2 * pair):
                layers[f"conv{i}"] = convolution(n_pre, n_post, bias)
                layers[f"conv_relu{i}"] = nn.ReLU()
                n_pre = n_post
            layers[f"pool{pair}"] = nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        sizes = [n_pre * height * breadth, *scaled(HIDDEN, width), classes]
        layers.update(dense_layers(sizes, bias, dropout))
        super().__init__(layers, init, generator)


class TutorialNet(Stack):
    """Two 5 x 5 convolutions of 64 channels with overlapping pools, then 384, 192, classes: the
    network of TensorFlow's tutorial on CIFAR-10, which others have made sparse.

    ``conv1``, ReLU, pool, normalisation, ``conv2``, ReLU, normalisation, pool, and ``fc1`` to
    ``fc3``. Convolutions keep height and width, pools of 3 x 3 halve them. On the tutorial's crops
    of 24 x 24 pixels that is the 1,068,298 parameters it says.

    norm: local response normalisation over nine channels; without, the layers are the same.
    width: a factor of all channels and of both hidden layers. Biases start at 0.

    >>> import torch
    >>> net = TutorialNet(generator=torch.Generator().manual_seed(0), input_shape=(3, 24, 24))
    >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 3, 24, 24)).shape
    (1068298, torch.Size([2, 10]))
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        norm: bool = True,
        bias: bool = True,
        init: str = "kaiming_normal",
        dropout: float = 0.0,
    ):
        n_pre, height, breadth = input_shape
        channels, *hidden = scaled((64, 384, 192), width)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, after in enumerate((("pool", "norm"), ("norm", "pool")), start=1):
            layers[f"conv{i}"] = convolution(n_pre, channels, bias, size=5)
            layers[f"conv_relu{i}"] = nn.ReLU()
            for part in after:
                if part == "pool":
                    layers[f"pool{i}"] = nn.MaxPool2d(3, stride=2, padding=1)
                    height, breadth = (height + 1) // 2, (breadth + 1) // 2
                elif norm:
                    layers[f"norm{i}"] = nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)
            n_pre = channels
        layers["flatten"] = nn.Flatten()
        layers.update(dense_layers([n_pre * height * breadth, *hidden, classes], bias, dropout))
        super().__init__(layers, init, generator)
