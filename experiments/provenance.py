"""Versions, command line and machine of a run, and whether a run may go on with others."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import kinds, store
from .cells import Cell, in_order
from .config.problems import Problems
from .config.toml import to_toml
from .errors import ConfigError, RewireError
from .kind import Experiment

TOP = ("name", "title", "about", "source", "time", "device", "threads", "contrasts")  # no identity


# --- the folder's description ---


def versions(experiment: Experiment) -> dict[str, str]:
    """The versions that its results may depend on."""
    by_name = {"python": platform.python_version()}
    for name in ("neurorewire", "torch", "numpy", "scipy", *kinds.packages(experiment)):
        try:
            by_name[name] = version(name)
        except PackageNotFoundError:
            by_name[name] = "unknown"
    return by_name


def describe(
    run: store.Run,
    before: Mapping[str, Any] | None,
    experiment: Experiment,
    cells: Sequence[Cell],
    command: Sequence[str],
) -> None:
    tree = experiment.as_tree()
    listed = [
        {"hash": cell.hash, "label": cell.label, "seed": cell.seed}
        for cell in in_order(experiment, cells)
    ]
    described = {
        "name": experiment.name,
        "title": experiment.title,
        "about": experiment.about,
        "config": tree,
        "cells": listed,
        "command": shlex.join(command),
        "versions": versions(experiment),
        "created": (before or {}).get("created") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if before is None or any(before.get(key) != described[key] for key in ("config", "cells")):
        run.write_experiment(to_toml(tree), described)


def changed_versions(before: Mapping[str, Any] | None, experiment: Experiment) -> list[str]:
    then, now = (before or {}).get("versions"), versions(experiment)
    if not isinstance(then, Mapping):
        return []
    changed = [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]
    if not changed:
        return []
    return [f"begun with other versions ({', '.join(changed)}): new cells may differ in the last "
            "digits from those that are finished"]  # fmt: skip


def refuse_another(
    out: Path, before: Mapping[str, Any] | None, experiment: Experiment, cells: Sequence[Cell]
) -> None:
    """A folder may grow, but no cell of its experiment may be left behind."""
    if before is None:
        return
    listed = [item.get("hash") for item in before.get("cells", []) if isinstance(item, Mapping)]
    planned = {cell.hash for cell in cells}
    if set(listed) <= planned or (_as_today(before) or {None}) <= planned:
        return
    config = before.get("config")
    old = kinds.in_todays_words(config if isinstance(config, Mapping) else {}, Problems())
    changes = _differences(old, experiment.as_tree())
    lines = [
        f"  {key}: {then} there, {now} asked for"
        for key, then, now in changes
        if key.partition(".")[0] not in TOP
    ]
    lines = lines or ["  (made by another version of rewire)"]
    raise ConfigError(
        "\n".join([f"{out} holds another experiment:", *lines[:20],
                   "Give this one a folder of its own with --out DIR, or remove that one."])
    )  # fmt: skip


def replaced(before: Mapping[str, Any] | None, cells: Sequence[Cell]) -> list[str]:
    """What is said of cells that are listed no longer, since their rule has another version."""
    listed = [item for item in (before or {}).get("cells", []) if isinstance(item, Mapping)]
    planned = {cell.hash for cell in cells}
    left = [str(item.get("label")) for item in listed if item.get("hash") not in planned]
    return [
        f"cells of {label} by an earlier version of the rule, or begun from one: "
        f"{left.count(label)}, trained again; the old ones stay in cells/, and are in no table"
        for label in dict.fromkeys(left)
    ]


def _as_today(before: Mapping[str, Any]) -> set[str | None] | None:
    """The cells that the experiment of a folder has today, where those that it has no longer are
    of rules whose version was raised; else None."""
    try:
        cells = kinds.plan(kinds.parse(before["config"]))
    except (RewireError, KeyError, TypeError):
        return None
    listed = {item.get("hash"): item for item in before["cells"]}
    raised = {cell.hash for cell in cells if cell.config.get("versions")}
    for cell in cells:  # parents come first
        if raised.intersection(cell.parents.values()):
            raised.add(cell.hash)
    ours = {(cell.label, cell.seed) for cell in cells if cell.hash in raised}
    gone = [item for name, item in listed.items() if name not in {cell.hash for cell in cells}]
    fits = all((item.get("label"), item.get("seed")) in ours for item in gone)
    return {cell.hash for cell in cells} if fits else None


def _differences(old: Any, new: Any, path: str = "") -> list[tuple[str, str, str]]:
    """(path, old, new) wherever two trees differ."""
    if path == "rules" and isinstance(old, list) and isinstance(new, list):
        old, new = ({str(t.get("label", t["rule"])): t for t in tree} for tree in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            difference
            for key in {**old, **new}
            for difference in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    if old == new:
        return []
    before, now = ("nothing" if value is None else str(value)[:60] for value in (old, new))
    return [(path, before, now)]


def command_line() -> list[str]:
    """This process's command, as one would type it."""
    return ["rewire", *sys.argv[1:]]
