"""The honest controls: no sparsity, and sparsity without rewiring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..rule import Rule
from ..when import When, never


@dataclass(frozen=True, kw_only=True)
class Dense(Rule):
    """The dense network: every synapse exists and stays. The reference for all other rules."""

    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: the unpruned network"

    when: When = never


@dataclass(frozen=True, kw_only=True)
class Static(Rule):
    """A control: the edges that training starts from, usually random, never change.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rewire.attach(layer, optimizer, rewire.Static(), density=0.2).edges
    40
    """

    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: fixed random connectivity"

    when: When = never
