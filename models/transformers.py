"""Transformers from plain torch: a GPT, a vision transformer, and an encoder with a decoder.

All three are pre-norm (Xiong et al. 2020, arXiv:2002.04745): x + attention(norm(x)), then
x + ff(norm(x)), and one norm at the end. Queries, keys, values and outputs are linear layers of
their own rather than an nn.MultiheadAttention, whose one (3 width, width) parameter would have one
density and one ranking for all three: so each is a projection with counts of its own, calibration
data reach it by an ordinary hook, and both torch worlds hold it as any other linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils import skip_init

from .layers import linear

STD = 0.02  # of weights and embeddings at the start, as in GPT-2 and ViT


class Attention(nn.Module):
    """Scaled dot-product attention with ``heads`` heads (Vaswani et al. 2017, section 3.2).

    ``query``, ``key``, ``value`` and ``out`` are linear, (width, width). x is (N, T, width) and the
    output of its shape; ``memory`` (N, S, width), by default x itself, is what keys and values are
    made of. causal: each place sees itself and the places before it. mask: (N, S) bool, False at
    places of the memory that nothing sees.

    >>> attention = Attention(8, 2)
    >>> attention(torch.zeros(3, 5, 8), torch.zeros(3, 4, 8)).shape
    torch.Size([3, 5, 8])

    Raises:
        ValueError: the heads do not divide the width.
    """

    fed_by = {"out": "value"}  # each unit of the values, averaged over places, feeds the output

    def __init__(self, width: int, heads: int, *, causal: bool = False, bias: bool = True):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"width = {width} cannot be shared out evenly over heads = {heads}: choose a "
                "number of heads that divides it."
            )
        self.heads, self.causal = heads, causal
        self.query = linear(width, width, bias)
        self.key = linear(width, width, bias)
        self.value = linear(width, width, bias)
        self.out = linear(width, width, bias)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        memory = x if memory is None else memory
        q = self._by_head(self.query(x))
        k, v = self._by_head(self.key(memory)), self._by_head(self.value(memory))
        seen = None if mask is None else mask[:, None, None, :]
        y = scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, T, width / heads)


def feed_forward(width: int, hidden: int, bias: bool, act: type[nn.Module]) -> nn.Sequential:
    """linear, activation, linear: a Sequential, so that the hidden units are one population."""
    return nn.Sequential(linear(width, hidden, bias), act(), linear(hidden, width, bias))


class Block(nn.Module):
    """x + attention(norm1(x)), then x + ff(norm2(x)): (N, T, width) to the same shape.

    dropout: of what attention and ``ff`` add, in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        ratio: int = 4,
        act: type[nn.Module] = nn.GELU,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal, bias=bias)
        self.norm2 = nn.LayerNorm(width)
        self.ff = feed_forward(width, ratio * width, bias, act)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask=mask))
        return x + self.dropout(self.ff(self.norm2(x)))


class DecoderBlock(Block):
    """A causal block with attention to an encoder's output between the two parts of :class:`Block`:
    x (N, T, width), memory (N, S, width)."""

    def __init__(self, width: int, heads: int, *, bias: bool = True, **options):
        super().__init__(width, heads, causal=True, bias=bias, **options)
        self.norm_cross = nn.LayerNorm(width)
        self.cross = Attention(width, heads, bias=bias)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        x = x + self.dropout(self.attention(self.norm1(x)))
        x = x + self.dropout(self.cross(self.norm_cross(x), memory, mask))
        return x + self.dropout(self.ff(self.norm2(x)))


class GPT(nn.Module):
    """A decoder-only language model (Radford et al. 2019): tokens (N, T) to logits (N, T, classes).

    input_shape: its product is the context, the most places that the model can see; T may be less.
    classes: the size of the vocabulary. Positions are learned. tied: the head's weight is that of
    the token embedding, as in GPT-2, and dense then unless embeddings are sparse; otherwise the
    head is a linear layer like the others. bias: of the linear layers but the head. dropout: of
    the embeddings and of what each block adds; the attention weights have none.

    Weights and embeddings are N(0, .02^2) drawn from ``generator``, those of the last layer of each
    residual branch divided by sqrt(2 layers), as in GPT-2; biases are 0.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = GPT(generator=g, input_shape=(64,), classes=65, layers=2, heads=2, width=32)
    >>> net(torch.zeros(3, 10, dtype=torch.int64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([3, 10, 65]), 29600)

    Raises:
        ValueError: heads that do not divide the width, or a size below 1; and, when it is called,
            a sequence that is longer than the context.
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.0,
        bias: bool = True,
        tied: bool = True,
    ):
        super().__init__()
        _check_sizes(layers=layers, width=width)
        self.context = math.prod(input_shape)
        self.token = _embedding(classes, width)
        self.position = nn.Parameter(torch.empty(self.context, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, causal=True, bias=bias, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = linear(width, classes, bias=False)
        if tied:
            self.head.weight = self.token.weight
        _draw(self, generator)

    def forward(self, tokens: Tensor) -> Tensor:
        places = tokens.shape[1]
        if places > self.context:
            raise ValueError(
                f"a sequence of {places} tokens, and the context is {self.context}: cut it, or "
                "build the model for longer ones."
            )
        x = self.dropout(self.token(tokens) + self.position[:places])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) for small pictures:
    (N, C, H, W) to logits (N, classes).

    patch: side of the square patches, which ``patches``, a linear layer, embeds; it divides H and
    W. A learned token stands before them, whose last state ``head`` reads; positions are learned.
    dropout: of the embeddings and of what each block adds.

    Weights and embeddings are drawn as those of :class:`GPT`; biases are 0.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = ViT(generator=g, input_shape=(1, 8, 8), classes=10, patch=2, width=32, layers=2)
    >>> net(torch.zeros(3, 1, 8, 8)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([3, 10]), 26538)

    Raises:
        ValueError: a patch that does not divide the picture, heads that do not divide the width, or
            a size below 1.
    """

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        patch: int = 4,
        layers: int = 4,
        heads: int = 4,
        width: int = 64,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        _check_sizes(patch=patch, layers=layers, width=width)
        channels, height, breadth = input_shape
        if height % patch or breadth % patch:
            raise ValueError(
                f"patch = {patch} does not divide pictures of {height} x {breadth}: choose a side "
                "that divides both."
            )
        self.patch = patch
        n_patches = (height // patch) * (breadth // patch)
        self.patches = linear(channels * patch**2, width, bias)
        self.summary = nn.Parameter(torch.empty(1, 1, width))
        self.position = nn.Parameter(torch.empty(1 + n_patches, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, bias=bias, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = linear(width, classes, bias=True)
        _draw(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))  # (N, C, a, p, b, p)
        x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (N, patches, C p p)
        x = torch.cat([self.summary.expand(len(x), -1, -1), self.patches(x)], 1)
        x = self.dropout(x + self.position)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class Transformer(nn.Module):
    """An encoder and a decoder (Vaswani et al. 2017, arXiv:1706.03762): source (N, S) and target
    (N, T) of tokens to logits (N, T, classes) of what follows each place of the target. One tensor
    (N, 2, T) holds both, filled up with token 0 where ``padding`` names no other.

    input_shape: its largest number is the longest sequence. classes: the size of the vocabulary
    that both sides share, and with it the embedding. Positions are sines and cosines. tied: the
    head's weight is that of the embedding, as in the paper; it is dense then unless embeddings are
    sparse. padding: the token that fills up sources, which nothing attends to. layers: of the
    encoder and of the decoder.

    Linear weights are Glorot uniform, embeddings N(0, 1 / width), drawn from ``generator``; biases
    are 0. Deviation from the paper: norms before the branches rather than after them.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = Transformer(generator=g, input_shape=(20,), classes=50, layers=1, heads=2, width=16)
    >>> source, target = torch.zeros(3, 9, dtype=torch.int64), torch.ones(3, 7, dtype=torch.int64)
    >>> net(source, target).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([3, 7, 50]), 8544)

    Raises:
        ValueError: heads that do not divide the width, an odd width, or a size below 1; and, when
            it is called, a sequence that is too long.
    """

    places: Tensor

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        layers: int = 3,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.0,
        bias: bool = True,
        tied: bool = True,
        padding: int | None = None,
    ):
        super().__init__()
        _check_sizes(layers=layers, width=width)
        self.width, self.padding = width, padding
        self.token = _embedding(classes, width)
        self.register_buffer("places", sinusoids(max(input_shape), width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        options: dict[str, Any] = {"bias": bias, "dropout": dropout, "act": nn.ReLU}
        self.encoder = nn.ModuleList(Block(width, heads, **options) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(DecoderBlock(width, heads, **options) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.head = linear(width, classes, bias=False)
        if tied:
            self.head.weight = self.token.weight
        _draw_glorot(self, generator)

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        padding = self.padding
        if target is None:
            source, target = _of_pair(source)
            padding = 0 if padding is None else padding
        mask = None if padding is None else source != padding
        return self.decode(target, self.encode(source, mask), mask)

    def encode(self, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """The memory (N, S, width) of a source; mask: (N, S) bool, False where it is filled up."""
        x = self._embedded(source)
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, target: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (N, T, classes) of a target that reads a memory."""
        x = self._embedded(target)
        for block in self.decoder:
            x = block(x, memory, mask)
        return self.head(self.decoder_norm(x))

    def _embedded(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > len(self.places):
            raise ValueError(
                f"a sequence of {length} tokens, and the longest is {len(self.places)}: cut it, or "
                "build the model for longer ones."
            )
        scaled = self.token(tokens) * math.sqrt(self.width)
        return self.dropout(scaled + self.places[:length].to(scaled))


def sinusoids(places: int, width: int) -> Tensor:
    """Codes of positions (Vaswani et al. 2017, section 3.5), (places, width): sin(t / 10000^(2i /
    width)) at 2 i, the cosine at 2 i + 1.

    >>> sinusoids(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    if width % 2:
        raise ValueError(f"width = {width}: sines and cosines in pairs need an even one.")
    t = torch.arange(places)[:, None]
    rate = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([(t * rate).sin(), (t * rate).cos()], 2).flatten(1)


def _of_pair(pair: Tensor) -> tuple[Tensor, Tensor]:
    """Source and target of one tensor that holds both."""
    if pair.dim() != 3 or pair.shape[1] != 2:
        raise ValueError(
            f"one tensor of shape {tuple(pair.shape)} where a source and a target belong: give two "
            "of shape (N, T), or one of shape (N, 2, T)."
        )
    return pair[:, 0], pair[:, 1]


def _check_sizes(**sizes: int) -> None:
    if min(sizes.values()) < 1:
        values = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise ValueError(f"{values}: choose 1 or more.")


def _embedding(size: int, width: int) -> nn.Embedding:
    return skip_init(nn.Embedding, size, width, device=torch.get_default_device())


@torch.no_grad()
def _draw(model: GPT | ViT, generator: Generator) -> None:
    """N(0, .02^2) for every weight, token and position, biases 0; in the order of the model."""
    if model.position.is_meta:
        return
    blocks: Any = model.blocks
    branches = 2 * len(blocks)
    last = {id(w) for b in blocks for w in (b.attention.out.weight, b.ff[2].weight)}
    for name, p in model.named_parameters():
        if ".norm" in name or name.startswith("norm"):
            continue  # 1 and 0 already
        if name.endswith("bias"):
            p.zero_()
        else:
            p.normal_(0.0, STD / math.sqrt(branches) if id(p) in last else STD, generator=generator)


@torch.no_grad()
def _draw_glorot(model: Transformer, generator: Generator) -> None:
    if model.token.weight.is_meta:
        return
    model.token.weight.normal_(0.0, model.width**-0.5, generator=generator)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.weight is not model.token.weight:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
