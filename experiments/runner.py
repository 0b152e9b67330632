"""From an experiment's name to a finished run folder: what ``rewire run`` does.

Finished cells are skipped and interrupted ones continue, so the same command can be given again at
any time. A folder belongs to one experiment; it may grow (more seeds, rules or densities), but an
experiment that would leave some of its cells behind is sent to a folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import caveats, kinds, provenance, store, tracking
from .cells import Cell
from .config.problems import Problems
from .config.toml import override
from .engines import outcome
from .engines.engine import Engine
from .engines.registry import engine as engine_called
from .engines.remains import is_finished
from .engines.run import run_cells
from .errors import ConfigError
from .kind import Experiment
from .machine import default_workers
from .progress import Kind, Progress, Reporter

RUNS = Path("runs")


@dataclass(frozen=True)
class Finished:
    """What became of a run: where it is, its cells, and how each of them ended, by hash."""

    out: Path
    report: Path
    cells: Sequence[Cell]
    outcomes: Mapping[str, outcome.Outcome]

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
        return outcome.exit_code(self.outcomes)


def run_experiment(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    progress: Kind = "auto",
    tracker: str | None = None,
    command: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
    report: bool = True,
) -> Finished:
    """Train what is not trained yet of an experiment: a file, a preset's name or a tree, which may
    hold data and models as objects.

    The run goes to ``out`` (runs/NAME unless given), on ``workers`` processes (as many as there
    are cores unless given; 0 trains in this process). ``engine`` says where: see `engines`.
    ``tracker`` writes the cells' numbers below ``out``/tracker as well: see `tracking`. With
    ``report`` false no report is written.

    Raises ConfigError for what the files or overrides ask in vain, DataError for a data set that
    is not there, StoreError and Locked for the folder, Interrupted after a signal.
    """
    experiment = kinds.load(source, overrides)
    if getattr(experiment, "tune", None) is not None:
        raise ConfigError(
            "tune: the experiment asks for its rules to be tuned first: take `rewire run`, or "
            "rewire.experiments.tuning.run_tuned"
        )
    cells = kinds.plan(experiment)
    if workers is None:
        workers = default_workers(experiment.device, experiment.threads)
    host = engine_called(engine, workers)
    if tracker is not None:
        tracking.check(tracker)
    run = store.Run(out if out is not None else RUNS / experiment.name)
    with run.lock():
        before = run.experiment()
        provenance.refuse_another(run.path, before, experiment, cells)
        for text in provenance.changed_versions(before, experiment):
            warn(text)
        for text in (*provenance.replaced(before, cells), *caveats.sentences(cells)):
            warn(text)
        provenance.describe(run, before, experiment, cells, command)
        page = run.path / "report.html"
        waiting = [cell for cell in cells if not is_finished(run.cell(cell.hash).path)]
        reporter: Reporter = Progress(progress)
        if tracker is not None and waiting:
            reporter = tracking.Tracking(reporter, tracker, run.path / "tracker", warn)
        outcomes = _train(experiment, cells, run.path, host, reporter, bool(waiting))
        if report and (waiting or not page.exists() or before is None):
            from .report import write_report

            write_report(run.path)
        return Finished(run.path, page, cells, outcomes)


def branched(cell: Path, kind: str, fields: Sequence[str], label: str | None) -> dict[str, Any]:
    """The experiment of a finished cell's run, with one branch off that cell more.

    kind: a branch by name, as RandomMask or random-mask. fields: ``key=value``.
    Raises ConfigError for a kind or a cell that is none, StoreError for a damaged run.
    """
    from rewire.names import unknown

    from .config.schema import available, is_branch

    branches = {n.lower(): n for n, rule in available("rule").items() if is_branch(rule)}
    rule = branches.get(kind.lower().replace("-", "").replace("_", ""))
    if rule is None:
        raise ConfigError(unknown("branch", kind, branches.values()))
    run, name = store.Run(cell.parent.parent), cell.name
    before = run.experiment()
    listed = [c["hash"] for c in (before or {}).get("cells", [])]
    if before is None or name not in listed:
        raise ConfigError(f"{cell} is no cell of a run: give RUN/cells/HASH, see `rewire results`")
    if not is_finished(cell):
        raise ConfigError(f"{cell} is not finished: end its run before branching off it")
    tree = dict(before["config"])
    labels = {str(t.get("label", t["rule"])) for t in tree["rules"]}
    usual = " ".join([rule, *fields])
    usual = usual if usual not in labels else f"{usual} of {name}"
    problems = Problems()
    alone: dict[str, Any] = {"name": "the branch", "rules": [{"rule": rule}]}
    alone = override(alone, [f"rules.{rule}.{field}" for field in fields], problems)
    problems.refuse("the branch")
    entry = {**alone["rules"][0], "of": name}
    if (label or usual) != rule:
        entry["label"] = label or usual
    return {**tree, "rules": [*tree["rules"], entry]}


def _train(
    experiment: Experiment,
    cells: Sequence[Cell],
    out: Path,
    engine: Engine,
    reporter: Reporter,
    needed: bool,
) -> Mapping[str, outcome.Outcome]:
    work = kinds.work(experiment) if needed else _nothing
    reporter.start(cells)
    outcomes: Mapping[str, outcome.Outcome] = {}
    try:
        outcomes = run_cells(
            cells,
            out=out,
            engine=engine,
            work=work,
            on_event=reporter.event,
            on_tick=reporter.tick,
        )
    except outcome.Interrupted as stopped:
        outcomes = stopped.outcomes
        raise
    finally:
        reporter.finish(outcomes)
    return outcomes


def _nothing(*args: Any) -> None:
    raise AssertionError("every cell was finished")
