"""A rule from a package of somebody else's: known by name to the library and to the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RULE = '''
"""Restless: a rule from outside."""
from dataclasses import dataclass

from rewire import Rule, groups, replace_at_random, smallest
from rewire.when import When, every


@dataclass(frozen=True, kw_only=True)
class Restless(Rule):
    """Drop the weakest tenth of each layer and grow as many anywhere."""

    kind = "during training, constant budget"
    source = "Nobody & Else 2031, arXiv:3101.00001"

    fraction: float = 0.1
    when: When = every(20)

    def update(self, graph, signals, state, rng, clock):
        layers = groups(graph, "layer")
        k = [int(self.fraction * (end - begin)) for begin, end in layers]
        size = graph["weight"].abs()
        return replace_at_random(graph, smallest(size, k, layers), rng, size), state
'''
EXPERIMENT = """
model = { name = "mlp", hidden = [32] }
data = "digits"
optimizer = { name = "adam", lr = 3e-3 }
batch = 32
steps = 60
evaluate_every = 20
densities = [0.2]
seeds = 1

[[rules]]
rule = "Restless"
fraction = 0.2
"""
PACKAGE = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "restless"
version = "0.1"

[project.entry-points."rewire.rules"]
Restless = "restless:Restless"

[tool.setuptools]
py-modules = ["restless"]
"""
SPIKING = """
world = "brian"
model = { name = "topographic-map", side = 6, sigma_stim = 1.0 }
seconds = 2
record_every = 1
seeds = 1

[[rules]]
rule = "Restless"
"""


def installed(folder: Path) -> dict[str, str]:
    """An environment in which the package `restless` is installed, as pip would leave it."""
    (folder / "restless.py").write_text(RULE)
    info = folder / "restless-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: restless\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[rewire.rules]\nRestless = restless:Restless\n")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def pip_installed(folder: Path) -> dict[str, str]:
    """An environment in which pip has built the package from its sources and installed it."""
    source, target = folder / "source", folder / "site"
    source.mkdir()
    (source / "restless.py").write_text(RULE)
    (source / "pyproject.toml").write_text(PACKAGE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--target", str(target), str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}


def rewire(env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rewire", *words],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rule_of_another_package_runs_from_the_command_line(tmp_path: Path) -> None:
    env = installed(tmp_path)
    names = [rule["name"] for rule in json.loads(rewire(env, "rules", "--json"))]
    assert "Restless" in names and "DeepR" in names
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    out = tmp_path / "out"
    rewire(env, "run", str(tmp_path / "mine.toml"), "--out", str(out))
    (row,) = json.loads(rewire(env, "results", str(out), "--json"))
    possible = 64 * 32 + 32 * 10
    assert (row["rule"], row["edges"], row["possible"]) == (
        "Restless",
        round(0.2 * possible),
        possible,
    )
    assert row["formed"] == row["dropped"] > 0  # three ticks of a fifth of each layer
    assert "Restless" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_package_built_and_installed_by_pip_runs_in_three_worlds(tmp_path: Path) -> None:
    pytest.importorskip("brian2")
    pytest.importorskip("setuptools")
    env = pip_installed(tmp_path)
    (mine,) = [r for r in json.loads(rewire(env, "rules", "--json")) if r["name"] == "Restless"]
    assert mine["worlds"] == ["bare", "masked", "sparse", "brian"] and mine["budget"] == "exact"
    assert "@misc{nobody2031," in rewire(env, "cite", "Restless")
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    (tmp_path / "spiking.toml").write_text(SPIKING)
    keys = {}
    for substrate in ("masked", "sparse"):
        out = str(tmp_path / substrate)
        rewire(env, "run", str(tmp_path / "mine.toml"), f"substrate={substrate}", "--out", out)
        (row,) = json.loads(rewire(env, "results", out, "--json"))
        assert row["substrate"] == substrate and row["formed"] == row["dropped"] > 0
        keys[substrate] = row["edges"], row["formed"]
    assert keys["masked"] == keys["sparse"]
    out = str(tmp_path / "brian")
    rewire(env, "run", str(tmp_path / "spiking.toml"), "--out", out)
    rows = json.loads(rewire(env, "results", out, "--json"))
    assert [row["rule"] for row in rows] == ["Restless"] * 2
    # 2,000 ticks of 1 ms, every 20th of which replaces a tenth of each projection
    start, end = rows
    assert end["edges"] == start["edges"] and end["formed"] == end["dropped"]
    assert 0.8 < end["formed"] / (100 * 0.1 * start["edges"]) <= 1
