"""Experiments from Python: `rewire.experiment`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewire.caveats import outside
from rewire.names import did_you_mean, short

from . import kinds, runner
from .config.problems import Problems
from .config.toml import override
from .engines.remains import is_finished
from .errors import ConfigError
from .opened import OpenedRun
from .progress import Kind

if TYPE_CHECKING:
    import pandas

    from .cells import Cell

# What an experiment trains with where nobody says it; a file says it itself.
USUAL: Mapping[str, Any] = {"optimizer": {"name": "adam", "lr": 1e-3}, "batch": 64}
USUAL_EPOCHS = 10


def experiment(
    source: str | Path | Mapping[str, Any] | None = None,
    /,
    *overrides: str,
    model: Any = None,
    data: Any = None,
    rules: Sequence[Any] | None = None,
    densities: float | Sequence[float] | None = None,
    seeds: int | Iterable[int] | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Planned:
    """An experiment, to be run: rules on a model and data, at some densities, from some seeds.

    >>> import rewire
    >>> planned = rewire.experiment(
    ...     model="lenet-300-100", data="digits", rules=["Dense", rewire.RigL(fraction=0.2)],
    ...     densities=[0.1, 0.05], seeds=2, epochs=2,
    ... )
    >>> planned
    Experiment('lenet-300-100-on-digits': 6 cells, 0 finished, in runs/lenet-300-100-on-digits)
    >>> planned.run().results()  # doctest: +SKIP

    source: a TOML or JSON file, the name of a preset, or a tree; what is given besides replaces
        what it says. overrides: "key=value", as on the command line.
    model: one of `rewire models`, "module:function", or a function that builds one.
    data: one of `rewire datasets`, or tensors or a data set (see docs/own-data.md).
    rules: names, rules (``rewire.RigL(fraction=0.2)``), classes of them, or tables of a file.
    densities: one or several. seeds: how many, or which.
    name: of the run; "MODEL-on-DATA" unless given. out: its folder; runs/NAME unless given.
    settings: any other key of an experiment file: optimizer, batch, steps or epochs, schedule,
        distribution, initial, limits, contrasts, world, ... Without a source, optimizer is adam
        at a learning rate of 0.001, batch 64 and epochs 10.

    Nothing is trained here. Raises `rewire.experiments.errors.ConfigError` with everything that is
    wrong, what there is, and the nearest name.
    """
    if settings.get("density") is not None or "sparsity" in settings:
        wrong = "density" if "density" in settings else "sparsity"
        raise ConfigError(
            f"an experiment has no {wrong}=: say densities=[0.1], what it compares at"
        )
    given = {
        "model": model,
        "data": data,
        "rules": None if rules is None else [_table_of(rule) for rule in _listed(rules)],
        "densities": None
        if densities is None
        else [float(d) if isinstance(d, int) else d for d in _listed(densities)],
        "seeds": seeds if seeds is None or isinstance(seeds, int) else list(seeds),
        "name": name,
        **settings,
    }
    given = {key: value for key, value in given.items() if value is not None}
    tree = _tree_of(source, given)
    return Planned(tree, overrides, out)


class Planned:
    """An experiment and the folder of its run; :meth:`run` trains what is not trained yet.

    experiment: its settings. cells: its trainings. path: the folder. failures: of the last run,
    a sentence each.
    """

    def __init__(
        self, tree: Mapping[str, Any], overrides: Sequence[str] = (), out: str | Path | None = None
    ):
        self._tree = dict(tree)
        if overrides:
            problems = Problems()
            self._tree = override(self._tree, overrides, problems)
            problems.refuse(self._tree.get("name"))
        self.experiment = kinds.load(self._tree)
        self.path = Path(out) if out is not None else runner.RUNS / self.experiment.name
        self.failures: list[str] = []

    @cached_property
    def cells(self) -> list[Cell]:
        return kinds.plan(self.experiment)

    def run(
        self,
        workers: int | None = None,
        progress: Kind = "auto",
        engine: str = "local",
        *,
        report: bool = True,
    ) -> Planned:
        """Train what is not trained yet, write the report (unless it is not to), and return this.

        workers: processes of one thread each; as many as there are cores unless given; 0 trains in
        this process. progress: "auto" (a bar in a notebook, a display in a terminal, else lines),
        "rich", "plain", "json", "notebook" or "quiet". An interrupt (Ctrl-C) stops after a
        checkpoint, and the same call goes on. Cells that fail are warned of.
        """
        from . import tuning

        options: dict[str, Any] = {
            "out": self.path, "workers": workers, "engine": engine, "progress": progress,
            "warn": _warn,
        }  # fmt: skip
        if getattr(self.experiment, "tune", None) is not None:
            finished = tuning.run_tuned(self._tree, **options)
        else:
            finished = runner.run_experiment(self._tree, report=report, **options)
        self.failures = finished.failures
        for failure in self.failures:
            _warn(failure)
        return self

    def open(self) -> OpenedRun:
        """What was trained so far, as `rewire.open` gives it: cells, graphs, models, SQL."""
        return OpenedRun(self.path)

    def results(self) -> pandas.DataFrame:
        """One row for each training and level, as a table of pandas."""
        return self.open().table("results")

    def report(self) -> Path:
        """Write the report anew, of what is there by now, and return its file."""
        from .report import write_report

        return write_report(self.path)

    @property
    def finished(self) -> int:
        """How many of its cells are finished."""
        return sum(is_finished(self.path / "cells" / cell.hash) for cell in self.cells)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"Experiment({self.experiment.name!r}: {len(self.cells)} cells, {self.finished} "
            f"finished{failed}, in {self.path})"
        )

    def _repr_html_(self) -> str:
        if (self.path / "experiment.json").exists():
            return self.open()._repr_html_()
        return f"<p>{escape(repr(self))}</p>"


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=outside())


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _table_of(rule: Any) -> Any:
    """A rule as a table of an experiment file."""
    from rewire.branches import Branch
    from rewire.names import unknown
    from rewire.rule import Rule

    from .config.schema import available

    if isinstance(rule, str | Mapping):
        return rule
    cls = rule if isinstance(rule, type) else type(rule)
    known = available("rule")
    if not issubclass(cls, Rule | Branch):
        raise ConfigError(
            f"{short(rule)} is no rule: give its name, as 'RigL', or make one, as rewire.RigL()"
        )
    if known.get(cls.__name__) is not cls:
        raise ConfigError(
            f"{unknown('rule', cls.__name__, known)}: an experiment finds rules by name, which a "
            "package registers under the entry point rewire.rules (docs/adding-a-rule.md)"
        )
    return {"rule": cls.__name__, **({} if isinstance(rule, type) else rule.to_table())}


def _tree_of(source: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of an experiment: that of a source with what was given laid over it."""
    from .config.presets import locate
    from .config.toml import read

    if source is None:
        if missing := [key for key in ("model", "data", "rules") if key not in given]:
            raise ConfigError(
                f"an experiment needs {', '.join(f'{key}=' for key in missing)}, or a file or "
                "preset that says so: rewire.experiment('quickstart')"
            )
        tree = {**USUAL, "name": _name_of(given["model"], given["data"])}
        if not {"steps", "epochs"} & given.keys():
            tree["epochs"] = USUAL_EPOCHS
    elif isinstance(source, Mapping):
        tree = dict(source)
    elif isinstance(source, str | Path):
        path = locate(source)
        tree = {"name": path.stem, **read(path)}
    else:
        raise ConfigError(
            f"{short(source)} is no file, preset or tree of an experiment"
            f"{did_you_mean(str(source), ('model', 'data'))}: write model=, data= and rules="
        )
    for key, other in (("steps", "epochs"), ("epochs", "steps")):
        if key in given:
            tree.pop(other, None)
    pairs = tree.get("contrasts")
    if "rules" in given and isinstance(pairs, list):  # of the source's own rules, which may be gone
        labels = {_label(rule) for rule in given["rules"]}
        tree["contrasts"] = [pair for pair in pairs if labels.issuperset(pair)]
    return {**tree, **given}


def _label(table: Any) -> Any:
    return table.get("label", table.get("rule")) if isinstance(table, Mapping) else table


def _name_of(model: Any, data: Any) -> str:
    """A name for the run of a model on data."""
    return f"{_word(model, 'model')}-on-{_word(data, 'data')}"[:64]


def _word(value: Any, usual: str) -> str:
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        name = str(getattr(value, "__name__", usual))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or usual
