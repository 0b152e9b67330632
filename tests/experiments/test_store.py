"""The run's folder: locks, events, levels, and an index that may be lost at any time."""

import contextlib
import csv
import io
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from rewire.checkpoint import CheckpointError
from rewire.experiments import store
from rewire.experiments.errors import ConfigError, Locked, StoreError
from rewire.experiments.store import database


def row(level=0, **more):
    return {
        "event": "level",
        **{field: None for field in store.ROW_FIELDS if field != "cell"},
        **{"rule": "DeepR", "label": "DeepR", "seed": 0, "level": level, "density": 0.5**level},
        **{"test_accuracy": 0.1 + level / 7, "train_flops_dense": 10**12, "edges": 266200},
        **more,
    }


def add_cell(run, finished=True, levels=3, evals=2, **config):
    """A cell as a runner writes it; returns its store."""
    config = {"rule": {"rule": "DeepR"}, "seed": 0, **config}
    cell = run.cell(store.cell_hash(config))
    cell.create({"config": config})
    for level in range(levels):
        for step in range(evals):
            cell.append({"event": "eval", "level": level, "step": step, "val_loss": 1 / (1 + step)})
        cell.append(row(level, rule=config["rule"]["rule"], label=config["rule"]["rule"],
                        seed=config["seed"]))  # fmt: skip
    if finished:
        cell.append({"event": "end", "levels": levels, "stopped": None})
    cell.sync()
    cell.close()
    return cell


@contextlib.contextmanager
def alarm(seconds):
    """A reader that waits for a pipe's other end fails instead of hanging the tests."""

    def ring(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path):
    return store.Run(tmp_path / "out")


@pytest.fixture
def cell(run):
    cell = run.cell(store.cell_hash({"seed": 0}))
    cell.create({"config": {"seed": 0}})
    return cell


def age(folder):
    """As if everything had been written a minute ago."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "index.sqlite":
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 60 * 10**9))


# --- small files and names


def test_the_store_does_not_import_torch():
    code = "import sys; from rewire.experiments import store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_write_atomic_takes_text_and_bytes_and_names_what_it_could_not_write(tmp_path):
    store.write_atomic(tmp_path / "a", "né")
    store.write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(StoreError, match="no/b.*cannot be written .No such file"):
        store.write_atomic(tmp_path / "no" / "b", "x")


def test_a_cell_hash_is_of_the_values_and_not_of_how_they_are_written():
    config = {"seed": 0, "lr": 0.1, "data": {"name": "mnist", "zero": 0.0}, "rates": [1, 2.5]}
    other = {"rates": (1, np.float64(2.5)), "data": {"zero": -0.0, "name": "mnist"}}
    assert store.cell_hash(config) == store.cell_hash({**other, "lr": 1e-1, "seed": 0})
    assert store.cell_hash(config) == "a1ffca98d5e96d46"  # folders of old runs keep their names
    assert store.cell_hash({"a": 1}) != store.cell_hash({"a": 1.0})
    assert store.cell_hash({"a": 1}) != store.cell_hash({"a": "1"})
    assert store.cell_hash({"a": 1}) != store.cell_hash({"a": True})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_cell_hash_refuses_what_is_no_number(bad):
    with pytest.raises(ConfigError, match=r"config\.rule\.rates\[1\] is"):
        store.cell_hash({"rule": {"rates": [1, bad]}})


def test_a_cell_hash_refuses_what_is_no_json():
    with pytest.raises(TypeError, match=r"config\.a is a set"):
        store.cell_hash({"a": {1}})
    with pytest.raises(TypeError, match="has the key 1"):
        store.cell_hash({1: 2})


# --- the lock

HOLD = """
import sys, time
from rewire.experiments.store import Run
with Run(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(run):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_at_once_who_holds_the_run(run, holder):
    began = time.monotonic()
    with pytest.raises(Locked, match=f"in use by process {holder.pid} on .*, started 20"):
        with run.lock():
            pytest.fail("two processes held the lock")
    assert time.monotonic() - began < 1
    assert Locked.exit_code == 6


def test_a_killed_holder_is_no_obstacle(run, holder):
    leftover = f".x~{os.uname().nodename}~{holder.pid}~0.tmp"
    nested = run.path / "cells" / ("0" * 16) / "levels"
    nested.mkdir(parents=True)
    places = [run.path, nested.parent, nested]
    for place in places:
        (place / leftover).touch()
    holder.kill()
    holder.wait()
    assert (run.path / "run.lock.json").exists()
    with run.lock():
        assert store.read_json(run.path / "run.lock.json")["pid"] == os.getpid()
        assert not any((place / leftover).exists() for place in places)
    assert not (run.path / "run.lock.json").exists()


def test_the_lock_can_be_taken_again(run):
    for _ in range(2):
        with run.lock():
            pass
    with pytest.raises(KeyError):
        with run.lock():
            raise KeyError
    with run.lock():
        pass


def test_a_holder_that_left_no_name_is_still_a_holder(run, holder):
    for text in ("", "{", "[]", '{"pid": "x"}', '{"pid": 1e999, "host": ""}'):
        (run.path / "run.lock.json").write_text(text)
        with pytest.raises(Locked, match="another process"):
            with run.lock():
                pass


def test_a_forked_worker_that_leaves_the_block_does_not_unlock(run):
    second = "import sys; from rewire.experiments.store import *\nwith Run(sys.argv[1]).lock(): 1"
    pid = None
    try:
        with run.lock():
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                assert (run.path / "run.lock.json").exists()
                command = [sys.executable, "-c", second, str(run.path)]
                told = subprocess.run(command, capture_output=True, text=True).stderr
                assert f"in use by process {os.getpid()}" in told
    finally:
        if pid == 0:
            os._exit(0)


def test_a_run_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file.* cannot be made"):
        store.Run(tmp_path / "file" / "run")


# --- events


def test_events_come_back_as_they_were(cell):
    events = [{"event": "eval", "x": 0.1 + 0.2, "n": 2**60, "t": None}, row(), {"event": "end"}]
    for event in events:
        cell.append(event)
    assert list(cell.events()) == events
    assert cell.metrics.path.read_text().count("\n") == 3


def test_numbers_of_numpy_and_torch_are_numbers(cell):
    cell.append({"event": "e", "a": np.float32(0.5), "b": torch.tensor(3), "c": np.int64(4)})
    assert list(cell.events()) == [{"event": "e", "a": 0.5, "b": 3, "c": 4}]


@pytest.mark.parametrize("bad", [math.nan, math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_what_is_no_number_is_refused_and_leaves_no_trace(cell, bad):
    with pytest.raises(ValueError, match="eval event: .*"):
        cell.append({"event": "eval", "val_loss": bad})
    assert cell.size() == 0


def test_an_event_has_a_name_and_a_length(cell):
    with pytest.raises(ValueError, match="needs its name"):
        cell.append({"level": 3})
    with pytest.raises(ValueError, match="name of its checksum"):
        cell.append({"event": "e", "crc": 1})
    with pytest.raises(ValueError, match="at most"):
        cell.append({"event": "e", "x": "x" * (1 << 20)})
    assert cell.size() == 0


def test_each_event_is_one_write(cell, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(bytes(data)) or real(fd, data))
    cell.append({"event": "a"})
    cell.append({"event": "b"})
    assert writes == [
        b'{"event":"a","crc":"%08x"}\n' % zlib.crc32(b'{"event":"a"'),
        b'{"event":"b","crc":"%08x"}\n' % zlib.crc32(b'{"event":"b"'),
    ]


def test_every_torn_last_line_is_no_line_and_the_next_event_is_whole(cell):
    cell.append({"event": "eval", "step": 1})
    whole = cell.size()
    cell.append({"event": "end", "levels": 1})
    cell.close()
    data = cell.metrics.path.read_bytes()
    for size in range(whole, len(data)):
        cell.metrics.path.write_bytes(data[:size])
        assert [e["event"] for e in cell.events()] == ["eval"]
        assert not cell.finished
        cell.append({"event": "next"})
        assert [e["event"] for e in cell.events()] == ["eval", "next"]
        cell.close()
    cell.metrics.path.write_bytes(data)
    assert cell.finished


def test_a_line_of_zeros_after_a_loss_of_power_is_torn(cell):
    cell.append({"event": "eval"})
    with open(cell.metrics.path, "ab") as file:
        file.write(bytes(5000))
    assert len(list(cell.events())) == 1 and not cell.finished


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "is not JSON"), (b"", "is not JSON"), (b"\xff", "is not JSON"),
        (b'{"event": "eval"}', "does not match its checksum"),
        (b'{"event":"eval","crc":"00000000"}', "does not match its checksum"),
        (b'{"event":"eval","crc":5}', "does not match its checksum"),
        (b'{"event": "eval", "x": NaN}', "NaN is no number"),
        (b'{"event": "eval", "x": 1e999}', "1e999 is no finite number"),
        (b'{"event": "eval", "x": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[1]", "holds a list"), (b'{"x": 1}', "is no event"), (b'{"event": 1}', "is no event"),
        (b"[" * 100_000, "nested too deeply"), (b" " * 2_000_000, "longer than"),
    ],
)  # fmt: skip
def test_damage_elsewhere_is_named_with_file_line_and_reason(cell, line, reason):
    cell.append({"event": "eval"})
    good = cell.metrics.path.read_bytes()
    cell.metrics.path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(StoreError, match=f"metrics.jsonl, line 2: .*{reason}"):
        list(cell.events())


def test_finished_means_that_the_last_event_is_the_end(cell):
    assert not cell.finished and cell.status == "waiting"
    cell.append({"event": "eval", "text": "x" * 1_000_000})
    assert not cell.finished and cell.status == "running"
    cell.append({"event": "end", "levels": 1})
    assert cell.finished and cell.status == "finished"
    cell.append({"event": "eval"})
    assert not cell.finished
    with open(cell.metrics.path, "ab") as file:
        file.write(b"garbage\n")
    with pytest.raises(StoreError, match="last line"):
        _ = cell.finished


def test_resume_truncates_to_the_checkpoint(cell):
    cell.append({"event": "eval", "step": 1})
    cell.edit_log.append(b"\x00\n\xff")
    sizes = cell.size(), cell.edit_log.size()
    cell.append({"event": "eval", "step": 2})
    cell.edit_log.append(b"more")
    cell.close()
    again = store.CellStore(cell.path)
    again.truncate(sizes[0])
    again.edit_log.truncate(sizes[1])
    again.append({"event": "eval", "step": 3})
    again.edit_log.append(b"!")
    assert [e["step"] for e in again.events()] == [1, 3]
    assert again.edit_log.read() == b"\x00\n\xff!"
    again.truncate(0)
    assert again.size() == 0 and list(again.events()) == []


def test_truncate_refuses_what_was_lost_and_what_is_no_line(cell):
    cell.truncate(0)  # nothing was written yet
    cell.append({"event": "eval"})
    with pytest.raises(StoreError, match="has 34 bytes where the checkpoint counts on 99"):
        cell.truncate(99)
    with pytest.raises(StoreError, match="inside a line"):
        cell.truncate(5)
    assert cell.size() == 34
    with pytest.raises(StoreError, match="counts on 1"):
        cell.edit_log.truncate(1)


def test_a_cut_is_forced_to_the_disk(cell, monkeypatch):
    cell.append({"event": "eval"})
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    cell.truncate(0)
    assert sizes == [0]


def test_sync_forces_both_files_to_the_disk(cell, monkeypatch):
    cell.append({"event": "eval"})
    cell.edit_log.append(b"x")
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))
    cell.sync()
    assert synced == {str(cell.metrics.path.resolve()), str(cell.edit_log.path.resolve())}


# --- cells


def test_a_cell_is_made_once_and_only_for_its_config(run):
    cell = run.cell(store.cell_hash({"rates": [1, 2]}))
    cell.create({"config": {"rates": (1, 2)}, "versions": {"torch": "2"}})
    cell.create({"config": {"rates": [1, 2]}, "versions": {"torch": "3"}})
    assert cell.cell()["versions"] == {"torch": "2"} and cell.cell()["schema"] == 1
    with pytest.raises(ValueError, match="is not the hash"):
        cell.create({"config": {"rates": [1, 3]}})
    path = cell.path / "cell.json"
    store.write_json(path, {**store.read_json(path), "config": {"rates": [1, 3]}})
    with pytest.raises(StoreError, match="cell.json: its config is not the one"):
        cell.create({"config": {"rates": [1, 2]}})


@pytest.mark.parametrize("name", ["..", "0123", "0123456789ABCDEF", "0123456789abcdef/..", ""])
def test_only_hashes_name_cells(run, name):
    with pytest.raises(StoreError, match="is no cell"):
        run.cell(name)


def test_levels_and_snapshots(cell):
    assert cell.levels == [] and cell.snapshots == []
    for n in (10, 0, 2, 100):
        cell.write_level(n, {"weight": torch.full((2,), n)}, {"n": n})
    for step in (500, 0):
        cell.write_snapshot(step, {"step": step})
    (cell.path / "levels" / "notes.txt").touch()
    (cell.path / "saved-x.safetensors").touch()
    assert cell.levels == [0, 2, 10, 100] and cell.snapshots == [0, 500]
    tree, meta = cell.read_level(2)
    assert tree["weight"].tolist() == [2, 2] and meta == {"n": 2}
    assert (cell.path / "levels" / "02.safetensors").exists()
    assert cell.read_snapshot(500)[0] == {"step": 500}
    cell.remove_snapshot(0)
    assert cell.snapshots == [500]
    with pytest.raises(CheckpointError, match="no such file"):
        cell.read_level(3)


def test_checkpoints_live_in_the_cell(cell):
    cell.checkpoints.save({"metrics": 17})
    assert store.CellStore(cell.path).checkpoints.load_newest() == {"metrics": 17}
    assert (cell.path / "checkpoint-a.safetensors").exists()


def test_a_failure_is_kept_until_it_is_cleared(cell):
    assert cell.error is None
    cell.write_error("Diverged", "NaN in fc1", 4)
    assert cell.error == {"kind": "Diverged", "message": "NaN in fc1", "exit_code": 4}
    assert cell.status == "failed"
    cell.clear_error()
    cell.clear_error()
    assert cell.error is None


# --- results


def test_rows_come_in_the_order_of_the_experiment_under_its_labels(run):
    a = add_cell(run, rule={"rule": "DeepR"})
    b = add_cell(run, rule={"rule": "IMP"})
    c = add_cell(run, rule={"rule": "Alone"})
    run.write_experiment("x = 1\n", {"cells": [{"hash": b.hash, "label": "tickets"}, a.hash]})
    rows = store.results(run.path)
    assert [(r["label"], r["level"]) for r in rows] == [
        *(("tickets", 0), ("tickets", 1), ("tickets", 2)),
        *(("DeepR", 0), ("DeepR", 1), ("DeepR", 2)),
        *(("Alone", 0), ("Alone", 1), ("Alone", 2)),
    ]
    assert {r["cell"] for r in store.results(run.path, listed=True)} == {a.hash, b.hash}
    assert {r["cell"] for r in store.evals(run.path, listed=True)} == {a.hash, b.hash}
    assert {r["cell"] for r in store.evals(run.path)} == {a.hash, b.hash, c.hash}
    assert [cell.hash for cell in run.cells()] == [b.hash, a.hash, c.hash]
    assert run.experiment()["schema"] == 1


def test_without_an_experiment_rows_come_by_label_seed_and_falling_density(run):
    for rule in ("SET", "IMP"):
        for seed in (1, 0):
            add_cell(run, rule={"rule": rule}, seed=seed)
    rows = store.results(run.path)
    keys = [(r["label"], r["seed"], -r["density"], r["level"]) for r in rows]
    assert keys == sorted(keys) and len(keys) == 12


def test_a_row_has_every_field_in_order_and_no_other(run):
    cell = add_cell(run, levels=1)
    cell.append(row(1, test_accuracy=0.1 + 0.2, new_field=3, cell="forged"))
    rows = store.results(run.path)
    assert all(tuple(r) == store.ROW_FIELDS for r in rows)
    assert rows[1]["test_accuracy"] == 0.1 + 0.2 and rows[1]["cell"] == cell.hash
    assert type(rows[0]["train_flops_dense"]) is int and rows[0]["density"] == 1.0
    curve = store.evals(run.path)
    assert all(tuple(r) == store.EVAL_FIELDS for r in curve)
    assert [r["val_loss"] for r in curve] == [1.0, 0.5]


def test_odd_values_pass_unharmed(run):
    odd = {"edges": 10**30, "label": "é\ud800", "updates": True, "rule": ["x"], "possible": -0.0}
    cell = add_cell(run, levels=0, finished=False)
    cell.append(row(0, **odd))
    for _ in range(2):
        (found,) = store.results(run.path)
        assert {k: found[k] for k in odd} == odd


def test_unfinished_cells_count_as_far_as_they_came(run):
    add_cell(run, finished=False, levels=2)
    assert len(store.results(run.path)) == 2


@pytest.mark.parametrize("level", ["0", '"0"', "null", "[0]", "1.0", "true"])
def test_a_level_that_is_none_or_twice_is_damage(run, level):
    cell = add_cell(run, levels=1, finished=False)
    cell.append({"event": "level", "level": json.loads(level)})
    with pytest.raises(StoreError, match="metrics.jsonl: a level event has level"):
        store.results(run.path)


def test_csv_and_json_are_exact(run):
    add_cell(run, levels=2)
    rows = store.results(run.path)
    assert json.loads(store.to_json(rows)) == rows
    assert store.to_json([]) == "[\n\n]\n"
    table = list(csv.DictReader(io.StringIO(store.to_csv(rows))))
    assert list(table[0]) == list(store.ROW_FIELDS)
    assert float(table[1]["test_accuracy"]) == 0.1 + 1 / 7
    assert table[0]["requested_density"] == ""
    assert store.to_csv([]) == ",".join(store.ROW_FIELDS) + "\n"
    bare = store.without_times(rows)
    assert not set(bare[0]) & set(store.TIMES) and len(bare[0]) == len(rows[0]) - 3


def test_where_no_run_is_nothing_is_made(tmp_path):
    with pytest.raises(StoreError, match="no run is here"):
        store.results(tmp_path)
    with pytest.raises(StoreError, match="no run is here"):
        store.results(tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_a_run_without_cells_has_no_rows(run):
    assert store.results(run.path) == [] == store.evals(run.path)


# --- the index


def reads(monkeypatch):
    """The cells whose own files are read from here on."""
    seen = []
    real = database._read_cell
    monkeypatch.setattr(database, "_read_cell", lambda f: seen.append(f.name) or real(f))
    return seen


def test_only_what_changed_is_read_again(run, monkeypatch):
    a, b = add_cell(run, seed=1), add_cell(run, seed=2, finished=False)
    age(run.path)
    seen = reads(monkeypatch)
    first = store.results(run.path)
    assert sorted(seen) == sorted([a.hash, b.hash])
    del seen[:]
    assert store.results(run.path) == first and seen == []
    b.append(row(3))
    age(b.path)
    assert len(store.results(run.path)) == len(first) + 1 and seen == [b.hash]
    del seen[:]
    a.write_error("x", "y", 1)
    store.results(run.path)
    assert a.hash in seen


def test_a_file_that_was_written_just_now_is_not_trusted_to_have_changed_its_time(run):
    cell = add_cell(run, levels=0, finished=False)
    cell.append(row(0, edges=1))
    assert store.results(run.path)[0]["edges"] == 1
    time_of = cell.metrics.path.stat()
    cell.truncate(0)
    cell.append(row(0, edges=2))
    os.utime(cell.metrics.path, ns=(time_of.st_atime_ns, time_of.st_mtime_ns))
    assert store.results(run.path)[0]["edges"] == 2


def test_the_tables_can_be_queried(run):
    add_cell(run, seed=1)
    add_cell(run, seed=2, finished=False)
    add_cell(run, seed=3, finished=False, levels=0)
    add_cell(run, seed=4, finished=False).write_error("Diverged", "NaN", 4)
    db = store.index(run.path)
    states = dict(db.execute("SELECT seed, status FROM cells"))
    assert states == {1: "finished", 2: "running", 3: "waiting", 4: "failed"}
    query = "SELECT avg(test_accuracy) FROM levels JOIN cells ON cell = hash WHERE level = 1"
    assert db.execute(query).fetchone()[0] == pytest.approx(0.1 + 1 / 7)
    assert db.execute("SELECT count(*) FROM evals").fetchone() == (18,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert json.loads(db.execute("SELECT config FROM cells WHERE seed = 1").fetchone()[0]) == {
        "rule": {"rule": "DeepR"}, "seed": 1,
    }  # fmt: skip
    db.close()
    assert (run.path / "index.sqlite").exists()


def test_a_cell_that_is_gone_leaves_the_index(run):
    import shutil

    a, b = add_cell(run, seed=1), add_cell(run, seed=2)
    store.results(run.path)
    shutil.rmtree(a.path)
    assert {r["cell"] for r in store.results(run.path)} == {b.hash}
    db = store.index(run.path)
    assert db.execute("SELECT count(*) FROM levels").fetchone() == (3,)
    db.close()


def test_rebuild_reads_everything_again(run, monkeypatch):
    add_cell(run)
    age(run.path)
    store.results(run.path)
    seen = reads(monkeypatch)
    store.index(run.path, rebuild=True).close()
    assert len(seen) == 1


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif how == "halved":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "other tables":
        path.unlink()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE cells (hash)")
        db.close()
    else:
        db = sqlite3.connect(path)
        db.execute(how)
        db.commit()
        db.close()


@pytest.mark.parametrize(
    "how",
    [
        "missing", "empty", "garbage", "halved", "other tables",
        "UPDATE levels SET json = replace(json, '0.1', '0.9')",
        "DELETE FROM levels WHERE level = 1",
        "DELETE FROM cells",
        "UPDATE cells SET levels_digest = x'00'",
        "UPDATE cells SET stamp = NULL",
        "INSERT INTO levels (cell, json) SELECT cell, json FROM levels",
        "CREATE TRIGGER t AFTER DELETE ON cells BEGIN UPDATE levels SET json = '{}'; END",
        "CREATE VIEW v AS SELECT 1",
    ],
)  # fmt: skip
def test_a_spoiled_index_is_made_anew(run, how):
    add_cell(run, seed=1)
    add_cell(run, seed=2)
    age(run.path)
    first, curves = store.results(run.path), store.evals(run.path)
    path = run.path / "index.sqlite"
    spoil(path, how)
    assert store.results(run.path) == first
    assert store.evals(run.path) == curves
    db = sqlite3.connect(path)  # the file is in use again, not one in memory
    assert db.execute("SELECT count(*) FROM levels").fetchone() == (6,)
    assert {kind for (kind,) in db.execute("SELECT type FROM sqlite_schema")} == {"table", "index"}
    db.close()


def test_an_index_that_is_half_way_renewed_is_the_old_one(run, monkeypatch):
    add_cell(run)
    store.results(run.path)

    def interrupted(db, table, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(database, "_insert", interrupted)
        store.index(run.path, rebuild=True)
    db = sqlite3.connect(run.path / "index.sqlite")
    assert db.execute("SELECT count(*) FROM levels").fetchone() == (3,)
    db.close()


def test_a_reading_sees_one_state_of_the_index(run, monkeypatch):
    """Another process renews the index between one cell and the next: no damage in that."""
    for seed in (1, 2):
        add_cell(run, seed=seed)
    age(run.path)
    first = store.results(run.path)
    path = run.path / "index.sqlite"
    inode, real, read = path.stat().st_ino, database._verified, []

    def meanwhile(db, table, cell):
        if len(read) == 1:
            other = sqlite3.connect(path)
            other.execute("UPDATE cells SET levels_digest = 'that of other rows'")
            other.commit()
            other.close()
        read.append(cell)
        return real(db, table, cell)

    monkeypatch.setattr(database, "_verified", meanwhile)
    assert store.results(run.path) == first
    assert len(read) == 2 and path.stat().st_ino == inode


def test_where_the_index_cannot_be_a_file_it_is_in_memory(run):
    add_cell(run)
    (run.path / "index.sqlite").mkdir()
    assert len(store.results(run.path)) == 3
    db = store.index(run.path)
    assert db.execute("SELECT count(*) FROM levels").fetchone() == (3,)
    db.close()
    assert (run.path / "index.sqlite").is_dir()


def test_a_folder_that_may_only_be_read_gives_its_results():
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        add_cell(store.Run(out))
        for path in (Path(folder), out, out / "cells", *out.glob("cells/*")):
            path.chmod(0o555)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                code = 0 if len(store.results(out)) == 3 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not (out / "index.sqlite").exists()
        for path in (Path(folder), out, out / "cells", *out.glob("cells/*")):
            path.chmod(0o755)


def test_a_busy_index_is_left_alone(run, monkeypatch):
    add_cell(run)
    store.results(run.path)
    real = sqlite3.connect
    quick = lambda path, timeout, **more: real(path, timeout=0.05, **more)  # noqa: E731
    monkeypatch.setattr(sqlite3, "connect", quick)
    writer = real(run.path / "index.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    inode = (run.path / "index.sqlite").stat().st_ino
    assert len(store.results(run.path)) == 3
    assert (run.path / "index.sqlite").stat().st_ino == inode
    writer.execute("ROLLBACK")
    writer.close()


# --- folders that are not as we make them


def test_a_newer_schema_is_refused_by_name(run):
    cell = add_cell(run)
    text = (cell.path / "cell.json").read_text()
    (cell.path / "cell.json").write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(StoreError, match="cell.json: has schema 2 .* reads up to 1.*update"):
        store.results(run.path)
    (cell.path / "cell.json").write_text(text)
    store.write_json(run.path / "experiment.json", {"schema": 99})
    with pytest.raises(StoreError, match="experiment.json: has schema 99"):
        store.results(run.path)


def test_unknown_files_are_passed_over(run):
    add_cell(run)
    first = store.results(run.path)
    cells = run.path / "cells"
    (cells / ".DS_Store").touch()
    (cells / "notes").mkdir()
    (cells / ("f" * 16)).mkdir()  # killed before its cell.json was written
    (cells / ("e" * 16)).touch()
    for cell in run.cells():
        (cell.path / "plot.png").touch()
    assert store.results(run.path) == first


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"), ("[]", "holds a list"), ('{"schema": "1"}', "no schema number"),
        ('{"schema": 1}', "is of cell None"), ('{"hash": "x"}', "is of cell x"),
        ("[" * 200_000, "nested too deeply"), (None, "is not a file"),
        (" " * (17 << 20), "more than 16777216 bytes"),
    ],
)  # fmt: skip
def test_a_bad_cell_json_is_named(run, content, reason):
    cell = add_cell(run)
    path = cell.path / "cell.json"
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    with alarm(30), pytest.raises(StoreError, match=f"cell.json.*{reason}"):
        store.results(run.path)


@pytest.mark.parametrize(
    "cells", ["5", "{}", "[1]", '[{"hash": 1}]', '[{"hash": "a", "label": 1}]']
)
def test_a_bad_list_of_cells_is_named(run, cells):
    (run.path / "experiment.json").write_text(f'{{"cells": {cells}}}')
    with pytest.raises(StoreError, match="experiment.json.*no list of hashes"):
        store.results(run.path)


def test_pipes_and_endless_files_do_not_hang_the_reader(run):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        cell = add_cell(run)
        cell.metrics.path.unlink()
        make(cell.metrics.path)
        with alarm(10), pytest.raises(StoreError, match="metrics.jsonl: is not a file"):
            store.results(run.path)
        cell.metrics.path.unlink()


def test_a_huge_sparse_metrics_file_is_refused(cell):
    cell.append({"event": "eval"})
    os.truncate(cell.metrics.path, 1 << 40)
    with pytest.raises(StoreError, match="more than"):
        list(cell.events())
    assert not cell.finished
    cell.edit_log.append(b"x")
    os.truncate(cell.edit_log.path, 1 << 40)
    with pytest.raises(StoreError, match="more than"):
        cell.edit_log.read()
