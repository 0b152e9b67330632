"""What the plain feed-forward models share: initialisation from a generator, and a sequence."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init


def fan_in_normal(weight: Tensor, generator: Generator) -> Tensor:
    """N(0, 1) / sqrt(fan in), as the authors' code of DEEP R draws its weights.

    >>> weight = fan_in_normal(torch.empty(200, 400), torch.Generator().manual_seed(0))
    >>> round(float(weight.std()) * 400**0.5, 2)
    1.0
    """
    fan_in = weight[0].numel()
    return weight.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)


INITS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "glorot_normal": lambda weight, g: nn.init.xavier_normal_(weight, generator=g),
    "glorot_uniform": lambda weight, g: nn.init.xavier_uniform_(weight, generator=g),
    "kaiming_normal": lambda weight, g: nn.init.kaiming_normal_(
        weight, nonlinearity="relu", generator=g
    ),
    "fan_in_normal": fan_in_normal,
}


@torch.no_grad()
def initialise(model: nn.Module, init: str, *, generator: Generator) -> None:
    """Draw every linear and convolutional weight of ``model`` afresh; its biases become 0.

    Layers draw in the order in which the model lists them, weights only, so a model with biases has
    the same weights as one without. Only ``generator`` is used, never torch's global one. On the
    meta device there is nothing to draw.

    >>> layer = nn.Linear(4, 2)
    >>> initialise(layer, "glorot_normal", generator=torch.Generator().manual_seed(0))
    >>> layer.bias.tolist()
    [0.0, 0.0]
    >>> initialise(layer, "glorot", generator=torch.Generator())
    Traceback (most recent call last):
    ValueError: there is no init 'glorot'; there are glorot_normal, ...

    Raises:
        ValueError: there is no ``init`` of that name.
    """
    if init not in INITS:
        raise ValueError(f"there is no init {init!r}; there are {', '.join(INITS)}.")
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.is_meta:
            INITS[init](layer.weight, generator)
            if layer.bias is not None:
                layer.bias.zero_()


def linear(n_pre: int, n_post: int, bias: bool) -> nn.Linear:
    """A linear layer that is not initialised yet: torch would draw from its global generator."""
    return skip_init(nn.Linear, n_pre, n_post, bias=bias, device=torch.get_default_device())


def convolution(n_pre: int, n_post: int, bias: bool, size: int = 3) -> nn.Conv2d:
    """A convolution of odd ``size`` that keeps height and width, not initialised yet."""
    return skip_init(
        nn.Conv2d, n_pre, n_post, kernel_size=size, padding=size // 2, bias=bias,
        device=torch.get_default_device(),
    )  # fmt: skip


def scaled(sizes: Sequence[int], width: float) -> list[int]:
    """``sizes`` times ``width``, rounded, at least 1 each.

    >>> scaled([64, 128, 2], 0.25)
    [16, 32, 1]

    Raises:
        ValueError: a width that is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width = {width}: choose a factor above 0; 1 is the paper's network.")
    return [max(1, round(size * width)) for size in sizes]


def dense_layers(sizes: list[int], bias: bool, dropout: float) -> OrderedDict[str, nn.Module]:
    """fc1, relu1, (dropout1,) fc2, ...: the last layer has neither ReLU nor dropout.

    >>> list(dense_layers([784, 300, 10], bias=True, dropout=0.5))
    ['fc1', 'fc_relu1', 'dropout1', 'fc2']
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout}: choose the fraction of units left out, 0 to < 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n_pre, n_post) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
        layers[f"fc{i}"] = linear(n_pre, n_post, bias)
        if i < len(sizes) - 1:
            layers[f"fc_relu{i}"] = nn.ReLU()
            if dropout:
                layers[f"dropout{i}"] = nn.Dropout(dropout)
    return layers


class Stack(nn.Sequential):
    """A sequence of named layers, fully drawn from ``generator``; a slice is a plain Sequential."""

    def __init__(self, layers: OrderedDict[str, nn.Module], init: str, generator: Generator):
        super().__init__(layers)
        initialise(self, init, generator=generator)

    def __getitem__(self, index):
        if isinstance(index, slice):  # torch would call our constructor, which takes other things
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)
