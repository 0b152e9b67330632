"""Measures of layers where the contract's small graphs do not reach: large and dense matrices."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import rewire
from rewire import measures
from rewire.graph import Graph, Population, Projection, Space
from rewire.measures import bipartite


def linear(joined: np.ndarray) -> Graph:
    n_post, n_pre = joined.shape
    space = Space(
        [Population("a", n_pre), Population("b", n_post)],
        [Projection("p", "a", "b", "linear", joined.shape)],
    )
    return Graph.from_masks(space, {"p": torch.from_numpy(joined)})


def random(shape: tuple[int, int], density: float) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < density


@pytest.mark.parametrize("density", [0.03, 0.4], ids=["sparse", "dense"])
@pytest.mark.parametrize("shape", [(90, 130), (130, 90)])
def test_sums_over_units_that_share_are_those_of_the_dense_product(shape, density, monkeypatch):
    monkeypatch.setattr(bipartite, "BLOCK", 300)  # many blocks
    joined = random(shape, density)
    degree, product = joined.sum(axis=1), joined.astype(int) @ joined.T.astype(int)
    matrix = sp.csr_array(joined.astype(float))
    assert len(list(bipartite.product_blocks(matrix, matrix.T.tocsr()))) > 1
    sums, units = bipartite.sums_over_sharing(matrix, lambda c, a, b: c / (a + 2 * b))
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(product / (degree[:, None] + 2 * degree)).sum(axis=1)
    np.testing.assert_allclose(sums, expected, rtol=1e-12)
    assert (units == (product > 0).sum(axis=1)).all()


@pytest.mark.parametrize("density", [0.02, 0.4], ids=["sparse", "dense"])
def test_butterflies_and_diamonds_are_those_of_the_dense_product(density, monkeypatch) -> None:
    monkeypatch.setattr(bipartite, "BLOCK", 300)
    joined = random((110, 80), density)
    shared = joined.T.astype(int) @ joined
    off = shared[np.triu_indices(80, 1)]
    expected = (off * (off - 1) // 2).sum()
    assert measures.Butterflies().of(linear(joined))[""] == expected
    assert measures.Butterflies().of(linear(np.ascontiguousarray(joined.T)))[""] == expected
    space = Space(
        [Population("a", 80), Population("b", 110), Population("c", 80)],
        [
            Projection("p", "a", "b", "linear", (110, 80)),
            Projection("q", "b", "c", "linear", (80, 110)),
        ],
    )
    masks = {"p": torch.from_numpy(joined), "q": torch.from_numpy(joined.T.copy())}
    paths = joined.T.astype(int) @ joined
    expected = (paths * (paths - 1) // 2).sum()
    assert measures.Diamonds().of(Graph.from_masks(space, masks))["p, q"] == expected


def test_the_spectral_radius_of_a_large_layer_is_its_largest_singular_value() -> None:
    joined = random((350, 320), 0.1)
    expected = np.linalg.svd(joined.astype(float), compute_uv=False)[0]
    value = measures.SpectralNestedness().of(linear(joined))["p"]
    assert value == pytest.approx(expected, rel=1e-9)


def test_the_power_law_is_the_one_that_powerlaw_fits() -> None:
    powerlaw = pytest.importorskip("powerlaw")
    rng = np.random.default_rng(1)
    degrees = np.minimum(rng.zipf(2.4, 400), 400)
    graph = linear(np.arange(400) < degrees[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own old names
        fit = powerlaw.Fit(degrees, discrete=True, estimate_discrete=False, verbose=0)
    value = measures.PowerLaw().of(graph)
    assert value["p: post xmin"] == fit.xmin
    assert value["p: post alpha"] == pytest.approx(fit.alpha, rel=1e-3)
    assert value["p: post ks"] == pytest.approx(fit.D, rel=1e-2)


def test_a_nested_layer_has_the_highest_nestedness() -> None:
    nested = np.tri(6, dtype=bool)
    assert measures.NODF().of(linear(nested))["p"] == 100
    shuffled = random((6, 6), 0.6)
    assert measures.NODF().of(linear(shuffled))["p"] < 100


def test_a_mode_that_latapy_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="mode = 'mean': expected 'dot', 'max' or 'min'"):
        measures.Latapy("mean")


def test_a_ring_with_some_edges_anywhere_is_a_small_world_and_chance_is_none() -> None:
    unit = np.arange(60)
    ring = (unit[:, None] - unit) % 60 < 5
    rng = np.random.default_rng(2)
    world = ring.copy()
    for i, j in zip(*np.where(ring & (rng.random(ring.shape) < 0.1)), strict=True):
        world[i, j] = False
        world[i, rng.choice(np.flatnonzero(~world[i]))] = True
    chance = rng.permuted(ring, axis=1)
    sigma, omega = measures.SmallWorldSigma(), measures.SmallWorldOmega()
    assert sigma.of(linear(world))["p"] > 2.5
    assert sigma.of(linear(chance))["p"] == pytest.approx(1, abs=0.25)
    numbers = [omega.of(linear(joined))["p"] for joined in (ring, world, chance)]
    assert numbers == sorted(numbers) and numbers[0] < -0.4 and numbers[2] > 0.6


def test_distances_from_some_units_are_near_those_from_all() -> None:
    graph = linear(random((150, 130), 0.02))
    all_units, some = (
        measures.SmallWorldSigma(draws=1, sources=sources).distance(measures.matrix(graph, 0))
        for sources in (280, 100)
    )
    assert some == pytest.approx(all_units, rel=0.05) and some != all_units
    with pytest.raises(ValueError, match="SmallWorldSigma.draws must be at least 1"):
        measures.SmallWorldSigma(draws=0)


def test_diamonds_lead_through_sums_and_flattenings() -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(5, 6)
            self.second = torch.nn.Linear(6, 6)
            self.last = torch.nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x).relu()
            return self.last(x + self.second(x))

    model = Residual()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.SET(), density=0.5, example=torch.randn(2, 5))
    one, two, three = (net.graph.mask(i).numpy().astype(int) for i in range(3))

    def pairs_of(paths: np.ndarray) -> int:
        return int((paths * (paths - 1) // 2).sum())

    expected = {
        "first.weight, second.weight": pairs_of(two @ one),
        "first.weight, last.weight": pairs_of(three @ one),
        "second.weight, last.weight": pairs_of(three @ two),
    }
    assert measures.Diamonds().of(net.graph) == {"": sum(expected.values()), **expected}
    assert sum(expected.values()) > 10


def test_the_capacity_of_units_is_what_slots_and_limits_leave() -> None:
    space = Space(
        [Population("a", 4), Population("b", 3, fan_in=2)],
        [Projection("p", "a", "b", "linear", (3, 4))],
    )
    joined = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    used = measures.CapacityUsed().of(Graph.from_masks(space, {"p": joined}))
    expected = {
        "b: fan-in": 3 / 6,
        "b: fan-in max": 1,
        "a: fan-out": 3 / 12,
        "a: fan-out max": 2 / 3,
    }
    assert used == expected
