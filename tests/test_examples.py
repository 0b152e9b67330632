"""examples/: the scripts run as they stand, on the run that they name."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from rewire.experiments import cli

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where `rewire run examples/digits.toml` was run."""
    pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("examples")
    before = Path.cwd()
    os.chdir(path)
    try:
        assert cli.main(["run", str(EXAMPLES / "digits.toml"), "--workers", "1"]) == 0
    finally:
        os.chdir(before)
    return path


def run(name: str, monkeypatch, path: Path, *arguments: str) -> dict:
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_from_a_run_to_a_long_table_of_pandas(folder, monkeypatch):
    pandas = pytest.importorskip("pandas")
    run("run_to_pandas.py", monkeypatch, folder, "runs/digits")
    long = pandas.read_csv(folder / "measures.csv")
    assert set(long["rule"]) == {"Static", "SET"} and set(long["seed"]) == {0, 1}
    assert set(long["measure"]) == {"LayerDensity", "RobinsAlexander", "NODF", "EdgesOnPath"}
    assert {"part", "value", "mean", "z", "p"} <= set(long.columns)


def test_from_a_run_to_graphml_in_igraph(folder, monkeypatch, capsys):
    pytest.importorskip("igraph")
    ran = run("run_to_graphml.py", monkeypatch, folder, "runs/digits")
    assert ran["net"].ecount() == len(ran["graph"])
    assert -0.5 <= ran["communities"].modularity <= 1
    assert "not in the file" not in capsys.readouterr().out


def test_from_somebodys_pruned_resnet_to_measures_and_a_picture(tmp_path, monkeypatch):
    ran = run("pruned_resnet.py", monkeypatch, tmp_path)
    assert ran["graph"].network.joined and len(ran["graph"].projections) == 10
    assert (tmp_path / "resnet.png").read_bytes()[:4] == b"\x89PNG"
    assert "EdgesOnPath" in (tmp_path / "resnet.csv").read_text()
    lines = (EXAMPLES / "pruned_resnet.py").read_text().partition("# The ten lines:\n")[2]
    assert len([line for line in lines.splitlines() if line]) <= 10


def test_each_example_says_how_it_is_run():
    for path in EXAMPLES.glob("*.py"):
        assert re.search(rf"python examples/{path.name}", path.read_text()), path.name
        assert path.name in (ROOT / "README.md").read_text(encoding="utf-8")
