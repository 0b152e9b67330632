"""Papers: read, checked, run, judged, written down."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import LOOKS, barriers, numbers_of, scripts_of

from rewire.experiments.errors import ConfigError, DataError, StoreError
from rewire.experiments.reproduction import analyses, checking, document, figures, record, words
from rewire.experiments.reproduction.judging import Judged, judge
from rewire.experiments.reproduction.paper import (
    PAPERS,
    PROTOCOLS,
    Paper,
    Row,
    Selector,
    load,
    names,
)
from rewire.experiments.reproduction.run import reproduce
from rewire.experiments.reproduction.tables import Tables

SMALL = """
title = "Tickets in a small network"
source = "a test"
about = "Claims of a test."

[experiments.digits]
model = { name = "mlp", hidden = [30] }
data = "digits"
optimizer = { name = "adam", lr = 3e-3 }
batch = 50
evaluate_every = 20
densities = [0.3, 0.1]
rules = [{ rule = "Dense" }, { rule = "IMP" }, { rule = "RandomReinit" }]

[full.digits]
steps = 400
seeds = 3

[short]
about = "fewer steps"
[short.digits]
steps = 60
seeds = 2

[[analyses]]
name = "gap"
analysis = "Evaluation"
experiment = "digits"

[[rows]]
name = "above-chance"
claim = "The dense network is above chance."
of = { experiment = "digits", label = "Dense" }
unit = "%"
published = 97
least = 50
certainty = "text"

[[rows]]
name = "never"
claim = "A ticket of 10 % is ten points above the dense network."
of = { experiment = "digits", label = "IMP", density = 0.1 }
minus = { experiment = "digits", label = "Dense" }
unit = "pp"
least = 10
certainty = "mem"
note = "a claim that fails"

[[rows]]
name = "order"
claim = "Tickets, then masks with fresh weights."
order = [
    { experiment = "digits", label = "IMP", density = 0.1 },
    { experiment = "digits", label = "RandomReinit", density = 0.1 },
]
unit = "pp"
least = { short = -100, full = 0 }
certainty = "text"

[[rows]]
name = "gap"
claim = "The gap between training and test is below half."
of = { analysis = "gap", label = "Dense" }
column = "gap"
between = [-0.5, 0.5]
certainty = "M"

[[figures]]
title = "Accuracy against density"
lines = [
    { experiment = "digits", label = "IMP" },
    { experiment = "digits", label = "RandomReinit" },
]
published = [{ label = "IMP", points = [[0.3, 0.95]] }]

[[figures]]
title = "Accuracy against steps"
x = "step"
lines = [{ experiment = "digits", label = "Dense" }]
"""


@pytest.fixture
def paper(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    return load(str(tmp_path / "small.toml"))


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduced")
    (folder / "small.toml").write_text(SMALL)
    paper = load(str(folder / "small.toml"))
    return reproduce(paper, "short", folder, workers=0, progress="quiet", keep=folder / "kept")


# --- what comes with rewire ---


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", names())
def test_every_paper_can_be_planned_and_its_rows_read_what_its_cells_give(name, protocol):
    paper = load(name)
    if name == "tickets-in-translation":
        pytest.importorskip("sacrebleu")
    if name == "tickets-in-rl":
        pytest.importorskip("gymnasium")
        if protocol == "full" and find_spec("Box2D") is None:
            pytest.skip("LunarLander is not here")
    try:
        cells = checking.planned(paper, protocol)
    except DataError:
        pytest.skip("its data are not here")
    assert all(cells.values())
    assert [row for row in paper.rows if protocol in row.protocols]


@pytest.mark.parametrize("name", names())
def test_a_record_that_comes_with_rewire_is_of_the_paper_as_it_stands(name):
    paper = load(name)
    for protocol, kept in record.last(name).items():
        assert kept["digest"] == paper.digest(protocol)
        asked = [row.name for row in paper.rows if protocol in row.protocols]
        assert [row["name"] for row in kept["rows"]] == asked


def test_every_record_is_of_a_paper():
    assert {file.stem for file in record.RECORDS.glob("*.json")} <= set(names())


def test_the_page_of_reproductions_is_what_the_command_writes():
    page = Path(__file__).parents[2] / "docs/reproductions.md"
    assert page.read_text(encoding="utf-8") == document.document(), (
        "write it again: rewire reproduce --document docs/reproductions.md"
    )


# --- a paper, run ---


def test_rows_are_judged_by_what_was_measured(reproduced):
    verdicts = {row.name: row.verdict for row in reproduced.rows}
    assert verdicts == {"above-chance": "holds", "never": "fails", "order": "holds", "gap": "holds"}
    rows = {row.name: row for row in reproduced.rows}
    assert rows["above-chance"].n == 2 and rows["above-chance"].p is None
    means = rows["never"].means
    assert math.isclose(rows["never"].mean, means[0] - means[1], abs_tol=1e-4)
    kept = json.loads((reproduced.out.parents[1] / "kept/small.json").read_text())
    assert kept["short"] == reproduced.record
    assert kept["short"]["cpu_seconds"] < 600


def test_the_page_shows_rows_figures_published_points_and_what_is_shortened(reproduced):
    page = (reproduced.out / "report.html").read_text()
    for text in ("3 of 4 rows hold", "a claim that fails", "steps 60 instead of 400",
                 "IMP, published", "Accuracy against steps", "digits/report.html"):  # fmt: skip
        assert text in page
    assert page.count("<svg viewBox") == 2 and scripts_of(page) == [""]
    lines = (line for figure in reproduced.paper.figures for line in figure.published)
    assert f",{next(lines).points[0][1]}" in numbers_of(page, "figure-1")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier(reproduced, tmp_path, width, dark):
    assert not barriers((reproduced.out / "report.html").read_text(), tmp_path, width, dark)


def test_a_finished_paper_is_judged_again_without_training(reproduced):
    before = {file: file.stat().st_mtime_ns for file in reproduced.out.rglob("metrics*")}
    again = reproduce(
        reproduced.paper, "short", reproduced.out.parents[1], workers=0, progress="quiet"
    )
    assert before and again.record["rows"] == reproduced.record["rows"]
    assert before == {file: file.stat().st_mtime_ns for file in reproduced.out.rglob("metrics*")}


def test_a_killed_paper_goes_on_to_the_same_rows(reproduced, tmp_path):
    (file := tmp_path / "small.toml").write_text(SMALL)
    command = [sys.executable, "-m", "rewire", "reproduce", str(file),
               "--out", str(tmp_path), "--workers", "1", "--json"]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("small/short/digits/cells/*/metrics*")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "small/short/rows.json").exists()
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    rows = json.loads((tmp_path / "small/short/rows.json").read_text())["rows"]
    assert rows == reproduced.record["rows"]


# --- what a row measures ---


def tables(**columns):
    """Rows of one experiment "e": labels with a value for each seed."""
    rows = [
        {"label": label, "seed": seed, "requested_density": 0.5, "test_accuracy": value}
        for label, values in columns.items()
        for seed, value in enumerate(values)
    ]
    return Tables({"e": rows})


def only(row, given, protocol="short"):
    whole = Paper(
        name="p", title="t", source="s", experiments={"e": {}}, rows=[row],
        full={"e": {}}, short={"e": {}},
    )  # fmt: skip
    return judge(whole, given, protocol)[0]


def row(**fields):
    return Row(**{"name": "r", "claim": "c", "certainty": "M", **fields})


A, B = Selector(experiment="e", label="a"), Selector(experiment="e", label="b")


def test_differences_are_paired_by_seed_and_tested_from_six_seeds():
    six = tables(a=[0.9, 0.91, 0.92, 0.93, 0.94, 0.95], b=[0.8, 0.82, 0.8, 0.82, 0.84, 0.8])
    judged = only(row(of=A, minus=B, unit="pp", least=0, tested=True), six)
    assert judged.verdict == "holds" and judged.p == 1 / 2**6 and judged.clear
    assert only(row(of=A, minus=B, unit="pp", least=0), six).p is None
    assert only(row(of=B, minus=A, unit="pp", most=0, tested=True), six).p == 1 / 2**6
    assert only(row(of=B, minus=A, unit="pp", least=0, tested=True), six).p == 1.0
    assert judged.g > 1 and math.isclose(judged.mean, 11.1666667, rel_tol=1e-6)
    five = tables(a=[0.9, 0.91, 0.92, 0.93, 0.94], b=[0.8, 0.82, 0.8, 0.82, 0.84])
    assert only(row(of=A, minus=B, unit="pp", least=0, tested=True), five).p is None


def test_seeds_that_one_side_lacks_are_left_out():
    judged = only(row(of=A, minus=B, least=0), tables(a=[0.9, 0.5, 0.7], b=[0.8, 0.6]))
    assert judged.n == 2 and math.isclose(judged.mean, 0.0, abs_tol=1e-12)


def test_a_ratio_is_that_of_the_means():
    judged = only(row(of=A, over=B, unit="x", between=[1.4, 1.6]), tables(a=[2, 4], b=[1, 3]))
    assert judged.mean == 1.5 and judged.verdict == "holds"


def test_an_order_is_its_smallest_gap():
    c = Selector(experiment="e", label="c")
    data = tables(a=[0.9, 0.9], b=[0.8, 0.8], c=[0.79, 0.79])
    judged = only(row(order=[A, B, c], unit="pp", least=0), data)
    assert math.isclose(judged.mean, 1.0) and judged.verdict == "holds"
    assert only(row(order=[A, c, B], unit="pp", least=0), data).verdict == "fails"


def test_a_mean_inside_the_spread_of_its_seeds_says_so():
    judged = only(row(of=A, minus=B, least=0), tables(a=[0.9, 0.7, 0.8], b=[0.7, 0.8, 0.8]))
    assert judged.verdict == "holds" and not judged.clear
    assert words.verdict(judged) == "holds, within the seeds' spread"


def test_what_was_not_run_is_not_measured():
    judged = only(row(of=A, least=0), tables(b=[0.5]))
    assert judged.verdict == "not measured" and "label a" in judged.reason


def test_the_best_density_is_that_of_the_best_mean():
    rows = [
        {"label": "a", "seed": seed, "requested_density": density, "test_accuracy": value}
        for density, values in {0.5: [0.8, 0.9], 0.2: [0.95, 0.6]}.items()
        for seed, value in enumerate(values)
    ]
    best = Selector(experiment="e", label="a", density="best")
    assert Tables({"e": rows}).values(best) == {0: 0.8, 1: 0.9}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"column": "test_acuracy"}, "did you mean 'test_accuracy'"),
        ({"of": Selector(experiment="e", labl="a")}, "no column 'labl'.*did you mean 'label'"),
        ({"of": Selector(experiment="e")}, "several rows of seed 0"),
    ],
)
def test_rows_that_read_nothing_are_refused_by_name(fields, message):
    with pytest.raises(ConfigError, match=message):
        only(row(**{"of": A, "least": 0, **fields}), tables(a=[0.5], b=[0.6]))


# --- files that are wrong ---


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('label = "Dense" }\nunit', 'label = "Dens" }\nunit', "did you mean 'Dense'"),
        ("density = 0.1 }\nminus", "density = 0.2 }\nminus", "no density 0.2; it has 1, 0.3, 0.1"),
        ('analysis = "Evaluation"', 'analysis = "Evalution"', "did you mean 'Evaluation'"),
        ('rule = "IMP"', 'rule = "IPM"', "did you mean 'IMP'"),
    ],
)
def test_mistakes_are_found_before_the_first_step(tmp_path, old, new, message):
    (tmp_path / "wrong.toml").write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        reproduce(load(str(tmp_path / "wrong.toml")), "short", tmp_path, progress="quiet")
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("least = 50\n", "", "give one of 'expected'"),
        ("least = 50\n", "expected = 50\n", "'expected' and 'tolerance' go together"),
        ("between = [-0.5, 0.5]", "between = [0.5, -0.5]", "hold no number"),
        ("[short.digits]", "[short.digit]", "no experiment 'digit' \\(did you mean 'digits'"),
        ('name = "never"', 'name = "order"', "the row 'order' is there twice"),
        ("least = { short = -100, full = 0 }", "least = { short = 0 }", "no bound .* full"),
        ('analysis = "gap", label', 'analysis = "gup", label', "no analysis 'gup'"),
        ('certainty = "M"', 'certainty = "sure"', "certainty"),
        ('title = "Tickets in a small network"', "", "title: field required"),
        ("least = 50\n", "least = 50\ntested = true\n", "'tested' is of a difference"),
    ],
)
def test_wrong_files_are_refused_with_the_place(tmp_path, old, new, message):
    assert old in SMALL
    (tmp_path / "wrong.toml").write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load(str(tmp_path / "wrong.toml"))


def test_unknown_papers_and_damaged_records_are_said(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'lth-lenet'"):
        load("lth-lennet")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(StoreError, match="holds no record"):
        record.read(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="labls"):
        analyses.of_table("Evaluation", {"labls": ["IMP"]})


def test_lines_of_a_figure_are_told_apart_by_what_differs():
    lines = [Selector(experiment="e", label="IMP", density=d) for d in (0.5, 0.2)]
    figure = figures.Figure(title="t", x="step", lines=lines)
    assert [figures.label(s, figure) for s in lines] == ["IMP, density 0.5", "IMP, density 0.2"]


def test_no_number_is_a_failure():
    judged = only(row(of=A, over=B, unit="x", least=1), tables(a=[1.0], b=[0.0]))
    assert judged.verdict == "fails" and isinstance(judged, Judged)


def test_papers_are_where_packages_look():
    assert (PAPERS / "lth-lenet.toml").is_file()
