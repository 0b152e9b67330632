"""Simulations in the spiking world, killed at random and run again, end as undisturbed ones."""

import random
import signal
import time

import attempts
import pytest
from test_run_kills import remains

from rewire.experiments.engines import fork

pytest.importorskip("brian2")


pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")

EXPERIMENT = """
world = "brian"
model = { name = "topographic-map", side = 6, sigma_stim = 1.0, delay = 3.0 }
seconds = 8
record_every = 2
seeds = 1

[[rules]]
rule = "StructuralPlasticity"
rate = 2e4
slots = 32
initial = "given"
partner = "spiked"
threshold = 0.1
birth = 0.2
p_elim_dep = 0.3

[[rules]]
rule = "IMP"
rounds = 2
fraction = 0.3
"""
OFTEN = {"REWIRE_CHECKPOINT_SECONDS": "0.01"}  # at every simulated second


def test_a_killed_simulation_ends_byte_for_byte_as_an_undisturbed_one(tmp_path):
    experiment, out = tmp_path / "tiny.toml", tmp_path / "killed"
    experiment.write_text(EXPERIMENT)
    server, rng, kills = attempts.Attempts(tmp_path), random.Random(3), 0
    run = ("run", experiment, "--workers", "1", "--out")
    assert server.run(*run, tmp_path / "undisturbed") == 0, server.said()
    while True:
        server.start(*run, out, **OFTEN)
        if kills < 4:
            wait_for_another_checkpoint(out)
            time.sleep(rng.uniform(0, 0.3))
            kills += server.kill(rng.choice(["worker", "parent", "group"]))
            kills += server.kill("group")  # a worker alone is started again by its parent
        code = server.end()
        assert code in (0, -signal.SIGKILL), server.said()
        if code == 0:
            break
    server.close()
    assert kills >= 4
    left, undisturbed = remains(out), remains(tmp_path / "undisturbed")
    assert left.keys() == undisturbed.keys()
    for name in left:
        assert left[name] == undisturbed[name], name


def wait_for_another_checkpoint(out):
    """Until a cell has saved something that was not there when we began to wait."""

    def newest():
        paths = out.glob("cells/*/checkpoint-*")
        return max((path.stat().st_mtime_ns for path in paths), default=0)

    before, deadline = newest(), time.monotonic() + 60
    while newest() == before:
        assert time.monotonic() < deadline, "no cell has saved a checkpoint"
        time.sleep(0.01)
