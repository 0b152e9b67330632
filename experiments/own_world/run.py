"""One cell in an installed world: stepped, measured, and resumable at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rewire.graph import Graph
from rewire.limits import limited
from rewire.rule_budget import budget_of
from rewire.session import Session
from rewire.starting_graph import _start_of

from ..cell_run import CellRun
from ..cells import Cell
from ..engines.outcome import Emit, Work
from ..errors import ConfigError, Diverged
from ..store import OWN_WORLD_ROW_FIELDS
from .cells import Settings, settings
from .schema import OwnExperiment


def work(experiment: OwnExperiment) -> Work:
    """What steps the world of any cell of an experiment."""

    return lambda cell, folder, parents, emit, should_stop: run_cell(
        cell, folder, emit, should_stop
    )


def run_cell(cell: Cell, folder: Path, emit: Emit, should_stop: Callable[[], bool]) -> None:
    """Step a cell's world from where the cell stands to its end, or until ``should_stop``.

    Raises Diverged (exit 4) when a measure is no number any more, StoreError and CheckpointError
    (exit 5) for a damaged folder.
    """
    OwnWorldRun(cell, folder, emit, should_stop).run()


def start(s: Settings, world: Any) -> Session:
    """The session of a cell, before its first step. Raises ValueError for what cannot live."""
    world.space = limited(world.space, s.limits)
    budget = budget_of(s.rule)
    if budget.visits:
        rules, graph = budget.towards(s.rule, s.densities), Graph.full(world.space)
    else:
        rules, graph = _start_of(world, s.rule, s.density, s.distribution, "random", s.seed)
    return Session(world, graph, rules, span=s.steps, seed=s.seed, rewinds=True, limits=s.limits)


class OwnWorldRun(CellRun):
    """A session in an installed world, measured now and then and at the end of every round."""

    def __init__(
        self, cell: Cell, folder: Path, emit: Emit, should_stop: Callable[[], bool]
    ) -> None:
        super().__init__(cell, folder, emit, should_stop)
        self.settings = settings(cell.config)
        self.world = self.settings.build()
        self.net = start(self.settings, self.world)

    def work(self, saved: Mapping[str, Any] | None) -> bool:
        net, every = self.net, self.settings.evaluate_every
        if saved is None:
            self.store.write_start(0, {"keys": net.graph.keys}, net.graph.description)
        else:
            self.world.load(saved["world"])
            net.load_state_dict(saved["net"])
        while not net.done:
            if self.should_stop():
                return False
            net.optimise()
            at_end = net.clock.step == net.clock.span
            if at_end or net.clock.step % every == 0:
                measures = self._evaluate()
                if at_end:
                    self._finish_level(measures)
            net.rewire()
            self.save_if_due()
        return True

    @property
    def levels(self) -> int:
        return self.net.clock.round + 1

    # -- what is measured -----------------------------------------------------------------------

    def _evaluate(self) -> dict[str, float]:
        """What the world measures of itself now, written down."""
        net = self.net
        measures = {name: float(x) for name, x in self.world.measure(net.graph).items()}
        if clash := sorted(measures.keys() & set(OWN_WORLD_ROW_FIELDS)):
            raise ConfigError(
                f"the {self.world.name} world measures {clash[0]!r}, which every row has already: "
                "give the measure another name"
            )
        if lost := [name for name, value in measures.items() if not math.isfinite(value)]:
            raise Diverged(
                f"{self.cell.label} (seed {self.cell.seed}) diverged by step {net.clock.step}: "
                f"{lost[0]} is {measures[lost[0]]}"
            )
        self.note_times()
        event = {
            "event": "eval",
            "level": net.clock.round,
            "round": net.clock.round,
            "step": net.clock.step,
            "total": net.clock.total,
            **measures,
            "edges": net.edges,
            "formed": net.history.formed,
            "dropped": net.history.dropped,
            "seconds": self.spent["seconds"],
        }
        rounds = max(1, len(self.settings.densities))
        self.record(event, steps=net.clock.span, levels=max(rounds, net.clock.round + 1))
        return measures

    def _finish_level(self, measures: Mapping[str, float]) -> None:
        net = self.net
        values = {
            "requested_density": self._requested(),
            "density": net.density,
            "edges": net.edges,
            "possible": net.world.space.possible,
            "step": net.clock.step,
            **measures,
            "formed": net.history.formed,
            "dropped": net.history.dropped,
            **self.spent,
        }
        graph, level = net.graph, net.clock.round
        tree = {"keys": graph.keys, "weight": graph["weight"]}
        self.store.write_level(level, tree, graph.description)
        self.record(self.level_row(level, values))

    def _requested(self) -> float | None:
        """The density asked for; None where a round is only a rung of a ladder."""
        if self.cell.density is not None:
            return self.cell.density
        possible = self.net.world.space.possible
        asked = {round(d * possible): d for d in (1.0, *self.settings.densities)}
        return asked.get(self.net.edges)

    # -- what is kept ---------------------------------------------------------------------------

    def flush(self) -> None:
        self.store.edit_log.append(self.net.history.take())

    def state(self) -> dict[str, Any]:
        return {
            "world": dict(self.world.snapshot()),
            "net": self.net.state_dict(history=False),
        }
