"""Time and memory of converted cells, before they run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rewire.models.spiking import in_brian, rate_coded

from ..cells import Cell, Estimate
from ..config.schema import Experiment
from .run import model_of, simulated
from .transfer import transfers

TRIED = 100  # images that an estimate is made from
EVENTS = 2  # examples of events
BYTES = 4096  # of a finished cell


def estimate(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """By hash, from a few made-up images shown to random networks of each density."""
    timed: dict[float, float] = {}
    costs = {}
    for cell in cells:
        densities = [cell.density] if cell.density else experiment.densities
        for density in densities:
            if density not in timed:
                timed[density] = _seconds_per_image(experiment, density)
        images = cell.weight / len(densities)
        costs[cell.hash] = Estimate(images * sum(timed[d] for d in densities), BYTES)
    return costs


def _seconds_per_image(experiment: Experiment, density: float) -> float:
    asked, info = experiment.spikes, experiment.data.info
    assert asked is not None
    rng = np.random.default_rng(0)
    model = model_of(experiment.model, info)
    if transfers(model):
        return _seconds_per_example(model, info.shape, density)
    images = rng.random((TRIED, *info.shape)) * (rng.random((TRIED, *info.shape)) < 0.2)
    weights = []
    for w in rate_coded.matrices(model):
        w.data *= rng.random(w.nnz) < density
        weights.append(w)
    start = time.process_time()
    simulated(asked, rate_coded.balanced(weights, images), images, 0)
    return (time.process_time() - start) / TRIED


def _seconds_per_example(model: Any, shape: Sequence[int], density: float) -> float:
    """Of a spiking network that is run as it is."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(torch.from_numpy(rng.random(p.shape) < density))
    start = time.process_time()
    in_brian.simulate(model.double(), rng.random((EVENTS, *shape)) < 0.2)
    return (time.process_time() - start) / EVENTS
