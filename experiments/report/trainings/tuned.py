"""The rules of a run that were tuned before it: with what, and at which cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..run import RunData
from ..tables import Cell, Row, Table


def show(run: RunData) -> dict[str, Any] | None:
    """The table, and the budget and seeds of the search; None where no rule was tuned."""
    records = [r for r in run.config.get("tuned", []) if isinstance(r, Mapping)]
    if not records:
        return None
    titles = ["rule", "trials", "dense trainings", "default", "tuned", "fields"]
    table = Table(titles, [_row(run, r) for r in records], "tuned rules", "results")
    first = records[0]
    return {
        "table": table,
        "budget": first["budget"],
        "seeds": ", ".join(map(str, first["seeds"])),
        "sampler": first.get("sampler", "random"),
        "notes": [f"{r['rule']}: {r['note']}." for r in records if r.get("note")],
        "untouched": [label for label in run.planned if label not in {r["rule"] for r in records}],
    }


def _row(run: RunData, record: Mapping[str, Any]) -> Row:
    scores = record.get("validation", [])
    default, best = (scores if len(scores) == 2 else [None, *scores, None])[:2]
    cells = [
        Cell(str(record["trials"])),
        Cell(f"{record['spent']:.3g}"),
        Cell("–" if default is None else run.metric.number(default)),
        Cell("–" if best is None else run.metric.number(best), "main"),
        Cell(_changes(record), "words"),
    ]
    return Row(str(record["rule"]), cells)


def _changes(record: Mapping[str, Any]) -> str:
    before, after = record.get("before", {}), record.get("after", {})
    changed = [
        f"{name.removeprefix('optimizer.')} {_text(before.get(name))} → {_text(value)}"
        for name, value in after.items()
        if value != before.get(name)
    ]
    return "; ".join(changed) or "unchanged"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
