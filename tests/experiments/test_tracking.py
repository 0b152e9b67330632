"""`rewire run --tracker`: each cell is a run of the tracker, and nothing of the cells changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewire.experiments import runner, store, tracking
from rewire.experiments.errors import ConfigError

SMALL = ["seeds=[0]", 'rules=["DeepR"]', "densities=[0.1]", "steps=100"]


def run(folder: Path, tracker: str | None, warnings: list[str] | None = None) -> list[str]:
    """The hashes of the cells."""
    finished = runner.run_experiment(
        "quickstart", SMALL, out=folder, workers=1, progress="quiet", tracker=tracker,
        report=False,         warn=(warnings if warnings is not None else []).append,
    )  # fmt: skip
    return [cell.hash for cell in finished.cells]


def test_the_numbers_are_those_of_the_rows_and_cells_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (cell,) = run(tmp_path / "a", "jsonl")
    path = tmp_path / "a" / "tracker" / f"DeepR-{cell}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    (result,) = store.results(tmp_path / "a")
    assert rows[-1]["test_accuracy"] == result["test_accuracy"]
    assert [row["step"] for row in rows if "val_loss" in row][:2] == [50, 100]
    assert run(tmp_path / "b", None) == [cell]
    assert store.without_times(store.results(tmp_path / "b")) == store.without_times([result])
    assert not (tmp_path / "b" / "tracker").exists()
    before = path.read_bytes()
    run(tmp_path / "a", "jsonl")  # finished: nothing to tell
    assert path.read_bytes() == before


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tracker").write_text("in the way")
    warnings: list[str] = []
    run(tmp_path / "a", "jsonl", warnings)
    assert len(store.results(tmp_path / "a")) == 1
    assert ["the tracker 'jsonl' failed" in text for text in warnings] == [True]


def test_what_is_no_tracker_or_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"there is no tracker 'wandbb' \(did you mean 'wandb'"):
        tracking.check("wandbb")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package 'mlflow', .*neurorewire\[trackers\]"):
        tracking.check("mlflow")
    tracking.check("jsonl")
