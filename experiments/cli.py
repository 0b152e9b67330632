"""The command ``rewire``: experiments, results, and what there is to choose from.

Only what a command needs is imported, when it runs: `rewire --help` must not wait for torch.
The exit codes stand in `errors`; `rewire --help` lists them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

import rewire

from . import listings, runs_cli
from .barrier_cli import barrier
from .demo_cli import demo
from .errors import BUG, EXIT_CODES, ConfigError, exit_code_of
from .fit_cli import fit
from .graph_cli import graph_app, query
from .new_cli import new_app
from .printing import console, new_table, print_json, print_rows, shown
from .reproduction_cli import reproduce
from .tune_cli import tune

app = App(
    name="rewire",
    help="Rewiring networks: pruning, Deep Rewiring and structural plasticity, compared.\n\n"
    "Start with: rewire run quickstart",
    help_epilogue="Exit codes:\n\n" + "\n".join(f"- {n}: {text}" for n, text in EXIT_CODES.items()),
    version=lambda: f"rewire {rewire.__version__}",
    version_flags=["--version"],
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,  # main says it, as it says all errors
)
RUNS, CHOICE = Group.create_ordered("Experiments"), Group.create_ordered("What there is")
data_app = App(name="data", help="Data sets: what is here, and how to get the rest.", group=CHOICE)
app.command(data_app)
graph_app.group = (RUNS,)
app.command(graph_app)
app.command(query, group=RUNS)
app.command(fit, group=RUNS)
app.command(tune, group=RUNS)
app.command(reproduce, group=RUNS)
app.command(barrier, group=RUNS)
app.command(demo, group=RUNS)
for command in (runs_cli.runs, runs_cli.watch, runs_cli.report, runs_cli.compare, runs_cli.export):
    app.command(command, group=RUNS)
new_app.group = (RUNS,)
app.command(new_app)

AsJson = Annotated[bool, Parameter(name="--json")]
Times = Annotated[bool, Parameter(negative="--no-times")]


# --- experiments ---


@app.command(group=RUNS)
def run(
    experiment: str | None = None,
    /,
    *overrides: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    engine: str = "local",
    tracker: str | None = None,
    dry_run: bool = False,
    json: AsJson = False,
) -> int:
    """Run an experiment, or continue it: finished parts are skipped.

    A file with a table tune has its rules tuned first, as by `rewire tune`, in OUT/tuning.

    Ctrl-C stops after a checkpoint, and the same command continues.

    Parameters
    ----------
    experiment
        A TOML or JSON file, or the name of a preset. Left out: lists the presets.
    overrides
        key=value pairs that replace what the file says: optimizer.lr=0.01 seeds=[0,1]
        densities=[.1] rules=[IMP,DeepR] rules.IMP.fraction=.3
    out
        The folder of the run [default: runs/NAME].
    workers
        Processes of one thread each [default: one per core]; 0 trains in this process.
    engine
        Where the trainings run: local [default], or the name of an installed engine.
    tracker
        Write the numbers of each training below OUT/tracker too, while it runs: jsonl, tensorboard,
        trackio, mlflow or wandb (offline).
    dry_run
        Only list the cells (trainings), with estimates of their time and disk.
    json
        Progress as JSON lines.
    """
    if experiment is None:
        presets(json=json)
        return 0
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers is {workers}; it takes a number of processes, 0 or more")
    from .config import first_look

    first_look.refuse_mistakes(experiment, overrides)
    if dry_run:
        from .dry_run import dry_run as list_cells

        list_cells(experiment, overrides, out, workers, json, _warn)
        return 0
    from . import provenance, tuning
    from .runner import run_experiment

    asks = tuning.asks_for_search(experiment, overrides)
    finished = (tuning.run_tuned if asks else run_experiment)(
        experiment,
        overrides,
        out=out,
        workers=workers,
        engine=engine,
        tracker=tracker,
        progress="json" if json else "auto",
        command=provenance.command_line(),
        warn=_warn,
    )
    return _conclude(finished, json)


@app.command(group=RUNS)
def branch(
    cell: Path,
    kind: str,
    /,
    *fields: str,
    label: str | None = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    engine: str = "local",
    json: AsJson = False,
) -> int:
    """Start from a finished cell, change one thing, and train again, in the same run and report.

    Parameters
    ----------
    cell
        The folder of the cell: RUN/cells/HASH.
    kind
        What to change, e.g. random-mask, shuffle, weight-noise: the branches of `rewire rules`.
    fields
        key=value pairs of it: scope=filter times=2.0
    label
        What to call it in tables [default: the kind and its fields].
    workers
        Processes of one thread each [default: one per core]; 0 trains in this process.
    engine
        Where the trainings run: local [default], or the name of an installed engine.
    json
        Progress as JSON lines.
    """
    from . import provenance, runner

    tree = runner.branched(cell, kind, fields, label)
    finished = runner.run_experiment(
        tree,
        out=cell.parent.parent,
        workers=workers,
        engine=engine,
        progress="json" if json else "auto",
        command=provenance.command_line(),
        warn=_warn,
    )
    return _conclude(finished, json)


def _conclude(finished: Any, json: bool) -> int:
    """Say what became of a run; its exit code."""
    for failure in finished.failures:
        _warn(failure)
    if json:
        print_json({"event": "report", "out": str(finished.out), "path": str(finished.report)})
    else:
        from . import kinds, store

        page = console()
        summary = kinds.summary(store.results(finished.out, listed=True))
        table = new_table(*summary.columns)
        for line in summary.lines:
            table.add_row(*line)
        page.print(summary.title, highlight=False)
        page.print(table)
        page.print(f"Report:  {finished.report}", soft_wrap=True, highlight=False)
        page.print(f"Numbers: rewire results {finished.out}", soft_wrap=True, highlight=False)
    return finished.exit_code


@app.command(group=RUNS)
def results(directory: Path, /, *, json: AsJson = False, csv: bool = False, times: Times = True):
    """Print the results of a run: one row for each training and level.

    Accuracies are fractions of 1, and other tasks have columns of their own metric; costs are
    cumulative and include those of earlier levels and of the trainings a row started from.
    "Steps to dense loss" is the first evaluation at which the validation loss is no higher than
    the dense network of the same seed ever has it, or never.
    Measures of installed packages (rewire.measures) are the last columns.

    Parameters
    ----------
    directory
        The folder of the run.
    json
        As JSON, one row a line.
    csv
        As CSV.
    times
        With --no-times, leave out seconds and memory: the rest is the same in every repetition.
    """
    from . import early_stopping, kinds, store
    from .report.measures import with_measures
    from .tasks import metric_of
    from .versions import outdated

    if json and csv:
        raise ConfigError("--json and --csv exclude each other")
    listed = (directory / "experiment.json").exists()
    rows = store.results(directory, listed=listed)
    evals = store.evals(directory, listed=listed)
    rows = early_stopping.with_steps_to_dense_loss(rows, evals)
    rows, measures, problems = with_measures(directory, rows)
    for problem in (*problems, *outdated(directory)):
        _warn(problem)
    if not times:
        rows = store.without_times(rows)
    if json or csv:
        print(store.to_json(rows) if json else store.to_csv(rows), end="")
        return
    titles = {"test_accuracy": "test", "test_accuracy_at_early_stop": "test at early stop",
              "label": "rule", "requested_density": "asked", "simulated_seconds": "time (s)",
              **early_stopping.TITLES}  # fmt: skip
    for kind, part in kinds.rows_by_kind(rows) or [(kinds.KINDS["trainings"], [])]:
        columns = list(dict.fromkeys((*kind.columns(part), *(m.name for m in measures))))
        table = new_table(*(titles.get(name, name.replace("_", " ")) for name in columns))
        for row in part:
            metric = metric_of(row)
            row = {**row, early_stopping.STEPS: early_stopping.steps_text(row)}
            table.add_row(*(shown(name, row.get(name), metric) for name in columns))
        console().print(table)


@app.command(show=False)
def cell(run: Path, hash: str, /) -> int:
    """Train one cell of a run in this process: what an engine starts on another machine.

    Parameters
    ----------
    run
        The folder of the run, whose lock the caller holds.
    hash
        The cell.
    """
    from .worker import run_cell

    return run_cell(run, hash)


# --- what there is ---


@app.command(group=CHOICE)
def rules(*names: str, json: AsJson = False) -> None:
    """The connectivity-update rules, built in and installed.

    Parameters
    ----------
    names
        Rules, or branches, to be told all about: fields, order of events, and where each differs
        from its paper or its authors' code. Left out: a table of all.
    """
    rows = {row["name"]: row for row in listings.rules()}
    for name in names:
        if name not in rows:
            from rewire.names import unknown

            raise ConfigError(unknown("rule", name, rows))
    if names and not json:
        print("\n\n".join(listings.page(rows[name]) for name in names))
        return
    columns = ("name", "kind", "budget", "needs", "worlds", "source")
    print_rows([rows[name] for name in names or rows], columns, json)


@app.command(group=CHOICE)
def worlds(*, json: AsJson = False) -> None:
    """The worlds: where weights may live, and the signals that rules find there."""
    print_rows(listings.worlds(), ("name", "about", "signals"), json)


@app.command(group=CHOICE)
def measures(*, json: AsJson = False) -> None:
    """The measures of connectivity: of what, and what they read of weights."""
    print_rows(listings.measures(), ("name", "kind", "weights", "needs", "source"), json)


@app.command(group=CHOICE)
def cite(*names: str) -> None:
    """BibTeX of the papers behind these rules, branches, budgets, topologies and measures.

    Parameters
    ----------
    names
        By name (`RigL`, `OWL`, `erk`, `small-world`); left out: all of them.
    """
    from rewire.citations import bibliography, citable
    from rewire.names import unknown

    known = citable()
    for name in names:
        if name not in known:
            raise ConfigError(unknown("rule", name, known))
    print(bibliography({name: known[name] for name in names or known}))


@app.command(group=CHOICE)
def models(*, json: AsJson = False) -> None:
    """The models, built in and installed."""
    print_rows(listings.models(), ("name", "world", "about", "source"), json)


@app.command(group=CHOICE)
def datasets(*, json: AsJson = False) -> None:
    """The data sets, and which of them are on this machine."""
    columns = ("name", "title", "task", "train", "validation", "test", "here")
    print_rows(listings.datasets(), columns, json)


@app.command(group=CHOICE)
def tasks(*, json: AsJson = False) -> None:
    """The tasks: losses and metrics, built in and installed."""
    print_rows(listings.tasks(), ("name", "about", "metrics"), json)


@app.command(group=CHOICE)
def presets(*, json: AsJson = False) -> None:
    """The experiments that come with rewire: `rewire run NAME`."""
    print_rows(listings.presets(), ("name", "title", "time"), json)
    if not json:
        console().print("Run one with: rewire run NAME", highlight=False)


@app.command(group=CHOICE)
def schema() -> None:
    """The JSON Schema of experiment files, for an editor."""
    from .kinds import json_schema

    print_json(json_schema(), indent=1)


@app.command(group=CHOICE)
def doctor(*, json: AsJson = False) -> int:
    """Check this installation: versions, extras, data, and what to do about gaps."""
    from . import doctor as checks

    findings = checks.examine()
    if json:
        print_json([vars(check) for check in findings], indent=1)
    else:
        from rich.markup import escape

        table = new_table("", "what", "found")
        marks = {"ok": "[green]ok[/]", "note": "[yellow]--[/]", "bad": "[red]bad[/]"}
        for check in findings:
            advice = f"\n[dim]{escape(check.advice)}[/]" if check.advice else ""
            table.add_row(marks[check.state], check.name, escape(check.found) + advice)
        console().print(table)
    return 0 if checks.able(findings) else 1


@app.command(group=CHOICE)
def completion(shell: Literal["bash", "zsh", "fish", "powershell"] | None = None, /) -> None:
    """The script that completes commands and options in a shell.

    bash: rewire completion bash > ~/.local/share/bash-completion/completions/rewire

    Parameters
    ----------
    shell
        Left out: the one that this runs in.
    """
    print(app.generate_completion(shell=shell))


@data_app.command(name="list")
def data_list(*, json: AsJson = False) -> None:
    """The data sets, and which of them are on this machine."""
    datasets(json=json)


@data_app.command(name="fetch")
def data_fetch(name: str, /) -> None:
    """Download what is missing of a data set, and check every byte of it.

    Parameters
    ----------
    name
        One of `rewire datasets`.
    """
    from .data import fetch

    folder = fetch(name)
    console().print(f"{name} is in {folder}", soft_wrap=True, highlight=False, markup=False)


def _warn(text: str) -> None:
    print(f"rewire: {text}", file=sys.stderr)


# --- the way in and out ---


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error ends here."""
    try:
        result = app(
            list(sys.argv[1:] if tokens is None else tokens),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        _warn(str(error).strip())
        return 2
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _report(error)


def _report(error: BaseException) -> int:
    """Say what went wrong, with the traceback of a bug; returns its exit code."""
    import traceback

    code = exit_code_of(error)
    if code == BUG or os.environ.get("REWIRE_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        _warn("interrupted; the same command continues")
    elif code == BUG:
        _warn(f"this is a bug of rewire {rewire.__version__}: please report it to the "
              "project's issue tracker, with the lines above and `rewire doctor`")  # fmt: skip
    else:
        _warn(str(error))
    return code


if __name__ == "__main__":
    sys.exit(main())
