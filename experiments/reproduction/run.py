"""From the name of a paper to judged rows: runs its experiments, measures, judges, writes down."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines.remains import is_finished
from ..errors import ConfigError, RewireError
from ..opened import OpenedRun
from ..progress import Kind
from ..runner import run_experiment
from . import analyses, figures, record
from .checking import planned
from .costs import cpu_seconds
from .judging import Judged, judge
from .paper import AnalysisTable, Paper, Protocol
from .tables import Tables

OUT = Path("runs/reproductions")
ROWS, PAGE = "rows.json", "report.html"


@dataclass(frozen=True)
class Reproduced:
    """What became of a paper's protocol: its folder, its judged rows, and what was written."""

    paper: Paper
    protocol: Protocol
    out: Path
    record: Mapping[str, Any]
    failures: Sequence[str]
    exit_code: int

    @property
    def rows(self) -> list[Judged]:
        return record.judged(self.record)


def place(out: Path, paper: Paper, protocol: Protocol) -> Path:
    return out / paper.name / protocol


def reproduce(
    paper: Paper,
    protocol: Protocol,
    out: Path = OUT,
    *,
    workers: int | None = None,
    device: str | None = None,
    engine: str = "local",
    progress: Kind = "auto",
    command: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
    keep: Path | None = None,
) -> Reproduced:
    """Run what is not run yet of a protocol, judge its rows and write them down with a page.

    What is finished is skipped, so the same command goes on after a kill. device: "auto", "cpu" or
    "cuda", where it is not to be that of the file. engine: where it trains (see `engines`). keep: a
    folder that the record is written to as well.

    Raises what `runner.run_experiment` raises, and ConfigError for a row that reads what is not
    there.
    """
    folder = place(out, paper, protocol)
    planned(paper, protocol)  # every mistake before the first training
    failures, code = list[str](), 0
    for name, tree in paper.on_device(protocol, device).items():
        finished = run_experiment(
            tree,
            out=folder / name,
            workers=workers,
            engine=engine,
            progress=progress,
            command=command,
            warn=warn,
        )
        failures += [f"{name}: {text}" for text in finished.failures]
        code = code or finished.exit_code
    written = written_record(paper, protocol, folder)
    record.write(folder / ROWS, written)
    if keep is not None:
        record.keep(keep, paper.name, protocol, written)
    from .page import write_page

    write_page(paper, protocol, written, folder / PAGE)
    return Reproduced(paper, protocol, folder, written, failures, code)


def written_record(paper: Paper, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """What the runs in a folder say of a paper, as plain values."""
    runs = {name: OpenedRun(folder / name) for name in paper.trees(protocol)}
    tables = read_tables(paper, runs, folder)
    return record.new(
        paper,
        protocol,
        judge(paper, tables, protocol),
        figures.curves(paper, tables, protocol),
        seconds=sum(map(cpu_seconds, runs.values())),
        seeds=tables.seeds,
    )


def read_tables(paper: Paper, runs: Mapping[str, OpenedRun], folder: Path) -> Tables:
    """The rows of every run of a protocol, and of every analysis of them."""
    rows, evals = dict[str, Any](), dict[str, Any]()
    for name, run in runs.items():
        rows[name], evals[name] = run.rows(), run.rows("evals")
    for table in paper.analyses:
        if table.experiment in runs:
            run = runs[table.experiment]
            rows[f"analysis {table.name}"] = analysed(table, run, folder / "analyses")
    return Tables(rows, evals)


def analysed(table: AnalysisTable, run: OpenedRun, folder: Path) -> list[dict[str, Any]]:
    """The rows of an analysis, measured where they are not kept from the same cells."""
    cells = [c.hash for c in run.cells if is_finished(c.path)]
    asked = {"analysis": table.analysis, "fields": table.fields, "cells": cells}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"{table.name}.json"
    if file.is_file():
        try:
            kept = json.loads(file.read_text())
            if kept["digest"] == digest:
                return kept["rows"]
        except (ValueError, KeyError, TypeError):
            pass  # a torn file: measured again
    analysis = analyses.of_table(table.analysis, table.fields)
    began = time.process_time()
    try:
        rows = analysis.rows(run)
    except (ValueError, RewireError) as error:
        raise ConfigError(f"the analysis {table.name} of {run.path}: {error}") from error
    seconds = time.process_time() - began
    record.write(file, {"digest": digest, "rows": rows, "cpu_seconds": round(seconds, 1)})
    return rows
