"""Kills and signals at the pool: nothing is lost, doubled or left behind, to the byte."""

import os
import random
import signal
import time

import chain
import pytest

from rewire.experiments.engines import fork

pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")

SLOW = {"steps": 50, "pause": 0.003}
each_engine = pytest.mark.parametrize("engine", ["local", "processes"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bytes of the cells that the tests below disturb."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert chain.Parent(out, chain.diamonds(2, **SLOW)).end()[0] == 0
    return chain.snapshot(out)


def complete(out, undisturbed):
    """Run the same cells again: they finish, and nothing shows that they were disturbed."""
    parent = chain.Parent(out, chain.diamonds(2, **SLOW))
    code, outcomes = parent.end()
    assert code == 0, parent.stderr
    assert {o["status"] for o in outcomes.values()} <= {"finished", "skipped"}
    assert chain.snapshot(out) == undisturbed
    assert not (out / "intruders").exists()
    return outcomes


@each_engine
def test_a_killed_child_continues_where_its_checkpoint_was(tmp_path, undisturbed, engine):
    out = tmp_path / "run"
    parent = chain.Parent(out, chain.diamonds(2, **SLOW), engine=engine)
    parent.until("a0")
    time.sleep(0.05)
    os.kill(parent.child("a0"), signal.SIGKILL)
    code, outcomes = parent.end()
    assert code == 0
    assert outcomes["a0"]["attempts"] == 2
    assert chain.snapshot(out) == undisturbed


def test_a_child_that_somebody_terminates_is_started_again(tmp_path, undisturbed):
    out = tmp_path / "run"
    parent = chain.Parent(out, chain.diamonds(2, **SLOW))
    parent.until("a1")
    os.kill(parent.child("a1"), signal.SIGTERM)
    code, outcomes = parent.end()
    assert code == 0
    assert outcomes["a1"]["attempts"] == 2
    assert chain.snapshot(out) == undisturbed


@each_engine
def test_a_killed_parent_leaves_no_child_behind(tmp_path, undisturbed, engine):
    out = tmp_path / "run"
    parent = chain.Parent(out, chain.diamonds(2, **SLOW), engine=engine)
    for name in ("a0", "a1"):
        parent.until(name)
    parent.kill()
    assert parent.end()[0] == -signal.SIGKILL
    assert parent.living_children() == []
    outcomes = complete(out, undisturbed)
    assert outcomes["a0"]["status"] == "finished"


@pytest.mark.parametrize(
    ("signum", "group", "workers", "engine"),
    [
        (signal.SIGINT, False, 2, "local"),
        (signal.SIGINT, True, 2, "local"),  # Ctrl-C in a terminal reaches the children too
        (signal.SIGTERM, False, 2, "local"),
        (signal.SIGTERM, True, 2, "local"),
        (signal.SIGHUP, True, 2, "local"),
        (signal.SIGINT, False, 0, "local"),
        (signal.SIGTERM, False, 0, "local"),
        (signal.SIGINT, True, 2, "processes"),
        (signal.SIGTERM, False, 2, "processes"),
    ],
)
def test_a_signal_stops_within_two_seconds_and_the_same_command_continues(
    tmp_path, undisturbed, signum, group, workers, engine
):
    out = tmp_path / "run"
    parent = chain.Parent(out, chain.diamonds(2, **SLOW), workers=workers, engine=engine)
    parent.until()
    asked = time.monotonic()
    parent.kill(signum, group=group)
    code, outcomes = parent.end(timeout=10)
    assert time.monotonic() - asked < 2
    assert code == 128 + signum
    assert "the same command continues" in parent.stderr
    statuses = {o["status"] for o in outcomes.values()}
    assert "stopped" in statuses and "waiting" in statuses and "failed" not in statuses
    assert parent.living_children(0) == []
    assert list(out.glob("cells/*/state.json"))
    complete(out, undisturbed)


def test_a_second_interrupt_ends_cells_that_do_not_stop(tmp_path):
    cells = [{"hash": "a", "parents": {}, "steps": 2000, "pause": 0.01, "act": "stubborn"}]
    parent = chain.Parent(tmp_path / "run", cells)
    parent.until("a")
    parent.kill(signal.SIGINT)
    time.sleep(0.5)
    assert parent.process.poll() is None  # it waits for the cell
    again = time.monotonic()
    parent.kill(signal.SIGINT)
    code, outcomes = parent.end(timeout=10)
    assert time.monotonic() - again < 1
    assert (code, outcomes["a"]["status"]) == (130, "stopped")
    assert parent.living_children(0) == []


def test_an_echo_of_the_interrupt_is_not_a_second_one(tmp_path):
    cells = [{"hash": "a", "parents": {}, "steps": 2000, "pause": 0.2}]
    parent = chain.Parent(tmp_path / "run", cells)
    parent.until("a")
    parent.kill(signal.SIGINT, group=True)
    time.sleep(0.05)
    parent.kill(signal.SIGINT, group=True)
    code, outcomes = parent.end(timeout=10)
    assert (code, outcomes["a"]["exit_code"]) == (130, 130)  # it stopped by itself, not by force


@each_engine
def test_cells_that_do_not_stop_in_time_are_killed(tmp_path, engine):
    cells = [{"hash": "a", "parents": {}, "steps": 2000, "pause": 0.01, "act": "stubborn"}]
    parent = chain.Parent(tmp_path / "run", cells, grace=0.3, engine=engine)
    parent.until("a")
    parent.kill(signal.SIGTERM)
    code, outcomes = parent.end(timeout=10)
    assert code == 143
    assert (outcomes["a"]["status"], outcomes["a"]["exit_code"]) == ("stopped", -signal.SIGKILL)


def disturb(folder, undisturbed, kills, rng):
    """SIGKILL the parent, its whole group, or a child, until ``kills`` are spent; returns them."""
    cells = chain.diamonds(2, **SLOW)
    done = rounds = 0
    while done < kills:
        out = folder / str(rounds)
        rounds += 1
        while True:
            parent = chain.Parent(out, cells, retries=100)
            ended = False
            for _ in range(rng.randrange(1, 4)):
                if parent.process.poll() is not None or done >= kills:
                    break
                time.sleep(rng.uniform(0.0, 0.25))
                victim = rng.choice(["parent", "group", "child", "child"])
                pids = chain.living(out)
                if victim == "child" and pids:
                    try:
                        os.kill(rng.choice(pids), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                elif victim != "child" and parent.process.poll() is None:
                    parent.kill(group=victim == "group")
                    ended = True
                done += 1
                if ended:
                    break
            code, outcomes = parent.end()
            assert ended or code == 0, parent.stderr
            if code == 0:
                break
        assert chain.snapshot(out) == undisturbed
        assert not (out / "intruders").exists()
        assert {o["status"] for o in outcomes.values()} <= {"finished", "skipped"}
        for metrics in out.glob("cells/*/metrics.jsonl"):
            assert metrics.read_bytes().count(b'"end"') == 1
    return done


def test_random_kills_change_no_byte(tmp_path, undisturbed):
    assert disturb(tmp_path, undisturbed, 20, random.Random(1)) >= 20


@pytest.mark.soak
def test_five_hundred_random_kills_change_no_byte(tmp_path, undisturbed):
    assert disturb(tmp_path, undisturbed, 500, random.Random(2)) >= 500
