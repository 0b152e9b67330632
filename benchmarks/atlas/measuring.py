"""Networks of a run, measured against chance and over their training; kept beside the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rewire.experiments import store
from rewire.experiments.errors import RewireError
from rewire.experiments.opened import OpenedRun
from rewire.graph import Graph
from rewire.measures import measure

# measure -> end of the part's name that is shown, "" for parts without a detail
AGAINST = {
    "degrees": {
        "RobinsAlexander": "", "DegreeAssortativity": "", "NODF": "", "SpectralGap": "",
        "Diamonds": "", "PathCount": "", "EdgesOnPath": "",
    },
    "counts": {"DegreeGini": ": post", "KCore": "", "PercolationByDegree": ""},
}  # fmt: skip
DRAWS = 20
EVERY = 500  # steps between topologies
FILE = "atlas.jsonl"

Entry = dict[str, Any]


def entries_of(out: Path, *, draws: int, every: int, workers: int) -> list[Entry]:
    """One entry for each finished network: those of earlier calls, and the rest measured."""
    run = OpenedRun(out)
    wanted = [
        (row["cell"], row["label"], row["requested_density"], row["seed"], row["level"])
        for row in run.rows()
        if row["requested_density"] is not None and row["requested_density"] < 1
    ]
    accuracies = {(r["cell"], r["level"]): r["test_accuracy"] for r in run.rows()}
    settings = {"draws": draws, "every": every}
    kept = {entry["key"]: entry for entry in _kept(out) if entry["settings"] == settings}
    left = [w for w in wanted if _key(*w[:1], w[4]) not in kept]
    work = partial(_entry, out, settings)
    with ExitStack() as stack:
        lines = stack.enter_context((out / FILE).open("a"))
        entries: Iterable[Entry] = map(work, left)
        if workers > 1:  # a fork of a process with torch's threads would wait for ever
            pool = ProcessPoolExecutor(workers, get_context("spawn"))
            entries = stack.enter_context(pool).map(work, left)
        for entry in entries:
            entry["test_accuracy"] = accuracies[entry["cell"], entry["level"]]
            kept[entry["key"]] = entry
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            print(f"{entry['label']}, density {entry['density']:g}, seed {entry['seed']}",
                  file=sys.stderr)  # fmt: skip
    return [kept[_key(w[0], w[4])] for w in wanted]


def _kept(out: Path) -> list[Entry]:
    """The whole lines of earlier calls; one that was cut off is taken away, and measured again."""
    path = out / FILE
    text = path.read_text() if path.exists() else ""
    lines = [line for line in text.splitlines() if _is_whole(line)]
    if "".join(line + "\n" for line in lines) != text:
        store.write_atomic(path, "".join(line + "\n" for line in lines))
    return [json.loads(line) for line in lines]


def _is_whole(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "key" in entry


def _key(cell: str, level: int) -> str:
    return f"{cell} {level}"


def _entry(out: Path, settings: Mapping[str, int], wanted: tuple[Any, ...]) -> Entry:
    cell, label, density, seed, level = wanted
    found = OpenedRun(out).cell(density=density, cell=cell)
    graph = found.graph()
    topology = Graph(graph.space, graph.keys)
    return {
        "key": _key(cell, level),
        "settings": dict(settings),
        "cell": cell,
        "label": label,
        "density": density,
        "seed": seed,
        "level": level,
        "versions": found.config.get("versions", {}),
        "kept": topology.density,
        "z": list(_against_chance(topology, settings["draws"])),
        "course": list(_course(found, topology, settings["every"])),
    }


def _against_chance(graph: Graph, draws: int) -> Iterator[Entry]:
    for null, names in AGAINST.items():
        for row in measure(graph, list(names), null=null, draws=draws):
            if _is_shown(row.part, names[row.measure]):
                yield {
                    "measure": row.measure, "part": row.part, "null": null, "value": row.value,
                    "mean": row.mean, "sd": row.sd, "z": row.z, "note": row.note,
                }  # fmt: skip


def _is_shown(part: str, detail: str) -> bool:
    return part.endswith(detail) if detail else ": " not in part


def _course(found: Any, end: Graph, every: int) -> Iterator[Entry]:
    """Measures without a null model at the start, every so many steps, and at the end."""
    names = {name: detail for by_null in AGAINST.values() for name, detail in by_null.items()}
    try:
        graphs = list(found.graphs(every=every))
    except (RewireError, ValueError):
        graphs = []  # a ladder of several starts, or a rule whose log does not say what computes
    for step, graph in [*graphs[:-1], (-1, end)]:
        for row in measure(Graph(graph.space, graph.keys), list(names)):
            if _is_shown(row.part, names[row.measure]) and row.value is not None:
                yield {"step": step, "name": named(row.measure, row.part), "value": row.value}


def named(measure_name: str, part: str) -> str:
    return f"{measure_name}, {part.split(': ')[0]}" if part else measure_name
