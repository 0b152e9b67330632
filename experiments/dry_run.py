"""What ``rewire run --dry-run`` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .printing import console, new_table, print_json, size


def dry_run(
    source: str,
    overrides: Sequence[str],
    out: Path | None,
    workers: int | None,
    as_json: bool,
    warn: Callable[[str], None] = lambda text: None,
) -> None:
    """List the cells of an experiment with their costs, and train none."""
    from . import caveats, kinds, machine, runner
    from .cells import wall_seconds
    from .engines.remains import is_finished
    from .event_text import duration

    experiment = kinds.load(source, overrides)
    cells = kinds.plan(experiment)
    for text in caveats.sentences(cells):
        warn(text)
    costs = kinds.estimate(experiment, cells)
    folder = out if out is not None else runner.RUNS / experiment.name
    finished = {c.hash for c in cells if is_finished(folder / "cells" / c.hash)}
    if workers is None:
        workers = machine.default_workers(experiment.device, experiment.threads)
    workers = max(1, workers)
    left = [cell for cell in cells if cell.hash not in finished]
    seconds = wall_seconds(left, costs, workers)
    n_bytes = sum(costs[cell.hash].bytes for cell in left)
    rows: list[dict[str, Any]] = [
        {"cell": c.hash, "rule": c.label, "seed": c.seed, "density": c.density,
         "densities": c.config.get("densities"), "steps": int(c.weight),
         "needs": dict(c.parents), "seconds": round(costs[c.hash].seconds, 3),
         "bytes": costs[c.hash].bytes, "finished": c.hash in finished}
        for c in cells
    ]  # fmt: skip
    if as_json:
        print_json({"out": str(folder), "cells": rows, "seconds": round(seconds, 3),
                    "bytes": n_bytes, "workers": workers}, indent=1)  # fmt: skip
        return
    names = {cell.hash: cell.label for cell in cells}
    table = new_table("cell", "rule", "seed", "density", "steps", "after", "about", "disk")
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
            size(row["bytes"]),
        )
    page = console()
    page.print(table)
    if (search := getattr(experiment, "tune", None)) is not None:
        page.print(
            f"Before these, at most {search.trials} trials of each rule (tune), which decide the "
            "rules' fields: they are not listed.",
            highlight=False,
        )
    page.print(
        f"{len(left)} of {len(cells)} cells to train into {folder}: about {duration(seconds)} "
        f"on {workers} worker{'s' * (workers != 1)}, {size(n_bytes)} of disk when all is done. "
        "Estimated from a few steps of every rule, timed just now.",
        highlight=False,
    )
