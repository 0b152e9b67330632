"""Patil & Dovrolis 2021 (arXiv:2010.11354): PHEW against walks that are made one by one."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire.analysis import metrics
from rewire.streams import rng_for


def perceptron(widths=(3, 5, 4, 2), seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(i, o) for i, o in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU()))).double()[:-1]


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(8, 2)
    ).double()


EXAMPLES = {perceptron: torch.zeros(1, 3).double(), convolutional: torch.zeros(1, 2, 4, 4).double()}


def by_one_walk_after_another(weights, count, rng):
    """Masks of the authors' kind: walks from inputs and outputs in turn, a hop a layer."""
    sizes, masks, walks = [np.abs(w) for w in weights], [np.zeros(w.shape) for w in weights], 0
    order = []
    while True:
        forwards, turn = walks % 2 == 0, walks // 2
        unit = turn % (sizes[0].shape[1] if forwards else sizes[-1].shape[0])
        layers = range(len(sizes)) if forwards else reversed(range(len(sizes)))
        for i in layers:
            size = sizes[i]
            flat = i > 0 and size.ndim == 2 and sizes[i - 1].ndim == 4
            block = size.shape[1] // sizes[i - 1].shape[0] if flat else 1
            if forwards and flat:
                unit = unit * block + rng.integers(block)
            p = size[:, unit] if forwards else size[unit]
            at = np.unravel_index(rng.choice(p.size, p=(p / p.sum()).ravel()), p.shape)
            place = (at[0], unit, *at[1:]) if forwards else (unit, *at)
            if not masks[i][place]:
                masks[i][place] = 1
                order.append((i, place))
            unit = place[0] if forwards else place[1] // block
            if len(order) == count:
                return np.concatenate([m.ravel() for m in masks])
        walks += 1


def graph_of(build):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Dense(), example=EXAMPLES[build])
    return net.world.read(net._graph)


def kept(graph, count, seed):
    rule = rewire.PHEW(to=count / graph.possible)
    edit = rule.cut(graph, None, rng_for(seed, "phew"))
    stays = np.ones(graph.possible)
    stays[np.asarray(edit.drop)] = 0
    assert stays.sum() == count
    return stays


def test_the_first_path_has_the_probability_of_its_weights():
    graph = graph_of(perceptron)
    steps = [np.abs(graph.dense(i).numpy()) for i in range(3)]
    steps = [w / w.sum(0) for w in steps]  # of what leaves a unit
    chance, times = {}, {}
    for a, b, c in product(range(5), range(4), range(2)):
        keys = (a * 3, 15 + b * 5 + a, 35 + c * 4 + b)  # from input 0
        chance[keys] = steps[0][a, 0] * steps[1][b, a] * steps[2][c, b]
    for seed in range(600):
        path = tuple(np.flatnonzero(kept(graph, 3, seed)).tolist())
        times[path] = times.get(path, 0) + 1
    assert times.keys() <= chance.keys()
    chi2 = sum((times.get(k, 0) - 600 * p) ** 2 / (600 * p) for k, p in chance.items())
    assert chi2 < 40 + 4 * 80**0.5


@pytest.mark.parametrize(("build", "count"), [(perceptron, 14), (convolutional, 16)])
def test_what_stays_is_as_likely_as_by_one_walk_after_another(build, count):
    graph, n = graph_of(build), 300
    weights = [graph.dense(i).numpy() for i in range(len(graph.projections))]
    mine = sum(kept(graph, count, seed) for seed in range(n)) / n
    rng = np.random.default_rng(0)
    theirs = sum(by_one_walk_after_another(weights, count, rng) for _ in range(n)) / n
    p = (mine + theirs) / 2
    deviation = np.sqrt(2 * p * (1 - p) / n)
    assert (np.abs(mine - theirs) <= 4.5 * deviation + 1e-12).all()
    assert mine.std() > 0.1


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("build", [perceptron, convolutional])
def test_whole_paths_are_kept_to_the_edge_in_both_worlds(build, world):
    for density in (0.2, 0.5, 0.9, 1.0):
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = rewire.attach(
            model, optimizer, rewire.PHEW(), density=density, example=EXAMPLES[build], world=world
        )
        assert net.edges == round(density * net.graph.possible) and min(net.counts) > 0
        loose = net.edges - int(metrics.effective_edges(net.graph).sum())
        assert loose <= 2  # of the last path alone, which may end in the middle


def test_layers_stay_wider_than_synflows():
    """The paper's figure 3: many more units than SynFlow leaves, at one density."""
    units = {}
    for rule in (rewire.PHEW(), rewire.SynFlow(input=(64,))):
        model = perceptron((64, 100, 100, 10))
        net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule, density=0.02)
        units[rule.name] = [int(net.graph.mask(i).any(1).sum()) for i in (0, 1)]
    assert min(units["PHEW"]) > 1.5 * max(units["SynFlow"])


def test_a_model_that_nothing_joins_is_refused_before_step_0():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.b(self.a(x).sort(-1).values)

    model = Halves()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="PHEW walks from inputs to outputs, and the graph falls"):
        rewire.attach(model, optimizer, rewire.PHEW(), density=0.5)
    with pytest.raises(ValueError, match="PHEW.scope = 'layer': expected 'global'"):
        rewire.PHEW(scope="layer")
