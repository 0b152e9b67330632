"""One spiking cell, simulated: resumable at every full simulated second, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rewire.models.spiking.brian import code_target

from ..cell_run import CellRun
from ..cells import Cell
from ..engines.outcome import Emit, Work
from .cells import END, START, settings
from .schema import SpikingExperiment
from .simulation import Simulation


def work(experiment: SpikingExperiment) -> Work:
    """What simulates any cell of an experiment."""

    return lambda cell, folder, parents, emit, should_stop: run_cell(
        cell, folder, emit, should_stop
    )


def run_cell(
    cell: Cell,
    folder: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> None:
    """Simulate a cell from where it stands to its end, or until ``should_stop``.

    Raises StoreError and CheckpointError (exit 5) for a damaged folder.
    """
    s = settings(cell.config)
    with code_target(s.codegen):
        SpikingRun(cell, folder, Simulation(s), emit, should_stop).run()


class SpikingRun(CellRun):
    """One simulation, looked at now and then."""

    packages = ("torch", "brian2")

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        simulation: Simulation,
        emit: Emit,
        should_stop: Callable[[], bool],
    ):
        super().__init__(cell, folder, emit, should_stop)
        self.simulation, self.net = simulation, simulation.session
        self.every = simulation.settings.record_every
        self.last = {"now": 0.0, "spikes": 0, "events": 0}  # as of the last evaluation

    def work(self, saved: Mapping[str, Any] | None) -> bool:
        if saved is None:
            self._begin()
        else:
            self.simulation.load_state_dict(saved["simulation"])
            self.last = dict(saved["last"])
        if not self._simulate():
            return False
        self._finish()
        return True

    @property
    def levels(self) -> int:
        return 2

    def _begin(self) -> None:
        graph = self.net.graph
        self.store.write_start(START, {"keys": graph.keys}, graph.description)
        self._keep_level(START, {}, {})

    def _simulate(self) -> bool:
        """To the end; False when asked to stop first."""
        simulation = self.simulation
        while not self.net.done:
            if self.should_stop():
                return False
            simulation.drive(self._next(), self._pause)
            if self.net.done or simulation.now >= self.last["now"] + self.every:
                self._evaluate()
            self.save_if_due()
        return True

    def _next(self) -> float:
        """The next time to come back at: an evaluation, the raster's beginning, the end."""
        now, first = self.simulation.now, self.simulation.raster_from
        marks = (self.last["now"] + self.every, first, self.simulation.end)
        return min(mark for mark in marks if mark > now)

    def _pause(self) -> bool:
        return self.should_stop() or self.is_due()

    # -- what is measured -----------------------------------------------------------------------

    def _evaluate(self) -> None:
        simulation, net = self.simulation, self.net
        now, spikes = simulation.now, simulation.spikes()
        events = net.history.formed + net.history.dropped
        elapsed = now - self.last["now"]
        self.note_times()
        event = {
            "event": "eval",
            "level": END,
            "round": net.clock.round,
            "step": net.clock.total,
            "total": net.clock.total,
            "simulated_seconds": now,
            **simulation.structure(net.graph),
            "rate_hz": (spikes - self.last["spikes"]) / simulation.model.size / elapsed,
            "events_per_s": (events - self.last["events"]) / elapsed,
            "edges": net.edges,
            "formed": net.history.formed,
            "dropped": net.history.dropped,
            **self.spent,
        }
        self.record(event, level=0, levels=1, steps=simulation.ticks)
        self.last = {"now": now, "spikes": spikes, "events": events}

    def _finish(self) -> None:
        simulation, net = self.simulation, self.net
        graph, now = net.graph, simulation.now
        events = net.history.formed + net.history.dropped
        self.flush()
        self._keep_level(
            END,
            {
                "rate_hz": simulation.spikes() / simulation.model.size / now,
                "events_per_s": events / now,
                **simulation.controls(graph),
            },
            {"spikes": simulation.rastered()},
        )

    def _keep_level(self, level: int, more: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        """Write down the network as it is now: its row, and its graph with ``tensors``."""
        simulation, net = self.simulation, self.net
        graph = net.graph
        self.note_times()
        values = {
            "density": net.density,
            "edges": net.edges,
            "possible": net.world.space.possible,
            "step": net.clock.total,
            "simulated_seconds": simulation.now,
            **simulation.structure(graph),
            **more,
            "formed": net.history.formed,
            "dropped": net.history.dropped,
            **self.spent,
        }
        meta = {
            **graph.description,
            "w_max": simulation.wiring.w_max,
            "raster": {"start": simulation.raster_from, "dt": simulation.wiring.dt},
        }
        tree = {"keys": graph.keys, "weight": graph["weight"], **tensors}
        self.store.write_level(level, tree, meta)
        self.record(self.level_row(level, values))

    # -- what is kept ---------------------------------------------------------------------------

    def flush(self) -> None:
        self.store.edit_log.append(self.net.history.take())

    def state(self) -> dict[str, Any]:
        return {"simulation": self.simulation.state_dict(), "last": self.last}
