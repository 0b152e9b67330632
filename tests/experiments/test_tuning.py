"""An equal search for the fields of every rule: its budgets, its choice, its bytes."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pages import LOOKS, barriers, numbers_of, scripts_of

pytest.importorskip("optuna")
pytest.importorskip("sklearn")

from rewire.experiments import cli, kinds, tuning
from rewire.experiments.config.tune import Tune
from rewire.experiments.errors import ConfigError
from rewire.experiments.metric import ACCURACY, Metric
from rewire.experiments.report.run import load
from rewire.experiments.tuning import search, space, trials
from rewire.experiments.tuning.checking import check
from rewire.experiments.tuning.drawing import Draws, check_installed
from rewire.experiments.tuning.expected import association, expected_best
from rewire.experiments.tuning.generation import TrialFailed
from rewire.experiments.tuning.space import rule_spaces
from rewire.experiments.tuning.trials import Trial
from rewire.tunable import Tunable

SMALL = """
model = { name = "mlp", hidden = [16] }
data = "digits"
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }
batch = 50
steps = 40
evaluate_every = 40
densities = [0.3]
seeds = 1
rules = [
    "Dense", { rule = "SET", when = 10 }, "Static", "RandomReinit",
    { rule = "IMP", fraction = 0.5 },
]
tune = { trials = 3, flops = 9, rules = ["SET", "IMP", "Static"], optimizer = ["lr"] }
"""
FILES = ("search.json", "trials.json", "tuned.toml", "tuning.html")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuning") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def tuned(file):
    return tuning.tune(file, out=file.parent / "search", workers=0, progress="quiet")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


# --- a real search ---


def test_every_rule_has_as_many_trials_and_the_same_learning_rates(tuned):
    by_rule = {label: tuned.of(label) for label in ("SET", "Static", "IMP")}
    assert {label: len(done) for label, done in by_rule.items()} == {
        "SET": 3,
        "Static": 3,
        "IMP": 3,
    }
    rates = {tuple(t.values["optimizer.lr"] for t in done) for done in by_rule.values()}
    assert len(rates) == 1
    assert {*by_rule["SET"][1].values} == {"optimizer.lr", "when", "fraction", "drop"}
    assert {*by_rule["Static"][1].values} == {"optimizer.lr"}  # nothing of its own
    assert by_rule["SET"][0].values["when"] == 10 and by_rule["IMP"][0].values["fraction"] == 0.5
    # a dense training costs 1; IMP's ladder more, from its dense network on
    assert 0.2 < tuned.cost(by_rule["Static"][0]) < 0.4
    assert tuned.cost(by_rule["IMP"][0]) > 1.5


def test_the_tuned_file_is_an_experiment_with_the_chosen_fields(tuned):
    experiment = kinds.load(tuned.file)
    assert experiment.seeds == [0] and experiment.tune is None
    tables = {entry.label: entry for entry in experiment.rules}
    for label in ("SET", "Static", "IMP"):
        best = max(tuned.of(label), key=lambda t: (t.score, -t.number))
        assert tuned.chosen(label) == best
        assert tables[label].training.optimizer.lr == best.values["optimizer.lr"]
    # a branch trains as the rule whose tickets it takes
    assert tables["RandomReinit"].training == tables["IMP"].training
    records = {record.rule: record for record in experiment.tuned}
    assert [*records] == ["SET", "Static", "IMP"]
    assert records["SET"].after == dict(tuned.chosen("SET").values)
    assert records["SET"].seeds == [1000] and records["SET"].trials == 3


def test_trials_are_trained_on_seeds_of_their_own_and_judged_by_validation(tuned):
    run = load(tuned.out / "generations" / "00")
    assert run.seeds == [1000]
    rows = {row["label"]: row for row in run.rows if row["requested_density"] == 0.3}
    assert tuned.of("SET")[0].score == rows["SET #0"]["val_accuracy"]
    assert not (run.out / "report.html").exists()  # a page for each generation is one too many


def test_the_page_says_what_was_tuned(tuned):
    page = tuned.page.read_text()
    for words in ("Default against tuned", "Expected best of n trials", "1909.03004",
                  "Without trials: Dense, RandomReinit", "seeds of trials"):  # fmt: skip
        assert words in page
    assert "http" not in page.split("</head>")[1] and scripts_of(page) == [""]
    assert numbers_of(page, "expected-SET").startswith("trials,expected_best,low,high\n1,")


def test_what_is_lost_is_made_again_with_the_same_bytes(tuned, file):
    before = contents(tuned.out)
    for name in ("generations/01.json", "trials.json", "tuned.toml", "tuning.html"):
        (tuned.out / name).unlink()
    tuning.tune(file, out=tuned.out, workers=2, progress="quiet")
    assert contents(tuned.out) == before


def test_a_folder_of_another_search_is_refused(tuned, file):
    asked = (["steps=50"], {}), (["tune.seed=1"], {}), ([], {"trials": 2}), ([], {"flops": 8})
    for words, budgets in asked:
        key = "steps" if "steps=50" in words else "tune"
        with pytest.raises(ConfigError, match=f"holds another search .{key} differ.*can grow"):
            tuning.tune(file, words, **budgets, out=tuned.out)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier(tuned, tmp_path, width, dark):
    assert not barriers(tuned.page.read_text(), tmp_path, width, dark)


@pytest.mark.parametrize("unfinished", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_search_goes_on_with_larger_budgets(tuned, file, tmp_path, unfinished):
    out, more = tmp_path / "grown", {"trials": 6, "flops": 30}
    shutil.copytree(tuned.out, out)
    if unfinished:
        (out / "generations/01.json").unlink()
    grown = tuning.tune(file, **more, out=out, workers=0, progress="quiet")
    for label in ("SET", "Static"):
        before, after = tuned.of(label), grown.of(label)
        assert after[: len(before)] == before and len(after) == 6
        assert [t.number for t in after] == list(range(6)) and all(t.score for t in after)
    again = contents(out)
    tuning.tune(file, **more, out=out, workers=0, progress="quiet")
    assert contents(out) == again
    with pytest.raises(ConfigError, match="holds another search .tune differ"):
        tuning.tune(file, out=out)


@pytest.mark.slow
def test_run_tunes_first_where_the_file_asks_and_the_report_says_so(file, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["rules=[SET,Static]", "tune.rules=[SET]", "tune.trials=2", "tune.optimizer=[]"]
    assert cli.main(["run", str(file), *words, "--out", str(out), "--workers", "0"]) == 0
    page = (out / "report.html").read_text()
    assert "How the rules were tuned" in page and "Not tuned: Static" in page
    assert load(out).config["tuned"][0]["rule"] == "SET"
    assert (out / "tuning" / "tuning.html").exists()
    capsys.readouterr()
    assert cli.main(["tune", str(file), *words, "-o", str(out / "tuning"), "--json"]) == 0
    assert '"event": "tuned", "rule": "SET", "trials": 2' in capsys.readouterr().out


# --- refusals ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune.seeds=[0,7]"], "0 is among the experiment's own seeds"),
        (["tune.rules=[STE]"], "STE.*did you mean 'SET'"),
        (["tune.rules=[RandomReinit]"], "branches off another rule's tickets"),
        (["tune.optimizer=[]", "tune.rules=[Static]"], "no rule of the experiment has a field"),
        (["distribution=imp"], "IMP's tickets"),
        (["optimizer={name='adam',lr=.01}", "tune.optimizer=[momentum]"], "adam of .* no momentum"),
        (["tune.trails=3"], "tune.trails"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_trains(file, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        tuning.tune(file, words, out=tmp_path / "out")
    assert not (tmp_path / "out" / "generations").exists()


def test_errors_of_the_command_line(file, tmp_path, capsys, monkeypatch):
    assert cli.main(["tune", "quickstrat"]) == 2
    assert cli.main(["tune", str(file), "--trials", "0", "-o", str(tmp_path / "out")]) == 2
    assert "--trials is 0" in capsys.readouterr().err
    assert cli.main(["tune", str(file), "--workers", "-1"]) == 2
    with pytest.raises(ConfigError, match="world = 'brian' has no validation data"):
        check(SimpleNamespace(world="brian"), Tune())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"neurorewire\[tune\]"):
        check_installed()


# --- budgets and choice, of made-up trials ---


def trial(number, score=None, **more):
    return Trial("SET", number, 0, {"fraction": number / 10}, {"rule": "SET"}, score, **more)


def test_the_best_trial_within_its_budgets_is_chosen():
    done = [trial(0, 0.5), trial(1, 0.9, density=1.2), trial(2, 0.8, beyond=True), trial(3, None),
            trial(4, 0.7, density=1.04), trial(5, 0.7)]  # fmt: skip
    assert trials.chosen(done, ACCURACY).number == 4  # of equals the first
    assert trials.chosen(done, Metric("mse", "error", lower=True)).number == 0
    assert trials.chosen([trial(0), trial(1)], ACCURACY).number == 0  # nothing else is left


@pytest.mark.parametrize(
    ("flops", "costs", "counted", "beyond"),
    [
        (None, [1.0] * 7, 7, 0),  # as many dense trainings as trials
        (4.0, [1.0] * 7, 4, 0),
        (0.5, [1.0] * 7, 1, 0),  # the default is always known
        (6.0, [1.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0], 5, 1),  # one draw turned out dear
    ],
)
def test_a_rule_ends_by_its_trials_or_its_flops(file, flops, costs, counted, beyond, monkeypatch):
    def made_up(experiment, search, untrained, folder, **options):
        return [Trial(t.rule, t.number, t.generation, t.values, t.table, score=0.5,
                      spent=100 * costs[t.number]) for t in untrained]  # fmt: skip

    experiment = kinds.load(file)
    monkeypatch.setattr(search, "trained", made_up)
    monkeypatch.setattr(search, "cost_of_dense", lambda *_: 100.0)
    monkeypatch.setattr(search.trials, "write", lambda *_: None)
    monkeypatch.setattr(search.kinds, "load", lambda *_: None)
    table = Tune(trials=7, flops=flops, rules=["SET"])
    done = search._Search(experiment, table, file.parent / "nowhere", {}).run().of("SET")
    assert (len(done), sum(t.beyond for t in done)) == (counted, beyond)


def test_draws_that_the_experiment_refuses_are_drawn_again(file, monkeypatch):
    monkeypatch.setattr(search, "REDRAWN", 3)

    def refuse(tree):
        raise ConfigError("a period longer than the training")

    one = search._Search(kinds.load(file), Tune(rules=["Static"], optimizer=["lr"]), file, {})
    one.done["Static"] = [trial(0, None, spent=1.0)]
    one.unit = 1.0
    monkeypatch.setattr(search.kinds, "load", refuse)
    with pytest.raises(ConfigError, match="Static: 3 draws .*a period longer than the training"):
        one._next(1)


def test_a_period_after_the_end_is_no_draw(file):
    (one,) = rule_spaces(kinds.load(file), Tune(rules=["SET"]))
    assert one.table({"when": 39})["when"] == {"every": 39}
    with pytest.raises(ValueError, match="never due in 40 steps"):
        one.table({"when": 41})


@pytest.mark.slow
def test_a_training_that_diverges_is_a_failed_trial(file, tmp_path, monkeypatch):
    """It counts, at the cost of a whole one, and is not chosen; the search goes on."""
    monkeypatch.setattr(space, "SPREAD", 1e30)
    words = ["tune.rules=[Static]", "tune.trials=2", "steps=20", "evaluate_every=10"]
    few = tuning.tune(file, words, out=tmp_path / "out", workers=0, progress="quiet")
    default, diverged = few.of("Static")
    assert diverged.score is None and diverged.failure
    assert diverged.spent >= default.spent > 0
    assert few.chosen("Static") == default
    with pytest.raises(TrialFailed, match="dense network .* diverged") as error:
        tuning.tune(file, [*words, "optimizer.lr=1e30"], out=tmp_path / "none", workers=0)
    assert error.value.exit_code == 4


# --- draws and statistics ---


def test_draws_follow_from_seed_and_number_alone():
    spaces = {
        "lr": Tunable(1e-4, 1e-1, log=True),
        "n": Tunable(1, 9),
        "w": Tunable(choices=("a", "b")),
    }

    def first(sampler, seed=0, but=()):
        some = {name: space for name, space in spaces.items() if name not in but}
        draws = Draws(some, ["n"], [], sampler, seed)
        return [draws.draw(number) for number in range(1, 6)]

    for sampler in ("random", "tpe"):
        assert first(sampler) == first(sampler)
        assert first(sampler) != first(sampler, seed=1)
        for values in first(sampler):
            assert type(values["n"]) is int
            assert all(spaces[name].holds(value) for name, value in values.items())
    rates = [[v["lr"] for v in first("random", but=names)] for names in ((), ("n",), ("n", "w"))]
    assert rates[0] == rates[1] == rates[2]  # whatever else a rule has


def test_expected_best_is_the_mean_over_all_subsets():
    scores = [0.1, 0.5, 0.3, 0.9, 0.3]
    for lower, best in ((False, max), (True, min)):
        expected = expected_best(scores, lower=lower)
        for n in range(1, 6):
            subsets = [best(subset) for subset in itertools.combinations(scores, n)]
            assert expected.best[n - 1] == pytest.approx(sum(subsets) / len(subsets))
            assert expected.low[n - 1] <= expected.best[n - 1] <= expected.high[n - 1]


def test_association_of_numbers_and_of_words():
    assert association([1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0]) == pytest.approx(-1)
    assert association(["a", "a", "b", "b"], [1.0, 3.0, 1.0, 3.0]) == pytest.approx(0)
    assert association([True, False, True], [1.0, 2.0, 1.0]) == pytest.approx(1)
    assert association([1, 1, 1], [1.0, 2.0, 3.0]) is None


# --- the page of the documentation ---

DOCS = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_the_listings_of_the_page_run(tuned, monkeypatch):
    monkeypatch.setattr(tuning, "tune", lambda *words, **options: tuned)
    namespace = {}
    listings = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    for listing in listings:
        exec(compile(listing, "docs/tuning.md", "exec"), namespace)
    assert len(listings) == 2 and namespace["tuned"] is tuned


def test_the_page_names_every_key_and_every_option(capsys):
    keys = re.findall(r"^\| `(\w+)` \|", DOCS, re.M)
    assert keys == [*Tune.model_fields]
    assert cli.main(["tune", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--trials", "--flops", "--out", "--workers", "--json"))


# --- a kill ---


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_bytes(tuned, file, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "rewire", "tune", str(file), "-o", str(out), "-j", "2"]
    for mark in ("generations/00/cells", "generations/01/cells"):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list((out / mark).glob("*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "tuning.html").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(out) == contents(tuned.out)
