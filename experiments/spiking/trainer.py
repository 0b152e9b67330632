"""One spiking cell, simulated: resumable at every full simulated second, bit for bit."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import rewire
from rewire.models.spiking.brian import code_target

from ..cell_run import Emit, checkpoint_seconds
from ..cells import Cell
from ..store import CellStore
from .cells import END, START, settings
from .simulation import Simulation


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
        _Run(cell, folder, Simulation(s), emit, should_stop).run()


class _Run:
    def __init__(
        self,
        cell: Cell,
        folder: Path,
        simulation: Simulation,
        emit: Emit,
        should_stop: Callable[[], bool],
    ):
        self.cell, self.simulation, self.net = cell, simulation, simulation.session
        self.store = CellStore(folder)
        self.checkpoints = self.store.checkpoints
        self.emit, self.should_stop = emit, should_stop
        self.every = simulation.settings.record_every
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0}
        self.last = {"now": 0.0, "spikes": 0, "events": 0}  # as of the last evaluation
        self._checkpointed = time.monotonic()

    def run(self) -> None:
        self.store.create(
            {
                "config": dict(self.cell.config),
                "label": self.cell.label,
                "parents": [],
                "versions": {
                    "neurorewire": rewire.__version__,
                    "torch": torch.__version__,
                    "brian2": self.simulation.b2.__version__,
                },
                "threads": torch.get_num_threads(),
                "device": "cpu",
            }
        )
        self._started = time.perf_counter(), time.process_time()
        saved = self.checkpoints.load_newest()
        self.store.truncate(saved["metrics"] if saved else 0)
        self.store.edit_log.truncate(saved["edits"] if saved else 0)
        if saved is None:
            self._begin()
        else:
            self.simulation.load_state_dict(saved["simulation"])
            self.spent, self.last = dict(saved["spent"]), dict(saved["last"])
        if not self._simulate():
            self._save()
            return
        self._finish()

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
            if self._is_due():
                self._save()
        return True

    def _next(self) -> float:
        """The next time to come back at: an evaluation, the raster's beginning, the end."""
        now, first = self.simulation.now, self.simulation.raster_from
        marks = (self.last["now"] + self.every, first, self.simulation.end)
        return min(mark for mark in marks if mark > now)

    def _pause(self) -> bool:
        return self.should_stop() or self._is_due()

    def _is_due(self) -> bool:
        return time.monotonic() - self._checkpointed > checkpoint_seconds()

    # -- what is measured -----------------------------------------------------------------------

    def _evaluate(self) -> None:
        simulation, net = self.simulation, self.net
        now, spikes = simulation.now, simulation.spikes()
        events = net.history.formed + net.history.dropped
        elapsed = now - self.last["now"]
        self._note_times()
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
        self.store.append(event)
        self.emit({**event, "level": 0, "levels": 1, "steps": simulation.ticks})
        self.last = {"now": now, "spikes": spikes, "events": events}

    def _finish(self) -> None:
        simulation, net = self.simulation, self.net
        graph, now = net.graph, simulation.now
        events = net.history.formed + net.history.dropped
        self._flush()
        self._keep_level(
            END,
            {
                "rate_hz": simulation.spikes() / simulation.model.size / now,
                "events_per_s": events / now,
                **simulation.controls(graph),
            },
            {"spikes": simulation.rastered()},
        )
        self.store.append({"event": "end", "levels": 2, "stopped": None})
        self.store.sync()
        self.store.close()
        self.checkpoints.clear()
        self.emit({"event": "end"})

    def _keep_level(self, level: int, more: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        """Write down the network as it is now: its row, and its graph with ``tensors``."""
        simulation, net = self.simulation, self.net
        graph = net.graph
        self._note_times()
        row = {
            "event": "level",
            "rule": self.cell.rule,
            "label": self.cell.label,
            "seed": self.cell.seed,
            "level": level,
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
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "cell": self.store.hash,
        }
        meta = {
            **graph.description,
            "w_max": simulation.wiring.w_max,
            "raster": {"start": simulation.raster_from, "dt": simulation.wiring.dt},
        }
        tree = {"keys": graph.keys, "weight": graph["weight"], **tensors}
        self.store.write_level(level, tree, meta)
        self.store.append(row)
        self.emit(dict(row))

    def _note_times(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.spent["seconds"] += wall - self._started[0]
        self.spent["cpu_seconds"] += cpu - self._started[1]
        self._started = wall, cpu

    # -- what is kept ---------------------------------------------------------------------------

    def _flush(self) -> None:
        self.store.edit_log.append(self.net.history.take())
        self.store.sync()

    def _save(self) -> None:
        self._flush()
        self._note_times()
        self.checkpoints.save(
            {
                "simulation": self.simulation.state_dict(),
                "spent": self.spent,
                "last": self.last,
                "metrics": self.store.size(),
                "edits": self.store.edit_log.size(),
            }
        )
        self._checkpointed = time.monotonic()
