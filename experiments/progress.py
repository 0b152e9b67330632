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
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from rewire.names import unknown

from .engines.outcome import Event, Outcome
from .engines.schedule import Cell
from .event_text import (
    by_status,
    conclusion,
    duration,
    measures,
    name_of,
    seed_and_density,
    sentence,
)
from .tally import Clock, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType

Kind = Literal["auto", "rich", "plain", "json", "notebook", "quiet"]

HEARTBEAT = 5.0  # seconds between two plain lines that only say that it still lives
REFRESH = 0.125  # seconds between two pictures in a terminal
LATEST = 6  # results kept in the display


def Progress(  # noqa: N802  (reads like the class that it chooses)
    kind: Kind = "auto", *, stream: TextIO | None = None, clock: Clock = time.monotonic
) -> Reporter:
    """The reporter for ``kind``; ``auto`` is a bar in a notebook, rich in a terminal, else plain.

    >>> progress = Progress("plain", stream=sys.stdout)
    >>> progress.start([])
    0 cells
    >>> progress.finish({})  # between the two: run_cells(..., on_event=progress.event)
    no cells; 0 s

    Raises ValueError for another kind.
    """
    stream = stream or sys.stdout
    if kind == "auto" and _in_a_notebook():
        kind = "notebook"
    elif kind == "auto":
        kind = "rich" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    reporters: dict[str, Callable[[TextIO, Clock], Reporter]] = {
        "rich": _Live,
        "plain": _Lines,
        "json": _Json,
        "notebook": _Notebook,
        "quiet": _Quiet,
    }
    if kind not in reporters:
        raise ValueError(unknown("progress", kind, ["auto", *reporters]))
    return reporters[kind](stream, clock)


class Reporter(Protocol):
    def start(self, cells: Sequence[Cell]) -> None: ...
    def event(self, cell_hash: str, event: Event) -> None: ...
    def tick(self) -> None: ...
    def finish(self, outcomes: Mapping[str, Outcome]) -> None: ...


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
        seconds = self.clock() - self.tally.started
        self._line({"event": "done", **by_status(outcomes), "seconds": seconds})

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
        self._last_line = self.clock()
        self._skipped_counted = False
        self._write(f"{len(cells)} cells")

    def event(self, cell_hash: str, event: Event) -> None:
        super().event(cell_hash, event)
        if (text := sentence(self.tally.cells[cell_hash], event)) is not None:
            self._say(text)

    def tick(self) -> None:
        if self.clock() - self._last_line >= HEARTBEAT and self.tally.running:
            self._say(f"{len(self.tally.running)} running, " + _slowest(self.tally))

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self._count_skipped()
        self._write(conclusion(outcomes, self.clock() - self.tally.started))

    def _count_skipped(self) -> None:
        skipped = self.tally.count("skipped")
        if skipped and not self._skipped_counted:
            self._write(f"{skipped} of them finished before")
        self._skipped_counted = True

    def _say(self, text: str) -> None:
        self._count_skipped()
        tally = self.tally
        self._last_line = self.clock()
        left = tally.seconds_left
        clock = f", {duration(left)} left" if left is not None and tally.fraction < 1 else ""
        head = f"[{tally.done}/{len(tally.cells)} cells, {100 * tally.fraction:.0f} %{clock}]"
        self._write(f"{head} {text}")


def _slowest(tally: Tally) -> str:
    hash, cell = min(tally.running.items(), key=lambda item: item[1].now[1])
    return f"{name_of(tally.cells[hash])} at {100 * cell.now[1]:.0f} %"


def _in_a_notebook() -> bool:
    """Whether this process answers a notebook's cells."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class _Notebook(_Quiet):
    """A bar below the notebook's cell, which stays in place."""

    def start(self, cells: Sequence[Cell]) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found]

        super().start(cells)
        self._drawn, self._html = -math.inf, HTML
        self._shown = display(HTML(self.bar()), display_id=True)

    def event(self, cell_hash: str, event: Event) -> None:
        super().event(cell_hash, event)
        self.tick()

    def tick(self) -> None:
        if self.clock() - self._drawn >= 4 * REFRESH:
            self._drawn = self.clock()
            self._shown.update(self._html(self.bar()))

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        said = escape(conclusion(outcomes, self.clock() - self.tally.started))
        self._shown.update(self._html(f"{self.bar()}<p>{said}</p>"))

    def bar(self) -> str:
        """What is done, and what is being trained."""
        tally = self.tally
        left = duration(tally.seconds_left)
        text = f"{tally.done} of {len(tally.cells)} cells, {duration(self.clock() - tally.started)}"
        names = [
            f"{name_of(tally.cells[hash])} at {100 * cell.now[1]:.0f} %"
            for hash, cell in tally.running.items()
        ]
        return (
            f'<progress value="{tally.fraction:.4f}" max="1" style="width:60%" '
            f'aria-label="trained so far"></progress> {text} so far, {left} left'
            f"<br><small>{escape(', '.join(names))}</small>"
        )


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
            text = sentence(self.tally.cells[cell_hash], event)
            self._live.console.print(text, style="red", markup=False, highlight=False)
        self.tick()

    def tick(self) -> None:
        if self.clock() - self._drawn >= REFRESH:
            self._draw()

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self._live.stop()
        summary = conclusion(outcomes, self.clock() - self.tally.started)
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
        parts: list[RenderableType] = [bar, self._running()]
        if self._results:
            parts.append(self._latest())
        return Group(*parts)

    def _running(self) -> RenderableType:
        cells = self.tally.running
        values = {hash: measures(cell.last) for hash, cell in cells.items()}
        names = _names_of(values.values(), leave_out="density")  # has a column already
        table = _table("cell", "seed", "density", "level", "step", *names)
        for hash, cell in cells.items():
            last = cell.last
            step = f"{last.get('step', 0)}/{last.get('steps', '?')}" if last else "starting"
            level = f"{last.get('level', 0) + 1}/{last.get('levels', 1)}" if last else ""
            texts = (values[hash].get(name, "-") for name in names)
            table.add_row(*self._who(hash), level, step, *texts)
        return table

    def _latest(self) -> RenderableType:
        values = [measures(event) for _, event in self._results]
        names = _names_of(values)
        table = _table("latest", "seed", "level", *names, dim=True)
        for (hash, event), row in zip(self._results, values, strict=True):
            label, seed, _ = self._who(hash)
            texts = (row.get(name, "-") for name in names)
            table.add_row(label, seed, str(event.get("level", "")), *texts)
        return table

    def _who(self, hash: str) -> tuple[str, str, str]:
        cell = self.tally.cells[hash]
        return cell.label, *seed_and_density(cell)


def _names_of(rows: Iterable[Mapping[str, str]], leave_out: str = "") -> list[str]:
    """The columns that rows of measures need together."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name != leave_out]


def _table(*heads: str, dim: bool = False) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), style="dim" if dim else "", header_style="dim")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    return table
