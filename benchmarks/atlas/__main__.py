"""The command: see the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import benchmarks.atlas as package
from benchmarks.ranking import command_of
from benchmarks.timing import machine
from rewire.experiments import store
from rewire.experiments.errors import RewireError

from . import page
from .measuring import DRAWS, EVERY, entries_of
from .prediction import at_density


def summary(out: Path, *, draws: int, every: int, workers: int) -> dict[str, Any]:
    """What the run's networks are like, as one JSON object. Raises StoreError for a damaged run."""
    entries = entries_of(out, draws=draws, every=every, workers=workers)
    experiment = store.read_json(out / "experiment.json")
    cells = experiment["cells"]
    unfinished = [c["label"] for c in cells if not store.Run(out).cell(c["hash"]).finished]
    densities = sorted({e["density"] for e in entries}, reverse=True)
    return {
        "date": date.today().isoformat(),
        "experiment": experiment["name"],
        "title": experiment["title"],
        "about": experiment["about"],
        "command": command_of(experiment["command"]),
        "machine": machine(),
        "versions": experiment["versions"],
        "draws": draws,
        "every": every,
        "cells": len(cells),
        "unfinished": len(unfinished),
        "seeds": sorted({e["seed"] for e in entries}),
        "densities": {f"{d:g}": at_density(d, [e for e in entries if e["density"] == d])
                      for d in densities},
    }  # fmt: skip


def networks_of(path: Path, **options: int) -> Iterator[dict[str, Any]]:
    """A run's; or those of a file that was written before."""
    if path.is_dir():
        yield summary(path, **options)
        return
    results = json.loads(path.read_text())
    yield from results.get("networks", [results])  # once there was one of them, without a list


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.atlas",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder, or result")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    asked = parser.parse_args(arguments)
    options = {"draws": asked.draws, "every": asked.every, "workers": asked.workers}
    try:
        networks = [network for path in asked.runs for network in networks_of(path, **options)]
    except (ValueError, OSError, RewireError) as error:
        print(f"benchmarks.atlas: {error}", file=sys.stderr)
        return 2
    if asked.pictures is not None:
        for name, text in page.pictures_of(networks).items():
            (asked.pictures / name).write_text(text)
    print(page.markdown(networks) if asked.markdown else json.dumps({"networks": networks}), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
