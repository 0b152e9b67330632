"""Live progress of a run: a display in a terminal, lines elsewhere, JSON for programs.

One interface for the three: ``start(cells)``, ``event(hash, event)`` for everything that a cell or
the engine reports, ``tick()`` about ten times a second, ``finish(outcomes)``. Nothing here starts a
thread, because the engine forks; and when nobody reads the output any more (``| head``), the run
goes on in silence.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from .engines.outcome import Event, Outcome
from .engines.schedule import Cell

if TYPE_CHECKING:
    from rich.console import RenderableType

Kind = Literal["auto", "rich", "plain", "json", "quiet"]
Clock = Callable[[], float]

HEARTBEAT = 5.0  # seconds between two plain lines that only say that it still lives
REFRESH = 0.125  # seconds between two pictures in a terminal
LATEST = 6  # results kept in the display


def Progress(  # noqa: N802  (reads like the class that it chooses)
    kind: Kind = "auto", *, stream: TextIO | None = None, clock: Clock = time.monotonic
) -> Reporter:
    """The reporter for ``kind``; ``auto`` is rich in a terminal and plain elsewhere.

    >>> progress = Progress("plain")
    >>> run_cells(cells, on_event=progress.event, on_tick=progress.tick, ...)  # doctest: +SKIP
    """
    stream = stream or sys.stdout
    if kind == "auto":
        kind = "rich" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    reporters: dict[str, Callable[[TextIO, Clock], Reporter]] = {
        "rich": _Live,
        "plain": _Lines,
        "json": _Json,
        "quiet": _Quiet,
    }
    if kind not in reporters:
        raise ValueError(f"no progress called {kind!r}; there are auto, {', '.join(reporters)}")
    return reporters[kind](stream, clock)


class Reporter(Protocol):
    def start(self, cells: Sequence[Cell]) -> None: ...
    def event(self, cell_hash: str, event: Event) -> None: ...
    def tick(self) -> None: ...
    def finish(self, outcomes: Mapping[str, Outcome]) -> None: ...


# --- how far it is ------------------------------------------------------------------------------


@dataclass
class _Running:
    """A cell that is being trained, as its last event left it."""

    since: tuple[float, float]  # (time, fraction) when its speed began to be measured
    now: tuple[float, float]
    last: Event
    heard: bool = False  # an eval has arrived


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
        self.running: dict[str, _Running] = {}
        self._worked = 0.0  # weight done under measurement by cells that have ended
        self._worked_seconds = 0.0
        self._most_running = 0

    def note(self, hash: str, event: Event) -> None:
        now = self.clock()
        match event.get("event"):
            case "start":
                self.running[hash] = _Running((now, 0.0), (now, 0.0), {})
                self._most_running = max(self._most_running, len(self.running))
            case "eval" if cell := self.running.get(hash):
                cell.now = (now, _fraction(event))
                if not cell.heard:
                    cell.since, cell.heard = cell.now, True
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


def duration(seconds: float | None) -> str:
    """Rounded for reading: ``8 s``, ``2 min 05 s``, ``3 h 10 min``; ``?`` for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _percent(value: Any) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, (int, float)) else "-"


def _density(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""


def _number(cell: Any, name: str) -> Any:
    """``seed`` or ``density`` of a cell that has it, as an attribute or in its configuration."""
    config = getattr(cell, "config", None)
    value = getattr(cell, name, None)
    return config.get(name) if value is None and isinstance(config, Mapping) else value


def _name(cell: Any) -> str:
    """``DeepR  seed 1  density 0.05``, from whatever the cell tells of itself."""
    parts = [str(cell.label)]
    for name, text in (("seed", str), ("density", _density)):
        value = _number(cell, name)
        if value is not None and f"{name} " not in parts[0]:
            parts.append(f"{name} {text(value)}")
    return "  ".join(parts)


# --- the reporters ------------------------------------------------------------------------------


class _Quiet:
    """Keeps the tally and says nothing."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self.stream: TextIO | None = stream
        self.clock = clock
        self.tally = Tally((), clock)

    def start(self, cells: Sequence[Cell]) -> None:
        self.tally = Tally(cells, self.clock)

    def event(self, cell_hash: str, event: Event) -> None:
        self.tally.note(cell_hash, event)

    def tick(self) -> None:
        pass

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        pass

    def _write(self, text: str) -> None:
        if self.stream is None:
            return
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except BrokenPipeError:
            _to_nowhere(self.stream)
            self.stream = None


def _to_nowhere(stream: TextIO) -> None:
    """Points the stream's descriptor at /dev/null: what is still buffered cannot fail at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


class _Json(_Quiet):
    """One JSON object a line: every event with its cell, NaN and infinity as null."""

    def start(self, cells: Sequence[Cell]) -> None:
        super().start(cells)
        names = [{"cell": cell.hash, "label": cell.label} for cell in cells]
        self._line({"event": "run", "cells": names})

    def event(self, cell_hash: str, event: Event) -> None:
        super().event(cell_hash, event)
        self._line({**event, "cell": cell_hash})

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        counts: dict[str, int] = {}
        for outcome in outcomes.values():
            counts[outcome.status] = counts.get(outcome.status, 0) + 1
        self._line({"event": "done", **counts, "seconds": self.clock() - self.tally.started})

    def _line(self, event: Event) -> None:
        self._write(json.dumps(_finite(event), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


class _Lines(_Quiet):
    """A line for every level and every cell that ends, and a sign of life in between."""

    def start(self, cells: Sequence[Cell]) -> None:
        super().start(cells)
        self._spoke = self.clock()
        self._skipped_told = False
        self._write(f"{len(cells)} cells")

    def event(self, cell_hash: str, event: Event) -> None:
        super().event(cell_hash, event)
        if (text := _sentence(self.tally, cell_hash, event)) is not None:
            self._say(text)

    def tick(self) -> None:
        if self.clock() - self._spoke >= HEARTBEAT and self.tally.running:
            self._say(f"{len(self.tally.running)} running, " + _slowest(self.tally))

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self._tell_skipped()
        self._write(_summary(outcomes, self.clock() - self.tally.started))

    def _tell_skipped(self) -> None:
        skipped = self.tally.count("skipped")
        if skipped and not self._skipped_told:
            self._write(f"{skipped} of them finished before")
        self._skipped_told = True

    def _say(self, text: str) -> None:
        self._tell_skipped()
        tally = self.tally
        self._spoke = self.clock()
        left = tally.seconds_left
        clock = f", {duration(left)} left" if left is not None and tally.fraction < 1 else ""
        head = f"[{tally.done}/{len(tally.cells)} cells, {100 * tally.fraction:.0f} %{clock}]"
        self._write(f"{head} {text}")


def _slowest(tally: Tally) -> str:
    hash, cell = min(tally.running.items(), key=lambda item: item[1].now[1])
    return f"{_name(tally.cells[hash])} at {100 * cell.now[1]:.0f} %"


def _sentence(tally: Tally, hash: str, event: Event) -> str | None:
    """What is worth a line of its own."""
    cell = tally.cells[hash]
    match event.get("event"):
        case "level" if "simulated_seconds" in event:
            return f"{_name(cell)}  after {event['simulated_seconds']:g} s: {_map(event)}"
        case "level" if "spiking_accuracy" in event:
            return (
                f"{_name(cell)}  density {_density(event['density'])}: "
                f"spikes {_percent(event['spiking_accuracy'])}, "
                f"activations {_percent(event['ann_accuracy'])}, "
                f"{event['images_per_second']:.0f} images/s"
            )
        case "level":
            return (
                f"{_name(cell)}  level {event.get('level', 0)}: "
                f"density {_density(event.get('density'))}, "
                f"test {_percent(event.get('test_accuracy'))}, "
                f"validation {_percent(event.get('val_accuracy'))}"
            )
        case "start" if event.get("attempt", 1) > 1:
            return f"{_name(cell)}: was killed, attempt {event['attempt']}"
        case "outcome":
            match event["status"]:
                case "finished":
                    return f"{_name(cell)}: finished in {duration(event['seconds'])}"
                case "failed":
                    kind, message = event["kind"], event["message"]
                    return f"{_name(cell)}: FAILED, {kind}: {message}"
                case "blocked":
                    return f"{_name(cell)}: not run, it {event['message']}"
                case "stopped":
                    return f"{_name(cell)}: stopped"
    return None


def _map(event: Event) -> str:
    """What an event of the spiking world says of the map."""
    told = [
        f"{text} {event[name]:.3g}{unit}"
        for name, text, unit in (
            ("sigma_aff_conn", "sigma", ""),
            ("ad_conn", "AD", ""),
            ("rate_hz", "rate", " Hz"),
            ("ff_synapses", "feed-forward synapses", ""),
        )
        if event.get(name) is not None
    ]
    return ", ".join(told)


def _summary(outcomes: Mapping[str, Outcome], seconds: float) -> str:
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    words = {"skipped": "finished before"}
    parts = [f"{n} {words.get(status, status)}" for status, n in counts.items()]
    return f"{', '.join(parts) or 'no cells'}; {duration(seconds)}"


class _Live(_Quiet):
    """A picture that stays in place: all cells, each worker, the latest results."""

    def start(self, cells: Sequence[Cell]) -> None:
        from rich.console import Console
        from rich.live import Live

        super().start(cells)
        self._results: deque[tuple[str, Event]] = deque(maxlen=LATEST)
        self._drawn = -math.inf
        self._console = Console(file=self.stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._draw()

    def event(self, cell_hash: str, event: Event) -> None:
        super().event(cell_hash, event)
        if event.get("event") == "level":
            self._results.append((cell_hash, event))
        elif event.get("status") in ("failed", "blocked") or event.get("attempt", 1) > 1:
            text = _sentence(self.tally, cell_hash, event)
            self._live.console.print(text, style="red", markup=False, highlight=False)
        self.tick()

    def tick(self) -> None:
        if self.clock() - self._drawn >= REFRESH:
            self._draw()

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self._live.stop()
        summary = _summary(outcomes, self.clock() - self.tally.started)
        self._console.print(summary, markup=False, highlight=False)

    def _draw(self) -> None:
        self._drawn = self.clock()
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self.tally
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(
            Text(f"{tally.done}/{len(tally.cells)} cells", style="bold"),
            ProgressBar(total=1.0, completed=tally.fraction),
            Text(
                f"{100 * tally.fraction:.0f} %  {duration(self.clock() - tally.started)} so far, "
                f"{duration(tally.seconds_left)} left"
            ),
        )
        running = _table("cell", "seed", "density", "level", "step", "validation")
        for hash, cell in tally.running.items():
            last = cell.last
            step = f"{last.get('step', 0)}/{last.get('steps', '?')}" if last else "starting"
            level = f"{last.get('level', 0) + 1}/{last.get('levels', 1)}" if last else ""
            running.add_row(
                *_who(tally.cells[hash]), level, step, _percent(last.get("val_accuracy"))
            )
        parts: list[RenderableType] = [bar, running]
        if self._results:
            results = _table("latest", "seed", "density", "level", "validation", "test", dim=True)
            for hash, row in self._results:
                label, seed, _ = _who(tally.cells[hash])
                results.add_row(
                    label,
                    seed,
                    _density(row.get("density")),
                    str(row.get("level", "")),
                    _percent(row.get("val_accuracy")),
                    _percent(row.get("test_accuracy")),
                )
            parts.append(results)
        return Group(*parts)


def _who(cell: Cell) -> tuple[str, str, str]:
    seed = _number(cell, "seed")
    return cell.label, "" if seed is None else str(seed), _density(_number(cell, "density"))


def _table(*heads: str, dim: bool = False) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), style="dim" if dim else "", header_style="dim")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    return table
