"""An experiment file with every rule that prunes or rewires while training."""

import pytest
from digits_run import POSSIBLE, assert_exact, run

from rewire.experiments.trainings import trainer

RULES = """
[[rules]]
rule = "GMP"
when = { every = 10, stop = 0.75 }

[[rules]]
rule = "GMP"
label = "GMP over all layers"
scope = "global"
when = { every = 7 }

[[rules]]
rule = "GraNet"
when = 10
fraction = { cosine = 0.4 }
until = 0.5

[[rules]]
rule = "DSR"
aim = 20
when = 10

[[rules]]
rule = "SNFS"
rewires = { every = 10, stop = 0.75 }

[[rules]]
rule = "MEST"
soft = true
when = 10

[[rules]]
rule = "RandomRewiring"
when = { every = 10, stop = 0.75 }
"""


@pytest.mark.parametrize("world", ["masked", "auto"])
def test_every_rule_ends_at_exactly_each_density(world, tmp_path):
    rows = run(tmp_path, RULES, world)
    labels = ("DSR", "GMP", "GMP over all layers", "GraNet", "MEST", "RandomRewiring", "SNFS")
    assert_exact(rows, labels)
    by = {(row["label"], row["requested_density"]): row for row in rows}
    for density in (0.1, 0.3):
        gmp, granet = by["GMP", density], by["GraNet", density]
        assert gmp["dropped"] == POSSIBLE - gmp["edges"] and gmp["formed"] == 0
        # GraNet starts at half; what it formed it dropped again
        assert granet["dropped"] - granet["formed"] == POSSIBLE // 2 - granet["edges"]
        assert granet["formed"] > 0
        # and the cost is that of the path, not of its end
        random = by["RandomRewiring", density]
        assert gmp["train_flops_sparse"] > granet["train_flops_sparse"]
        assert granet["train_flops_sparse"] > random["train_flops_sparse"]


def test_edits_written_as_they_come_are_the_same_log(tmp_path, monkeypatch):
    """Every tick hands its edit to the file, or a checkpoint hands over all of them."""
    logs = []
    for held in (0, trainer.HELD):
        monkeypatch.setattr(trainer, "HELD", held)
        (tmp_path / str(held)).mkdir()
        run(tmp_path / str(held), RULES, densities=(0.1,), report=False)
        cells = sorted((tmp_path / str(held) / "out" / "cells").iterdir())
        logs.append({cell.name: (cell / "edits.bin").read_bytes() for cell in cells})
    assert logs[0] == logs[1] and any(len(log) > 1000 for log in logs[0].values())
