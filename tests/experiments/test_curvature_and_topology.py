"""An experiment file with the rules that ask for curvature, constant fan-in or paths."""

import pytest

pytest.importorskip("sklearn")

from rewire.experiments import cli, store

EXPERIMENT = """
model = { name = "mlp", hidden = [24, 16] }
substrate = "SUBSTRATE"
data = "digits"
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }
batch = 50
steps = 80
evaluate_every = 80
densities = [0.3, 0.1]
seeds = 1

[[rules]]
rule = "OBD"
when = { every = 20, stop = 0.75 }

[[rules]]
rule = "OBD"
label = "OBD by recursion"
recursion = true
when = { every = 20, stop = 0.75 }

[[rules]]
rule = "DiagonalFisher"
when = { every = 20, stop = 0.75 }

[[rules]]
rule = "WoodFisher"
block = 50
damp = 1e-3
survivors = "singles"
when = { every = 20, stop = 0.75 }

[[rules]]
rule = "EarlyBird"
distance = 0.1
when = { every = 5 }

[[rules]]
rule = "SRigL"
min_salient = 0.3
when = { every = 10, stop = 0.75 }

[[rules]]
rule = "CHT"
when = { every = 10, stop = 0.75 }
"""
LABELS = (
    "CHT", "DiagonalFisher", "EarlyBird", "OBD", "OBD by recursion", "SRigL", "WoodFisher",
)  # fmt: skip


@pytest.mark.parametrize("substrate", ["masked", "auto"])
def test_every_rule_ends_at_exactly_each_density(substrate, tmp_path):
    experiment = tmp_path / "curvature.toml"
    experiment.write_text(EXPERIMENT.replace("SUBSTRATE", substrate))
    assert cli.main(["run", str(experiment), "--dry-run"]) == 0  # its costs can be estimated
    assert cli.main(["run", str(experiment), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = store.results(tmp_path / "out")
    possible = 64 * 24 + 24 * 16 + 16 * 10
    ended = sorted((row["label"], row["requested_density"], row["edges"]) for row in rows)
    assert ended == [(name, d, round(d * possible)) for name in LABELS for d in (0.1, 0.3)]
    for row in rows:
        falls = row["label"] not in ("SRigL", "CHT")
        assert (row["dropped"] - row["formed"] == possible - row["edges"]) == falls
        assert row["dropped"] > 0
        assert row["test_accuracy"] > 0.3  # of ten classes
