"""An experiment file with every rule whose edges fall silent, and those of fixed patterns."""

import pytest
import torch
from digits_run import DENSITIES, POSSIBLE, run

from rewire.experiments.store import CellStore

RULES = """
[[rules]]
rule = "EdgePopup"
rate = { cosine = 0.2 }

[[rules]]
rule = "Supermask"
weights = "signed"
when = { last = 2 }

[[rules]]
rule = "STR"
decay = 0.2

[[rules]]
rule = "SoftThreshold"
scope = "global"
until = 0.5

[[rules]]
rule = "MovementPruning"

[[rules]]
rule = "TopKAST"
more = 0.2

[[rules]]
rule = "ACDC"
when = { every = 10, stop = 0.85 }

[[rules]]
rule = "GradR"
alpha = 0.02
"""
PATTERNS = """
[[rules]]
rule = "NM"
n = 1

[[rules]]
rule = "SRSTE"
n = 1
"""


@pytest.mark.parametrize("world", ["masked", pytest.param("auto", marks=pytest.mark.slow)])
def test_every_rule_ends_at_exactly_the_live_edges_it_promises(world, tmp_path):
    rows = run(tmp_path, RULES, world)
    ended = {(row["label"], row["requested_density"]): row for row in rows}
    assert len(ended) == 8 * 2
    for (label, density), row in ended.items():
        wanted = round(density * POSSIBLE)
        assert row["density"] == row["edges"] / POSSIBLE
        if label in ("STR", "GradR"):  # they report what they came to
            assert wanted <= row["edges"] < POSSIBLE
        else:
            assert row["edges"] == wanted
        level, _ = CellStore(tmp_path / "out" / "cells" / row["cell"]).read_level(row["level"])
        masks = [v != 0 for n, v in level["model"].items() if n.endswith("weight")]
        assert len(level["keys"]) == row["edges"]
        # what is kept is what computes: the model's own weights, and no others
        kept = torch.cat([v[m] for v, m in zip(
            [v for n, v in level["model"].items() if n.endswith("weight")], masks, strict=True
        )])  # fmt: skip
        assert torch.equal(kept, level["weight"][level["weight"] != 0])
        if label not in ("Supermask", "ACDC"):  # these drop their edges
            assert row["substrate"] == "masked"
    for density in DENSITIES:  # a live edge's cost, and dense gradients where they are taken
        flops = {label: ended[label, density]["train_flops_sparse"] for label, _ in ended}
        assert flops["MovementPruning"] > flops["SoftThreshold"]


def test_patterns_of_n_in_m_have_one_density(tmp_path):
    rows = run(tmp_path, PATTERNS, densities=(0.25,))
    assert [row["edges"] for row in rows] == [POSSIBLE // 4] * 2


def test_the_sparse_world_and_another_density_are_refused_before_anything_runs(tmp_path, capsys):
    run(tmp_path, RULES, "sparse", (0.3,), code=2)
    assert "cannot live in the sparse world: silent edges are edges" in capsys.readouterr().err
    run(tmp_path, PATTERNS, densities=(0.3,), code=2)
    assert "keeps 1 of every 4 weights, density 0.25" in capsys.readouterr().err
