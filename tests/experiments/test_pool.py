"""The schedule, and what is the pool's own: its pipe, its forks, its locks."""

import gc
import os
import signal
import subprocess
import sys
import time

import chain
import pytest

from rewire.experiments.engines import attempt, child, fork, pool
from rewire.experiments.engines.outcome import Outcome, exit_code
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.remains import is_finished
from rewire.experiments.engines.run import run_cells
from rewire.experiments.engines.schedule import Schedule
from rewire.experiments.errors import ConfigError, StoreError
from rewire.experiments.store import CellStore

pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")


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


def test_the_exit_code_is_that_of_the_first_failure():
    fine = {"a": Outcome("a", "finished"), "b": Outcome("b", "skipped")}
    assert exit_code(fine) == 0
    assert exit_code({**fine, "c": Outcome("c", "failed", 4), "d": Outcome("d", "failed", 1)}) == 4


# --- events


@pytest.mark.parametrize("slow", [0.0, 0.001])
def test_a_flood_of_events_does_not_stop_anybody(tmp_path, slow):
    cells = [chain.cell(name, act="flood" * (name != "good")) for name in ("flood", "two", "good")]
    started = time.monotonic()
    parent, code, _ = chain.run(tmp_path / "run", cells, slow_reader=slow)
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


def test_a_heap_that_was_frozen_before_stays_frozen(tmp_path):
    before = gc.get_freeze_count()  # see conftest.py
    assert before > 10_000
    run_cells([chain.ChainCell("a", {})], out=tmp_path, engine=local(1), work=chain.chain)
    assert gc.get_freeze_count() >= before


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
