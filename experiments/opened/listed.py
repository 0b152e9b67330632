"""The runs in a folder: `rewire.runs`, ``rewire runs``."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from rewire import atomic

from .. import store
from ..errors import StoreError
from .run import OpenedRun

HERE = Path("runs")
DEEPEST = 3  # folders below the one that is listed


def runs(folder: str | Path = HERE) -> Runs:
    """The runs in a folder and those below it, the latest first.

    >>> import rewire
    >>> rewire.runs("no-such-folder")
    no runs in no-such-folder
    """
    root = Path(folder)
    found = [OpenedRun(path) for path in _below(root, DEEPEST)]
    return Runs(root, sorted(found, key=_changed, reverse=True))


class Runs(list[OpenedRun]):
    """Runs of a folder, as a list that shows itself as a table."""

    def __init__(self, folder: Path, found: list[OpenedRun]):
        super().__init__(found)
        self.folder = folder

    def rows(self) -> list[dict[str, Any]]:
        """One row a run: run, title, rules, cells, finished, failed, state."""
        return [row_of(run) for run in self]

    def __repr__(self) -> str:
        if not self:
            return f"no runs in {self.folder}"
        return "\n".join(
            f"{r['run']}  {r['finished']} of {r['cells']} cells, {r['state']}" for r in self.rows()
        )

    def _repr_html_(self) -> str:
        rows = self.rows()
        heads = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>"
            for row in rows
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def row_of(run: OpenedRun) -> dict[str, Any]:
    """What a list of runs says of one."""
    cells = run.cells
    finished = sum(cell.status == "finished" for cell in cells)
    failed = sum(cell.status == "failed" for cell in cells)
    return {
        "run": str(run.path),
        "title": str(run.experiment.get("title") or run.name),
        "rules": len({cell.label for cell in cells}),
        "cells": len(cells),
        "finished": finished,
        "failed": failed,
        "state": _state(run, finished),
    }


def _state(run: OpenedRun, finished: int) -> str:
    if run.experiment.get("compared") is not None:
        return "a comparison"
    if finished == len(run.cells):
        return "finished"
    return "running" if is_running(run.path) else "not finished"


def is_running(folder: Path) -> bool:
    """Whether a process of this machine trains the run, as its note says.

    >>> is_running(Path("no-such-run"))
    False
    """
    try:
        note = store.read_json(folder / "run.lock.json")
        return atomic.process_alive(int(note["pid"]))
    except (StoreError, KeyError, TypeError, ValueError):
        return False


def _changed(run: OpenedRun) -> float:
    return max((p.stat().st_mtime for p in (run.path / "cells", run.path) if p.exists()), default=0)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if not folder.is_dir():
        return
    if (folder / "experiment.json").is_file():
        yield folder
        return
    for below in sorted(folder.iterdir()) if depth else ():
        yield from _below(below, depth - 1)
