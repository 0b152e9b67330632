"""An experiment file with the rules that ask for curvature, constant fan-in or paths."""

import pytest
from digits_run import POSSIBLE, assert_exact, run

RULES = """
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


@pytest.mark.parametrize("world", ["masked", "auto"])
def test_every_rule_ends_at_exactly_each_density(world, tmp_path):
    rows = run(tmp_path, RULES, world)
    assert_exact(rows, LABELS)
    for row in rows:
        falls = row["label"] not in ("SRigL", "CHT")
        assert (row["dropped"] - row["formed"] == POSSIBLE - row["edges"]) == falls
        assert row["dropped"] > 0
        assert row["test_accuracy"] > 0.3  # of ten classes
