"""Every rule in order: ``python -m benchmarks.ranking RUN_DIR > results.json``.

RUN_DIR is a finished run of the preset ``all-rules``. With ``--markdown`` the tables of
``docs/ranking.md`` in the place of JSON.

For each density asked for, the rules from best to worst mean test accuracy after the last step,
with the standard deviation over seeds, the density achieved, training FLOPs (``sparse``: live
edges only, ``dense``: as a machine without sparsity counts) and CPU seconds, ancestors included.
``rank`` counts the rules that kept to the density or below it; one that kept over 5 % more edges
has none, and stands where its accuracy puts it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.timing import machine
from rewire.experiments import compare, store

EXPERIMENT = "all-rules"
COSTS = {"train_flops_sparse": "sparse", "train_flops_dense": "dense"}

Entry = dict[str, Any]


def summary(out: Path) -> dict[str, Any]:
    """What the run in ``out`` found, as one JSON object.

    Raises ValueError for a run of another experiment, and for one that is not finished.
    """
    experiment = store.read_json(out / "experiment.json")
    if experiment["name"] != EXPERIMENT:
        raise ValueError(f"{out} is a run of {experiment['name']!r}, not of {EXPERIMENT!r}.")
    cells = store.Run(out)
    if left := [c for c in experiment["cells"] if not cells.cell(c["hash"]).finished]:
        raise ValueError(
            f"{out} is not finished: {len(left)} of {len(experiment['cells'])} cells are left "
            f"({', '.join(dict.fromkeys(cell['label'] for cell in left))}). Run it again."
        )
    rows = store.results(out, listed=True)
    points = compare.points(rows)
    own = {label: found for label, found in points.items() if not compare.is_dense(found)}
    dense = [found[0] for found in points.values() if compare.is_dense(found)]
    return {
        "date": date.today().isoformat(),
        "experiment": EXPERIMENT,
        "command": command_of(experiment["command"]),
        "machine": machine(),
        "versions": experiment["versions"],
        "seeds": sorted({row["seed"] for row in rows}),
        "dense": _entry(dense[0]) if dense else None,
        "densities": {
            f"{density:g}": _ranked(
                [p for found in own.values() for p in found if p.requested == density]
            )
            for density in compare.requested_densities(points)
        },
    }


def command_of(given: str) -> str:
    """What was run, without the folder it was put in."""
    words = shlex.split(given)
    at = [i for i, word in enumerate(words) if word in ("-o", "--out")]
    return shlex.join(w for i, w in enumerate(words) if i not in at and i - 1 not in at)


def _ranked(points: Sequence[compare.Point]) -> list[Entry]:
    entries, rank = [], 0
    for point in sorted(points, key=lambda p: (-p.mean(compare.ACCURACY.test), p.label)):
        rank += not point.over_budget
        entries.append({"rank": None if point.over_budget else rank, **_entry(point)})
    return entries


def _entry(point: compare.Point) -> Entry:
    accuracy = point.values(compare.ACCURACY.test).tolist()
    return {
        "label": point.label,
        "rule": point.rule,
        "test_accuracy": {"mean": mean(accuracy), "sd": stdev(accuracy) if accuracy[1:] else None},
        "density": point.density,
        "train_flops": {said: point.mean(column) for column, said in COSTS.items()},
        "cpu_seconds": point.mean("cpu_seconds"),
    }


def markdown(found: dict[str, Any]) -> str:
    """The tables of the documentation, one for each density."""
    return "\n".join(
        _table(density, entries, found["dense"]) for density, entries in found["densities"].items()
    )


def _table(density: str, entries: Sequence[Entry], dense: Entry | None) -> str:
    unit = dense["train_flops"]["sparse"] if dense else 1.0
    lines = [
        f"| | rule, {density} asked for | test accuracy, % | density | training FLOPs | CPU s |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for e in [*entries, *([{**dense, "rank": None}] if dense else [])]:
        deviation = e["test_accuracy"]["sd"]
        said = f"{100 * e['test_accuracy']['mean']:.2f}"
        said += "" if deviation is None else f" ± {100 * deviation:.2f}"
        lines.append(
            f"| {e['rank'] or '–'} | {e['label']} | {said} | {e['density']:.3g} "
            f"| {e['train_flops']['sparse'] / unit:.2g} | {e['cpu_seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("run", type=Path, help="folder of a finished run of all-rules")
    parser.add_argument("--markdown", action="store_true", help="tables in the place of JSON")
    given = parser.parse_args(arguments)
    found = summary(given.run)
    print(markdown(found) if given.markdown else json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
