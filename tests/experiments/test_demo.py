"""The demonstration: two small runs, and the page that tells them."""

import pytest
from pages import LOOKS, Page, barriers, numbers_of, scripts_of

pytest.importorskip("sklearn")

from rewire.experiments import cli, store
from rewire.experiments.demo import story
from rewire.experiments.report.rounding import grouped
from rewire.experiments.report.run import load
from rewire.experiments.report.spiking.maps import MapRun
from rewire.experiments.runner import run_experiment

SMALL = [
    "data=digits",
    "steps=40",
    "seeds=2",
    "evaluate_every=20",
    "model=mlp",
    "densities=[.3,.1]",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for preset, words in ((story.DIGITS, SMALL), (story.MAP, ["seconds=2", "model.side=4"])):
        if preset == story.MAP:
            pytest.importorskip("brian2")
        run_experiment(preset, words, out=folder / preset, workers=0, progress="quiet")
    return load(folder / story.DIGITS), MapRun.of(load(folder / story.MAP))


@pytest.fixture(scope="module")
def text(runs):
    return story.render(*runs)


def test_the_page_tells_what_the_runs_measured(runs, text):
    digits, simulated = runs
    page = Page(text)
    rows = [row for row in store.results(digits.out) if row["requested_density"] == 0.1]
    for label in ("IMP", "RandomReinit", "DeepR", "Static"):
        own = [row["test_accuracy"] for row in rows if row["label"] == label]
        assert f"{100 * sum(own) / len(own):.2f} %" in page.text, label
    moved = [row["formed"] for row in rows if row["label"] == "DeepR"]
    times = grouped(sum(moved) / 2).replace("\u202f", " ")
    assert f"edges have moved {times} times" in page.text
    start, end = simulated.changes["StructuralPlasticity"].of("ad_conn")
    assert f"lie {end:.1f} units" in page.text and f"at the start {start:.1f}" in page.text


def test_the_page_refers_to_its_runs_alone(text):
    addresses = [attrs["href"] for tag, attrs in Page(text).tags if tag == "a"]
    assert addresses == ["demo-digits/report.html", "demo-map/report.html"]
    assert "http" not in text.split("</head>")[1]
    assert scripts_of(text) == [""]
    shown = {row.split(",")[0] for row in numbers_of(text, "chapter-4").splitlines()}
    assert shown == {"label", "Dense", "DeepR", "Static"}


def test_without_a_simulator_the_page_says_how_to_have_the_map(runs):
    page = Page(story.render(runs[0], None))
    assert 'pip install "neurorewire[spiking]"' in page.text
    assert "demo-map" not in page.text


@pytest.mark.slow
def test_the_command_tells_the_whole_story_and_again_does_nothing(tmp_path, capsys):
    pytest.importorskip("brian2")
    pytest.importorskip("mlxtend")
    words = ["demo", "steps=50", "seeds=1", "--out", str(tmp_path / "demo")]
    assert cli.main(words) == 0
    page = (tmp_path / "demo/demo.html").read_bytes()
    assert cli.main(words) == 0
    assert (tmp_path / "demo/demo.html").read_bytes() == page
    assert "Page: " in capsys.readouterr().out.replace("\n", "")
    assert (tmp_path / "demo/demo-map/report.html").is_file()


def test_a_senseless_count_of_workers_is_refused(capsys):
    assert cli.main(["demo", "--workers", "-1"]) == 2
    assert "--workers is -1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier(text, tmp_path, width, dark):
    assert not barriers(text, tmp_path, width, dark)
