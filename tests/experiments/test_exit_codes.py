"""One table of exit codes, the same for a worker's attempt and for the command."""

import gzip
import os
import signal
import time
from pathlib import Path

import chain
import pytest

from rewire.checkpoint import CheckpointError
from rewire.experiments import cli, errors, runner
from rewire.experiments.engines import fork
from rewire.experiments.engines.engine import Job
from rewire.experiments.engines.outcome import Interrupted, Outcome, exit_code
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.run import outcome_of, run_cells
from rewire.experiments.errors import (
    EXIT_CODES,
    ConfigError,
    DataError,
    Diverged,
    Locked,
    StoreError,
)
from rewire.experiments.store import CellStore

FAILURES = [
    (ZeroDivisionError("by nought"), 1),
    (ValueError("a bug of ours"), 1),
    (OSError("could not get source code"), 1),  # a library's message, no answer of the system's
    (gzip.BadGzipFile("not a gzip file"), 1),  # readers of data sets make a DataError of it
    (ConfigError("no rule 'x'"), 2),
    (DataError("no such file: digits.gz"), 3),
    (Diverged("loss is nan at step 3"), 4),
    (OSError(28, "No space left on device"), 5),
    (FileNotFoundError(2, "No such file"), 5),
    (StoreError("cell.json: damaged"), 5),
    (CheckpointError(Path("x"), "cut short"), 5),
    (Locked("in use by process 7"), 6),
]
SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
each_failure = pytest.mark.parametrize(
    ("error", "code"), FAILURES, ids=[f"{c}-{type(e).__name__}" for e, c in FAILURES]
)
needs_fork = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")


def train(work, out, workers, **options):
    cells = [chain.ChainCell("a", {})]
    return run_cells(cells, out=out, engine=local(workers), work=work, **options)


def finish(cell, folder, parents, emit, should_stop):
    CellStore(folder).append({"event": "end"})


def test_every_row_of_the_table_is_tested_here():
    tested = {0, *(code for _, code in FAILURES), *(128 + signum for signum in SIGNALS)}
    assert tested == EXIT_CODES.keys()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=needs_fork)])
@each_failure
def test_a_worker_ends_with_the_code_of_its_error(tmp_path, workers, error, code):
    def fail(cell, folder, parents, emit, should_stop):
        raise error

    outcomes = train(fail, tmp_path, workers)
    assert (outcomes["a"].status, outcomes["a"].exit_code) == ("failed", code)
    assert outcomes["a"].kind == type(error).__name__
    assert exit_code(outcomes) == code
    described = CellStore(tmp_path / "cells" / "a").error
    assert described["exit_code"] == code
    assert ("traceback" in described) == (code == 1)  # only a bug needs one


@each_failure
def test_the_command_ends_with_the_code_of_the_error(monkeypatch, capsys, error, code):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(runner, "run_experiment", fail)
    assert cli.main(["run", "quickstart"]) == code
    message = capsys.readouterr().err
    assert str(error) in message
    assert ("Traceback" in message) == ("this is a bug of rewire" in message) == (code == 1)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=needs_fork)])
def test_a_finished_cell_is_0(tmp_path, workers):
    outcomes = train(finish, tmp_path, workers)
    assert (outcomes["a"].exit_code, exit_code(outcomes)) == (0, 0)


def test_a_finished_command_is_0():
    assert cli.main(["--version"]) == 0


@needs_fork
@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_run_that_a_signal_stops_and_its_worker_say_which(tmp_path, signum):
    def until_asked(cell, folder, parents, emit, should_stop):
        os.kill(os.getppid(), signum)
        while not should_stop():
            time.sleep(0.001)

    with pytest.raises(Interrupted, match=f"stopped by {signum.name} with 0 of 1") as stopped:
        train(until_asked, tmp_path, workers=1)
    assert errors.exit_code_of(stopped.value) == 128 + signum
    outcome = stopped.value.outcomes["a"]
    assert (outcome.status, outcome.exit_code) == ("stopped", 128 + signal.SIGTERM)  # was asked to


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_command_that_a_signal_stops_says_which(monkeypatch, capsys, signum):
    def stop(*args, **options):
        raise Interrupted(signum, {"a": Outcome("a", "stopped")})

    monkeypatch.setattr(runner, "run_experiment", stop)
    assert cli.main(["run", "quickstart"]) == 128 + signum
    assert f"stopped by {signum.name}" in capsys.readouterr().err


def test_ctrl_c_before_anything_runs_is_130(monkeypatch, capsys):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_experiment", stop)
    assert cli.main(["run", "quickstart"]) == 130
    assert capsys.readouterr().err == "rewire: interrupted; the same command continues\n"


def test_help_lists_the_table(capsys):
    assert cli.main(["--help"]) == 0
    lines = " ".join(capsys.readouterr().out.split())
    for code, text in EXIT_CODES.items():
        assert f"{code}: {text}" in lines


def test_an_exit_code_above_128_that_is_no_signal_is_a_failure_like_any_other(tmp_path):
    """As ssh's 255 is, of an engine elsewhere."""
    job = Job(chain.ChainCell("a", {}), 1, tmp_path, {}, finish, print, lambda: False)
    outcome = outcome_of(job, 255, stopping=True, seconds=0.0)
    assert (outcome.status, outcome.exit_code, outcome.kind) == ("failed", 255, "Unknown")
    assert outcome.message == "exit code 255, and no error.json"
    killed = outcome_of(job, -signal.SIGRTMIN - 1, stopping=False, seconds=0.0)
    assert killed.message.startswith("killed by signal 35 in 1 attempt")
