"""What random graphs of a few units cannot show of measures of networks: large ones, known ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from network_oracles import quality
from random_graphs import layered, recurrent, wired

from rewire.graph import Graph, Population, Projection, Space
from rewire.measures import communities, modularity
from rewire.measures.lcp_correlation import communities_of_links
from rewire.measures.shared.spectra import leading, normalised


def random_matrix(rows: int, columns: int, density: float) -> sp.csr_array:
    rng = np.random.default_rng(0)
    return sp.csr_array((rng.random((rows, columns)) < density) * rng.standard_normal(columns))


def test_leading_singular_values_of_large_matrices_are_those_of_lapack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rewire.measures.shared.spectra.DENSE", 20)
    for matrix in (
        random_matrix(90, 120, 0.1),
        random_matrix(120, 80, 0.012),  # many components
        sp.block_diag([random_matrix(70, 70, 0.1)] * 2, format="csr"),  # each value twice
        normalised(abs(sp.block_diag([random_matrix(70, 70, 0.1)] * 3, format="csr"))),
    ):
        expected = np.linalg.svd(matrix.toarray(), compute_uv=False)[:4]
        np.testing.assert_allclose(leading(sp.csr_array(matrix), 4), expected, rtol=1e-9)
        assert np.array_equal(leading(sp.csr_array(matrix), 4), leading(sp.csr_array(matrix), 4))


def test_local_communities_are_equal_by_dense_and_by_sparse_products() -> None:
    dense = sp.csr_array((random_matrix(60, 80, 0.3) != 0).astype(float))
    wide = sp.csr_array(sp.block_array([[dense, None], [None, sp.csr_array((3000, 9000))]]))
    for of_dense, of_sparse in zip(
        communities_of_links(dense), communities_of_links(wide), strict=True
    ):
        assert of_dense.max() > 2
        assert np.array_equal(of_dense, of_sparse)


# -- communities ----------------------------------------------------------------------------------

ANY_WEIGHT = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=25, deadline=None)
@given(graph=layered() | wired() | recurrent(), data=st.data())
def test_modularity_is_its_formula_and_within_its_bounds_whatever_weights_and_labels(
    graph: Graph, data: st.DataObject
) -> None:
    weights = data.draw(arrays.arrays(np.float64, len(graph), elements=ANY_WEIGHT))
    graph = graph.with_columns({"weight": torch.from_numpy(weights)})
    labels = data.draw(arrays.arrays(np.int64, graph.network.size, elements=st.integers(-1, 4)))
    names = [p.name for p in graph.projections]
    for kind, values in (
        ("none", None),
        ("absolute", np.abs(weights)),
        ("signed", np.abs(weights)),
    ):
        q = modularity(graph, labels, kind)
        assert -0.5 - 1e-12 <= q <= 1 + 1e-12
        assert q == pytest.approx(quality(graph, labels, names, values), abs=1e-9)
        found = modularity(graph, communities(graph, weights=kind), kind)
        assert -1e-12 <= found <= 1


def partitions(n: int) -> Iterator[list[int]]:
    """Every way to label n units, each partition once."""
    if n == 0:
        yield []
        return
    for labels in partitions(n - 1):
        for label in range(max(labels, default=-1) + 2):
            yield [*labels, label]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), loops=st.booleans())
def test_no_partition_is_better_than_the_best_and_communities_are_nearly_that(
    seed: int, loops: bool
) -> None:
    populations = [Population("a", 3), Population("b", 2), Population("c", 1)]
    projections = [
        Projection("ab", "a", "b", "linear", (2, 3)),
        Projection("bc", "b", "c", "linear", (1, 2)),
        *([Projection("bb", "b", "b", "linear", (2, 2))] if loops else []),
    ]
    space = Space(populations, projections)
    keys = np.flatnonzero(np.random.default_rng(seed).random(space.possible) < 0.6)
    graph = Graph(space, torch.from_numpy(keys))
    best = max(modularity(graph, np.array(labels)) for labels in partitions(6))
    found = modularity(graph, communities(graph, tries=5))
    assert best - 0.05 <= found <= best + 1e-12


@pytest.mark.parametrize("sparse", [False, True])
def test_planted_communities_are_found(monkeypatch: pytest.MonkeyPatch, sparse: bool) -> None:
    if sparse:
        monkeypatch.setattr("rewire.measures.shared.modularity.DENSE", 0)
    populations = [Population(name, 60) for name in "abc"]
    projections = [
        Projection("ab", "a", "b", "linear", (60, 60)),
        Projection("bc", "b", "c", "linear", (60, 60)),
    ]
    space = Space(populations, projections)
    rng = np.random.default_rng(0)
    _, pre, post = (x.numpy() for x in space.locate(torch.arange(space.possible)))
    same = pre % 4 == post % 4
    keys = np.flatnonzero(rng.random(space.possible) < np.where(same, 0.5, 0.02))
    graph = Graph(space, torch.from_numpy(keys))
    labels = communities(graph)
    planted = np.arange(180) % 4  # units of each population from its own 0
    assert len(np.unique(labels)) == 4
    assert len(np.unique(labels * 4 + planted)) == 4
    assert np.array_equal(labels, communities(graph))
    assert modularity(graph, labels) == pytest.approx(modularity(graph, planted))


def test_labels_of_another_length_are_refused() -> None:
    space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    with pytest.raises(ValueError, match=r"the network has 2: one label for each"):
        modularity(Graph.full(space), np.zeros(3))
    with pytest.raises(ValueError, match="once or more, got tries=0"):
        communities(Graph.full(space), tries=0)
