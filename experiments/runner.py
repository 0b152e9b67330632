"""From an experiment's name to a finished run folder: what ``rewire run`` does.

Finished cells are skipped and interrupted ones continue, so the same command can be given again at
any time. A folder belongs to one experiment; it may grow (more seeds, rules or densities), but an
experiment that would leave some of its cells behind is sent to a folder of its own.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import store
from .cells import Cell, in_order
from .config import load, parse
from .engines import local
from .errors import ConfigError
from .files import override, to_toml
from .progress import Kind, Progress
from .schema import Experiment
from .spiking.schema import SpikingExperiment
from .worlds import world_of

AnyExperiment = Experiment | SpikingExperiment
RUNS = Path("runs")
TOP = ("name", "title", "about", "source", "time", "device", "threads", "contrasts")  # no identity


@dataclass(frozen=True)
class Finished:
    """What became of a run: where it is, its cells, and how each of them ended, by hash."""

    out: Path
    report: Path
    cells: Sequence[Cell]
    outcomes: Mapping[str, local.Outcome]

    @property
    def failures(self) -> list[str]:
        """A sentence for each cell that failed."""
        ended = [(cell, self.outcomes[cell.hash]) for cell in self.cells]
        return [
            f"{cell.label} (seed {cell.seed}, cell {cell.hash}) failed, {o.kind}: {o.message}"
            for cell, o in ended
            if o.status == "failed"
        ]

    @property
    def exit_code(self) -> int:
        """0, or the code of the first cell that failed."""
        return local.exit_code(self.outcomes)


def run_experiment(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    progress: Kind = "auto",
    command: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> Finished:
    """Train what is not trained yet of an experiment: a file, a preset's name or a plain tree.

    The run goes to ``out`` (runs/NAME unless given), on ``workers`` processes (as many as there
    are cores unless given; 0 trains in this process).

    Raises ConfigError for what the files or overrides ask in vain, DataError for a data set that
    is not there, StoreError and Locked for the folder, Interrupted after a signal.
    """
    if isinstance(source, Mapping):
        experiment = parse(override(source, overrides))
    else:
        experiment = load(source, overrides)
    cells = world_of(experiment).plan(experiment)
    run = store.Run(out if out is not None else RUNS / experiment.name)
    with run.lock():
        before = run.experiment()
        _refuse_another(run.path, before, experiment, cells)
        for text in _changed_versions(before, experiment):
            warn(text)
        _describe(run, before, experiment, cells, command)
        report = run.path / "report.html"
        waiting = [cell for cell in cells if not local.is_finished(run.cell(cell.hash).path)]
        outcomes = _train(experiment, cells, run.path, workers, progress, bool(waiting))
        if waiting or not report.exists() or before is None:
            from .report import write_report

            write_report(run.path)
        return Finished(run.path, report, cells, outcomes)


def branched(cell: Path, kind: str, fields: Sequence[str], label: str | None) -> dict[str, Any]:
    """The experiment of a finished cell's run, with one branch off that cell more.

    kind: a branch by name, as RandomMask or random-mask. fields: ``key=value``.
    Raises ConfigError for a kind or a cell that is none, StoreError for a damaged run.
    """
    from .schema import available, is_branch, unknown

    kinds = {n.lower(): n for n, rule in available("rule").items() if is_branch(rule)}
    rule = kinds.get(kind.lower().replace("-", "").replace("_", ""))
    if rule is None:
        raise ConfigError(unknown("branch", kind, kinds.values()))
    run, name = store.Run(cell.parent.parent), cell.name
    found = run.experiment()
    listed = [c["hash"] for c in (found or {}).get("cells", [])]
    if found is None or name not in listed:
        raise ConfigError(f"{cell} is no cell of a run: give RUN/cells/HASH, see `rewire results`")
    if not local.is_finished(cell):
        raise ConfigError(f"{cell} is not finished: end its run before branching off it")
    tree = dict(found["config"])
    taken = {str(t.get("label", t["rule"])) for t in tree["rules"]}
    usual = " ".join([rule, *fields])
    usual = usual if usual not in taken else f"{usual} of {name}"
    asked = override({"name": "the branch", "rules": [{"rule": rule}]},
                     [f"rules.{rule}.{field}" for field in fields])  # fmt: skip
    entry = {**asked["rules"][0], "of": name}
    if (label or usual) != rule:
        entry["label"] = label or usual
    return {**tree, "rules": [*tree["rules"], entry]}


def _train(
    experiment: AnyExperiment,
    cells: Sequence[Cell],
    out: Path,
    workers: int | None,
    progress: Kind,
    needed: bool,
) -> Mapping[str, local.Outcome]:
    reporter = Progress(progress)
    work = world_of(experiment).work(experiment) if needed else _nothing
    reporter.start(cells)
    outcomes: Mapping[str, local.Outcome] = {}
    try:
        outcomes = local.run_cells(
            cells,
            out=out,
            workers=default_workers(experiment) if workers is None else workers,
            work=work,
            on_event=reporter.event,
            on_tick=reporter.tick,
        )
    except local.Interrupted as stopped:
        outcomes = stopped.outcomes
        raise
    finally:
        reporter.finish(outcomes)
    return outcomes


def _nothing(*args: Any) -> None:
    raise AssertionError("every cell was finished")


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda" for what an experiment asks. Raises ConfigError for a GPU that is not there.

    The driver is asked without claiming the GPU, which workers could not inherit.
    """
    if device == "cpu":
        return "cpu"
    local.prepare_parent()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError(
            "device = 'cuda', but torch finds no GPU here; `rewire doctor` says more, "
            "device=auto takes the CPU"
        )
    return "cpu"


def default_workers(experiment: AnyExperiment) -> int:
    """As many single-thread workers as this process may use cores; two share a GPU."""
    if experiment.device != "cpu" and resolve_device(experiment.device) == "cuda":
        return 2
    return max(1, usable_cores() // experiment.threads)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- the folder's description ---


def versions(experiment: AnyExperiment) -> dict[str, str]:
    """The versions that its results may depend on."""
    found = {"python": platform.python_version()}
    for name in ("neurorewire", "torch", "numpy", "scipy", *world_of(experiment).packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _describe(
    run: store.Run,
    before: Mapping[str, Any] | None,
    experiment: AnyExperiment,
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


def _changed_versions(before: Mapping[str, Any] | None, experiment: AnyExperiment) -> list[str]:
    then, now = (before or {}).get("versions"), versions(experiment)
    if not isinstance(then, Mapping):
        return []
    changed = [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]
    if not changed:
        return []
    return [f"begun with other versions ({', '.join(changed)}): new cells may differ in the last "
            "digits from those that are finished"]  # fmt: skip


def _refuse_another(
    out: Path, before: Mapping[str, Any] | None, experiment: AnyExperiment, cells: Sequence[Cell]
) -> None:
    """A folder may grow, but no cell of its experiment may be left behind."""
    if before is None:
        return
    listed = [item.get("hash") for item in before.get("cells", []) if isinstance(item, Mapping)]
    if set(listed) <= {cell.hash for cell in cells}:
        return
    old = before.get("config") if isinstance(before.get("config"), Mapping) else {}
    lines = [f"  {key}: {there} there, {here} asked for" for key, there, here in _differences(
        old, experiment.as_tree()) if key.partition(".")[0] not in TOP]  # fmt: skip
    lines = lines or ["  (made by another version of rewire)"]
    raise ConfigError(
        "\n".join([f"{out} holds another experiment:", *lines[:20],
                   "Give this one a folder of its own with --out DIR, or remove that one."])
    )  # fmt: skip


def _differences(old: Any, new: Any, path: str = "") -> list[tuple[str, str, str]]:
    """(path, old, new) wherever two trees differ."""
    if path == "rules" and isinstance(old, list) and isinstance(new, list):
        old, new = ({str(t.get("label", t["rule"])): t for t in tree} for tree in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            found
            for key in {**old, **new}
            for found in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    if old == new:
        return []
    there, here = ("nothing" if value is None else str(value)[:60] for value in (old, new))
    return [(path, there, here)]


def command_line() -> list[str]:
    """This process's command, as one would type it."""
    return ["rewire", *sys.argv[1:]]
