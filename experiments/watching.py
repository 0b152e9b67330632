"""A run that another process trains, followed by the files that it writes: ``rewire watch``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .engines.outcome import Event, Outcome
from .opened import OpenedCell, OpenedRun
from .opened.listed import is_running
from .progress import Kind, Progress, Reporter


@dataclass
class Followed:
    """A cell as progress shows it, and how much of its events was read."""

    opened: OpenedCell
    read: int = 0  # bytes of metrics.jsonl
    ended: bool = False
    begun: bool = False
    parents: Any = field(default_factory=lambda: MappingProxyType({}))

    @property
    def hash(self) -> str:
        return self.opened.hash

    @property
    def label(self) -> str:
        return str(self.opened.label)

    @property
    def config(self) -> dict[str, Any]:
        return self.opened.config

    @property
    def seed(self) -> int | None:
        return self.opened.seed

    @property
    def density(self) -> float | None:
        return self.opened.described["density"]

    @property
    def weight(self) -> float:
        return float(self.config.get("steps") or 1)

    def events(self) -> Iterator[Event]:
        """What its file says since the last call, complete lines only."""
        path = self.opened.path / "metrics.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self.read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self.read += len(whole)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # a torn line, which the run itself will cut off
                continue
            if isinstance(event, dict):
                yield {"steps": self.config.get("steps"), **event}


def watch(
    folder: str | Path,
    *,
    once: bool = False,
    every: float = 1.0,
    progress: Kind = "auto",
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Outcome]:
    """Show how far a run is until all its cells have ended or nobody trains it; their outcomes.

    Raises StoreError where no run is.
    """
    cells = [Followed(cell) for cell in OpenedRun(folder).cells]
    reporter: Reporter = Progress(progress)
    reporter.start(cells)  # type: ignore[arg-type]
    outcomes: dict[str, Outcome] = {}
    try:
        while True:
            runs = is_running(Path(folder))
            for cell in cells:
                _tell(cell, reporter, outcomes)
            reporter.tick()
            if once or not runs or len(outcomes) == len(cells):
                return outcomes
            sleep(every)
            fresh = {cell.hash: cell for cell in OpenedRun(folder).cells}
            for cell in cells:
                cell.opened = fresh.get(cell.hash, cell.opened)
    finally:
        waiting = {c.hash: Outcome(c.hash, "waiting") for c in cells}
        reporter.finish({**waiting, **outcomes})


def _tell(cell: Followed, reporter: Reporter, outcomes: dict[str, Outcome]) -> None:
    """Pass on what is new of a cell."""
    if cell.ended:
        return
    status = cell.opened.status
    for event in cell.events():
        if not cell.begun:
            reporter.event(cell.hash, {"event": "start", "attempt": 1})
            cell.begun = True
        if event.get("event") in ("eval", "level"):
            reporter.event(cell.hash, event)
        if event.get("event") == "end":
            status = "finished"
    if status in ("finished", "failed"):
        cell.ended = True
        message = str(cell.opened.described["error"] or "")
        outcome = Outcome(cell.hash, status, message=message)  # type: ignore[arg-type]
        outcomes[cell.hash] = outcome
        told = {name: value for name, value in vars(outcome).items() if name != "cell"}
        reporter.event(cell.hash, {"event": "outcome", **told})
