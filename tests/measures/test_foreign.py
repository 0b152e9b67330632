"""Measures of larger random graphs beside igraph's and bctpy's own functions."""

import numpy as np
import pytest
import torch

from rewire import measures
from rewire.graph import Graph, Population, Projection, Space


def of_one_projection(joined: np.ndarray, weights: np.ndarray, *, recurrent: bool) -> Graph:
    n_post, n_pre = joined.shape
    populations = [Population("a", n_pre), *([] if recurrent else [Population("b", n_post)])]
    projection = Projection("p", "a", "a" if recurrent else "b", "linear", joined.shape)
    graph = Graph.from_masks(Space(populations, [projection]), {"p": torch.from_numpy(joined)})
    return graph.with_columns({"weight": torch.from_numpy(weights[joined])})


def random(shape: tuple[int, int], density: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    rates = density * rng.random((shape[0], 1)) * 2  # degrees that vary
    return rng.random(shape) < rates, rng.normal(size=shape)


@pytest.fixture(scope="module")
def layer() -> tuple[np.ndarray, np.ndarray]:
    return random((40, 30), 0.2)


@pytest.fixture(scope="module")
def recurrent() -> tuple[np.ndarray, np.ndarray]:
    joined, weights = random((40, 40), 0.2)
    np.fill_diagonal(joined, False)
    return joined, weights


def test_igraph_counts_as_many_butterflies_and_has_the_same_assortativity(layer) -> None:
    igraph = pytest.importorskip("igraph")
    joined, weights = layer
    graph = of_one_projection(joined, weights, recurrent=False)
    n_post, n_pre = joined.shape
    edges = [(int(j), n_pre + int(i)) for i, j in zip(*joined.nonzero(), strict=True)]
    undirected = igraph.Graph(n_pre + n_post, edges)
    square = igraph.Graph.Ring(4)  # has 8 automorphisms
    assert measures.Butterflies().of(graph)["p"] == undirected.count_subisomorphisms_vf2(square) / 8
    directed = igraph.Graph(n_pre + n_post, edges, directed=True)
    out, into = directed.degree(mode="out"), directed.degree(mode="in")
    r = directed.assortativity(out, into, directed=True)
    assert measures.DegreeAssortativity().of(graph)["p"] == pytest.approx(r, rel=1e-9)
    sizes = np.abs([weights[i - n_pre, j] for j, i in edges]).tolist()
    strength = [directed.strength(mode=mode, weights=sizes) for mode in ("out", "in")]
    r = directed.assortativity(*strength, directed=True)
    assert measures.StrengthAssortativity().of(graph)["p"] == pytest.approx(r, rel=1e-9)


def test_igraph_has_the_same_reciprocity_and_motifs(recurrent) -> None:
    igraph = pytest.importorskip("igraph")
    joined, weights = recurrent
    graph = of_one_projection(joined, weights, recurrent=True)
    directed = igraph.Graph.Adjacency(joined.T.astype(int).tolist())
    assert measures.Reciprocity().of(graph)["a"] == pytest.approx(directed.reciprocity(), rel=1e-9)
    census = directed.triad_census()
    numbers = measures.Motifs().of(graph)
    kinds = [part.removeprefix("a: ") for part in numbers if part.startswith("a: ")]
    assert len(kinds) == 13
    for kind in kinds:
        assert numbers[f"a: {kind}"] == getattr(census, f"t{kind}"), kind


def test_bctpy_has_the_same_degrees_strengths_and_directed_clustering(layer, recurrent) -> None:
    bct = pytest.importorskip("bct")
    joined, weights = recurrent
    graph = of_one_projection(joined, weights, recurrent=True)
    sizes = np.abs(weights) * joined
    into, out, _ = bct.degrees_dir(joined.T)
    degrees = measures.Degrees().of(graph)
    assert degrees["p: post max"] == into.max()
    assert degrees["p: pre variance"] == pytest.approx(out.var())
    strengths = measures.Strengths().of(graph)
    total = bct.strengths_dir(sizes.T).mean()  # of both directions
    assert strengths["p: pre mean"] + strengths["p: post mean"] == pytest.approx(total)
    clustering = bct.clustering_coef_bd(joined.T.astype(float)).mean()
    assert measures.DirectedClustering().of(graph)["a"] == pytest.approx(clustering)
