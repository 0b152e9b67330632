"""Run folders under fire: altered files, full disks, killed writers, readers meanwhile."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from faults import flips, mutations, with_room

from rewire.experiments import store
from rewire.experiments.errors import Locked, StoreError


def events(count):
    rng = random.Random(count)
    found = [
        {"event": "eval", "level": 0, "step": i, "val_loss": rng.random(), "edges": 26620 - i}
        for i in range(count)
    ]
    level = {"event": "level", "rule": "SET", "seed": 0, "level": 0, "test_accuracy": 0.9712}
    return [*found, level, {"event": "end", "levels": 1, "stopped": None}]


@pytest.fixture
def run(tmp_path):
    return store.Run(tmp_path / "out")


def make_cell(run, written, **config):
    cell = run.cell(store.cell_hash(config))
    cell.create({"config": config})
    for event in written:
        cell.append(event)
    cell.sync()
    cell.close()
    return cell


QUICK_AND_SOAK = pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=pytest.mark.soak)]
)


@QUICK_AND_SOAK
def test_altered_metrics_are_an_error_or_a_shorter_run_and_never_other_numbers(run, count):
    written = events(20)
    cell = make_cell(run, written, seed=0)
    path = cell.metrics.path
    data = path.read_bytes()
    refused = shorter = 0
    for changed in mutations(data, count, seed=count):
        path.write_bytes(changed)
        try:
            found = list(cell.events())
        except StoreError as error:
            refused += 1
            assert "metrics.jsonl, line " in str(error)
        else:
            shorter += 1
            assert found == written[: len(found)] and len(found) < len(written)
            assert not cell.finished  # so the cell is run again and not believed
    assert refused > count / 3 and shorter > count / 10


def test_every_flipped_bit_of_a_line_that_is_not_the_last_is_an_error(run):
    cell = make_cell(run, events(2), seed=0)
    path = cell.metrics.path
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for changed in flips(data[:first]):
        path.write_bytes(changed + data[first:])
        with pytest.raises(StoreError, match="line 1"):
            list(cell.events())


@QUICK_AND_SOAK
def test_an_altered_index_never_changes_the_results(run, count):
    for seed in range(3):
        cell = make_cell(run, events(5), seed=seed)
        for path in cell.path.iterdir():
            os.utime(path, (1, 1))
    rows, curves = store.results(run.path), store.evals(run.path)
    path = run.path / "index.sqlite"
    data = path.read_bytes()
    for changed in mutations(data, count // 2, seed=count):
        path.write_bytes(changed)
        assert store.results(run.path) == rows
        assert store.evals(run.path) == curves
        for name in ("index.sqlite-wal", "index.sqlite-shm"):
            with contextlib.suppress(FileNotFoundError):
                (run.path / name).unlink()


def test_an_altered_number_in_the_index_is_seen(run):
    """The fuzz above rarely hits a number that counts; this does."""
    cell = make_cell(run, events(5), seed=0)
    for path in cell.path.iterdir():
        os.utime(path, (1, 1))
    rows = store.results(run.path)
    path = run.path / "index.sqlite"
    data = path.read_bytes()
    at = data.index(b'"test_accuracy": 0.9712') + len('"test_accuracy": 0.9')
    path.write_bytes(data[:at] + b"9" + data[at + 1 :])
    assert store.results(run.path) == rows and rows[0]["test_accuracy"] == 0.9712


@QUICK_AND_SOAK
def test_an_altered_cell_json_names_no_other_training(run, count):
    config = {"rule": {"rule": "SET", "fraction": 0.3}, "seed": 0, "lr": 0.1}
    cell = make_cell(run, [], **config)
    path = cell.path / "cell.json"
    for changed in mutations(path.read_bytes(), count, seed=count):
        path.write_bytes(changed)
        try:
            found = cell.cell()
        except StoreError as error:
            assert "cell.json" in str(error)
        else:
            assert found["config"] == config


# --- full disks


def test_an_event_that_the_disk_does_not_take_leaves_no_half(run):
    cell = make_cell(run, events(3)[:3], seed=0)
    size = cell.size()
    data = cell.metrics.path.read_bytes()
    for room in range(0, 30, 3):
        said = with_room(lambda: cell.append({"event": "eval", "x": 1}), size + room)
        assert said.startswith("StoreError: ") and "metrics.jsonl" in said
        assert cell.metrics.path.read_bytes() == data
    assert with_room(lambda: cell.append({"event": "eval", "x": 1}), size + 99) == "done"


def test_a_full_disk_leaves_the_small_files_as_they_were(run):
    path = run.path / "experiment.json"
    store.write_json(path, {"schema": 1})
    said = with_room(lambda: store.write_json(path, {"text": "x" * 5000}), 1000)
    assert said.startswith("StoreError: ") and "experiment.json" in said
    assert store.read_json(path) == {"schema": 1}
    assert {p.name for p in run.path.iterdir()} == {"cells", "experiment.json"}


def test_results_need_no_room_on_the_disk(run):
    make_cell(run, events(300), seed=0)

    def work():
        assert len(store.results(run.path)) == 1 and len(store.evals(run.path)) == 300

    assert with_room(work, 4096) == "done"
    assert len(store.results(run.path)) == 1


# --- killed writers, and readers meanwhile

WRITE = """
import sys, time
from rewire.experiments import store
run, seed, first = store.Run(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cell = run.cell(store.cell_hash({"seed": seed}))
cell.create({"config": {"seed": seed}})
print("begun", flush=True)
for n in range(first, 10**9 if first else 400):
    cell.append({"event": "level", "level": n, "seed": seed, "label": "x", "density": 0.5,
                 "edges": n * 7 + seed})
    if n % 50 == 0:
        cell.sync()
    if not first:
        time.sleep(0.002)
cell.append({"event": "end"})
"""


def writer(run, seed, first=0):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(run.path), str(seed), str(first)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    return process


def test_the_index_is_right_while_two_processes_append(run):
    """Every reading is a prefix of each cell, while others rebuild and delete the index."""
    writers = [writer(run, seed) for seed in (0, 1)]
    reader = os.fork()
    if reader == 0:
        code = 1
        try:
            while True:
                store.index(run.path, rebuild=True).close()
                time.sleep(0.001)
        except BaseException as error:
            sys.stderr.write(f"reader: {error!r}\n")
        finally:
            os._exit(code)
    try:
        seen, looks = {0: 0, 1: 0}, 0
        while any(w.poll() is None for w in writers) or looks < 20:
            counts = {0: 0, 1: 0}
            for row in store.results(run.path):
                assert row["level"] == counts[row["seed"]]
                assert row["edges"] == row["level"] * 7 + row["seed"]
                counts[row["seed"]] += 1
            assert all(counts[s] >= seen[s] for s in seen)  # nothing seen is lost again
            seen, looks = counts, looks + 1
            if looks % 5 == 0:
                with contextlib.suppress(FileNotFoundError):
                    (run.path / "index.sqlite").unlink()
        assert os.waitpid(reader, os.WNOHANG) == (0, 0), "the other reader failed"
    finally:
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        for process in writers:
            process.kill()
            process.wait()
            process.stdout.close()
    assert [w.returncode for w in writers] == [0, 0]
    rows = store.results(run.path)
    assert len(rows) == 800
    own = [e for cell in run.cells() for e in cell.events() if e["event"] == "level"]
    assert sorted((r["seed"], r["edges"]) for r in rows) == sorted(
        (e["seed"], e["edges"]) for e in own
    )


def test_a_writer_killed_at_any_time_leaves_whole_events(run):
    rng = random.Random(0)
    for seed in range(6):
        process = writer(run, seed, first=1)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        cell = run.cell(store.cell_hash({"seed": seed}))
        levels = [event["level"] for event in cell.events()]
        assert levels == list(range(1, len(levels) + 1)) and not cell.finished
        cell.append({"event": "end"})
        assert cell.finished and len(list(cell.events())) == len(levels) + 1
        cell.close()


def test_of_many_processes_one_at_a_time_holds_the_lock(run):
    """Each holder writes a file, finds it alone, and removes it; nobody is let in meanwhile."""
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code, held = 1, 0
            try:
                end = time.monotonic() + 20
                while held < 5 and time.monotonic() < end:
                    try:
                        with run.lock():
                            os.close(os.open(run.path / "alone", os.O_CREAT | os.O_EXCL))
                            time.sleep(0.005)
                            os.unlink(run.path / "alone")
                            held += 1
                    except Locked:
                        pass
                    time.sleep(random.Random(os.getpid() + held).uniform(0, 0.02))
                code = 0 if held == 5 else 2
            finally:
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0, 0, 0, 0]


def test_killed_holders_never_block_the_next(run):
    for _ in range(5):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            with run.lock():
                os.write(write, b"held")
                time.sleep(60)
            os._exit(1)
        os.close(write)
        assert os.read(read, 4) == b"held"
        os.close(read)
        with pytest.raises(Locked, match=f"process {pid} "), run.lock():
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with run.lock():  # dead, but not reaped
            told = json.loads((run.path / "run.lock.json").read_text())
            assert told["pid"] == os.getpid()
        os.waitpid(pid, 0)
