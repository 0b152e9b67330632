"""How long an experiment will take and how much disk: an estimate, from a few steps timed here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rewire.rule_budget import budget_of

from ..building import TORCH_OPTIMIZERS, space_of
from ..cells import KEY, NUMBER, Cell, Estimate
from ..config.schema import Experiment, is_dense
from .settings import Settings, settings

if TYPE_CHECKING:
    from rewire.graph import Space
    from rewire.rule import Rule

OVERHEAD = 1.1  # data and checkpoints on top of a step


def estimate(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """By hash. Times a few steps of every rule on this machine (a tenth of a second each).

    A step is what the cell does between its rule's rarer deeds: a rule that acts at every step is
    timed with it, one that acts at every hundredth is not.
    """
    space = space_of(experiment)
    timed: dict[tuple[Any, ...], tuple[int, float]] = {}
    costs = {}
    for cell in cells:
        s = settings(cell.config)
        key = cell.label, cell.density, s.training.batch
        if key not in timed:
            timed[key] = _calibrate(experiment, s)
        parameters, step = timed[key]
        costs[cell.hash] = Estimate(
            step * OVERHEAD * (cell.weight + _evaluations(experiment, cell, s) / 3),
            _bytes(s, space, parameters),
        )
    return costs


def _evaluations(experiment: Experiment, cell: Cell, s: Settings) -> float:
    """What a cell evaluates, in batches: each is a forward pass, a third of a training step."""
    info = experiment.data.info
    held_out = experiment.data.validation or info.validation
    levels = cell.weight / int(s.training.steps or 1)
    examples = cell.weight / int(s.training.evaluate_every) * held_out + 2 * levels * info.test
    examples *= info.steps  # of an episode at most
    return examples / s.training.batch


def _calibrate(experiment: Experiment, s: Settings, least: float = 0.1) -> tuple[int, float]:
    """(parameters, seconds of one training step of a cell), on as many threads as it will have."""
    import torch

    from rewire.worlds.torch_model.probe import Probe

    from .session import build

    info, task = experiment.data.info, s.task
    threads = torch.get_num_threads()
    torch.set_num_threads(experiment.threads)
    try:
        generator = torch.Generator().manual_seed(0)
        examples = torch.Generator().manual_seed(1)
        x, y = task.example(info, s.training.batch, examples)
        batch = _batches(experiment, s) if info.endless else lambda step: (x, y)
        built = build(
            s,
            info,
            start=lambda world: (_rule(s), _graph(world, s)),
            draw=lambda: generator,
            probe=Probe([(x, y)], lambda model, batch: task.loss(model(batch[0]), batch[1])),
            span=max(int(s.training.steps or 0), 10**6),  # never at the end of a level
        )
        net = built.net
        times: list[float] = []
        while len(times) < 8 or sum(times) < least:
            start = time.process_time()  # what others do on this machine is no cost of the cell
            task.learn(net, *batch(len(times)))
            net.rewire()
            times.append((time.process_time() - start) / experiment.threads)
        return sum(p.numel() for p in built.model.parameters()), statistics.median(times)
    finally:
        torch.set_num_threads(threads)


def _batches(experiment: Experiment, s: Settings) -> Callable[[int], tuple[Any, Any]]:
    """Batches of acting at random."""
    from .rollouts import batches_of

    return batches_of(experiment.dataset, s)


def _rule(s: Settings) -> Rule:
    from rewire.rules import Static

    if s.kind == "branch" or budget_of(s.rule).at_start:
        return Static()
    budget = budget_of(s.rule)
    if s.density is None or budget.visits:
        return s.rule
    return budget.towards(s.rule, (s.density,))


def _graph(world: Any, s: Settings) -> Any:
    from rewire.graph import Graph
    from rewire.starting_graph import first_graph

    spread = "erk" if s.distribution == "imp" else s.distribution
    if s.kind == "branch":
        return first_graph(world, s.densities[0], spread, "random", s.seed)
    budget = budget_of(s.rule)
    if is_dense(s.rule) or budget.visits:
        return Graph.full(world.space)
    density = None if s.density is None else budget.starts_at(s.density)
    return first_graph(world, density, spread, "random", s.seed)


def _bytes(s: Settings, space: Space, parameters: int) -> int:
    """What a finished cell leaves: its starts, the end of every level, states to rewind to.

    Checkpoints are deleted at the end. What rules drop and form on the way (4 and 8 bytes each) is
    known for ladders alone.
    """
    edges = _levels(s, space)
    asked = {round(d * space.possible) for d in (1.0, *s.densities)} | {edges[0]}
    models = sum(n in asked for n in edges)  # of requested levels only
    starts, pruned = (edges, 0) if s.kind == "branch" else (edges[:1], edges[0] - edges[-1])
    moments = TORCH_OPTIMIZERS[s.training.optimizer.name].moments
    saved = {*s.saves, *(s.rule.saves if s.kind == "rule" else ())} - {0}
    states = len(saved) * (1 + moments) + (moments if is_dense(s.rule) else 0)
    of_edges = (KEY + NUMBER) * sum(edges) + KEY * sum(starts) + NUMBER * pruned
    return of_edges + NUMBER * parameters * (models + states)


def _levels(s: Settings, space: Space) -> list[int]:
    """Edges at the end of each level."""
    possible = space.possible
    if s.kind == "rule" and (budget := budget_of(s.rule)).visits:
        names = [p.name for p in space.projections]
        edges = [possible]
        rule = budget.towards(s.rule, s.densities)
        for drop in budget.rungs(rule, space.sizes, names):
            edges.append(edges[-1] - sum(drop))
        return edges
    if s.densities:
        return [round(d * possible) for d in s.densities]
    return [round((s.density or 1.0) * possible)]
