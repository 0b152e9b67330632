"""Real trainings, killed at random and run again, end as if nobody had touched them."""

import os
import random
import signal
import subprocess
import sys
import time

import attempts
import pytest

from rewire.experiments.engines import fork

pytest.importorskip("sklearn")

from rewire.experiments import store

pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")

EXPERIMENT = """
model = { name = "mlp", hidden = [24, 16], dropout = DROPOUT }
world = "SUBSTRATE"
data = "digits"
optimizer = { name = "adam", lr = 2e-3 }
schedule = { kind = "cosine", warmup = 10 }
batch = 50
steps = 80
evaluate_every = 20
densities = [0.3, 0.1]
seeds = 1
rules = ["Dense", "RandomReinit", "DeepR", "SoftDeepR", "StructuralPlasticity", "SET", "RigL",
         "TopKAST", { rule = "STR", rate = 0.5, decay = 0.05 }, "EdgePopup",
         { rule = "IMP", fraction = 0.5, rewind = 30 }]
"""
OFTEN = {"REWIRE_CHECKPOINT_SECONDS": "0.03"}  # instead of 10, which is longer than a cell


# layer by layer under masks, and in one native call where layers are thin enough
WORLDS = {"masked": "0.1", "auto": "0.0"}


@pytest.fixture(scope="module", params=WORLDS)
def shop(request, tmp_path_factory):
    """The server, the command, and what an undisturbed run of it leaves."""
    folder = tmp_path_factory.mktemp("kills")
    experiment = folder / "tiny.toml"
    text = EXPERIMENT.replace("DROPOUT", WORLDS[request.param])
    experiment.write_text(text.replace("SUBSTRATE", request.param))
    server = attempts.Attempts(folder)
    run = ("run", experiment, "--workers", "2")
    began = time.monotonic()
    assert server.run(*run, "--out", folder / "undisturbed") == 0, server.said()
    server.training = time.monotonic() - began
    yield server, run, remains(folder / "undisturbed")
    server.close()


def remains(out):
    """What a run leaves that must not depend on how often it was interrupted.

    That is: the results without times, and every file of every cell to the byte, except that
    metrics.jsonl is read as events and its times are left out, and that a kill in the moment after
    the end may leave a checkpoint.
    """
    left = {"results": store.to_json(store.without_times(store.results(out)))}
    for path in sorted((out / "cells").rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "metrics.jsonl":
            events = store.CellStore(path.parent).events()
            left[name] = [
                {key: value for key, value in event.items() if key not in store.TIMES}
                for event in events
            ]
        elif path.is_file() and not path.name.startswith("checkpoint-"):
            left[name] = path.read_bytes()
    return left


def disturb(shop, out, kills, rng):
    """Run, kill at random, run again, until it ends; returns how many kills there were."""
    server, run, undisturbed = shop
    done = 0
    while True:
        server.start(*run, "--out", out, **OFTEN)
        if done < kills:
            time.sleep(rng.uniform(0.15, 0.6))
            if rng.random() < 0.5:  # that one starts again by itself
                done += server.kill("worker")
                time.sleep(rng.uniform(0.0, 0.3))
            done += server.kill(rng.choice(["parent", "group"]))
        code = server.end()
        assert code in (0, -signal.SIGKILL), server.said()
        if code == 0:
            break
    left = remains(out)
    more = {name: left[name] for name in left.keys() - undisturbed.keys()}
    assert not more and left.keys() == undisturbed.keys()
    for name in left:
        assert left[name] == undisturbed[name], name
    return done


def test_a_run_killed_ten_times_ends_byte_for_byte_as_an_undisturbed_one(shop, tmp_path):
    rng = random.Random(5)
    done = rounds = 0
    while done < 10 and rounds < 10:
        done += disturb(shop, tmp_path / str(rounds), 10 - done, rng)
        rounds += 1
    assert done >= 10


@pytest.mark.soak
def test_three_hundred_kills_change_no_byte(shop, tmp_path):
    rng = random.Random(6)
    done = rounds = 0
    while done < 300:
        done += disturb(shop, tmp_path / str(rounds), 12, rng)
        rounds += 1


def evaluated(out):
    """Bytes of what the cells of a run have evaluated."""
    return sum(path.stat().st_size for path in out.glob("cells/*/metrics.jsonl"))


def first_eval(out, written=0):
    """Wait until a cell of the run has evaluated something more."""
    deadline = time.monotonic() + 60
    while evaluated(out) <= written:
        assert time.monotonic() < deadline, "no cell has begun"
        time.sleep(0.01)


def test_sigterm_and_ctrl_c_stop_a_run_and_the_same_command_continues(shop, tmp_path):
    server, run, undisturbed = shop
    out = tmp_path / "run"
    pid = server.start(*run, "--out", out)
    first_eval(out)
    asked = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert server.end() == 143
    assert time.monotonic() - asked < 2
    assert server.said().splitlines()[-1].endswith("the same command continues")
    assert list(out.glob("cells/*/checkpoint-*"))

    written = evaluated(out)
    process = subprocess.Popen(
        [sys.executable, "-m", "rewire.experiments.cli", *map(str, run), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    first_eval(out, written)
    assert server.run(*run, "--out", out) == 6, "a second one finds it locked"
    assert f"{process.pid}" in server.said().splitlines()[-1]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped by SIGINT" in errors
    assert "Traceback" not in errors

    assert server.run(*run, "--out", out) == 0, server.said()
    assert remains(out) == undisturbed


def test_the_same_command_again_does_nothing(shop, tmp_path):
    server, run, undisturbed = shop
    out = server.output.parent / "undisturbed"

    def times():
        return {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*")}

    before, started = times(), time.monotonic()
    assert server.run(*run, "--out", out) == 0, server.said()
    assert time.monotonic() - started < server.training / 2
    assert times() == before
    assert remains(out) == undisturbed
