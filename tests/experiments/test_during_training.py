"""An experiment file with every rule that prunes or rewires while training."""

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


@pytest.mark.parametrize("substrate", ["masked", "auto"])
def test_every_rule_ends_at_exactly_each_density(substrate, tmp_path):
    experiment = tmp_path / "during.toml"
    experiment.write_text(EXPERIMENT.replace("SUBSTRATE", substrate))
    assert cli.main(["run", str(experiment), "--dry-run"]) == 0  # its costs can be estimated
    assert cli.main(["run", str(experiment), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = store.results(tmp_path / "out")
    possible = 64 * 24 + 24 * 16 + 16 * 10
    ended = sorted((row["label"], row["requested_density"], row["edges"]) for row in rows)
    labels = ("DSR", "GMP", "GMP over all layers", "GraNet", "MEST", "RandomRewiring", "SNFS")
    assert ended == [(name, d, round(d * possible)) for name in labels for d in (0.1, 0.3)]
    by = {(row["label"], row["requested_density"]): row for row in rows}
    for density in (0.1, 0.3):
        gmp, granet = by["GMP", density], by["GraNet", density]
        assert gmp["dropped"] == possible - gmp["edges"] and gmp["formed"] == 0
        # GraNet starts at half; what it formed it dropped again
        assert granet["dropped"] - granet["formed"] == possible // 2 - granet["edges"]
        assert granet["formed"] > 0
        # and the cost is that of the path, not of its end
        random = by["RandomRewiring", density]
        assert gmp["train_flops_sparse"] > granet["train_flops_sparse"]
        assert granet["train_flops_sparse"] > random["train_flops_sparse"]
