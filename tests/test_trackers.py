"""Each tracker's own files say what was logged, and sessions are followed."""

from __future__ import annotations

import copy
import json
import math
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import rewire
from rewire import trackers

NUMBERS = [(1, {"loss": 0.5, "rewire/edges": 100}), (3, {"loss": 0.25, "rewire/edges": 90})]
LOSSES = [(1, 0.5), (3, 0.25)]


def logged(kind: str, folder: Path) -> trackers.Tracker:
    tracker = trackers.opened(kind, folder, "first")
    assert isinstance(tracker, trackers.Tracker)
    for step, numbers in NUMBERS:
        tracker.log(step, numbers)
    tracker.finish()
    return tracker


def test_jsonl(tmp_path: Path) -> None:
    logged("jsonl", tmp_path)
    lines = (tmp_path / "first.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": n, **row} for n, row in NUMBERS]


def test_jsonl_goes_on_and_has_no_nan(tmp_path: Path) -> None:
    logged("jsonl", tmp_path)
    tracker = trackers.JSONL(tmp_path / "first.jsonl")
    tracker.log(4, {"loss": math.nan, "other": torch.tensor(2.0)})
    tracker.finish()
    lines = (tmp_path / "first.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[2]) == {"step": 4, "loss": None, "other": 2.0} and len(lines) == 3


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged("tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "first"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == LOSSES
    assert [e.value for e in events.Scalars("rewire/edges")] == [100.0, 90.0]


def test_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    tracker: Any = logged("mlflow", tmp_path)
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    history = client.get_metric_history(tracker.run_id, "loss")
    assert [(m.step, m.value) for m in history] == LOSSES
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "first"
    assert run.data.metrics["rewire/edges"] == 90


def leveldb_records(data: bytes, block: int = 2**15) -> Iterator[bytes]:
    """The records of a log in LevelDB's format after a head of seven bytes, as wandb writes it."""
    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:  # no room for a head: zeros up to the next block
            at += block - at % block
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record by itself, or the last part of one
            yield whole
            whole = b""


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    logged("wandb", tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    losses = []
    for record in map(Record.FromString, leveldb_records(path.read_bytes())):
        if record.HasField("history"):
            row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            losses.append((record.history.step.num, row["loss"]))
    assert losses == LOSSES


TRACKIO = """
import sys
from rewire import trackers

tracker = trackers.opened("trackio", sys.argv[1], "first")
tracker.log(1, {"loss": 0.5})
tracker.log(3, {"loss": 0.25})
tracker.finish()
try:
    trackers.Trackio("second", folder="elsewhere")
except ValueError as error:
    print("refused:", error)
"""


def test_trackio(tmp_path: Path) -> None:
    """In a process of its own: trackio learns its folder when it is imported."""
    if find_spec("trackio") is None or find_spec("gradio_client") is None:
        pytest.skip("trackio is not installed")
    command = [sys.executable, "-c", TRACKIO, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "trackio" / "rewire.db") as base:
        rows = base.execute("SELECT step, run_name, metrics FROM metrics ORDER BY step").fetchall()
    assert [(step, json.loads(row)["loss"]) for step, _, row in rows] == LOSSES
    assert {name for _, name, _ in rows} == {"first"}
    assert "refused: trackio was imported before and writes to" in done.stdout


def test_another_tracker_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"there is no tracker 'tensorbord' \(did you mean 'tensor"
    ):
        trackers.opened("tensorbord", "x", "y")


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(trackers, "import_module", missing)
    for kind, package in (("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "tensorboard")):
        expected = rf"needs the package '{package}', .* pip install \"neurorewire\[trackers\]\""
        with pytest.raises(ImportError, match=expected):
            trackers.opened(kind, "nowhere", "x")


# -- sessions -------------------------------------------------------------------------------------


class Kept:
    """A tracker in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, numbers: Any) -> None:
        self.rows.append((step, dict(numbers)))

    def finish(self) -> None:
        self.rows.append((-1, {}))


def session(rule: rewire.Rule, world: str = "masked") -> tuple[Any, Any, rewire.Session]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    net = rewire.attach(model, optimizer, rule=rule, density=0.3, seed=0, steps=8, world=world)
    return model, optimizer, net


def train(model: Any, step: Any, steps: int) -> None:
    torch.manual_seed(1)
    for _ in range(steps):
        model.zero_grad()
        model(torch.randn(16, 20)).square().sum().backward()
        step()


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("caller", ["session", "optimizer"])
def test_a_session_is_followed_in_any_loop(world: str, caller: str) -> None:
    model, optimizer, net = session(rewire.SET(when=rewire.every(2), fraction=0.5), world)
    tracker = Kept()
    net.follow(tracker, layers=True)
    train(model, net.step if caller == "session" else optimizer.step, 4)
    assert [step for step, _ in tracker.rows] == [1, 2, 3, 4]
    assert all(row["rewire/edges"] == net.edges for _, row in tracker.rows)
    assert [row["rewire/formed"] > 0 for _, row in tracker.rows] == [False, True, False, True]
    assert sum(row["rewire/formed"] for _, row in tracker.rows) == net.history.formed
    assert sum(row["rewire/dropped"] for _, row in tracker.rows) == net.history.dropped
    first = tracker.rows[0][1]["rewire/density/0.weight"]
    assert first == net.masks()["0.weight"].double().mean().item()


def test_every_so_many_steps_and_until_it_ends() -> None:
    model, optimizer, net = session(rewire.DeepR())
    tracker = Kept()
    end = net.follow(tracker, every=2)
    train(model, optimizer.step, 5)
    end()
    train(model, optimizer.step, 2)
    assert [step for step, _ in tracker.rows] == [2, 4]


def test_a_function_follows_and_a_copy_is_followed_by_nobody() -> None:
    model, optimizer, net = session(rewire.Static())
    steps: list[int] = []
    net.follow(lambda net: steps.append(net.clock.step))
    model, optimizer, twin = copy.deepcopy((model, optimizer, net))
    train(model, twin.step, 2)
    assert steps == [] and twin.clock.step == 2 and net.clock.step == 0
    train(net.world.model, net.step, 3)
    assert steps == [1, 2, 3]


def test_what_cannot_follow_is_refused() -> None:
    _, _, net = session(rewire.Static())
    with pytest.raises(TypeError, match="a follower is a tracker, with log.. and finish.., or a"):
        net.follow("tensorboard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every is 0: a number of steps, 1 or more"):
        net.follow(Kept(), every=0)
