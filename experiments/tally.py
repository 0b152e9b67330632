"""What is known of a run while it goes: what is done, what runs, how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .engines.outcome import Event
from .engines.schedule import Cell

Clock = Callable[[], float]


@dataclass
class Running:
    """A cell that is being trained, as its last event left it."""

    since: tuple[float, float]  # (time, fraction) when its speed began to be measured
    now: tuple[float, float]
    last: Event
    measured: bool = False  # an eval has arrived


class Tally:
    """What is done, what runs, and how long the rest will take.

    The time left is the work left (in the cells' weights) over the speed seen so far, spread over
    as many workers as were ever busy at once. A cell's speed is measured from its first ``eval``
    on, so that one that continues from a checkpoint does not look fast.
    """

    def __init__(self, cells: Sequence[Cell], clock: Clock) -> None:
        self.cells = {cell.hash: cell for cell in cells}
        self.clock = clock
        self.started = clock()
        self.outcomes: dict[str, str] = {}  # hash -> status
        self.running: dict[str, Running] = {}
        self._worked = 0.0  # weight done under measurement by cells that have ended
        self._worked_seconds = 0.0
        self._most_running = 0

    def note(self, hash: str, event: Event) -> None:
        now = self.clock()
        match event.get("event"):
            case "start":
                self.running[hash] = Running((now, 0.0), (now, 0.0), {})
                self._most_running = max(self._most_running, len(self.running))
            case "eval" if cell := self.running.get(hash):
                cell.now = (now, _fraction(event))
                if not cell.measured:
                    cell.since, cell.measured = cell.now, True
                cell.last = event
            case "outcome":
                self.outcomes[hash] = event["status"]
                if cell := self.running.pop(hash, None):
                    if event["status"] == "finished":
                        cell.now = (now, 1.0)
                    self._worked += (cell.now[1] - cell.since[1]) * self.cells[hash].weight
                    self._worked_seconds += cell.now[0] - cell.since[0]

    @property
    def done(self) -> int:
        return sum(status in ("finished", "skipped") for status in self.outcomes.values())

    def count(self, status: str) -> int:
        return sum(s == status for s in self.outcomes.values())

    @property
    def fraction(self) -> float:
        """Of all work, in weights; 1 when every cell has ended in some way."""
        total = sum(cell.weight for cell in self.cells.values())
        return 1.0 - self._left() / total if total > 0 else 1.0

    def _left(self) -> float:
        left = sum(cell.weight for hash, cell in self.cells.items() if hash not in self.outcomes)
        return left - sum(r.now[1] * self.cells[hash].weight for hash, r in self.running.items())

    @property
    def seconds_left(self) -> float | None:
        """None before anything can be said."""
        work, seconds = self._worked, self._worked_seconds
        for hash, cell in self.running.items():
            work += (cell.now[1] - cell.since[1]) * self.cells[hash].weight
            seconds += cell.now[0] - cell.since[0]
        if work <= 0 or seconds <= 0:
            return None
        return self._left() * seconds / work / max(1, self._most_running)


def _fraction(event: Event) -> float:
    """How far into its cell an eval event is; a cell's levels count alike."""
    steps, levels = float(event.get("steps") or 0), float(event.get("levels") or 1)
    within = float(event.get("step") or 0) / steps if steps else 0.0
    return min(1.0, max(0.0, (float(event.get("level") or 0) + min(within, 1.0)) / levels))
