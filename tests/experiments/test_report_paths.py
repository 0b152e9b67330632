"""Edges on no path in a report: of the network as one, or not at all."""

import numpy as np
import pytest
import torch
from torch import nn

from rewire.analysis import metrics
from rewire.experiments.report.graphs import graph_of
from rewire.experiments.report.trainings import structure
from rewire.graph import Graph, Space
from rewire.worlds.torch_model.layers import discover
from rewire.worlds.torch_model.tracing import trace


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.a(x).relu()
        return self.fc((x + self.b(x)).mean((2, 3)))


def saved(*, traced: bool) -> Graph:
    """A graph as a report reads it from a run's files."""
    model = Convolutional()
    space, parameters, _ = discover(model)
    if traced:
        wiring = trace(model, space, parameters, torch.zeros(1, 1, 4, 4))
        space = Space(space.populations, space.projections, wiring=wiring)
    g = torch.Generator().manual_seed(1)
    keys = (torch.rand(space.possible, generator=g) < 0.05).nonzero().squeeze(1)
    graph = Graph(space, keys)
    return graph_of(graph.keys, graph.description)


def table(graph: Graph):
    """The table of disconnected units for one rule that left this graph."""

    class Run:
        focus = 0.05

        def point(self, label, density):
            return None

    return structure._disconnected_table(Run(), {"SET": structure._disconnected([graph])})


def test_the_column_is_that_of_the_whole_network():
    graph = saved(traced=True)
    share = structure._disconnected([graph])["edges"]
    assert share == 1 - metrics.effective_edges(graph).mean() > 0.1
    (row,) = table(graph).rows
    assert table(graph).titles[3] == "edges on no path"
    assert row.cells[2].text == f"{100 * share:.2f}\u202f%"


def test_a_run_without_a_trace_has_no_such_column():
    graph = saved(traced=False)
    assert not graph.network.joined and graph.space.wiring is None
    assert "edges on no path" not in table(graph).titles
    assert table(graph).titles[1] == "density of a.weight"


def test_graphs_of_one_description_share_their_space():
    one, other = saved(traced=True), saved(traced=True)
    assert one.space is other.space and np.array_equal(one.array, other.array)


def test_a_damaged_wiring_is_named():
    graph = saved(traced=True)
    meta = graph.description
    meta["wiring"]["program"]["steps"][0][0] = "teleport"
    with pytest.raises(ValueError, match="operation 'teleport'.*those that are known are input"):
        graph_of(graph.keys, meta).network  # noqa: B018
