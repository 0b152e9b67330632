"""How long spiking cells will take and how much disk, from a second of each rule timed here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rewire.models.spiking.brian import code_target

from ..cells import KEY, NUMBER, Cell, Estimate
from .cells import Settings, settings
from .schema import SpikingExperiment
from .simulation import RASTER, Simulation

WARM, TIMED = 1.0, 2.0  # seconds simulated before and while the clock runs
SPIKE = 8  # bytes on disk
RATE = 20.0  # Hz, about


def estimate(experiment: SpikingExperiment, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
    """By hash. Simulates a few seconds of every rule on this machine."""
    timed: dict[str, Estimate] = {}
    for cell in cells:
        if cell.label not in timed:
            timed[cell.label] = _of(settings(cell.config))
    return {cell.hash: timed[cell.label] for cell in cells}


def _of(s: Settings) -> Estimate:
    with code_target(s.codegen):
        simulation = Simulation(s)
        edges = simulation.session.edges
        spent = []
        for until in (WARM, WARM + TIMED):
            start = time.process_time()  # what others do on this machine is no cost of the cell
            simulation.drive(min(until, simulation.end), lambda: False)
            spent.append(time.process_time() - start)
    return Estimate(
        spent[0] + spent[1] / TIMED * s.seconds,
        round(2 * (KEY + 2 * NUMBER) * edges + KEY * edges
              + 2 * s.model.size * RATE * min(RASTER, s.seconds) * SPIKE),
    )  # fmt: skip
