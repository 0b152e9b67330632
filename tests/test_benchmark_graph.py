"""The benchmark of measures runs, has every bar, and stops where networkx disagrees."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import graph  # noqa: E402
from rewire import measures  # noqa: E402


def test_quick_prints_one_flat_object_with_every_bar(capsys):
    assert graph.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    for name, bar in graph.BARS.items():
        assert out[name] > 0 and out[f"{name}.bar"] == str(bar) and out[f"{name}.met"] is None
    assert all(out[f"{name}_1e3_ms"] > 0 for name in graph.MEASURES)
    assert all(out[f"{name}_1e3_networkx_over_ours"] > 0 for name in graph.PEERS)


def test_ten_different_measures_are_timed():
    assert len(set(graph.MEASURES)) == 10
    assert set(graph.MEASURES) <= set(measures.known())
    assert graph.HELD in graph.MEASURES


def test_a_layered_graph_has_its_edges_and_no_more():
    made = graph.layered(3000, 4)
    assert made.counts().tolist() == [752] * 4
    assert made.network.joined and made["weight"].std() > 0.9


def test_a_value_that_networkx_does_not_have_is_found(monkeypatch):
    part, view, _, most = graph.PEERS["KCore"]
    monkeypatch.setattr(graph, "PEERS", {"KCore": (part, view, lambda g: -1.0, most)})
    with pytest.raises(AssertionError, match="KCore is .*, and networkx says -1"):
        graph.beside_networkx(graph.layered(300, 4), 300)
