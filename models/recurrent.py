"""Recurrent networks: they read a picture row by row, a class at each frame, or the next token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from .layers import INITS, linear

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SPAN = 0.1  # of embeddings and head: the small network of Zaremba et al. 2014


class RowReader(nn.Module):
    """A picture's rows as a sequence, a recurrent layer ``rnn``, and ``fc`` on its last state.

    input_shape: (C, H, W): H steps of C W numbers each; the output is logits (N, classes).
    hidden: units in each direction of each of the ``layers``. bidirectional: the picture is read
    upwards too, and ``fc`` sees the ends of both readings. Weights and biases of ``rnn`` are drawn
    from ``generator``, uniform up to 1 / sqrt(hidden), as torch does; ``fc`` is Glorot normal.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = RowReader(generator=g, input_shape=(1, 28, 28), classes=10, hidden=64)
    >>> net(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])

    Raises:
        ValueError: no such cell, or a size below 1.
    """

    fed_by = {"fc": "rnn"}  # their units are the same: see rewire.worlds.torch_model.layers

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
    ):
        super().__init__()
        channels, _, width = input_shape
        self.rnn = _recurrent(cell, channels * width, hidden, layers, bidirectional)
        self.fc = linear(hidden * (1 + bidirectional), classes, bias=True)
        _draw(self.rnn, generator)
        _draw_head(self.fc, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of pictures (N, C, H, W)."""
        rows = x.transpose(1, 2).flatten(2)  # (N, H, C W)
        out, _ = self.rnn(rows)
        hidden = self.rnn.hidden_size
        ends = [out[:, -1, :hidden], out[:, 0, hidden:]]  # upwards, the first row comes last
        return self.fc(torch.cat(ends, 1))


class FrameReader(nn.Module):
    """A class at each frame of a sequence: a recurrent layer ``rnn``, and ``fc`` on its states.

    input_shape: (T, bands), T frames of ``bands`` numbers; (N, T, bands) becomes logits
    (N, T, classes), and T may change from call to call. hidden: units in each direction of each of
    the ``layers``. bidirectional: each frame sees those before and after it, as in Graves &
    Schmidhuber 2005, and ``fc`` sees both readings. dropout: of the units between layers and of
    those that ``fc`` reads. With 40 bands, 128 LSTM units in each direction and 10 classes that is
    176,650 parameters. Weights are drawn as those of :class:`RowReader`.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = FrameReader(generator=g, input_shape=(100, 40), classes=10)
    >>> net(torch.zeros(5, 100, 40)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 100, 10]), 176650)

    Raises:
        ValueError: no such cell, a size below 1, or a dropout outside 0 to 1.
    """

    fed_by = {"fc": "rnn"}

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int],
        classes: int,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.rnn = _recurrent(cell, input_shape[-1], hidden, layers, bidirectional, dropout)
        self.dropout = nn.Dropout(dropout)
        self.fc = linear(hidden * (1 + bidirectional), classes, bias=True)
        _draw(self.rnn, generator)
        _draw_head(self.fc, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, T, classes) of frames (N, T, bands)."""
        out, _ = self.rnn(x)
        return self.fc(self.dropout(out))


class RecurrentLM(nn.Module):
    """A recurrent language model (Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329): tokens
    (N, T) to logits (N, T, classes) of the token after each place.

    ``token`` embeds, ``rnn`` reads and ``head`` scores; embeddings are as wide as the layers have
    units, ``hidden``. Every sequence starts at state 0. tied: the head's weight is that of the
    embedding (Press & Wolf 2017, arXiv:1608.05859), and dense then unless embeddings are sparse.
    dropout: of the embeddings, of the units between layers and of those that the head reads, never
    of the connections from one place to the next, as in the paper.

    With 10,000 tokens, two layers and 1,500 units that is 66 million parameters, tied 51 million,
    as in the papers (torch's LSTM has two biases a gate, 12,000 more than one). Embeddings and head
    are uniform up to .1, weights of ``rnn`` up to 1 / sqrt(hidden), all drawn from ``generator``.

    >>> g = torch.Generator().manual_seed(0)
    >>> net = RecurrentLM(generator=g, input_shape=(64,), classes=65, hidden=32, layers=2)
    >>> net(torch.zeros(3, 10, dtype=torch.int64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([3, 10, 65]), 21121)

    Raises:
        ValueError: no such cell, a size below 1, or a dropout outside 0 to 1.
    """

    fed_by = {"rnn": "token", "head": "rnn"}

    def __init__(
        self,
        *,
        generator: Generator,
        input_shape: Sequence[int] = (),  # of any length
        classes: int,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        tied: bool = False,
    ):
        super().__init__()
        device = torch.get_default_device()
        self.token = skip_init(nn.Embedding, classes, hidden, device=device)
        self.rnn = _recurrent(cell, hidden, hidden, layers, False, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = linear(hidden, classes, bias=True)
        if tied:
            self.head.weight = self.token.weight
        _draw(self.rnn, generator)
        self._draw_tokens(generator)

    @torch.no_grad()
    def _draw_tokens(self, generator: Generator) -> None:
        if self.token.weight.is_meta:
            return
        self.token.weight.uniform_(-SPAN, SPAN, generator=generator)
        if self.head.weight is not self.token.weight:
            self.head.weight.uniform_(-SPAN, SPAN, generator=generator)
        self.head.bias.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, T, classes) of tokens (N, T)."""
        out, _ = self.rnn(self.dropout(self.token(tokens)))
        return self.head(self.dropout(out))


def _recurrent(
    cell: str, inputs: int, hidden: int, layers: int, bidirectional: bool, dropout: float = 0.0
) -> nn.RNNBase:
    """A recurrent module that is not drawn yet: torch would draw from its global generator."""
    if cell not in CELLS:
        raise ValueError(f"there is no cell {cell!r}; there are {', '.join(CELLS)}.")
    if min(hidden, layers) < 1:
        raise ValueError(f"hidden = {hidden}, layers = {layers}: choose 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout}: choose the fraction of units left out, 0 to < 1.")
    between = dropout if layers > 1 else 0.0  # torch warns where there is no layer to follow
    rnn = CELLS[cell](inputs, hidden, num_layers=layers, batch_first=True, device="meta",
                      bidirectional=bidirectional, dropout=between)  # fmt: skip
    return rnn.to_empty(device=torch.get_default_device())


@torch.no_grad()
def _draw(rnn: nn.RNNBase, generator: Generator) -> None:
    """Weights and biases uniform up to 1 / sqrt(hidden), as torch draws them."""
    most = 1 / math.sqrt(rnn.hidden_size)
    for p in rnn.parameters():
        if not p.is_meta:
            p.uniform_(-most, most, generator=generator)


@torch.no_grad()
def _draw_head(fc: nn.Linear, generator: Generator) -> None:
    if not fc.weight.is_meta:
        INITS["glorot_normal"](fc.weight, generator)
        fc.bias.zero_()
