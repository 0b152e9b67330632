"""SQL over a run's results: the tables ``results``, ``evals`` and ``cells``, for reading alone."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rewire.names import did_you_mean

from ..early_stopping import with_steps_to_dense_loss
from ..errors import ConfigError
from .database import Row, evals, results
from .folder import CellStore, cell_folders, listed_cells, read_experiment

MOST_STEPS = 1_000_000_000  # of SQLite's machine: a query without end is refused, not waited for
LONGEST = 64 << 20  # bytes of one value

# What a SELECT does; a query that does anything else (ATTACH, PRAGMA, INSERT) is refused.
_READS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


def tables(out: str | Path) -> dict[str, list[Row]]:
    """What a query may ask: `results` and `evals` of the run in ``out``, and its ``cells``.

    Raises StoreError as `results`.
    """
    listed = (Path(out) / "experiment.json").exists()
    curves = evals(out, listed=listed)
    return {
        "results": with_steps_to_dense_loss(results(out, listed=listed), curves),
        "evals": curves,
        "cells": described_cells(out),
    }


def described_cells(out: str | Path) -> list[Row]:
    """One row a cell, begun or not: cell, label, rule, seed, density, status, kind, error, config.

    density: the one asked for, None where a cell visits several. config: as JSON. In the order of
    experiment.json; cells that it does not list are left out where it lists any.
    Raises StoreError for a damaged cell, or where no run is.
    """
    out = Path(out)
    labels = listed_cells(out)
    listed = (read_experiment(out) or {}).get("cells", [])
    seeds = {item["hash"]: item.get("seed") for item in listed if isinstance(item, dict)}
    begun = {folder.name: folder for folder in cell_folders(out)}
    rows = []
    for name in labels or begun:
        row = _described(CellStore(begun[name])) if name in begun else dict(_WAITING)
        row["label"] = labels.get(name) or row["label"]
        row["seed"] = seeds.get(name) if name not in begun else row["seed"]
        rows.append({"cell": name, **row})
    return rows


_WAITING = dict.fromkeys(("label", "rule", "seed", "density")) | {
    "status": "waiting", "kind": None, "error": None, "config": None,
}  # fmt: skip


def _described(cell: CellStore) -> Row:
    described = cell.cell()
    config = described["config"]
    rule = config.get("rule")
    rule = rule.get("rule") if isinstance(rule, dict) else rule
    status = cell.status
    failure = cell.error if status == "failed" else None
    return {
        "label": described.get("label") or config.get("label") or rule,
        "rule": rule,
        "seed": config.get("seed"),
        "density": 1.0 if rule == "Dense" else config.get("density"),
        "status": status,
        "kind": config.get("kind"),
        "error": None if failure is None else str(failure.get("message")),
        "config": json.dumps(config, sort_keys=True),
    }


def query(out: str | Path, sql: str) -> list[Row]:
    """The rows that one SELECT gives, by column.

    The tables are made, in memory, of rows that were held against the cells' own files, so a
    damaged index cannot answer wrongly, and nothing that is asked can change the run.
    Raises ConfigError for SQL that is wrong, or does anything but read.
    """
    by_name = tables(out)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        for name, rows in by_name.items():
            _fill(db, name, rows)
        _check_quoted(sql, by_name)
        db.set_authorizer(lambda action, *_: (
            sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
        ))  # fmt: skip
        calls = iter(range(MOST_STEPS // 100_000))
        db.set_progress_handler(lambda: next(calls, None) is None, 100_000)
        try:
            cursor = db.execute(sql)
            if cursor.description is None:
                raise ConfigError(f"the query {_short(sql)} is empty: it takes one SELECT")
            columns = _distinct([column[0] for column in cursor.description])
            return [dict(zip(columns, values, strict=True)) for values in cursor]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ConfigError(_refusal(sql, str(error), by_name)) from None


def _fill(db: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["cell"]
    columns = ", ".join(map(_quoted, names))
    db.execute(f"CREATE TABLE {table} ({columns})")
    marks = ", ".join("?" * len(names))
    db.execute("BEGIN")
    db.executemany(
        f"INSERT INTO {table} VALUES ({marks})",
        ([_value(row.get(name)) for name in names] for row in rows),
    )
    db.execute("COMMIT")


def _value(value: Any) -> Any:
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float | None) else json.dumps(value)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _distinct(names: Iterable[str]) -> list[str]:
    """Column names, those that come again numbered: a row keeps every value.

    >>> _distinct(["seed", "edges", "seed"])
    ['seed', 'edges', 'seed_2']
    """
    distinct: list[str] = []
    for name in names:
        numbered, n = name, 1
        while numbered in distinct:
            n += 1
            numbered = f"{name}_{n}"
        distinct.append(numbered)
    return distinct


def _check_quoted(sql: str, by_name: dict[str, list[Row]]) -> None:
    """SQLite takes an unknown name in double quotes for text: "edge" would answer itself.

    Raises ConfigError for one that is no table, no column, and named nowhere with AS.
    """
    columns = {name for rows in by_name.values() for row in rows for name in row}
    code = re.sub(r"'(?:[^']|'')*'", "''", sql)
    quoted = [name.replace('""', '"') for name in re.findall(r'"((?:[^"]|"")*)"', code)]
    named = [name.replace('""', '"') for name in re.findall(r'(?i)\bas\s+"((?:[^"]|"")*)"', code)]
    bare = {word.lower() for word in re.findall(r"\w+", re.sub(r'"(?:[^"]|"")*"', " ", code))}
    known = {name.lower() for name in (*columns, *by_name, *named)} | bare
    for name in quoted:
        if name.lower() not in known:
            hint = did_you_mean(name, columns)
            raise ConfigError(
                f'the query {_short(sql)} cannot be answered: no such column: "{name}"{hint}; text '
                "stands in single quotes"
            )


def _short(sql: str) -> str:
    return repr(sql if len(sql) <= 80 else sql[:77] + "...")


def _refusal(sql: str, reason: str, by_name: dict[str, list[Row]]) -> str:
    """Why a query got no answer, and what there is to ask."""
    columns = {
        t: list(dict.fromkeys(n for row in rows for n in row)) for t, rows in by_name.items()
    }
    if reason == "not authorized":
        return f"the query {_short(sql)} does more than read: only SELECT is allowed"
    if reason == "interrupted":
        return f"the query {_short(sql)} takes too long: ask for less at a time"
    hint = ""
    if reason.startswith("no such table"):
        hint = did_you_mean(reason.rpartition(" ")[2], columns)
    elif reason.startswith("no such column"):
        every = {name for names in columns.values() for name in names}
        hint = did_you_mean(reason.rpartition(" ")[2].rpartition(".")[2], every)
    listed = "; ".join(f"{table}: {', '.join(names)}" for table, names in columns.items())
    return f"the query {_short(sql)} cannot be answered: {reason}{hint}; there are {listed}"
