"""What every engine must do alike: order, isolation, retries, outcomes.

Three stand for all: ``local`` with its forked pool, ``local`` in one process, and `processes`, a
second engine of sixty lines that shares nothing with its cells but a folder. The parent that runs
them is a process of its own.
"""

import json

import chain
import pytest
from processes import Processes

from rewire import plugins
from rewire.experiments import cli
from rewire.experiments.engines import fork, registry
from rewire.experiments.engines.engine import Engine
from rewire.experiments.engines.in_process import InProcess
from rewire.experiments.engines.run import run_cells
from rewire.experiments.errors import ConfigError

HOSTS = {
    "pool": {"engine": "local", "workers": 2},
    "in process": {"engine": "local", "workers": 0},
    "processes": {"engine": "processes", "workers": 2},
}
pytestmark = pytest.mark.skipif(not fork.fork_available(), reason="needs fork")


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]


@pytest.fixture(params=[name for name in HOSTS if name != "in process"])
def isolated(request):
    """Engines whose cells may die without taking the parent along."""
    return HOSTS[request.param]


def test_parents_finish_before_their_children_start_and_hand_over_their_folder(tmp_path, host):
    parent, code, outcomes = chain.run(tmp_path / "run", chain.diamonds(3), **host)
    assert code == 0
    assert set(chain.statuses(outcomes).values()) == {"finished"}
    ended = {e["cell"]: i for i, e in enumerate(parent.events) if e.get("event") == "outcome"}
    begun = {e["cell"]: i for i, e in enumerate(parent.events) if e.get("event") == "start"}
    for one in parent.cells:
        for needed in one["parents"].values():
            assert ended[needed] < begun[one["hash"]]
    assert sorted(chain.starts(parent.out)) == sorted(one["hash"] for one in parent.cells)


def test_every_engine_and_number_of_workers_leaves_the_same_bytes(tmp_path):
    for name, workers in (("local", 0), ("local", 1), ("local", 2), ("processes", 2)):
        out = tmp_path / f"{name} {workers}"
        chain.run(out, chain.diamonds(2), engine=name, workers=workers)
    alone, *others = (chain.snapshot(out) for out in tmp_path.iterdir() if out.is_dir())
    assert len(alone) == 8 * 4  # state, metrics, result, and whether it was tried
    assert len(others) == 3 and all(snapshot == alone for snapshot in others)


def test_finished_cells_are_skipped_and_unfinished_ones_continue(tmp_path, host):
    cells = chain.diamonds(2)
    chain.run(tmp_path / "run", cells, **host)
    before = chain.snapshot(tmp_path / "run")
    (tmp_path / "run" / "starts").unlink()
    assert set(chain.statuses(chain.run(tmp_path / "run", cells, **host)[2]).values()) == {
        "skipped"
    }
    assert not (tmp_path / "run" / "starts").exists()

    metrics = tmp_path / "run" / "cells" / "b1" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-1])  # the last line is not complete
    _, code, outcomes = chain.run(tmp_path / "run", cells, **host)
    assert code == 0
    assert chain.starts(tmp_path / "run") == ["b1"]
    assert chain.statuses(outcomes)["b1"] == "finished"
    assert chain.snapshot(tmp_path / "run") == before


def test_cells_run_side_by_side(tmp_path, isolated):
    cells = [chain.cell(name, steps=1, pause=0.4) for name in "abcd"]
    parent, _, _ = chain.run(tmp_path / "run", cells, **{**isolated, "workers": 4})
    times = {e: [x["time"] for x in parent.events if x.get("event") == e] for e in
             ("start", "outcome")}  # fmt: skip
    assert max(times["start"]) < min(times["outcome"])


def test_a_failing_cell_blocks_what_needs_it_and_nothing_else(tmp_path, host):
    cells = [
        chain.cell("bad", act="data error"),
        chain.cell("child", "bad"),
        chain.cell("grandchild", "child", "good"),
        chain.cell("bug", act="bug"),
        chain.cell("disk", act="disk"),
        chain.cell("good"),
        chain.cell("fine", "good"),
    ]
    out = tmp_path / "run"
    _, code, outcomes = chain.run(out, cells, **host)
    assert chain.statuses(outcomes) == {
        "bad": "failed",
        "child": "blocked",
        "grandchild": "blocked",
        "bug": "failed",
        "disk": "failed",
        "good": "finished",
        "fine": "finished",
    }
    assert code == 3  # the first failure's
    assert {h: outcomes[h]["exit_code"] for h in ("bad", "bug", "disk")} == {
        "bad": 3,
        "bug": 1,
        "disk": 5,
    }
    assert outcomes["bad"]["message"] == "no such file: digits.gz"
    assert "needs cell bad (bad), which failed" in outcomes["grandchild"]["message"]
    error = json.loads((out / "cells" / "bad" / "error.json").read_text())
    assert error == {"kind": "DataError", "message": "no such file: digits.gz", "exit_code": 3}
    error = json.loads((out / "cells" / "bug" / "error.json").read_text())
    assert error["kind"] == "ZeroDivisionError"
    assert "one by nought" in error["traceback"]
    assert not (out / "cells" / "child").exists()


def test_a_mended_cell_runs_again_and_its_error_goes_away(tmp_path, host):
    out = tmp_path / "run"
    chain.run(out, [chain.cell("a", act="bug"), chain.cell("b", "a")], **host)
    assert (out / "cells" / "a" / "error.json").exists()
    _, code, outcomes = chain.run(out, [chain.cell("a"), chain.cell("b", "a")], **host)
    assert code == 0
    assert chain.statuses(outcomes) == {"a": "finished", "b": "finished"}
    assert not (out / "cells" / "a" / "error.json").exists()


def test_work_that_returns_without_an_end_is_a_failure(tmp_path, host):
    _, code, outcomes = chain.run(tmp_path / "run", [chain.cell("a")], work="silent", **host)
    assert code == 1
    assert "no end event" in outcomes["a"]["message"]


def test_a_killed_cell_is_tried_three_times(tmp_path, isolated):
    out = tmp_path / "run"
    cells = [
        chain.cell("once", act="die once"),
        chain.cell("always", act="die"),
        chain.cell("after", "always"),
    ]
    parent, code, outcomes = chain.run(out, [*cells, chain.cell("good")], **isolated)
    assert chain.statuses(outcomes) == {
        "once": "finished",
        "always": "failed",
        "after": "blocked",
        "good": "finished",
    }
    assert (outcomes["once"]["attempts"], outcomes["always"]["attempts"]) == (2, 3)
    assert chain.starts(out).count("always") == 3
    assert code == 1
    assert "killed by SIGKILL (often the system, out of memory" in outcomes["always"]["message"]
    assert json.loads((out / "cells" / "always" / "error.json").read_text())["kind"] == "Killed"
    attempts = [e["attempt"] for e in parent.events if e.get("event") == "start"]
    assert max(attempts) == 3


def test_a_crash_names_its_signal_and_its_last_words(tmp_path, isolated):
    _, _, outcomes = chain.run(
        tmp_path / "run", [chain.cell("a", act="crash")], retries=0, **isolated
    )
    assert "killed by SIGSEGV in 1 attempt" in outcomes["a"]["message"]
    assert "Segmentation fault" in outcomes["a"]["message"]
    log = (tmp_path / "run" / "cells" / "a" / "output.log").read_text()
    assert log.startswith("a word before the end\n")


def test_what_a_cell_prints_goes_to_its_log_and_an_empty_log_goes_away(tmp_path, isolated):
    parent, _, _ = chain.run(
        tmp_path / "run", [chain.cell("loud", act="print"), chain.cell("still")], **isolated
    )
    assert parent.stderr == ""
    log = tmp_path / "run" / "cells" / "loud" / "output.log"
    assert log.read_text() == "printed\nand from a library\n"
    left = tmp_path / "run" / "cells" / "still" / "output.log"
    assert not left.exists()
    left.touch()  # by a worker that was killed between its last line and its exit
    chain.run(tmp_path / "run", [chain.cell("loud", act="print"), chain.cell("still")], **isolated)
    assert log.exists() and not left.exists()


def test_a_folder_that_cannot_be_made_fails_that_cell_alone(tmp_path, host):
    out = tmp_path / "run"
    (out / "cells").mkdir(parents=True)
    (out / "cells" / "a").write_text("a file where a folder should be")
    _, code, outcomes = chain.run(out, [chain.cell("a"), chain.cell("b")], **host)
    assert chain.statuses(outcomes) == {"a": "failed", "b": "finished"}
    assert code == 5


# --- engines by name, and what is refused


class Point:
    """An entry point of an installed package."""

    def __init__(self, loaded, name="cluster"):
        self.name, self.value, self._loaded = name, f"mine:{name}", loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def install(monkeypatch, *points):
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)


def test_an_installed_engine_is_known_by_name(monkeypatch):
    install(monkeypatch, Point(Processes))
    host = registry.engine("cluster", workers=3)
    assert (type(host), host.capacity) == (Processes, 3)
    assert type(registry.engine("cluster", workers=0)) is InProcess  # for a debugger
    with pytest.raises(ConfigError, match="no engine 'clutser' .did you mean 'cluster'.*local, cl"):
        registry.engine("clutser", workers=3)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point(7), "'mine:cluster' .rewire.engines. is not a subclass of rewire.Engine"),
        (Point(ImportError("no module named ray")), "cannot be used: no module named ray. Mend or"),
        (Point(Processes, name="local"), "registers the engine 'local', which is taken"),
    ],
)
def test_a_package_that_cannot_be_used_is_refused_and_local_runs_beside_it(
    monkeypatch, point, message
):
    install(monkeypatch, point)
    with pytest.raises(ConfigError, match=message):
        registry.engine("cluster", workers=1)
    assert registry.engine("local", workers=1).capacity == 1


def test_an_engine_without_all_its_methods_is_no_engine():
    class Half(Engine):
        def start(self, job):
            pass

    with pytest.raises(TypeError, match="abstract methods.* close, poll, stop|'close', 'poll'"):
        Half(1)


def test_a_worker_elsewhere_refuses_what_is_no_cell_of_a_run(tmp_path, capsys):
    assert cli.main(["cell", str(tmp_path / "nowhere"), "0" * 16]) == 2
    assert "holds no experiment: give the folder of a run" in capsys.readouterr().err
    few = ["rules=[Static]", "steps=2", "evaluate_every=2", "seeds=1", "densities=[.5]",
           "data=digits"]  # fmt: skip
    out = str(tmp_path / "run")
    assert cli.main(["run", "quickstart", *few, "--out", out, "--workers", "0"]) == 0
    (hash,) = (path.name for path in (tmp_path / "run" / "cells").iterdir())
    assert cli.main(["cell", out, hash[:-1] + "x"]) == 2
    assert f"there is no cell '{hash[:-1]}x' (did you mean '{hash}'?)" in capsys.readouterr().err


def test_a_parent_that_holds_a_gpu_does_not_fork(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    cells = [chain.ChainCell("a", {})]
    with pytest.raises(RuntimeError, match="CUDA was initialised before the workers were forked"):
        run_cells(cells, out=tmp_path, engine=registry.local(1), work=chain.chain)
    outcomes = run_cells(cells, out=tmp_path, engine=registry.local(0), work=chain.chain)
    assert outcomes["a"].status == "finished"
