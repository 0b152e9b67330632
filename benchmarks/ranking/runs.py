"""From the folders of runs to networks, densities and entries."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.timing import machine
from rewire.experiments import compare, store, versions
from rewire.experiments.config.schema import available, is_branch, visits_densities
from rewire.experiments.metric import Metric
from rewire.experiments.tasks import metric_of
from rewire.rule_budget import budget_of
from rewire.rules import of_class

from .ranks import add_ranks, contrasts

COSTS = {"train_flops_sparse": "sparse", "train_flops_dense": "dense"}
# of an experiment's file, what does not say which network is trained how
APART = ("name", "title", "about", "source", "time", "device", "threads", "contrasts", "rules",
         "seeds", "densities", "evaluate_every", "tune", "tuned")  # fmt: skip

# rules that these experiments leave out, and why
UNRANKED = {
    "NM": "a pattern, no density", "SRSTE": "a pattern, no density",
    "Wanda": "prunes a trained network", "SparseGPT": "prunes a trained network",
    "UnitPruning": "prunes a trained network", "Combined": "made of other rules",
    "EarlyTime": "searches a spiking network",
}  # fmt: skip

Entry = dict[str, Any]


def summary(runs: Sequence[Path], tuned: Sequence[Path] = ()) -> dict[str, Any]:
    """What the runs found, as one JSON object.

    Raises ValueError where no cell of a run can be ranked, or a tuned run's network is not one of
    the others'.
    """
    networks: dict[str, dict[str, Any]] = {}
    for key, group in _by_training(runs).items():
        networks[key] = _network(group)
    for key, group in _by_training(tuned).items():
        if key not in networks:
            raise ValueError(
                f"{group[0].path}: none of the other runs has this network, data and training; "
                "give the run at defaults that it is compared with."
            )
        found = _network(group)
        networks[key]["tuned"] = found["densities"]
        networks[key]["searches"] = _searches(group)
        networks[key]["runs"] += [{**run, "tuned": True} for run in found["runs"]]
        networks[key]["left_out"] += [f"tuned {text}" for text in found["left_out"]]
    everything = list(networks.values())
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "networks": everything,
        "contrasts": contrasts(everything),
        "absent": _absent(everything),
    }


def _absent(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rules of this installation that could be ranked, and are in none of the runs."""
    listed = {e["rule"] for n in networks for entries in n["densities"].values() for e in entries}
    rules = {name for name, cls in available("rule").items() if not is_branch(cls)}
    return sorted(rules - listed - UNRANKED.keys() - {"Dense"})


def command_of(given: str) -> str:
    """What was run, without the folder it was put in, nor the folders that a path begins with."""
    words = shlex.split(given)
    at = [i for i, word in enumerate(words) if word in ("-o", "--out")]
    said = (w for i, w in enumerate(words) if i not in at and i - 1 not in at)
    return shlex.join(str(Path(*Path(w).parts[-2:])) if Path(w).is_absolute() else w for w in said)


# -- runs -----------------------------------------------------------------------------------------


class _Run:
    """The cells of a run that can be ranked: of seeds whose cells have all ended, if any have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment = store.read_json(path / "experiment.json")
        self.cells = store.described_cells(path)
        by_seed: dict[Any, list[store.Row]] = {}
        for cell in self.cells:
            by_seed.setdefault(cell["seed"], []).append(cell)
        whole = [s for s, cells in by_seed.items()
                 if all(c["status"] in ("finished", "failed") for c in cells)]  # fmt: skip
        self.seeds = sorted(whole or by_seed)
        self.rows = [
            row
            for row in store.results(path, listed=True)
            if row["seed"] in self.seeds and "train_flops_sparse" in row
        ]
        if not self.rows:
            raise ValueError(f"{path} has no finished training yet: nothing to rank.")

    @property
    def training(self) -> str:
        config = self.experiment["config"]
        return json.dumps({k: v for k, v in config.items() if k not in APART}, sort_keys=True)

    def left_out(self) -> list[str]:
        """What is not in the tables, in words."""
        failed = dict.fromkeys(
            f"{c['label']} at {c['density']}, seed {c['seed']}, failed: {c['error']}"
            for c in self.cells
            if c["status"] == "failed"
        )
        ended = [c for c in self.cells if c["seed"] in self.seeds]
        open_ = [c["label"] for c in ended if c["status"] not in ("finished", "failed")]
        lines = list(failed)
        if open_:
            lines.append(f"not finished: {', '.join(dict.fromkeys(open_))}")
        if begun := sorted({c["seed"] for c in self.cells} - set(self.seeds)):
            lines.append(f"seeds begun, not finished: {', '.join(map(str, begun))}")
        return lines

    def describe(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment["name"],
            "command": command_of(self.experiment["command"]),
            "versions": self.experiment["versions"],
            "cells": len(self.cells),
            "finished": sum(c["status"] == "finished" for c in self.cells),
            "outdated": versions.outdated(self.path),
        }


def _by_training(paths: Iterable[Path]) -> dict[str, list[_Run]]:
    groups: dict[str, list[_Run]] = {}
    for path in paths:
        run = _Run(path)
        groups.setdefault(run.training, []).append(run)
    return groups


def _network(runs: Sequence[_Run]) -> dict[str, Any]:
    rows: dict[tuple[Any, ...], store.Row] = {}
    for run in runs:
        for row in run.rows:  # the first run that has a seed of a rule gives it
            key = (row["label"], row["requested_density"], row["level"], row["seed"])
            rows.setdefault(key, {**row, "most_edges": 0})
    metric = metric_of(next(iter(rows.values())))
    configs, most = _configs(runs), _most_edges(runs)
    points = compare.points(rows.values())
    own = [p for found in points.values() if not compare.is_dense(found) for p in found]
    dense = [found[0] for found in points.values() if compare.is_dense(found)]
    entry = lambda point: _entry(point, metric, configs, most)  # noqa: E731
    densities = {
        f"{density:g}": add_ranks([entry(p) for p in own if p.requested == density], metric.lower)
        for density in compare.requested_densities(points)
    }
    experiment = runs[0].experiment
    return {
        "name": experiment["name"].removeprefix("ranking-"),
        "title": _title(experiment["config"]),
        "metric": {"key": metric.key, "title": metric.title, "lower": metric.lower,
                   "percent": metric.percent},
        "seeds": sorted({row["seed"] for row in rows.values()}),
        "dense": entry(dense[0]) if dense else None,
        "densities": densities,
        "contrasts": [list(pair) for pair in experiment["config"].get("contrasts", [])],
        "runs": [run.describe() for run in runs],
        "left_out": [text for run in runs for text in run.left_out()],
    }  # fmt: skip


def _searches(runs: Sequence[_Run]) -> dict[str, dict[str, Any]]:
    """Rule -> what ``rewire tune`` chose, in how many trials, for how many dense trainings."""
    return {
        found["rule"]: {key: found.get(key) for key in ("after", "trials", "spent")}
        for run in runs
        for found in run.experiment["config"].get("tuned", [])
    }


def _title(config: Mapping[str, Any]) -> str:
    """The network, its data and its steps, as the experiment's file has them."""
    model, data = (config[key] if isinstance(config[key], dict) else {"name": config[key]}
                   for key in ("model", "data"))  # fmt: skip
    steps = [f"{config[key]:,} {key}" for key in ("steps", "epochs") if key in config]
    return ", ".join([f"{_named(model)} on {_named(data)}", *steps])


def _named(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{k} {v}" for k, v in table.items() if k not in ("name", "validation"))
    return f"{table['name']}{f' ({options})' if options else ''}"


# -- entries --------------------------------------------------------------------------------------


def _entry(
    point: compare.Point,
    metric: Metric,
    configs: Mapping[str, Mapping[str, Any]],
    most: Mapping[str, int],
) -> Entry:
    config = configs[point.rows[0]["cell"]]
    fields = {k: v for k, v in config["rule"].items() if k not in ("rule", "to")}
    values = point.values(metric.test).tolist()
    held = [most[row["cell"]] / row["possible"] for row in point.rows]
    return {
        "label": point.label,
        "rule": point.rule,
        "fields": fields,
        "versions": config.get("versions", {}),
        "seeds": list(point.seeds),
        "test": {
            "values": values,
            "mean": mean(values),
            "sd": stdev(values) if values[1:] else None,
        },
        "density": point.density,
        "edges": point.mean("edges"),
        "over": point.over_budget,
        "train_flops": {name: point.mean(column) for column, name in COSTS.items()},
        "most_held": mean(held),
        "cpu_seconds": point.mean("cpu_seconds"),
    }


def _configs(runs: Sequence[_Run]) -> dict[str, Mapping[str, Any]]:
    return {
        cell["cell"]: json.loads(cell["config"])
        for run in runs
        for cell in run.cells
        if cell["config"]
    }


def _most_edges(runs: Sequence[_Run]) -> dict[str, int]:
    """Cell -> the most edges that it, or what it started from, held at once while training."""
    most: dict[str, int] = {}
    for run in runs:
        possible = {row["cell"]: row["possible"] for row in run.rows}
        for event in store.evals(run.path, listed=True):
            if event["cell"] in possible:
                most[event["cell"]] = max(most.get(event["cell"], 0), event["edges"])
        for cell in run.cells:
            if cell["cell"] in possible:
                begun = _held_at_start(json.loads(cell["config"])) * possible[cell["cell"]]
                most[cell["cell"]] = max(most.get(cell["cell"], 0), round(begun))
    return most


def _held_at_start(config: Mapping[str, Any]) -> float:
    """Edges at the first step, of all that there could be; every edge where some are silent."""
    fields = dict(config["rule"])
    cls = available("rule")[fields.pop("rule")]
    if is_branch(cls) or visits_densities(cls):
        return 1.0  # a dense training comes before
    rule = of_class(cls, fields)
    if "gain" in rule.columns:
        return 1.0
    budget = budget_of(rule)
    return 0.0 if budget.at_start else budget.starts_at(config.get("density") or 0.0)
