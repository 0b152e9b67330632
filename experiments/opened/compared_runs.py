"""Two runs in one folder and one report: `rewire.compare`, ``rewire compare RUN RUN``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import store
from ..errors import ConfigError, StoreError
from .run import OpenedRun

SAME = ("data", "task", "world")  # of the experiments, without which no two numbers compare
TOLD = ("model", "optimizer", "schedule", "batch", "steps", "epochs", "distribution", "initial",
        "limits", "precision")  # fmt: skip


def compare(first: str | Path, second: str | Path, out: str | Path | None = None) -> OpenedRun:
    """Two runs as one, with one report: rules of the same name stand beside each other.

    out: the folder to make [runs/FIRST-and-SECOND unless given]; its cells are links to those of
    the two runs, which stay as they are, and its report is OUT/report.html. A rule that both runs
    trained alike is one rule of as many seeds; one that they trained otherwise is two, with the
    run's name behind it. What else differs between the two experiments is said in the report.

    Raises ConfigError for runs of other data, tasks or kinds, whose numbers compare with nothing,
    StoreError where no run is.
    """
    runs = [OpenedRun(first), OpenedRun(second)]
    names = _names(runs)
    _refuse_unlike(runs, names)
    folder = Path(out) if out is not None else runs[0].path.parent / f"{names[0]}-and-{names[1]}"
    if folder.resolve() in {run.path.resolve() for run in runs}:
        raise ConfigError(f"{folder} is one of the two runs: give the comparison another folder")
    labels = _labels(runs, names)
    joint = store.Run(folder)
    with joint.lock():
        before = joint.experiment()
        if before is not None and before.get("compared") is None:
            raise ConfigError(f"{folder} is a run of its own: give the comparison another folder")
        cells: dict[str, dict[str, Any]] = {}
        for number, run in enumerate(runs):
            for cell in run.cells:
                label = labels[number][cell.label]
                cells.setdefault(cell.hash, {"hash": cell.hash, "label": label, "seed": cell.seed})
                _link(cell.path, folder / "cells" / cell.hash)
        joint.write_experiment(*_experiment(runs, names, labels, list(cells.values())))
        from ..report import write_report

        write_report(folder)
    return OpenedRun(folder)


def differences(runs: Sequence[OpenedRun], names: Sequence[str]) -> list[str]:
    """A sentence for each setting in which two experiments differ."""
    trees = [run.experiment.get("config", {}) for run in runs]
    return [
        f"{key}: {_short(one)} in {names[0]}, {_short(other)} in {names[1]}"
        for key in TOLD
        if (one := trees[0].get(key)) != (other := trees[1].get(key))
    ]


def _short(value: Any) -> str:
    return "as by default" if value is None else json.dumps(value, ensure_ascii=False)


def _names(runs: Sequence[OpenedRun]) -> list[str]:
    names = [run.path.resolve().name for run in runs]
    return names if names[0] != names[1] else [f"{names[0]}-1", f"{names[1]}-2"]


def _refuse_unlike(runs: Sequence[OpenedRun], names: Sequence[str]) -> None:
    for run in runs:
        if not run.experiment:
            raise StoreError(f"{run.path}: no experiment.json is here, which says what was trained")
    trees = [run.experiment.get("config", {}) for run in runs]
    for key in SAME:
        if trees[0].get(key) != trees[1].get(key):
            raise ConfigError(
                f"{names[0]} and {names[1]} are of other {key} ({_short(trees[0].get(key))}, "
                f"{_short(trees[1].get(key))}), so that no number of one compares with one of the "
                "other: compare runs that share it"
            )


def _labels(runs: Sequence[OpenedRun], names: Sequence[str]) -> list[dict[Any, str]]:
    """New labels by old ones, for each run: with its name behind those that mean two things."""
    made = [_made_of(run) for run in runs]
    both = {label for label in made[0] if label in made[1]}
    apart = {label for label in both if not made[0][label] & made[1][label] or _meet(runs, label)}
    return [
        {label: f"{label} ({name})" if label in apart else str(label) for label in one}
        for one, name in zip(made, names, strict=True)
    ]


def _meet(runs: Sequence[OpenedRun], label: Any) -> bool:
    """Whether two runs hold different cells of one label, seed and density."""
    places = [
        {(c.seed, c.densities): c.hash for c in run.cells if c.label == label} for run in runs
    ]
    return any(places[1].get(place, hash) != hash for place, hash in places[0].items())


def _made_of(run: OpenedRun) -> dict[Any, set[str]]:
    """By label, what its cells are made of besides seed and density, as JSON."""
    made: dict[Any, set[str]] = {}
    for cell in run.cells:
        own = {k: v for k, v in cell.config.items() if k not in ("seed", "density", "densities")}
        made.setdefault(cell.label, set()).add(json.dumps(_apart_from_parents(own), sort_keys=True))
    return made


def _apart_from_parents(config: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's configuration without the hashes of others, which hold their seeds and densities."""
    return {k: v for k, v in config.items() if k not in ("parents", "parent", "of")}


def _experiment(
    runs: Sequence[OpenedRun],
    names: Sequence[str],
    labels: Sequence[Mapping[Any, str]],
    cells: list[dict[str, Any]],
) -> tuple[str, dict[str, Any]]:
    """experiment.toml and experiment.json of both together."""
    from ..config.toml import to_toml

    trees = [run.experiment.get("config", {}) for run in runs]
    rules: dict[str, dict[str, Any]] = {}
    contrasts: list[list[str]] = []
    for tree, new in zip(trees, labels, strict=True):
        for table in tree.get("rules", []):
            label = new.get(table.get("label", table["rule"]), table["rule"])
            rules.setdefault(label, {**table, "label": label})
        pairs = [[new.get(label, label) for label in pair] for pair in tree.get("contrasts", [])]
        contrasts += [pair for pair in pairs if pair not in contrasts]
    densities = {d for tree in trees for d in tree.get("densities", ())}
    seeds = {cell["seed"] for cell in cells if cell["seed"] is not None}
    told = "; ".join(differences(runs, names)) or "nothing but rules, densities and seeds"
    tree = {
        **trees[0],
        "name": f"{names[0]}-and-{names[1]}"[:64],
        "title": f"{names[0]} and {names[1]}",
        "about": f"Two runs side by side. What differs between their experiments: {told}.",
        "rules": list(rules.values()),
    }
    if densities:
        tree["densities"] = sorted(densities, reverse=True)
    if seeds:
        tree["seeds"] = sorted(seeds)
    if contrasts:
        tree["contrasts"] = contrasts
    compared = [str(run.path.resolve()) for run in runs]
    described = {key: tree.get(key) for key in ("name", "title", "about")}
    versions = runs[0].experiment.get("versions", {})
    return to_toml(tree), {
        **described, "config": tree, "compared": compared, "cells": cells, "versions": versions,
        "command": ["rewire", "compare", *compared],
    }  # fmt: skip


def _link(cell: Path, target: Path) -> None:
    """The cell's folder under another one's name: a link, or a copy where there are no links."""
    if not cell.is_dir() or target.is_symlink() or target.exists():
        return
    try:
        os.symlink(cell.resolve(), target, target_is_directory=True)
    except OSError:
        shutil.copytree(cell, target)
