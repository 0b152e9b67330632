"""All suites in one run: bars, verdicts and reasons, crashes, and the picture of a result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # benchmarks are not installed
from benchmarks import __main__ as every  # noqa: E402
from benchmarks import picture, suite  # noqa: E402
from rewire import native  # noqa: E402

needs_engine = pytest.mark.skipif(native.sparse is None, reason="the sparse engine was not built")
BARS = {
    "fast": suite.at_least(2.0),
    "small": suite.at_most(1.0),
    "peer_over_ours": suite.at_least(3.0),
}


def test_bars_say_on_which_side_a_number_has_to_be():
    assert suite.at_least(2.0).met(2.0) and not suite.at_least(2.0).met(1.99)
    assert suite.at_most(1.0).met(1.0) and not suite.at_most(1.0).met(1.01)
    assert [str(bar) for bar in BARS.values()] == [">= 2", "<= 1", ">= 3"]


def test_each_bar_is_met_missed_or_says_why_it_was_not_measured():
    found = {"fast": 2.5, "small": 1.5, "peer_over_ours": None, "peer": "not measured: no peer"}
    result = suite.with_bars(found, BARS, quick=False)
    said = [suite.verdict(result, name) for name in BARS]
    assert said == ["met", "MISSED", "not measured: no peer"]
    lines = suite.table(result).splitlines()
    assert len(lines) == len(found)
    assert "1.5" in lines[1] and "<= 1" in lines[1] and lines[1].endswith("MISSED")


def test_the_reason_is_found_among_all_suites_and_for_a_whole_suite():
    result = {
        "core.rigl_torch": "not measured: no rigl_torch",
        "core.update_rigl_torch_over_ours": None,
        "core.update_over_sparseprop": None,
        "sparse.sparseprop": "not measured: no sparseprop",
        **{f"wide.{k}": v for k, v in suite.unmeasured(BARS, "no engine").items()},
    }
    assert suite.reason(result, "core.update_rigl_torch_over_ours") == "not measured: no rigl_torch"
    assert suite.reason(result, "core.update_over_sparseprop") == "not measured"
    assert suite.verdict(result, "wide.fast") == "not measured: no engine"


@needs_engine
def test_without_the_engine_its_suites_say_so(monkeypatch):
    from benchmarks import sparse, sparse_conv, wide

    monkeypatch.setattr(sparse, "sparse", None)
    monkeypatch.setattr(native, "sparse", None)
    monkeypatch.setattr(native, "missing", "no compiler")
    for module in (sparse, sparse_conv, wide):
        result = suite.with_bars(module.measure(), module.BARS, quick=False)
        assert {suite.verdict(result, n) for n in module.BARS} == {
            "not measured: there is no sparse engine: no compiler"
        }


def test_a_suite_whose_package_is_missing_is_passed_over(monkeypatch):
    monkeypatch.setattr(every, "NEEDS", {"brian": "no_such_package"})
    (result,) = every.gather(["brian"], [], run=_answers({}))
    assert result == {"brian.why": "not measured: no_such_package is not installed"}


def test_a_quick_run_meets_no_bar():
    result = suite.with_bars({"fast": 99.0, "small": 0.0}, BARS, quick=True)
    assert {result[f"{name}.met"] for name in BARS} == {None}
    assert suite.verdict(result, "fast") == "quick: not measured"


def _answers(answers):
    """What would run a suite's command, answering for each suite."""

    def run(command):
        name = command[2].removeprefix("benchmarks.")
        code, out, err = answers[name]
        return subprocess.CompletedProcess(command, code, json.dumps(out), err)

    return run


def test_all_suites_make_one_flat_object_without_duplicates(capsys):
    shared = {"machine": "m", "date": "d"}
    answers = {
        "core": (0, {"ratio": 1.0, "load": 0.5, **shared}, ""),
        "sparse": (1, None, "Traceback\nAssertionError: dx is wrong\n"),
        "wide": (0, {"ratio": 2.0, "load": 0.7, **shared}, ""),
    }
    seen = list(every.gather(answers, [], run=_answers(answers)))
    assert len(seen[0]) == 5 and [len(s) for s in seen] == sorted(len(s) for s in seen)
    result = seen[-1]
    assert result.pop("sparse.error") == "AssertionError: dx is wrong"
    assert all(result.pop(f"{name}.seconds") >= 0 for name in answers)
    assert result == {
        **shared, "core.ratio": 1.0, "core.load": 0.5, "wide.ratio": 2.0, "wide.load": 0.7,
    }  # fmt: skip
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_is_exit_status_1_and_a_missed_bar_is_not(monkeypatch, capsys, tmp_path):
    missed = {"ratio": 0.5, "ratio.bar": ">= 1", "ratio.met": False}
    for code, want in ((0, 0), (1, 1)):
        monkeypatch.setattr(every, "gather", lambda *a, code=code: [
            {"core.error": "x"} if code else {f"core.{k}": v for k, v in missed.items()}
        ])  # fmt: skip
        assert every.main(["core", "--json", "--out", str(tmp_path / "out.json")]) == want
        assert json.loads(capsys.readouterr().out) == json.loads(
            (tmp_path / "out.json").read_text()
        )


def test_options_reach_the_suites():
    asked = []

    def run(command):
        asked.append(command[2:])
        return subprocess.CompletedProcess(command, 0, "{}", "")

    list(every.gather(["core", "lottery"], ["--quick"], ["--open-lth", "/x"], run))
    assert asked == [
        ["benchmarks.core", "--json", "--quick"],
        ["benchmarks.lottery", "--json", "--quick", "--open-lth", "/x"],
    ]


@needs_engine
def test_the_new_suites_run_quickly_and_have_every_bar():
    pytest.importorskip("mlxtend")
    from benchmarks import lottery, wide, workers

    suites = {"wide": wide, "lottery": lottery, "workers": workers}
    done = subprocess.run([sys.executable, "-m", "benchmarks", *suites, "--quick", "--json"],
                          cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["quick"] == 1 and {"machine", "torch", "date"} <= out.keys()
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    for name, module in suites.items():
        for bar in module.BARS:
            assert out[f"{name}.{bar}"] != 0 and out[f"{name}.{bar}.met"] is None
            assert out[f"{name}.{bar}.bar"] == str(module.BARS[bar])
    assert out["lottery.imp_levels"] == 3 and out["lottery.open_lth_iterations_per_s"] == 207


def test_a_checkout_of_open_lth_is_timed_without_its_start(tmp_path):
    from benchmarks import lottery

    (tmp_path / "open_lth.py").write_text(
        "import sys, time\n"
        "given = dict(a.lstrip('-').split('=') for a in sys.argv[2:])\n"
        "n = (int(given['levels']) + 1) * int(given['training_steps'].removesuffix('it'))\n"
        "end = time.process_time() + 0.2 + n * 0.005\n"
        "while time.process_time() < end: pass\n"
    )
    assert lottery.open_lth(tmp_path, 2, 50) == pytest.approx(200, rel=0.3)
    (tmp_path / "open_lth.py").write_text("raise SystemExit('no dataset')")
    with pytest.raises(RuntimeError, match="no dataset"):
        lottery.open_lth(tmp_path, 1, 1)


def test_lotteries_that_disagree_are_found():
    from benchmarks import lottery

    a = [{"density": 0.5, "test_accuracy": 0.9}]
    lottery._check(a, a, 1)
    with pytest.raises(AssertionError, match="1 and 1 levels in place of 2"):
        lottery._check(a, a, 2)
    with pytest.raises(AssertionError, match=r"is 0\.9000 on edges and 0\.8000"):
        lottery._check(a, [{"density": 0.5, "test_accuracy": 0.8}], 1)


def test_the_picture_shows_what_there_is(tmp_path):
    found = {
        "machine": "m",
        "date": "2026-01-01",
        "sparse.lenet_21_masked_over_sparse": 4.5,
        "sparse.lenet_21_masked_over_sparse.bar": ">= 4.4",
        "sparse.lenet_055_masked_over_sparse": 10.0,
    }
    into = tmp_path / "speed.svg"
    (tmp_path / "found.json").write_text(json.dumps(found))
    assert picture.main([str(tmp_path / "found.json"), str(into)]) == 0
    text = into.read_text()
    assert "LeNet-300-100, whole step" in text and "SparseProp" not in text
    curve = picture.SPEED_UPS[0]
    assert curve.of(found) == ([0.055, 0.21], [10.0, 4.5]) and curve.bars(found) == ([0.21], [4.4])
    picture.draw(found, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == into.read_bytes()


def test_the_page_on_speed_shows_the_bars_of_the_committed_result(tmp_path):
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    named = next(line for line in page.splitlines() if "benchmarks/results/" in line)
    result = ROOT / "docs" / named[named.index("(") + 1 : named.index(")")]
    found = json.loads(result.read_text())
    copy = tmp_path / "speed.md"
    copy.write_text(page, encoding="utf-8")
    picture.write_bars(found, copy)
    assert copy.read_text(encoding="utf-8") == page
    assert suite.page(found).count("\n") > 20


def test_a_page_without_a_place_for_the_bars_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("# Speed\n")
    with pytest.raises(ValueError, match="has no lines '<!-- bars -->'"):
        picture.write_bars({}, tmp_path / "page.md")
