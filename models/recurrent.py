"""Recurrent networks that read a picture row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from .layers import INITS, linear

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


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
        if cell not in CELLS:
            raise ValueError(f"there is no cell {cell!r}; there are {', '.join(CELLS)}.")
        if min(hidden, layers) < 1:
            raise ValueError(f"hidden = {hidden}, layers = {layers}: choose 1 or more.")
        channels, _, width = input_shape
        rnn = CELLS[cell](channels * width, hidden, num_layers=layers, batch_first=True,
                          bidirectional=bidirectional, device="meta")  # fmt: skip
        self.rnn = rnn.to_empty(device=torch.get_default_device())  # drawn below
        self.fc = linear(hidden * (1 + bidirectional), classes, bias=True)
        self._draw(generator, 1 / math.sqrt(hidden))

    @torch.no_grad()
    def _draw(self, generator: Generator, most: float) -> None:
        if self.fc.weight.is_meta:
            return
        for p in self.rnn.parameters():
            p.uniform_(-most, most, generator=generator)
        INITS["glorot_normal"](self.fc.weight, generator)
        self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of pictures (N, C, H, W)."""
        rows = x.transpose(1, 2).flatten(2)  # (N, H, C W)
        out, _ = self.rnn(rows)
        hidden = self.rnn.hidden_size
        ends = [out[:, -1, :hidden], out[:, 0, hidden:]]  # upwards, the first row comes last
        return self.fc(torch.cat(ends, 1))
