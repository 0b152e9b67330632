"""What ``rewire run --dry-run`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .printing import _bytes, _console, _print_json, _table


def _dry_run(
    source: str, overrides: Sequence[str], out: Path | None, workers: int | None, json: bool
) -> int:
    from . import kinds, machine, runner
    from .cells import wall_seconds
    from .engines.remains import is_finished
    from .progress import duration

    experiment = kinds.load(source, overrides)
    planned = kinds.plan(experiment)
    costs = kinds.estimate(experiment, planned)
    folder = out if out is not None else runner.RUNS / experiment.name
    done = {c.hash for c in planned if is_finished(folder / "cells" / c.hash)}
    if workers is None:
        workers = machine.default_workers(experiment.device, experiment.threads)
    workers = max(1, workers)
    left = [cell for cell in planned if cell.hash not in done]
    seconds = wall_seconds(left, costs, workers)
    size = sum(costs[cell.hash].bytes for cell in left)
    rows: list[dict[str, Any]] = [
        {"cell": c.hash, "rule": c.label, "seed": c.seed, "density": c.density,
         "densities": c.config.get("densities"), "steps": int(c.weight),
         "needs": dict(c.parents), "seconds": round(costs[c.hash].seconds, 3),
         "bytes": costs[c.hash].bytes, "finished": c.hash in done}
        for c in planned
    ]  # fmt: skip
    if json:
        _print_json({"out": str(folder), "cells": rows, "seconds": round(seconds, 3),
                     "bytes": size, "workers": workers}, indent=1)  # fmt: skip
        return 0
    names = {cell.hash: cell.label for cell in planned}
    table = _table("cell", "rule", "seed", "density", "steps", "after", "about", "disk")
    for row in rows:
        several = row["densities"] and ", ".join(f"{d:g}" for d in row["densities"])
        table.add_row(
            row["cell"],
            row["rule"],
            str(row["seed"]),
            several or ("as given" if row["density"] is None else f"{row['density']:g}"),
            f"{row['steps']:,}",
            ", ".join(names[parent] for parent in row["needs"].values()),
            "finished" if row["finished"] else duration(row["seconds"]),
            _bytes(row["bytes"]),
        )
    console = _console()
    console.print(table)
    console.print(
        f"{len(left)} of {len(planned)} cells to train into {folder}: about {duration(seconds)} "
        f"on {workers} worker{'s' * (workers != 1)}, {_bytes(size)} of disk when all is done. "
        "Estimated from a few steps of every rule, timed just now.",
        highlight=False,
    )
    return 0
