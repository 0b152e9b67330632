"""The table of measures: its numbers by hand, its draws shared, its files readable."""

import csv
import io
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rewire import measures
from rewire.graph import Graph, Population, Projection, Space
from rewire.measures import Measure, Refused, measure
from rewire.measures.table import held_against
from rewire.nulls import Counts, Degrees, Start
from rewire.streams import rng_for


@dataclass(frozen=True)
class Repeated(Measure):
    """Edges of the first unit, and the sum of weights."""

    times: int = 1

    def values(self, graph):
        first = int((graph.locate()[1] == 0).sum())
        return {"": first * self.times, "sum": float(graph["weight"].sum())}


@dataclass(frozen=True)
class Fussy(Measure):
    """Refuses graphs whose first pair is not joined."""

    def values(self, graph):
        if graph.array[0] != 0:
            raise Refused("Fussy needs key 0, and there is none: add it.")
        return {"": float(graph.array[1])}


def density(graph):
    return graph.density


def a_graph():
    space = Space(
        [Population("a", 6), Population("b", 5)], [Projection("p", "a", "b", "linear", (5, 6))]
    )
    keys = torch.tensor([0, 1, 6, 7, 13, 18, 24, 29])
    return Graph(space, keys, {"weight": torch.arange(8.0), "age": torch.arange(8.0)})


def test_numbers_of_a_row_by_hand():
    table = measure(a_graph(), Repeated(), null=Counts(), draws=60, seed=3)
    draws = [
        float((Counts().draw(a_graph(), rng_for(3, "null/Counts", k).numpy).locate()[1] == 0).sum())
        for k in range(60)
    ]
    row = table["Repeated"]
    assert row.value == 4
    assert row.draws == 60
    assert row.mean == pytest.approx(np.mean(draws))
    assert row.sd == pytest.approx(np.std(draws, ddof=1))
    assert row.z == pytest.approx((4 - np.mean(draws)) / np.std(draws, ddof=1))
    far = [d for d in draws if abs(d - np.mean(draws)) >= abs(4 - np.mean(draws))]
    assert row.p == (1 + len(far)) / 61
    assert 0.01 < row.p < 0.9


def test_weights_are_dealt_anew_so_that_their_sum_has_no_z():
    row = measure(a_graph(), Repeated(), null="degrees", draws=9)["Repeated", "sum"]
    assert (row.value, row.mean, row.sd, row.z, row.p) == (28, 28, 0, None, 1)
    assert "no z" in row.note


def test_every_measure_sees_the_same_draws_whatever_others_there_are():
    alone = measure(a_graph(), [Repeated()], null="counts", draws=20)
    among = measure(a_graph(), [density, "LayerDensity", Repeated()], null="counts", draws=20)
    assert alone["Repeated"] == among["Repeated"]
    more = measure(a_graph(), [Repeated()], null="counts", draws=21)
    assert more["Repeated"] != alone["Repeated"]
    assert measure(a_graph(), [Repeated()], null="counts", draws=20, seed=1).rows != alone.rows


def test_fields_tell_rows_of_one_measure_apart():
    table = measure(a_graph(), [Repeated(), Repeated(times=3)])
    assert table["Repeated(times=3)"].value == 3 * table["Repeated"].value
    assert table["Repeated"].mean is None


def test_a_refusal_is_a_row_without_a_number():
    whole = Graph(a_graph().space, a_graph().keys[1:])
    table = measure(whole, ["LayerDensity", Fussy()], null="counts", draws=5)
    row = table["Fussy"]
    assert row.value is None and row.mean is None and row.z is None and row.draws == 0
    assert "Fussy needs key 0" in row.note
    assert table["LayerDensity"].draws == 5


def test_draws_that_are_refused_are_counted_out_and_said():
    row = measure(a_graph(), Fussy(), null="counts", draws=40)["Fussy"]
    assert 0 < row.draws < 40
    assert "a draw: Fussy needs key 0" in row.note


def test_infinite_numbers():
    against = held_against(1.0, [1.0, 2.0, float("inf")])
    assert against["draws"] == 2 and "1 of 3 draws have no finite number" in against["note"]
    against = held_against(float("inf"), [1.0, 2.0])
    assert "z" not in against and "p" not in against and "not finite" in against["note"]
    assert held_against(1.0, [])["draws"] == 0


def test_rounding_makes_no_z():
    draws = [0.1 + 0.2, 0.3, 0.1 + 0.2]
    against = held_against(0.3, draws)
    assert against["sd"] == 0 and "z" not in against and against["p"] == 1
    assert held_against(0.31, draws)["p"] == 0.25


def test_dead_edges_are_not_measured():
    gain = torch.ones(8)
    gain[:4] = 0
    graph = a_graph().with_columns({"gain": gain})
    assert measure(graph, density)["density"].value == 4 / 30
    assert measure(graph, density, null=Degrees(), draws=3)["density"].mean == 4 / 30


def test_starting_graphs_are_each_drawn_once():
    starts = [Graph(a_graph().space, torch.arange(n)) for n in (3, 6)]
    row = measure(a_graph(), density, null=Start(starts), draws=100)["density"]
    assert row.mean == pytest.approx(4.5 / 30) and row.draws == 2


def test_without_a_choice_every_measure_is_there():
    names = {row.measure for row in measure(a_graph())}
    assert names == set(measures.known())


def test_files_are_read_back():
    table = measure(a_graph(), [Repeated(), Fussy(), "LayerDensity"], null="counts", draws=4)
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [r["measure"] for r in rows] == [r.measure for r in table]
    assert float(rows[0]["mean"]) == table.rows[0].mean
    content = json.loads(table.to_json())
    assert content["null"] == "Counts()" and content["seed"] == 0
    assert content["rows"] == table.to_dicts()


def test_files_are_written(tmp_path):
    table = measure(a_graph(), density)
    table.to_csv(tmp_path / "t.csv")
    table.to_json(tmp_path / "t.json")
    assert (tmp_path / "t.csv").read_text().splitlines()[0].startswith("measure,part,value,mean")
    assert json.loads((tmp_path / "t.json").read_text())["rows"][0]["value"] == 8 / 30


def test_pandas_has_a_row_for_each():
    pytest.importorskip("pandas")
    frame = measure(a_graph(), [density, "LayerDensity"]).to_pandas()
    assert frame["measure"].tolist() == ["density", "LayerDensity", "LayerDensity"]
    assert frame["value"].iloc[0] == 8 / 30


def test_without_pandas_there_are_dictionaries(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_dicts gives the same rows"):
        measure(a_graph(), density).to_pandas()
    assert measure(a_graph(), density).to_dicts()[0]["value"] == 8 / 30


def test_a_notebook_shows_a_table_with_names_escaped():
    def strange(graph):
        return 1.0

    strange.__name__ = "<b>"
    html = measure(a_graph(), strange, null="counts", draws=3)._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert "against Counts(), seed 0" in html
    assert "against Counts(), seed 0" in repr(measure(a_graph(), density, null="counts", draws=3))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no measure 'LayerDensty' .did you mean 'LayerDensity'"):
        measure(a_graph(), ["LayerDensty"])
    with pytest.raises(ValueError, match="no null model 'degree' .did you mean 'degrees'"):
        measure(a_graph(), density, null="degree")
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        measure(a_graph(), density, draws=0)
    with pytest.raises(KeyError, match="part of LayerDensity 'q'"):
        measure(a_graph(), "LayerDensity")["LayerDensity", "q"]
    with pytest.raises(KeyError, match="no measure 'x'"):
        measure(a_graph(), "LayerDensity")["x"]
    with pytest.raises(ValueError, match="Start needs the graphs"):
        measure(a_graph(), density, null="start")
