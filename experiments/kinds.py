"""The kinds of experiments, all of them, and what is asked of whichever one an experiment is.

Nothing else here asks what kind an experiment or a cell is of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.names import unknown

from .cells import Cell, Estimate
from .config.presets import locate
from .config.problems import Problems
from .config.toml import odd_values, override, read
from .conversion.kind import Conversion
from .engines.outcome import Emit, Work
from .from_python import in_names
from .kind import Experiment, Kind
from .own_world.kind import OwnWorld
from .spiking.kind import Spiking
from .summary import Summary
from .trainings.kind import Trainings

KINDS: Mapping[str, Kind] = {
    "trainings": Trainings(),
    "conversion": Conversion(),
    "spiking": Spiking(),
    "own_world": OwnWorld(),  # last: its rows have no column that tells them
}


def of(experiment: Experiment) -> Iterator[Kind]:
    """The kinds of an experiment's cells: its own, then those that add to it."""
    return (KINDS[name] for name in experiment.kinds)


# --- from a file to an experiment ---


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Any:
    """An experiment from a file, a preset or a tree, with ``key=value`` overrides.

    A tree may hold objects: ``model`` a callable, ``data`` tensors or a data set (see
    `data.objects`).

    Raises ConfigError (exit 2) with every problem of the file and the overrides together.

    >>> experiment = load("quickstart", ["seeds=1", "rules=[Dense,DeepR]"])
    >>> experiment.name, [entry.label for entry in experiment.rules]
    ('quickstart', ['Dense', 'DeepR'])
    """
    problems = Problems()
    if isinstance(source, Mapping):
        tree = in_names(source, problems)
    else:
        path = locate(source)
        tree = read(path)
        tree.setdefault("name", path.stem)
    tree = override(tree, overrides, problems)
    experiment = _read(tree, problems)
    problems.refuse(tree.get("name"))
    return experiment


def parse(tree: Mapping[str, Any]) -> Any:
    """An experiment from a plain tree (what a TOML file holds). Raises ConfigError as `load`."""
    return load(tree)


def _read(tree: Mapping[str, Any], problems: Problems) -> Experiment | None:
    if odd := odd_values(tree):
        problems += odd
        return None
    tree = in_todays_words(tree, problems)
    kind = _kind_named(tree, problems)
    experiment = kind.parse(tree, problems) if kind is not None else None
    if experiment is not None and not problems:
        for kind in of(experiment):
            kind.check(experiment, problems)
    return experiment


def _kind_named(tree: Mapping[str, Any], problems: Problems) -> Kind | None:
    """The kind of experiment that a tree is of, by its world."""
    if "world" not in tree:
        return KINDS["trainings"]
    world = tree["world"]
    for kind in KINDS.values():
        if world in kind.worlds:
            return kind
    worlds = [name for kind in KINDS.values() for name in kind.worlds]
    hint = "; leave it out for a PyTorch model"
    problems.add("world", unknown("world", world, worlds) + hint)
    return None


def in_todays_words(tree: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """A tree of any version with the keys of this one: `substrate` is the old word for a world.

    >>> in_todays_words({"substrate": "sparse", "steps": 600}, Problems())
    {'steps': 600, 'world': 'sparse'}
    """
    renamed = {key: value for key, value in tree.items() if key != "substrate"}
    if "substrate" in tree and "world" in tree:
        problems.add("substrate", "is the old word for 'world': give only one of the two")
    elif "substrate" in tree:
        renamed["world"] = tree["substrate"]
    return renamed


def of_tree(tree: Mapping[str, Any]) -> Kind:
    """The kind of an experiment that was run before, from the tree in its folder.

    >>> of_tree({"world": "brian", "seconds": 60}) is KINDS["spiking"]
    True
    """
    problems = Problems()
    return _kind_named(in_todays_words(tree, problems), problems) or KINDS["trainings"]


# --- from an experiment to its results ---


def plan(experiment: Experiment) -> list[Cell]:
    """An experiment's cells, parents first.

    >>> [cell.label for cell in plan(load("quickstart", ["seeds=1", "rules=[Dense,Static]"]))]
    ['Dense', 'Static', 'Static', 'Static']
    """
    cells: list[Cell] = []
    for kind in of(experiment):
        cells += kind.plan(experiment, cells)
    return cells


def work(experiment: Experiment) -> Work:
    """What trains any cell of an experiment. The data are loaded here, before workers fork."""
    from .threads import one_thread

    with one_thread():
        works = {name: kind.work(experiment) for kind in of(experiment) for name in kind.cells}

    def train(
        cell: Any,
        folder: Path,
        parents: dict[str, Path],
        emit: Emit,
        should_stop: Callable[[], bool],
    ) -> None:
        _use_threads(experiment.threads)
        works[cell.config["kind"]](cell, folder, parents, emit, should_stop)

    return train


def estimate(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """Time and disk of each cell, by hash, from a few steps timed on this machine."""
    costs: dict[str, Estimate] = {}
    for kind in of(experiment):
        costs |= kind.estimate(experiment, [c for c in cells if c.config["kind"] in kind.cells])
    return costs


Rows = Sequence[Mapping[str, Any]]


def rows_by_kind(rows: Rows) -> list[tuple[Kind, Rows]]:
    """Rows of results, those of each kind together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = next(n for n, kind in KINDS.items() if kind.mark in ("", *row))
        groups.setdefault(name, []).append(row)
    return [(KINDS[name], groups[name]) for name in KINDS if name in groups]


def summary(rows: Rows) -> Summary:
    """What a run ends with on the command line."""
    tables = (kind.summary(own) for kind, own in rows_by_kind(rows))
    return next((table for table in tables if table is not None), Summary("", ["rule"], []))


def packages(experiment: Experiment) -> list[str]:
    """Distributions that its results depend on, besides those that all kinds share."""
    return [name for kind in of(experiment) for name in kind.packages]


def _use_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


# --- for editors ---


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors: one for each kind that reads files."""
    usual = KINDS["trainings"]
    whole = usual.schema()
    tables = whole.pop("$defs")
    for kind in KINDS.values():
        if kind is usual or not kind.worlds:  # conversion reads no files
            continue
        own = kind.schema()
        tables |= own.pop("$defs", {})
        named = {"required": ["world"], "properties": {"world": {"enum": list(kind.worlds)}}}
        whole = {"if": named, "then": own, "else": whole}
    return {**whole, "$defs": tables}
