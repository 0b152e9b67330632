"""What was measured of a paper, as a file: rows, verdicts, date, machine; one for each paper."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..store.disk import write_atomic
from .judging import Judged
from .paper import PAPERS, PROTOCOLS, Paper, Protocol

RECORDS = PAPERS / "results"
DIGITS = 6  # of measured numbers


def new(
    paper: Paper,
    protocol: Protocol,
    rows: Sequence[Judged],
    curves: Sequence[Mapping[str, Any]],
    *,
    seconds: float,
    seeds: int,
) -> dict[str, Any]:
    """The record of a protocol that has just been run."""
    return {
        "digest": paper.digest(protocol),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("neurorewire", "torch")},
        },
        "cpu_seconds": round(seconds),
        "seeds": seeds,
        "rows": [_rounded(row.as_table()) for row in rows],
        "figures": _rounded(list(curves)),
    }


def machine() -> str:
    """The processor by name, as well as the system tells it, and the cores in use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores"


def judged(record: Mapping[str, Any]) -> list[Judged]:
    """The rows of a record."""
    return [Judged(**row) for row in record["rows"]]


def holding(record: Mapping[str, Any]) -> tuple[int, int]:
    """How many rows hold, of how many."""
    rows = judged(record)
    return sum(row.verdict == "holds" for row in rows), len(rows)


def write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def keep(folder: Path, name: str, protocol: Protocol, record: Mapping[str, Any]) -> None:
    """Put a record into a folder's file of that paper, beside those of its other protocol."""
    file = folder / f"{name}.json"
    known = read(file) if file.is_file() else {}
    write(file, {**known, protocol: dict(record)})


def read(file: Path) -> dict[str, Any]:
    """The records in a file, by protocol. Raises StoreError for one that is damaged."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        for record in records.values():
            judged(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{file} holds no record of a reproduction ({error}): remove it, and run "
            f"`rewire reproduce {file.stem}` again"
        ) from None
    return records


def last(name: str, out: Path | None = None) -> dict[Protocol, dict[str, Any]]:
    """The newest record of each protocol: of the runs below ``out``, or that comes with rewire."""
    records: dict[Protocol, dict[str, Any]] = {}
    packaged = RECORDS / f"{name}.json"
    if packaged.is_file():
        kept = read(packaged)
        records = {p: kept[p] for p in PROTOCOLS if p in kept}
    for protocol in PROTOCOLS:
        file = (out or Path()) / name / protocol / "rows.json"
        if out is None or not file.is_file():
            continue
        try:
            own = json.loads(file.read_text(encoding="utf-8"))
            judged(own)
        except (ValueError, KeyError, TypeError):
            continue  # a torn file of a run: the same command writes it again
        if protocol not in records or own["date"] >= records[protocol]["date"]:
            records[protocol] = own
    return records


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
