"""A rule from a package of somebody else's: known by name to the library and to the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

RULE = '''
"""Restless: a rule from outside."""
from dataclasses import dataclass

from rewire import Edit, Rule, groups, sample_absent, smallest
from rewire.when import When, every


@dataclass(frozen=True, kw_only=True)
class Restless(Rule):
    """Drop the weakest tenth of each layer and grow as many anywhere."""

    fraction: float = 0.1
    when: When = every(20)

    def update(self, graph, signals, state, rng, clock):
        layers = groups(graph, "layer")
        k = [int(self.fraction * (end - begin)) for begin, end in layers]
        drop = smallest(graph["weight"].abs(), k, layers)
        return Edit(drop=drop, add=sample_absent(graph, k, rng, without=drop)), state
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


def installed(folder: Path) -> dict[str, str]:
    """An environment in which the package `restless` is installed, as pip would leave it."""
    (folder / "restless.py").write_text(RULE)
    info = folder / "restless-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: restless\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[rewire.rules]\nRestless = restless:Restless\n")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def rewire(env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rewire.experiments", *words],
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
