"""A small experiment on the digits: rules in TOML under one header, run from the command line."""

import pytest

pytest.importorskip("sklearn")

from rewire.experiments import cli, runner, store

HEADER = """
model = { name = "mlp", hidden = [24, 16] }
world = "SUBSTRATE"
data = "digits"
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }
batch = 50
steps = 80
evaluate_every = 80
densities = [DENSITIES]
seeds = 1
"""
POSSIBLE = 64 * 24 + 24 * 16 + 16 * 10
DENSITIES = (0.3, 0.1)


def run(folder, rules, world="masked", densities=DENSITIES, code=0, report=True):
    """The results of ``rules``; none where even the plan is to end with an exit code of its own.
    Their report, which is the same from each world, is drawn in the masked one."""
    header = HEADER.replace("SUBSTRATE", world)
    experiment = folder / "experiment.toml"
    experiment.write_text(header.replace("DENSITIES", ", ".join(map(str, densities))) + rules)
    assert cli.main(["run", str(experiment), "--dry-run"]) == code  # its costs can be estimated
    if code:
        return []
    done = runner.run_experiment(
        experiment,
        out=folder / "out",
        workers=1,
        progress="quiet",
        report=report and world == "masked",
    )
    assert done.exit_code == 0
    return store.results(folder / "out")


def assert_exact(rows, labels):
    """Each rule ended once at each density, with exactly its edges."""
    ended = sorted((row["label"], row["requested_density"], row["edges"]) for row in rows)
    assert ended == [(name, d, round(d * POSSIBLE)) for name in labels for d in sorted(DENSITIES)]
