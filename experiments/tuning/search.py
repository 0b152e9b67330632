"""The search itself: generations of trials for all rules side by side, until a budget ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import kinds, store
from ..config.presets import locate
from ..config.problems import Problems
from ..config.schema import Experiment
from ..config.toml import override, read, to_toml
from ..config.tune import Tune
from ..errors import ConfigError
from ..metric import Metric
from ..progress import Kind
from ..runner import RUNS, Finished, run_experiment
from . import trials
from .checking import check, described
from .drawing import Draws, check_installed
from .generation import cost_of_dense, levels, trained, tree_of
from .page import render
from .space import OPTIMIZER, RuleSpace, rule_spaces
from .trials import Trial
from .tuned import Tuned

GENERATION = 4  # trials of a rule that are asked for together, whatever the number of workers
REDRAWN = 100  # draws that the experiment refuses, until a rule is given up
SEARCH, TRIALS = "search.json", "trials.json"


def tune(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    flops: float | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    progress: Kind = "auto",
    command: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Search for the fields of an experiment's rules; what is done is not done again.

    source, overrides: as of `run_experiment`; its table ``tune`` says how, and trials and flops
    replace what that says. out: runs/NAME-tuning unless given; it holds the tuned experiment file
    and the page. The rest as of `run_experiment`, and so are the errors; ConfigError also where
    Optuna is not installed, or the folder holds another search; one with smaller budgets goes on.
    """
    experiment = kinds.load(source, overrides)
    search = _asked(experiment, trials, flops)
    check(experiment, search)
    check_installed()
    folder = Path(out) if out is not None else RUNS / f"{experiment.name}-tuning"
    options = {"workers": workers, "engine": engine, "progress": progress,
               "command": command, "warn": warn}  # fmt: skip
    with store.Run(folder).lock():
        _refuse_another(folder, described(experiment, search))
        tuned = _Search(experiment, search, folder, options).run()
        _write(tuned)
    return tuned


def run_tuned(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    tracker: str | None = None,
    **options: Any,
) -> Finished:
    """Tune the rules of an experiment that asks for it, in OUT/tuning, then train them in OUT."""
    experiment = kinds.load(source, overrides)
    folder = Path(out) if out is not None else RUNS / experiment.name
    tuned = tune(source, overrides, out=folder / "tuning", **options)
    tree = {**tuned.tree, "name": experiment.name}
    return run_experiment(tree, out=folder, tracker=tracker, **options)


def asks_for_search(source: str | Path, overrides: Sequence[str] = ()) -> bool:
    """Whether an experiment file, with overrides, has a table ``tune``.

    >>> asks_for_search("quickstart"), asks_for_search("quickstart", ["tune.trials=10"])
    (False, True)
    """
    return "tune" in override(read(locate(source)), overrides, Problems())


def _asked(experiment: Any, trials: int | None, flops: float | None) -> Tune:
    own = getattr(experiment, "tune", None) or Tune()
    changes = {"trials": trials, "flops": flops}
    for name, value in changes.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} is {value:g}; it takes a number above 0")
    return own.model_copy(update={k: v for k, v in changes.items() if v is not None})


def _refuse_another(folder: Path, mine: Mapping[str, Any]) -> None:
    """Raise ConfigError for the folder of a search that this one does not go on with."""
    path = folder / SEARCH
    theirs = store.read_json(path) if path.exists() else None
    if theirs is not None and not _extends(mine, theirs):
        keys = [key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key)]
        raise ConfigError(
            f"{folder} holds another search ({', '.join(keys)} differ), and only its budgets can "
            "grow: give this one a folder of its own with --out DIR, or remove that one"
        )
    if theirs != mine:
        store.write_json(path, mine)


def _extends(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a search is another, or that with budgets that are no smaller."""
    searches = [Tune.model_construct(**one["tune"]) for one in (mine, theirs)]
    alike = [{**one, "tune": {**one["tune"], "trials": 0, "flops": None}} for one in (mine, theirs)]
    now, before = ((search.trials, search.limit) for search in searches)
    return alike[0] == alike[1] and all(a >= b for a, b in zip(now, before, strict=True))


def _write(tuned: Tuned) -> None:
    trials.write(tuned.out / TRIALS, tuned.trials)
    store.write_atomic(tuned.file, to_toml(tuned.tree))
    store.write_atomic(tuned.page, render(tuned))


class _Search:
    """A search on its way: what each rule has tried, and what it has spent."""

    def __init__(
        self, experiment: Experiment, search: Tune, folder: Path, options: Mapping[str, Any]
    ) -> None:
        self.experiment, self.search, self.folder = experiment, search, folder
        self.options = options
        self.metric: Metric = experiment.objective.judged_by
        self.rules = [one for one in rule_spaces(experiment, search) if one.fields]
        self.done: dict[str, list[Trial]] = {one.label: [] for one in self.rules}
        self.unit = 0.0

    def run(self) -> Tuned:
        generation = 0
        while untrained := self._next(generation):
            for trial in self._trained(generation, untrained):
                self.done[trial.rule].append(trial)
            if generation == 0:
                self.unit = cost_of_dense(untrained, self._place(0))
            self._mark_beyond()
            generation += 1
        return Tuned(
            self.folder,
            self.experiment,
            self.search,
            self.rules,
            [trial for one in self.rules for trial in self.done[one.label]],
            self.unit,
        )

    def _place(self, generation: int) -> Path:
        return self.folder / "generations" / f"{generation:02}"

    def _trained(self, generation: int, untrained: list[Trial]) -> list[Trial]:
        place = self._place(generation)
        written = place.with_suffix(".json")
        if written.exists():
            return trials.read(written)
        results = trained(self.experiment, self.search, untrained, place, **self.options)
        results = [self._settled(trial) for trial in results]
        trials.write(written, results)
        return results

    def _settled(self, trial: Trial) -> Trial:
        """A trial that repeats another has its results; one that failed has cost a whole one."""
        before = self.done[trial.rule]
        if trial.repeats is not None:
            first = before[trial.repeats]
            return replace(trial, score=first.score, density=first.density, failure=first.failure)
        if trial.failure and before:
            return replace(trial, spent=max(trial.spent, before[0].spent))
        return trial

    # -- what is tried next -----------------------------------------------------------------------

    def _next(self, generation: int) -> list[Trial]:
        if generation == 0:
            return [Trial(one.label, 0, 0, dict(one.before), one.table({})) for one in self.rules]
        return [trial for one in self.rules for trial in self._drawn(one, generation)]

    def _affordable(self, one: RuleSpace) -> int:
        """How many trials more both budgets of a rule allow, in one generation."""
        done = self.done[one.label]
        left = self._limit(done[0]) - sum(trial.spent for trial in done)
        dearest = max(trial.spent for trial in done)
        by_flops = int(left / dearest * (1 + 1e-9)) if dearest else GENERATION
        return max(0, min(GENERATION, self.search.trials - len(done), by_flops))

    def _limit(self, trial: Trial) -> float:
        """The training FLOPs that a rule may spend."""
        at = levels(self.experiment, self.search, trial) * len(self.search.seeds)
        return self.search.limit * self.unit * at

    def _mark_beyond(self) -> None:
        """Take out of the choice what the budget of FLOPs ended before; the default stays in."""
        for label, done in self.done.items():
            spent, limit = 0.0, self._limit(done[0]) * (1 + 1e-9)
            for i, trial in enumerate(done):
                spent += trial.spent
                self.done[label][i] = replace(trial, beyond=i > 0 and spent > limit)

    def _drawn(self, one: RuleSpace, generation: int) -> list[Trial]:
        """The next trials of a rule, of values that the experiment takes."""
        done, new = self.done[one.label], list[Trial]()
        past = [(t, trials.judged(t, self.metric)) for t in done if t.score is not None]
        whole = [name for name in one.fields if one.whole(name)]
        draws = Draws(one.fields, whole, past, self.search.sampler, self.search.seed)
        for number in range(len(done), len(done) + self._affordable(one)):
            values, table = self._legal(one, draws, number)
            same = next((t.number for t in (*done, *new) if t.values == values), None)
            new.append(Trial(one.label, number, generation, values, table, repeats=same))
        return new

    def _legal(
        self, one: RuleSpace, draws: Draws, number: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first draw that the experiment takes: a period may be longer than a training.

        Fields of the optimizer stay those of the first attempt, which other rules have as well.
        """
        why, shared = "", dict[str, Any]()
        for attempt in range(REDRAWN):
            values = draws.draw(number, attempt) | shared
            shared = {k: v for k, v in values.items() if k.startswith(OPTIMIZER)}
            try:
                table = one.table(values)
                kinds.load(tree_of(self.experiment, self.search, [table], "trial"))
            except (ConfigError, ValueError) as error:
                why = str(error)
            else:
                return values, table
        raise ConfigError(
            f"{one.label}: {REDRAWN} draws of {', '.join(one.fields)} were refused, the last one "
            f"because of: {why}"
        )
