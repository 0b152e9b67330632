"""Results of a run's cells, through an SQLite index that may be lost, stale or damaged at will.

The index keeps, per cell, the sizes and times of the files it was read from and a digest of the
rows it made of them; a cell whose files changed is read again, and rows that do not match their
digest mean that the whole index is made anew. So an answer is either what the cells' own files
say, or a StoreError about those files.
"""

import csv
import hashlib
import io
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from .disk import parse
from .folder import CellStore, cell_folders, listed_cells

Row = dict[str, Any]
T = TypeVar("T")

ROW_FIELDS = (
    *("rule", "label", "seed", "level", "requested_density", "density", "edges", "possible"),
    *("step", "early_stop_step", "test_accuracy", "test_accuracy_at_early_stop"),
    *("val_loss", "val_accuracy", "train_flops_dense", "train_flops_sparse", "updates"),
    *(
        "formed",
        "dropped",
        "seconds",
        "cpu_seconds",
        "peak_memory_mb",
        "substrate",
        "weights",
        "cell",
    ),
)
# in rows of cells that are also evaluated on what they trained on, and of spiking networks
OPTIONAL_FIELDS = ("train_loss", "train_accuracy", "spikes_per_example", "synops_per_example")
# not the same when a run is repeated
TIMES = (
    "seconds", "cpu_seconds", "peak_memory_mb", "images_per_second", "torch_images_per_second",
)  # fmt: skip
EVAL_FIELDS = (
    *("cell", "level", "round", "step", "total", "train_loss", "val_loss", "val_accuracy"),
    *("edges", "formed", "dropped", "seconds"),
)
_MAP = (
    *("sigma_aff_conn", "sigma_aff_weight", "ad_conn", "ad_weight", "rate_hz"),
    *("ff_synapses", "lateral_synapses", "mean_weight_proportion", "weight_proportion"),
    "events_per_s",
)
SPIKING_ROW_FIELDS = (  # of cells in the spiking world, at their start (level 0) and end (1)
    *("rule", "label", "seed", "level", "density", "edges", "possible", "step"),
    *("simulated_seconds", *_MAP),
    *(f"{what}_{name}_{by}" for by in ("conn", "weight") for name in ("sigma_aff", "ad")
      for what in ("control", "p")),
    *("formed", "dropped", "seconds", "cpu_seconds", "peak_memory_mb", "cell"),
)  # fmt: skip
SPIKES_ROW_FIELDS = (  # of trained networks run in spikes
    *("rule", "label", "seed", "level", "requested_density", "density", "edges", "possible"),
    *("images", "ann_accuracy", "spiking_accuracy", "spikes_per_image", "events_per_image"),
    *("images_per_second", "seconds", "cpu_seconds", "peak_memory_mb", "network", "cell"),
)
# beside these, of spiking networks that were trained as such and run in Brian2 as they are
TRANSFER_FIELDS = (
    "spikes_by_layer", "unequal_spikes", "nearest_to_threshold", "torch_images_per_second",
)  # fmt: skip
# of cells in a world of an installed package; what the world measures comes after "step"
OWN_WORLD_ROW_FIELDS = (
    *("rule", "label", "seed", "level", "requested_density", "density", "edges", "possible"),
    *("step", "formed", "dropped", "seconds", "cpu_seconds", "peak_memory_mb", "cell"),
)
OWN_WORLD_EVAL_FIELDS = (
    *("cell", "level", "round", "step", "total", "edges", "formed", "dropped", "seconds"),
)
SPIKING_EVAL_FIELDS = (
    *("cell", "level", "round", "step", "total", "simulated_seconds", *_MAP),
    *("edges", "formed", "dropped", "seconds", "cpu_seconds"),
)

_JUDGED = ("test_accuracy", "test_accuracy_at_early_stop", "val_accuracy")
# of cells with another task than classification: task and metric, and in the place of accuracies
# what the metric measured
TASK_ROW_FIELDS = ("task", "metric", *(name for name in ROW_FIELDS if name not in _JUDGED))
TASK_EVAL_FIELDS = tuple(name for name in EVAL_FIELDS if name not in _JUDGED)

_FIELDS = {
    "levels": {"": ROW_FIELDS, "spiking": SPIKING_ROW_FIELDS, "spikes": SPIKES_ROW_FIELDS},
    "evals": {"": EVAL_FIELDS, "spiking": SPIKING_EVAL_FIELDS, "spikes": EVAL_FIELDS},
}
# kinds of cells whose rows hold more than their fields: measures that a package or a task names
_OPEN = {
    "own_world": (OWN_WORLD_ROW_FIELDS, OWN_WORLD_EVAL_FIELDS),
    "task": (TASK_ROW_FIELDS, TASK_EVAL_FIELDS),
}
_COLUMNS = {
    table: tuple(dict.fromkeys(f for kind in kinds.values() for f in kind))
    for table, kinds in _FIELDS.items()
}
_COLUMNS["levels"] += (*OPTIONAL_FIELDS, *TRANSFER_FIELDS)
_TABLES = (
    "CREATE TABLE cells (hash TEXT PRIMARY KEY, label, rule, seed, config, status, "
    "stamp, levels_digest, evals_digest) WITHOUT ROWID",
    f"CREATE TABLE levels ({', '.join(_COLUMNS['levels'])}, json)",
    f"CREATE TABLE evals ({', '.join(_COLUMNS['evals'])}, json)",
    "CREATE INDEX levels_by_cell ON levels (cell)",
    "CREATE INDEX evals_by_cell ON evals (cell)",
)
_INDEXED = ("metrics.jsonl", "cell.json", "error.json")
_RACY = 2_000_000_000  # ns within which a second write may leave a file's time as it was
_LONGEST = 64 << 20  # bytes of one value in the index


class _Damaged(Exception):
    """The index is not what was written to it."""


def results(out: str | Path, *, listed: bool = False) -> list[Row]:
    """What every cell of the run in ``out`` found: one row per cell and level.

    Rows have `ROW_FIELDS`, and before "val_loss" those of `OPTIONAL_FIELDS` that a cell has; those
    of spiking cells `SPIKING_ROW_FIELDS`, those of trained networks
    run in spikes `SPIKES_ROW_FIELDS`, and before "images_per_second" `TRANSFER_FIELDS` where they
    spiked already; those in the world of an installed package
    `OWN_WORLD_ROW_FIELDS`, and after "step" what the world measures; those of another task than
    classification `TASK_ROW_FIELDS`, and before "val_loss" what the task's metric measured.

    In the order of experiment.json, cells it does not list after those it does (with ``listed``
    not at all); without experiment.json by label, seed, falling density and level. A label in
    experiment.json replaces the one the cell was trained under.

    Raises StoreError for a damaged cell, or where no run is.
    """
    out = Path(out)
    labels = listed_cells(out)
    place = {name: i for i, name in enumerate(labels)}
    rows = _rows(out, "levels", labels if listed else None)
    for row in rows:
        row["label"] = labels.get(row["cell"]) or row["label"]
    return sorted(rows, key=lambda row: _sort_key(row, place))


def evals(out: str | Path, *, listed: bool = False) -> list[Row]:
    """The learning curves: one row per evaluation (`EVAL_FIELDS`).

    By cell, in the order of experiment.json and then by name, and in time. ``listed`` and errors
    as in `results`.
    """
    out = Path(out)
    return _rows(out, "evals", listed_cells(out) if listed else None)


def index(out: str | Path, rebuild: bool = False) -> sqlite3.Connection:
    """An SQLite connection to the up-to-date index of the run, for the caller to close.

    Tables ``cells``, ``levels`` (a column per row field) and ``evals``. It is OUT/index.sqlite,
    or a database in memory where that cannot be written. Raises StoreError as `results`.
    """
    return _with_index(Path(out), lambda connection: connection, rebuild)


def to_json(rows: Iterable[Row]) -> str:
    """Rows as a JSON array, one row per line."""
    return "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]\n"


def to_csv(rows: Sequence[Row], fields: Sequence[str] | None = None) -> str:
    """Rows as CSV under one header; floats by repr, nothing where there is no value."""
    text = io.StringIO()
    names = fields or list(dict.fromkeys(name for row in rows for name in row)) or ROW_FIELDS
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def without_times(rows: Iterable[Row]) -> list[Row]:
    """Rows without `TIMES`: these are the same, byte for byte, when a run is repeated."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def _rows(out: Path, table: str, only: Mapping[str, Any] | None) -> list[Row]:
    names = [f.name for f in cell_folders(out) if only is None or f.name in only]

    def read(db: sqlite3.Connection) -> list[Row]:
        db.execute("BEGIN")  # one view of it, whatever others write meanwhile
        rows = [row for name in names for row in _verified(db, table, name)]
        db.execute("COMMIT")
        return rows

    return _with_index(out, read)


def _sort_key(row: Row, place: Mapping[str, int]) -> tuple:
    at = place.get(row["cell"], len(place))
    if at < len(place):
        return (at, row["level"])
    label = str(row["label"] or row["rule"] or "")
    density = -_number(row["density"], or_else=2)
    return (at, label, _number(row["seed"], or_else=-1), density, row["level"], row["cell"])


def _number(value: Any, or_else: float) -> float:
    return value if isinstance(value, int | float) else or_else


# --- the database --------------------------------------------------------------------------------


def _with_index(out: Path, use: Callable[[sqlite3.Connection], T], rebuild: bool = False) -> T:
    """``use`` of an up-to-date index: the file's, the file's made anew, or one in memory.

    A connection that ``use`` returns stays open.
    """
    path = out / "index.sqlite"
    ways: list[Callable[[], sqlite3.Connection]] = [
        lambda: _open(path),
        lambda: _open_anew(path),
        lambda: _open(":memory:"),
    ]
    while ways:
        db = None
        result: Any = None
        try:
            db = ways.pop(0)()
            _refresh(db, out, rebuild)
            result = use(db)
            return result
        except (sqlite3.Error, UnicodeError, _Damaged) as error:  # damage makes odd messages too
            if not ways:
                raise
            if not _is_damage(error):
                del ways[:-1]  # busy, read-only, full: no reason to throw it away
        except OSError:
            if not ways:
                raise
            del ways[:-1]
        finally:
            if db is not None and result is not db:
                db.close()
    raise AssertionError


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    kinds = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY)
    return code not in (*kinds, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _open(path: str | Path) -> sqlite3.Connection:
    """Open the index, making its tables if it has none. Raises _Damaged for any other tables."""
    db = sqlite3.connect(path, timeout=20, isolation_level=None)
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
        with _transaction(db):
            if not db.execute(schema).fetchall():
                for statement in _TABLES:
                    db.execute(statement)
            # a stranger's views and triggers would run; another version's columns would not fit
            if tuple(sql for (sql,) in db.execute(schema)) != _TABLES:
                raise _Damaged
    except BaseException:
        db.close()
        raise
    return db


def _open_anew(path: Path) -> sqlite3.Connection:
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}-journal")):
        with suppress(FileNotFoundError):
            name.unlink()
    return _open(path)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _verified(db: sqlite3.Connection, table: str, cell: str) -> list[Row]:
    """The rows of one cell, if they are those that were put in. Raises _Damaged."""
    query = f"SELECT json FROM {table} WHERE cell = ? ORDER BY rowid"
    lines = [line for (line,) in db.execute(query, (cell,))]
    digest = db.execute(f"SELECT {table}_digest FROM cells WHERE hash = ?", (cell,)).fetchone()
    if not all(isinstance(line, str) for line in lines) or digest != (_digest(lines),):
        raise _Damaged
    try:
        rows = [parse(line.encode(), "index.sqlite") for line in lines]
    except StoreError:
        raise _Damaged from None
    if not all(isinstance(row, dict) and _is_whole(row, table) for row in rows):
        raise _Damaged
    return rows


def _is_whole(row: Row, table: str) -> bool:
    """Whether a row has the fields of its kind."""
    of_level = table == "levels"
    optional = (*OPTIONAL_FIELDS, *TRANSFER_FIELDS) if of_level else ()
    if tuple(name for name in row if name not in optional) in _FIELDS[table].values():
        return True
    return any(row.keys() >= set(fields[not of_level]) for fields in _OPEN.values())


def _digest(lines: Sequence[str]) -> str:
    text = "\n".join(lines).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


# --- from the cells into the database ------------------------------------------------------------


@dataclass
class _Reading:
    """One cell as it goes into the index."""

    cell: Row
    levels: list[Row] = field(default_factory=list)
    evals: list[Row] = field(default_factory=list)


def _refresh(db: sqlite3.Connection, out: Path, rebuild: bool) -> None:
    """Read again the cells whose files changed, and forget those that are gone."""
    folders = {folder.name: folder for folder in cell_folders(out)}
    known = dict(db.execute("SELECT hash, stamp FROM cells"))
    now = time.time_ns()
    stamps = {name: _stamp(folder, now) for name, folder in folders.items()}  # before reading
    stale = [n for n in folders if rebuild or known.get(n) != stamps[n] or not stamps[n]]
    removed = [name for name in known if name not in folders]
    if not stale and not removed:
        return
    readings = [_read_cell(folders[name]) for name in stale]
    with _transaction(db):
        for name in (*stale, *removed):
            for table, column in (("cells", "hash"), ("levels", "cell"), ("evals", "cell")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))
        for reading in readings:
            row = reading.cell | {"stamp": stamps[reading.cell["hash"]]}
            for table, items in (("levels", reading.levels), ("evals", reading.evals)):
                lines = [json.dumps(item) for item in items]
                row[f"{table}_digest"] = _digest(lines)
                for item, line in zip(items, lines, strict=True):
                    _insert(db, table, item | {"json": line})
            _insert(db, "cells", row)


def _insert(db: sqlite3.Connection, table: str, row: Row) -> None:
    if table in _COLUMNS:  # a measure that a package names is in the column `json` alone
        row = {name: row[name] for name in (*_COLUMNS[table], "json") if name in row}
    marks = ", ".join("?" * len(row))
    values = [_sql(value) for value in row.values()]
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)


def _sql(value: Any) -> Any:
    """What SQLite can hold of a JSON value; the exact one is in the column ``json``."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value if value is None or isinstance(value, int | float) else json.dumps(value)


def _read_cell(folder: Path) -> _Reading:
    store = CellStore(folder)
    described = store.cell()
    config = described.get("config")
    config = config if isinstance(config, dict) else {}
    rule = config.get("rule")
    cell: Row = {
        "hash": store.hash,
        "label": described.get("label"),
        "rule": rule.get("rule") if isinstance(rule, dict) else rule,
        "seed": config.get("seed"),
        "config": json.dumps(config, sort_keys=True),
    }
    kind = "task" if config.get("task") else str(config.get("kind"))
    row_fields = _FIELDS["levels"].get(kind, ROW_FIELDS)
    eval_fields = _FIELDS["evals"].get(kind, EVAL_FIELDS)
    if kind in _OPEN:
        row_fields, eval_fields = _OPEN[kind]
    reading, last = _Reading(cell), None
    levels: set[int] = set()
    for event in store.events():
        last = event["event"]
        if last == "eval":
            row = {f: event.get(f) for f in _ordered(eval_fields, event, kind)}
            _complete(row, reading.levels)
            reading.evals.append(row | {"cell": store.hash})
        elif last == "level":
            level = event.get("level")
            if type(level) is not int or level in levels:
                raise StoreError(
                    f"{store.metrics.path}: a level event has level {str(level)[:40]}, where "
                    f"a number other than {sorted(levels)} belongs"
                )
            levels.add(level)
            row = {f: event.get(f) for f in _ordered(row_fields, event, kind)}
            row["cell"] = store.hash
            _complete(row, reading.levels)
            reading.levels.append(row)
            cell |= {k: row[k] for k in ("label", "rule", "seed") if row[k] is not None}
    failed = (folder / "error.json").exists()
    unfinished = "failed" if failed else "running" if last else "waiting"
    cell["status"] = "finished" if last == "end" else unfinished
    return reading


def _complete(row: Row, before: Sequence[Row]) -> None:
    """Give a map of an older version its mean weight, which is the sum over the synapses."""
    proportion, synapses = row.get("weight_proportion"), row.get("ff_synapses")
    if row.get("mean_weight_proportion") is None and proportion is not None and synapses:
        first = before[0]["ff_synapses"] if before else synapses
        row["mean_weight_proportion"] = proportion * first / synapses


def _ordered(fields: Sequence[str], event: Row, kind: str) -> Sequence[str]:
    """The fields of a row, among them the measures that an event of an open kind has."""
    if fields is SPIKES_ROW_FIELDS:
        at = fields.index("images_per_second")
        return (*fields[:at], *(name for name in TRANSFER_FIELDS if name in event), *fields[at:])
    if kind not in _OPEN and fields is not ROW_FIELDS:
        return fields
    at = fields.index("val_loss" if "val_loss" in fields else "formed")
    names = OPTIONAL_FIELDS if fields is ROW_FIELDS else event
    known = {*fields, "event", "crc"}
    measures = [name for name in names if name in event and name not in known]
    return (*fields[:at], *measures, *fields[at:])


def _stamp(folder: Path, now: int) -> str:
    """Changes with any file the index is made from; empty while that cannot be told.

    A file written a moment ago may change once more and keep its size and its time.
    """
    stamps = [_size_and_time(folder / name) for name in _INDEXED]
    return json.dumps(stamps) if all(ns < now - _RACY for _, ns in stamps) else ""


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, 0)
    return (status.st_size, status.st_mtime_ns)
