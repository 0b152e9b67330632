"""The honest controls: no sparsity, sparsity without rewiring, a ticket without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..rule import Rule
from ..when import When, never


@dataclass(frozen=True, kw_only=True)
class Dense(Rule):
    """Every synapse is there and stays: the network that the others are measured against."""

    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: the unpruned network"

    when: When = never


@dataclass(frozen=True, kw_only=True)
class Static(Rule):
    """The topology that training starts from, random at the same counts, is never changed."""

    kind: ClassVar[str] = "control"
    source: ClassVar[str] = "control: fixed random connectivity"

    when: When = never


@dataclass(frozen=True, kw_only=True)
class RandomReinit(Rule):
    """The control of Frankle & Carbin (2019, arXiv:1803.03635, section 2): a ticket's mask with
    fresh weights, trained as the ticket was.

    A branch: an experiment starts it from the masks of a finished IMP cell. In a loop of your
    own, attach ``Static()`` to a new model with ``initial=<the ticket's graph>``.
    """

    branch: ClassVar[bool] = True
    kind: ClassVar[str] = "branch"
    source: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635"

    when: When = never
