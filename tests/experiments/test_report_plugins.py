"""Measures and sections of somebody else's package: in the report and in `rewire results`."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from synthetic_run import make_run

from rewire import measures, plugins
from rewire.experiments import listings, store
from rewire.experiments.report import write_report
from rewire.experiments.report.graphs import read_graph
from rewire.experiments.report.measures import with_measures
from rewire.experiments.report.sections import Section
from rewire.measures import Measure

PACKAGE = '''
"""Measures and sections from outside."""
import matplotlib.figure
from markupsafe import Markup


def fan_in_spread(graph):
    """Standard deviation of the fan-in over the units of the first hidden layer."""
    return graph.fan_in("fc1").double().std(correction=0)


def broken(graph):
    return 1 / 0


def mean_weight(graph):
    return graph["weight"].mean()


def edges_by_rule(run):
    return [{"rule": label, "edges": points[-1].rows[0]["edges"]}
            for label, points in run.points.items()]


def sketch(run):
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1], [1, 0])
    return ["One sentence & a figure.", figure, Markup("<p>As <em>written</em>.</p>")]


def failing(run):
    raise KeyError("no such column")
'''
ENTRY_POINTS = """
[rewire.measures]
fan_in_spread = outside:fan_in_spread
broken = outside:broken
mean_weight = outside:mean_weight
missing = outside:nowhere

[rewire.sections]
edges_by_rule = outside:edges_by_rule
sketch = outside:sketch
failing = outside:failing
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    return make_run(folder / "run", labels=["Dense", "SET"], seeds=2, contrasts=())


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """An environment in which the package `outside` is installed, as pip would leave it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "outside.py").write_text(PACKAGE)
    info = folder / "outside-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def rewire(env: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "rewire", *words]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process


@pytest.fixture(scope="module")
def page(out, installed) -> Page:
    rewire(installed, "report", str(out), "--out", str(out / "page.html"))
    return Page((out / "page.html").read_text())


def spread(out: Path, row: store.Row) -> float:
    """The standard deviation of the fan-in, by hand."""
    return float(np.std(read_graph(out, row).fan_in("fc1").numpy()))


def test_a_measure_is_a_column_of_the_table_of_results(out, page):
    rows = store.results(out, listed=True)
    cells = [
        (attrs["data-label"], float(attrs["data-density"]), cell)
        for attrs, cells in page.rows if "data-label" in attrs
        for cell in cells if cell[0].get("data-measure") == "fan_in_spread"
    ]  # fmt: skip
    assert len(cells) == 3  # densities of SET: of Dense no connectivity was saved
    for label, density, (attrs, text) in cells:
        same = [r for r in rows if (r["label"], r["requested_density"]) == (label, density)]
        mean = np.mean([spread(out, row) for row in same])
        assert float(attrs["data-value"]) == pytest.approx(mean)
        assert text == f"{mean:.3g}"
    assert "fan in spread" in [text for _, cells in page.rows for _, text in cells]


def test_a_measure_is_a_figure_against_density(page):
    labels = [a["aria-label"] for t, a in page.tags if t == "svg" and a.get("role") == "img"]
    assert "fan in spread against density for SET." in labels
    assert "mean weight against density for SET." in labels
    section = page.section("Measures of the final networks")
    assert "Standard deviation of the fan-in over the units of the first hidden layer." in section


def test_a_measure_that_fails_is_named_and_costs_only_its_own_numbers(page):
    assert "Some parts of this page failed" in page.text
    assert (
        "the measure 'broken' failed for 6 networks, first for SET, seed 0: ZeroDivisionError: "
        "division by zero" in page.text
    )
    assert "the measure 'missing' failed for 6 networks" in page.text
    assert "nowhere" in page.text  # what could not be loaded


def test_a_section_shows_what_its_function_returns(out, page):
    text = (out / "page.html").read_text()
    for name, heading in (("edges_by_rule", "Edges by rule"), ("sketch", "Sketch")):
        assert f'<section id="installed-{name}">' in text and f"<h2>{heading}</h2>" in text
        assert f'href="#installed-{name}"' in text
    sketch = text.split('id="installed-sketch"')[1].split("</section>")[0]
    assert (
        "<p>One sentence &amp; a figure.</p>" in sketch and "<p>As <em>written</em>.</p>" in sketch
    )
    assert '<svg viewBox="0 0 216 144" role="img" aria-label="Sketch">' in sketch
    edges = str(store.results(out, listed=True)[-1]["edges"])
    assert ["SET", edges] in [[text for _, text in cells] for _, cells in page.rows]


def test_a_section_that_fails_is_named_and_left_out(page):
    assert "the section 'Failing' failed: KeyError: 'no such column'" in page.text
    assert "installed-failing" not in [attrs.get("id") for _, attrs in page.tags]


def test_the_page_with_sections_of_packages_is_the_same_twice(out, installed, page):
    rewire(installed, "report", str(out), "--out", str(out / "again.html"))
    assert (out / "again.html").read_bytes() == (out / "page.html").read_bytes()


def test_results_have_the_measures_as_columns(out, installed):
    process = rewire(installed, "results", str(out), "--json")
    rows = json.loads(process.stdout)
    plain = store.results(out, listed=True)
    assert [{k: row[k] for k in plain[0]} for row in rows] == plain
    for row in rows:
        assert row["broken"] is None and row["missing"] is None
        expected = None if row["rule"] == "Dense" else pytest.approx(spread(out, row))
        assert row["fan_in_spread"] == expected
        assert row["mean_weight"] == (None if row["rule"] == "Dense" else 1.0)
    assert "rewire: the measure 'broken' failed for 6 networks" in process.stderr
    table = rewire(installed, "results", str(out), "--csv").stdout
    assert "fan_in_spread" in table.splitlines()[0].split(",")


def test_a_section_object_keeps_its_title_and_says_that_it_is_empty(out, monkeypatch, tmp_path):
    section = Section("note", "A note", lambda run: None, empty="Nothing to note.")
    other = Section("x", "Not for this run", lambda run: "text", needs=lambda run: False)

    def installed_points(group: str) -> list:
        loaded = {"note": section, "x": other} if group == "rewire.sections" else {}
        return [Point(name, value) for name, value in loaded.items()]

    monkeypatch.setattr(plugins, "entry_points", installed_points)
    text = write_report(out, tmp_path / "page.html").read_text()
    part = text.split('id="installed-note"')[1].split("</section>")[0]
    assert "<h2>A note</h2>" in part and '<p class="empty">Nothing to note.</p>' in part
    assert "Not for this run" not in text


@dataclass(frozen=True)
class EdgesLeft(Measure):
    """Edges of all projections."""

    def values(self, graph):
        return {"": len(graph), "fc1": 0}


@dataclass(frozen=True)
class ByLayer(Measure):
    """Edges of the first."""

    def values(self, graph):
        return {"fc1": 1}


def edges(graph):
    return len(graph)


def test_a_class_of_a_package_is_a_measure_and_a_column_takes_its_whole(out, monkeypatch):
    def installed_points(group: str) -> list:
        loaded = {"edges_left": EdgesLeft, "by_layer": ByLayer, "by_function": edges}
        named = loaded.items() if group == "rewire.measures" else ()
        return [Point(name, value) for name, value in named]

    monkeypatch.setattr(plugins, "entry_points", installed_points)
    rows, columns, problems = with_measures(out, store.results(out, listed=True))
    assert {c.name: c.about for c in columns}["edges_left"] == "Edges of all projections"
    measured = [row for row in rows if row["rule"] != "Dense"]
    assert len(measured) == 6
    assert all(row["edges_left"] == row["edges"] == row["by_function"] for row in measured)
    assert all(row["by_layer"] is None for row in measured)
    assert "ByLayer has numbers of parts (fc1) and none of the whole network" in problems[0]
    assert measures.known()["edges_left"] is EdgesLeft
    assert "by_function" not in measures.known()
    (row,) = [row for row in listings.measures() if row["name"] == "edges_left"]
    assert row["about"] == "Edges of all projections." and row["weights"] == "none"
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [Point("RobinsAlexander", EdgesLeft)]
    )
    with pytest.raises(ValueError, match="the measure 'RobinsAlexander', a taken name"):
        measures.known()


class Point:
    """An entry point that names a value."""

    def __init__(self, name: str, value: object):
        self.name, self._value = name, value

    def load(self) -> object:
        return self._value
