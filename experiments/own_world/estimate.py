"""How long cells in an installed world will take and how much disk, from a few steps timed here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from ..cells import KEY, NUMBER, Cell, Estimate
from .cells import Settings, settings
from .run import start
from .schema import OwnExperiment

LEAST, STEPS = 0.1, 8  # seconds and steps that are timed, at least


def estimate(experiment: OwnExperiment, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """By hash. Steps the world of every rule and density on this machine."""
    timed: dict[tuple[str, float | None], tuple[float, int]] = {}
    costs = {}
    for cell in cells:
        key = cell.label, cell.density
        if key not in timed:
            timed[key] = _seconds_per_step(settings(cell.config))
        seconds, edges = timed[key]
        rounds = len(cell.config.get("densities", [0]))
        size = (KEY + NUMBER) * edges * rounds + KEY * edges
        costs[cell.hash] = Estimate(seconds * cell.weight, size)
    return costs


def _seconds_per_step(s: Settings) -> tuple[float, int]:
    """(seconds, edges that it begins with)."""
    net = start(s, s.build())
    edges, times = net.edges, list[float]()
    while not net.done and (len(times) < STEPS or sum(times) < LEAST):
        began = time.process_time()
        net.step()
        times.append(time.process_time() - began)
    return median(times), edges
