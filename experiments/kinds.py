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
from .config.schema import Experiment as TrainingExperiment
from .config.schema import available
from .config.toml import odd_values, override, read
from .conversion.kind import Conversion
from .engines.outcome import Emit, Work
from .kind import Experiment, Kind
from .spiking.kind import Spiking
from .trainings.kind import Trainings

KINDS: Mapping[str, Kind] = {
    "trainings": Trainings(),
    "conversion": Conversion(),
    "spiking": Spiking(),
}


def of(experiment: Experiment) -> Iterator[Kind]:
    """The kinds of an experiment's cells: its own, then those that add to it."""
    return (KINDS[name] for name in experiment.kinds)


# --- from a file to an experiment ---


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Any:
    """An experiment from a file, a preset or a plain tree, with ``key=value`` overrides.

    Raises ConfigError (exit 2) with every problem of the file and the overrides together.

    >>> experiment = load("quickstart", ["seeds=1", "rules=[Dense,DeepR]"])
    >>> experiment.name, [entry.label for entry in experiment.rules]
    ('quickstart', ['Dense', 'DeepR'])
    """
    if isinstance(source, Mapping):
        tree = dict(source)
    else:
        path = locate(source)
        tree = read(path)
        tree.setdefault("name", path.stem)
    problems = Problems()
    tree = override(tree, overrides, problems)
    experiment = _read(tree, problems)
    problems.refuse(tree)
    return experiment


def parse(tree: Mapping[str, Any]) -> Any:
    """An experiment from a plain tree (what a TOML file holds). Raises ConfigError as `load`."""
    return load(tree)


def _read(tree: Mapping[str, Any], problems: Problems) -> Experiment | None:
    if odd := odd_values(tree):
        problems += odd
        return None
    kind = _kind_named(tree, problems)
    experiment = kind.parse(tree, problems) if kind is not None else None
    if experiment is not None and not problems:
        for kind in of(experiment):
            kind.check(experiment, problems)
    return experiment


def _kind_named(tree: Mapping[str, Any], problems: Problems) -> Kind | None:
    """The kind of experiment that a tree is of."""
    if "world" not in tree:
        return KINDS["trainings"]
    if (world := tree["world"]) == "brian":
        return KINDS["spiking"]
    hint = "; leave it out for a PyTorch model"
    problems.add("world", unknown("world", world, ["brian"]) + hint)
    return None


def of_tree(tree: Mapping[str, Any]) -> Kind:
    """The kind of an experiment that was run before, from the tree in its folder."""
    return _kind_named(tree, Problems()) or KINDS["trainings"]


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


def packages(experiment: Experiment) -> list[str]:
    """Distributions that its results depend on, besides those that all kinds share."""
    return [name for kind in of(experiment) for name in kind.packages]


def _use_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


# --- for editors ---


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    from rewire.models import spiking

    from .spiking.schema import SpikingExperiment

    torch, brian = TrainingExperiment.model_json_schema(), SpikingExperiment.model_json_schema()
    both = {**brian.pop("$defs"), **torch.pop("$defs")}
    _name_choices(torch, "train", model=available("model"), data=available("data"))
    _name_choices(brian, "model", model=spiking.available())
    return {"if": {"required": ["world"]}, "then": brian, "else": torch, "$defs": both}


def _name_choices(tree: dict[str, Any], own: str, **choices: Mapping[str, Any]) -> None:
    """Write the names that exist into a schema; ``own`` is a rule's key for settings of its own."""
    tree["properties"]["rules"] = {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["rule"],
            "properties": {
                "rule": {"enum": list(available("rule"))},
                "label": {"type": "string"},
                own: {"type": "object"},
            },
        },
    }
    for key, known in choices.items():
        tree["properties"][key] = {"anyOf": [{"enum": list(known)}, tree["properties"][key]]}
    tree["required"] = [name for name in tree["required"] if name != "name"]
