"""The pool: order, isolation, retries, and what it says; the parent is a process of its own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewire.experiments.engines import attempt, child, fork, pool
from rewire.experiments.engines.outcome import Outcome, exit_code
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.remains import is_finished
from rewire.experiments.engines.run import run_cells
from rewire.experiments.engines.schedule import Schedule
from rewire.experiments.errors import ConfigError, StoreError
from rewire.experiments.store import CellStore

_spec = importlib.util.spec_from_file_location(
    "chain", Path(__file__).parents[1] / "reliability" / "chain.py"
)
chain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chain)

pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")


def cell(hash, *parents, weight=1.0, **more):
    return {"hash": hash, "parents": {f"of {p}": p for p in parents}, "weight": weight, **more}


def run(out, cells, **spec):
    parent = chain.Parent(out, cells, **spec)
    code, outcomes = parent.end()
    assert outcomes is not None, parent.stderr
    return parent, code, outcomes


def status(outcomes):
    return {hash: outcome["status"] for hash, outcome in outcomes.items()}


def starts(out):
    return (out / "starts").read_text().split()


# --- order


def test_the_longest_remaining_path_goes_first():
    cells = [
        chain.ChainCell("short", {}, weight=3.0),
        chain.ChainCell("root", {}, weight=1.0),
        chain.ChainCell("leaf", {"start": "root"}, weight=2.5),
        chain.ChainCell("tie", {}, weight=3.0),
    ]
    schedule = Schedule(cells)
    assert [schedule.pop().hash for _ in range(3)] == ["root", "short", "tie"]
    assert schedule.pop() is None  # leaf still waits
    schedule.finish("root")
    assert schedule.pop().hash == "leaf"


def test_a_finished_child_does_not_lengthen_its_parents_path():
    cells = [
        chain.ChainCell("root", {}, weight=1.0),
        chain.ChainCell("leaf", {"start": "root"}, weight=9.0),
        chain.ChainCell("other", {}, weight=2.0),
    ]
    assert Schedule(cells, finished={"leaf"}).pop().hash == "other"


def test_a_parent_that_is_nowhere_and_a_circle_are_refused():
    with pytest.raises(ConfigError, match="needs cell missing"):
        Schedule([chain.ChainCell("a", {"start": "missing"})])
    Schedule([chain.ChainCell("a", {"start": "missing"})], finished={"missing"})
    with pytest.raises(ConfigError, match="circle"):
        Schedule([chain.ChainCell("a", {"start": "b"}), chain.ChainCell("b", {"start": "a"})])


def test_parents_finish_before_their_children_start_and_hand_over_their_folder(tmp_path):
    parent, code, outcomes = run(tmp_path / "run", chain.diamonds(3), workers=3)
    assert code == 0
    assert set(status(outcomes).values()) == {"finished"}
    ended = {e["cell"]: i for i, e in enumerate(parent.events) if e.get("event") == "outcome"}
    begun = {e["cell"]: i for i, e in enumerate(parent.events) if e.get("event") == "start"}
    for one in parent.cells:
        for needed in one["parents"].values():
            assert ended[needed] < begun[one["hash"]]
    assert sorted(starts(parent.out)) == sorted(one["hash"] for one in parent.cells)


def test_one_two_and_no_workers_leave_the_same_bytes(tmp_path):
    for workers in (0, 1, 2):
        run(tmp_path / str(workers), chain.diamonds(2), workers=workers)
    one = chain.snapshot(tmp_path / "1")
    assert len(one) == 8 * 4  # state, metrics, result, and whether it was tried
    assert one == chain.snapshot(tmp_path / "0") == chain.snapshot(tmp_path / "2")


def test_finished_cells_are_skipped_and_unfinished_ones_continue(tmp_path):
    cells = chain.diamonds(2)
    run(tmp_path / "run", cells)
    before = chain.snapshot(tmp_path / "run")
    (tmp_path / "run" / "starts").unlink()
    assert set(status(run(tmp_path / "run", cells)[2]).values()) == {"skipped"}
    assert not (tmp_path / "run" / "starts").exists()

    metrics = tmp_path / "run" / "cells" / "b1" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-1])  # the last line is not complete
    _, code, outcomes = run(tmp_path / "run", cells)
    assert code == 0
    assert starts(tmp_path / "run") == ["b1"]
    assert status(outcomes)["b1"] == "finished"
    assert chain.snapshot(tmp_path / "run") == before


def test_cells_run_side_by_side(tmp_path):
    cells = [cell(name, steps=1, pause=0.4) for name in "abcd"]
    parent, _, _ = run(tmp_path / "run", cells, workers=4)
    times = {e: [x["time"] for x in parent.events if x.get("event") == e] for e in
             ("start", "outcome")}  # fmt: skip
    assert max(times["start"]) < min(times["outcome"])


def test_finished_is_a_complete_end_event_in_the_last_line(tmp_path):
    store, metrics = CellStore(tmp_path), tmp_path / "metrics.jsonl"
    assert not is_finished(tmp_path)
    store.append({"event": "eval"})
    assert not is_finished(tmp_path)
    store.append({"event": "end"})
    assert is_finished(tmp_path)
    whole = metrics.read_bytes()
    metrics.write_bytes(whole[:-1])
    assert not is_finished(tmp_path)
    metrics.write_bytes(whole.replace(b'"end"', b'"emd"'))
    assert not is_finished(tmp_path)  # damaged: its own work will say so
    assert not is_finished(metrics)


# --- failures


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_cell_blocks_what_needs_it_and_nothing_else(tmp_path, workers):
    cells = [
        cell("bad", act="data error"),
        cell("child", "bad"),
        cell("grandchild", "child", "good"),
        cell("bug", act="bug"),
        cell("disk", act="disk"),
        cell("good"),
        cell("fine", "good"),
    ]
    out = tmp_path / "run"
    _, code, outcomes = run(out, cells, workers=workers)
    assert status(outcomes) == {
        "bad": "failed",
        "child": "blocked",
        "grandchild": "blocked",
        "bug": "failed",
        "disk": "failed",
        "good": "finished",
        "fine": "finished",
    }
    assert code == 3  # the first failure's
    assert {h: outcomes[h]["exit_code"] for h in ("bad", "bug", "disk")} == {
        "bad": 3,
        "bug": 1,
        "disk": 5,
    }
    assert outcomes["bad"]["message"] == "no such file: digits.gz"
    assert "needs cell bad (bad), which failed" in outcomes["grandchild"]["message"]
    error = json.loads((out / "cells" / "bad" / "error.json").read_text())
    assert error == {"kind": "DataError", "message": "no such file: digits.gz", "exit_code": 3}
    error = json.loads((out / "cells" / "bug" / "error.json").read_text())
    assert error["kind"] == "ZeroDivisionError"
    assert "one by nought" in error["traceback"]
    assert not (out / "cells" / "child").exists()


def test_a_mended_cell_runs_again_and_its_error_goes_away(tmp_path):
    out = tmp_path / "run"
    run(out, [cell("a", act="bug"), cell("b", "a")])
    assert (out / "cells" / "a" / "error.json").exists()
    _, code, outcomes = run(out, [cell("a"), cell("b", "a")])
    assert code == 0
    assert status(outcomes) == {"a": "finished", "b": "finished"}
    assert not (out / "cells" / "a" / "error.json").exists()


def test_work_that_returns_without_an_end_is_a_failure(tmp_path):
    _, code, outcomes = run(tmp_path / "run", [cell("a")], work="silent")
    assert code == 1
    assert "no end event" in outcomes["a"]["message"]


def test_a_killed_cell_is_tried_three_times(tmp_path):
    out = tmp_path / "run"
    cells = [cell("once", act="die once"), cell("always", act="die"), cell("after", "always")]
    parent, code, outcomes = run(out, [*cells, cell("good")])
    assert status(outcomes) == {
        "once": "finished",
        "always": "failed",
        "after": "blocked",
        "good": "finished",
    }
    assert (outcomes["once"]["attempts"], outcomes["always"]["attempts"]) == (2, 3)
    assert starts(out).count("always") == 3
    assert code == 1
    assert "killed by SIGKILL (often the system, out of memory" in outcomes["always"]["message"]
    assert json.loads((out / "cells" / "always" / "error.json").read_text())["kind"] == "Killed"
    attempts = [e["attempt"] for e in parent.events if e.get("event") == "start"]
    assert max(attempts) == 3


def test_a_crash_names_its_signal_and_its_last_words(tmp_path):
    _, _, outcomes = run(tmp_path / "run", [cell("a", act="crash")], retries=0)
    assert "killed by SIGSEGV in 1 attempt" in outcomes["a"]["message"]
    assert "Segmentation fault" in outcomes["a"]["message"]
    log = (tmp_path / "run" / "cells" / "a" / "output.log").read_text()
    assert log.startswith("a word before the end\n")


def test_what_a_cell_prints_goes_to_its_log_and_an_empty_log_goes_away(tmp_path):
    parent, _, _ = run(tmp_path / "run", [cell("loud", act="print"), cell("still")])
    assert parent.stderr == ""
    log = tmp_path / "run" / "cells" / "loud" / "output.log"
    assert log.read_text() == "printed\nand from a library\n"
    left = tmp_path / "run" / "cells" / "still" / "output.log"
    assert not left.exists()
    left.touch()  # by a worker that was killed between its last line and its exit
    run(tmp_path / "run", [cell("loud", act="print"), cell("still")])
    assert log.exists() and not left.exists()


def test_a_folder_that_cannot_be_made_fails_that_cell_alone(tmp_path):
    out = tmp_path / "run"
    (out / "cells").mkdir(parents=True)
    (out / "cells" / "a").write_text("a file where a folder should be")
    _, code, outcomes = run(out, [cell("a"), cell("b")])
    assert status(outcomes) == {"a": "failed", "b": "finished"}
    assert code == 5


def test_the_exit_code_is_that_of_the_first_failure():
    fine = {"a": Outcome("a", "finished"), "b": Outcome("b", "skipped")}
    assert exit_code(fine) == 0
    assert exit_code({**fine, "c": Outcome("c", "failed", 4), "d": Outcome("d", "failed", 1)}) == 4


# --- events


@pytest.mark.parametrize("slow", [0.0, 0.001])
def test_a_flood_of_events_does_not_stop_anybody(tmp_path, slow):
    cells = [cell("flood", act="flood"), cell("flood2", act="flood"), cell("good")]
    started = time.monotonic()
    parent, code, _ = run(tmp_path / "run", cells, slow_reader=slow)
    assert code == 0
    assert time.monotonic() - started < 30
    if not slow:  # a long event that had to wait for room arrives whole
        rows = [e for e in parent.events if e.get("event") == "level"]
        assert [len(row["row"]) for row in rows] == [300_000] * 2


def test_events_to_a_parent_that_does_not_listen_cost_a_child_nothing():
    read, write = os.pipe()
    os.set_blocking(write, False)
    pipe_end = child.EventPipe(write)
    for i in range(20_000):
        pipe_end({"event": "eval", "i": i})
    for i in range(50):
        pipe_end({"event": "level", "row": "x" * 50_000, "i": i})
    assert len(pipe_end.pending) <= child.PENDING_LIMIT + 60_000
    os.close(read)
    pipe_end({"event": "end"})  # nobody there any more
    assert pipe_end.pending == b""
    pipe_end.close()
    os.close(write)


def test_events_arrive_whole_and_in_order():
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    pipe_end = child.EventPipe(write)
    worker = pool.Worker(job=None, pid=0, fd=read)
    heard = []
    for i in range(40):
        pipe_end({"event": "level", "i": i, "padding": "z" * 20_000})
        heard += worker.events()
    os.close(write) if not pipe_end.pending else None
    while pipe_end.pending:
        heard += worker.events()
        pipe_end.flush()
    heard += worker.events(to_the_end=True)
    assert [event["i"] for event in heard] == list(range(40))
    os.close(read)


# --- the two of parent and child


def test_children_start_with_the_parents_imports_and_train_with_one_thread(tmp_path):
    script = """
import sys
from pathlib import Path
import torch
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.run import run_cells
from rewire.experiments.store import CellStore

class Cell:
    parents, weight = {}, 1.0
    def __init__(self, hash): self.hash = self.label = hash

def work(cell, folder, parents, emit, should_stop):
    assert torch.get_num_threads() == 1
    rng = torch.Generator().manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
    with torch.no_grad():
        for p in net.parameters(): p.copy_(torch.randn(p.shape, generator=rng))
    optimiser = torch.optim.Adam(net.parameters())
    for _ in range(20):
        optimiser.zero_grad()
        net(torch.randn(64, 20, generator=rng)).square().mean().backward()
        optimiser.step()
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    (folder / "weights").write_bytes(flat.numpy().tobytes())
    CellStore(folder).append({"event": "end"})

torch.set_num_threads(2)
torch.randn(500, 500) @ torch.randn(500, 500)
for name, workers in (("pool", 2), ("here", 0)):
    out = Path(sys.argv[1]) / name
    outcomes = run_cells([Cell("a"), Cell("b")], out=out, engine=local(workers), work=work)
    assert all(o.status == "finished" for o in outcomes.values()), outcomes
assert torch.get_num_threads() == 2
"""
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=env, timeout=120)
    weights = {p.read_bytes() for p in tmp_path.glob("*/cells/*/weights")}
    assert len(list(tmp_path.glob("*/cells/*/weights"))) == 4
    assert len(weights) == 1


def test_an_error_in_the_listener_ends_the_children_too(tmp_path):
    def listener(hash, event):
        if event["event"] == "eval":
            raise LookupError("the display broke")

    before = signal.getsignal(signal.SIGINT)  # Brian2, once imported, has a handler of its own
    cells = [chain.ChainCell(name, {}, steps=2000, pause=0.01) for name in "ab"]
    with pytest.raises(LookupError):
        run_cells(cells, out=tmp_path, engine=local(2), work=chain.chain, on_event=listener)
    assert list(tmp_path.glob("pids/?"))
    assert chain.living(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_in_use_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    import fcntl

    folder = tmp_path / "cells" / "a"
    folder.mkdir(parents=True)
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    monkeypatch.setattr(attempt, "LOCK_PATIENCE", 0.2)
    cells = [chain.ChainCell("a", {})]
    outcome = run_cells(cells, out=tmp_path, engine=local(1), work=chain.chain)["a"]
    assert (outcome.status, outcome.exit_code, outcome.kind) == ("failed", 6, "Locked")
    assert "still in use by another process" in outcome.message
    os.close(holder)
    outcome = run_cells(cells, out=tmp_path, engine=local(1), work=chain.chain)["a"]
    assert outcome.status == "finished"


def test_a_system_without_room_for_a_worker_is_named(tmp_path, monkeypatch):
    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(StoreError, match="refuses to start a worker"):
        run_cells([chain.ChainCell("a", {})], out=tmp_path, engine=local(1), work=chain.chain)
