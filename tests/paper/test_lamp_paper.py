"""Lee et al. 2021 (arXiv:2010.07611): the LAMP score as a scope, wherever |w| is ranked."""

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import when

RULES = {
    "GMP": rewire.GMP(scope="lamp", when=when.every(2, stop=1.0)),
    "L1Shrinkage": rewire.L1Shrinkage(scope="lamp", l1=0.0, until=2),
    "ACDC": rewire.ACDC(scope="lamp", when=when.every(2, stop=1.0)),
    "Magnitude": rewire.Magnitude(scope="lamp"),
    "Magnitude at the end": rewire.Magnitude(scope="lamp", when=when.at_end),
    "IMP": rewire.IMP(scope="lamp", rounds=1, fraction=0.99, restore="nothing"),
}


def kept_by_hand(layers, total):
    """Equation 4: w[u]^2 over the sum of w[v]^2 from u on, in ascending order; the largest stay."""
    scores = []
    for weights in layers:
        squares = weights.ravel() ** 2
        order = np.argsort(squares, kind="stable")
        score = np.empty(len(squares))
        score[order] = squares[order] / np.cumsum(squares[order][::-1])[::-1]
        scores.append(score)
    ranked = np.argsort(-np.concatenate(scores), kind="stable")[:total]
    return np.sort(ranked)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 9), nn.Linear(9, 3)).double()
    with torch.no_grad():
        model[2].weight.mul_(7)  # a layer's scale makes no difference
    return model


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("density", [0.3, 0.02])
@pytest.mark.parametrize("name", RULES)
def test_what_stays_has_the_largest_scores_of_all_layers(name, density, world):
    model = network()
    layers = [model[at].weight.detach().numpy().copy() for at in (0, 2, 3)]
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.0), RULES[name], density=density,
        loss=lambda m, x: m(x).square().mean(), data=[torch.randn(4, 12).double()], steps=4,
        world=world,
    )  # fmt: skip
    total = round(density * net.graph.possible)
    assert net.edges == total and min(net.counts) >= 1
    assert net.graph.keys.tolist() == kept_by_hand(layers, total).tolist()


def test_the_first_layers_of_small_weights_are_not_lost_as_under_global():
    counts = {}
    for scope in ("global", "lamp"):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        rule = rewire.Magnitude(scope=scope)
        counts[scope] = rewire.attach(model, optimizer, rule, density=0.05).counts
    assert sum(counts["global"]) == sum(counts["lamp"])
    assert counts["global"][0] == counts["global"][2] == 0 < min(counts["lamp"])


def test_projections_kept_whole_and_refusals():
    model = network()
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.0),
        rewire.IMP(scope="lamp", rates={"3*": 0.0}, to=(0.2,), restore="nothing"),
        loss=lambda m, x: m(x).square().mean(), data=[torch.randn(4, 12).double()], steps=2,
    )  # fmt: skip
    assert net.counts[2] == 27 and net.edges == round(0.2 * net.graph.possible)
    with pytest.raises(ValueError, match="IMP with scope 'lamp' ranks all projections together"):
        rewire.IMP(scope="lamp", rates={"fc3": 0.1})
    with pytest.raises(ValueError, match="LAMP shares its edges out over them"):
        rewire.Magnitude(scope="lamp", layers=rewire.LAMP())
    with pytest.raises(ValueError, match="expected 'layer' or 'global'"):
        rewire.OBD(scope="lamp")
