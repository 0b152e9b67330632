"""How long an experiment will take and how much disk: an estimate, from a few steps timed here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import Cell, settings
from .schema import Experiment, available, build_optimizer

OVERHEAD = 1.25  # masks, rules, data and checkpoints on top of forward, backward and optimiser
MOMENTS = {"sgd": 1, "rmsprop": 1, "adagrad": 1}  # tensors an optimiser keeps; the others two


@dataclass(frozen=True)
class Estimate:
    """Of one cell: seconds of one core, and bytes on disk when it is finished."""

    seconds: float
    bytes: int


def estimate(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """By hash. Times a few steps of the model on this machine (about a second)."""
    parameters, costs = 0, dict[int, float]()
    found = {}
    for cell in cells:
        training = settings(cell.config).training
        if training.batch not in costs:
            parameters, costs[training.batch] = _calibrate(experiment, training)
        steps, every = int(training.steps or 0), training.evaluate_every
        info = available("data")[experiment.data.name]
        held_out = experiment.data.validation or info.validation
        levels = cell.weight / steps
        # an evaluation is a forward pass, a third of a training step per batch
        evaluations = cell.weight / int(every) * held_out + levels * info.test
        work = cell.weight * OVERHEAD + evaluations / training.batch / 3
        moments = MOMENTS.get(training.optimizer.name, 2)
        copies = 2 * (1 + moments) + levels + 2  # checkpoints, levels, snapshots
        edges = parameters * (cell.density or 0.2)
        found[cell.hash] = Estimate(
            work * costs[training.batch], int(4 * parameters * copies + 16 * edges * levels)
        )
    return found


def _calibrate(experiment: Experiment, training: Any, least: float = 0.3) -> tuple[int, float]:
    """(parameters, seconds of one plain dense training step), on one thread."""
    import torch

    from .config import build_model

    info = available("data")[experiment.data.name]
    threads = torch.get_num_threads()
    torch.set_num_threads(experiment.threads)
    try:
        generator = torch.Generator().manual_seed(0)
        model = build_model(
            experiment.model.name, experiment.model.options, info, torch.Generator().manual_seed(0)
        )
        optimizer = build_optimizer(training.optimizer, model.parameters())
        x = torch.randn(training.batch, *info.shape, generator=generator)
        y = torch.randint(info.classes, (training.batch,), generator=generator)
        times: list[float] = []
        until = time.perf_counter() + least
        while len(times) < 5 or time.perf_counter() < until:
            start = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
        return sum(p.numel() for p in model.parameters()), statistics.median(times)
    finally:
        torch.set_num_threads(threads)


def wall_seconds(cells: Sequence[Cell], by: Mapping[str, Estimate], workers: int) -> float:
    """At least the work spread over the workers, at least the longest chain of cells."""
    chains: dict[str, float] = {}
    for cell in cells:  # parents come first
        before = max((chains.get(parent, 0.0) for parent in cell.parents.values()), default=0.0)
        chains[cell.hash] = before + by[cell.hash].seconds
    total = sum(by[cell.hash].seconds for cell in cells)
    return max(total / max(1, workers), max(chains.values(), default=0.0))
