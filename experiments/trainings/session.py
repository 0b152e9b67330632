"""A session built as a cell's settings say, for training and for estimating alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rewire.graph import Graph
from rewire.limits import limited
from rewire.rule import Rule
from rewire.session import Session
from rewire.torch_loop import torch_world
from rewire.world import Trainable
from rewire.worlds.torch_model.probe import Probe

from ..building import build_optimizer, model_for
from .passes import laid_out, make_passes
from .settings import Settings

Start = Callable[[Trainable], tuple[Rule, Graph]]


@dataclass(frozen=True)
class Built:
    """A model, its optimiser, the world that holds both, and the session in it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: Trainable
    net: Session


def build(
    s: Settings,
    data: Any,
    *,
    start: Start,
    draw: Callable[[], torch.Generator],
    probe: Probe,
    span: int,
    device: str = "cpu",
) -> Built:
    """The session of a training.

    data: a Dataset or a DatasetInfo, for inputs and classes. start: the rule, and the edges that
    it begins with, in the world's space. draw: a generator for the model's numbers. span: steps
    in a round.
    """
    model = model_for(s.model.name, s.model.options, data, s.world, draw)
    if s.world == "masked":
        model = laid_out(model.to(device), s)
    optimizer = build_optimizer(s.training.optimizer, model.parameters())
    world = torch_world(
        model, optimizer, s.world, s.seed,  # type: ignore[arg-type]
        include=s.include or None, exclude=s.exclude, probe=probe,
    )  # fmt: skip
    world.space = limited(world.space, s.limits)
    make_passes(world, s)
    world.clips = s.training.clip
    rule, graph = start(world)
    net = Session(world, graph, rule, span=span, seed=s.seed, rewinds=True, limits=s.limits)
    return Built(model, optimizer, world, net)
