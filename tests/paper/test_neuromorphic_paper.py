"""What the papers on homeostatic growth, synaptic sampling and STDP pruning say, with numbers."""

from math import exp

import numpy as np
import pytest
import torch

import rewire
from rewire import when
from rewire.graph import Graph, Population, Projection, Space


def space(n_pre, n_post, slots=None):
    return Space(
        [Population("in", n_pre), Population("out", n_post, slots=slots)],
        [Projection("ff", "in", "out", "linear", (n_post, n_pre))],
    )


# -- synaptic sampling ---------------------------------------------------------------------------


def sampled(temperature, steps=400, loss=None, **fields):
    where = space(100, 60)
    graph = Graph(where, torch.arange(0, 6000, 10), {"weight": torch.full((600,), 0.1)})
    rule = rewire.SynapticSampling(temperature=temperature, prior=0.2, **fields)
    world = rewire.Bare(where, lr=0.1, drift=loss)
    net = rewire.Session(world, graph, rule, span=10**6, seed=3)
    for _ in range(steps):
        net.step()
    return net, rule


@pytest.mark.parametrize(("temperature", "connected"), [(1.0, 0.6915), (0.25, 0.8413)])
def test_without_a_loss_the_network_samples_from_the_prior(temperature, connected):
    """theta ~ N(mu, sigma^2 T), and a fraction Phi(mu / (sigma sqrt T)) of all pairs is a synapse:
    0.69 with the prior of the paper (mu 0.5, sigma 1) at T = 1."""
    net, rule = sampled(temperature)
    theta = net.states[0]["theta"].double()
    assert rule.settles_at() == pytest.approx(connected, abs=1e-4)
    assert net.density == pytest.approx(connected, abs=4 * (0.21 / 6000) ** 0.5)
    assert float(theta.mean()) == pytest.approx(0.5, abs=4 * (temperature / 6000) ** 0.5)
    spread = temperature / (1 - 0.1 * 0.2 / 2)  # steps of 0.02 add half of that
    assert float(theta.var()) == pytest.approx(spread, rel=0.08)


def test_weights_are_exponentials_of_theta_and_are_born_at_the_smallest():
    net, _ = sampled(1.0, steps=50)
    graph, theta = net.graph, net.states[0]["theta"]
    assert torch.equal(graph["weight"], graph["sign"] * (theta[graph.keys] - 3).exp())
    assert float(graph["weight"].abs().min()) >= exp(-3)
    assert (theta[graph.keys] > 0).all() and int((theta > 0).sum()) == len(graph)


def test_a_loss_moves_theta_by_the_weight_times_the_gradient():
    """Between prior and a loss pull * |w|, theta rests where mu - theta = pull w / prior."""
    pull = 0.02

    def loss(graph, step):
        return graph["weight"] - 0.1 * pull * graph["sign"]

    net, _ = sampled(0.0, steps=2000, loss=loss, mu=2.5)
    theta = net.states[0]["theta"][net.graph.keys].double()
    rest = 2.0
    for _ in range(100):
        rest -= 0.2 * (rest - 2.5 + pull * exp(rest - 3) / 0.2)
    assert net.density == 1.0  # the prior draws every synapse above 0
    assert float((theta - rest).abs().max()) < 1e-3 and rest < 2.47


def test_several_synapses_of_one_pair_are_refused():
    where = Space(
        [Population("a", 4), Population("b", 4)],
        [Projection("ab", "a", "b", "spiking", (4, 4), True)],
    )
    graph = Graph(where, torch.tensor([3, 3]), {"weight": torch.ones(2)})
    with pytest.raises(ValueError, match="some pairs of the starting graph hold several"):
        rewire.Session(rewire.Bare(where), graph, rewire.SynapticSampling(), span=9)


# -- homeostatic growth --------------------------------------------------------------------------


def test_the_growth_curve_is_zero_at_eta_and_epsilon_and_largest_half_way():
    rule = rewire.HomeostaticGrowth(epsilon=0.7, eta=0.1, growth=2.0)
    at = rule.speed(np.array([0.1, 0.4, 0.7, 0.0, 1.5]))
    assert at[:3] == pytest.approx([0.0, 2.0, 0.0], abs=1e-12)
    assert at[3] < 0 and at[4] == pytest.approx(-2.0, abs=1e-3)
    linear = rewire.HomeostaticGrowth(epsilon=0.5, growth=2.0, curve="linear")
    assert linear.speed(np.array([0.0, 0.5, 1.0])) == pytest.approx([2.0, 0.0, -2.0])


def lesioned(start, slots=None, steps=3000, **fields):
    """Units whose activity is a tenth of their synapses; their sources always grow boutons."""
    where = space(80, 50, slots)
    keys = torch.cat([torch.arange(n) + 80 * j for j, n in enumerate(start)])
    graph = Graph(where, keys, {"weight": torch.zeros(len(keys))})
    held = {}

    def activity(population):
        if population == "in":
            return torch.full((80,), 0.4)
        return held["net"].topology.div(80, rounding_mode="floor").bincount(minlength=50) / 10

    rule = rewire.HomeostaticGrowth(**{"growth": 0.02, "tau": 20.0, **fields})
    net = rewire.Session(
        rewire.Bare(where, nodes={"activity": activity}), graph, rule, span=10**6, seed=1
    )
    held["net"] = net
    for _ in range(steps):
        net.step()
    return net.graph.fan_in("out").numpy()


def test_units_settle_at_the_set_point_and_those_below_the_lower_one_wither():
    """epsilon = 0.7 is 7 synapses of 0.1 each; eta = 0.25 lies above the 2 of the lesioned half."""
    fan_in = lesioned([2] * 25 + [4] * 15 + [12] * 10, eta=0.25)
    assert (fan_in[:25] == 0).all()
    assert fan_in[25:].mean() == pytest.approx(7, abs=0.6) and set(fan_in[25:]) <= {6, 7, 8}


def test_a_linear_curve_brings_silent_units_back():
    fan_in = lesioned([0] * 25 + [12] * 25, curve="linear", tau_vacant=0.0)
    assert fan_in.mean() == pytest.approx(7, abs=0.6) and set(fan_in) <= {6, 7, 8}


def test_slots_cap_what_is_paired():
    fan_in = lesioned([2] * 50, slots=5, curve="linear", tau_vacant=0.0)
    assert (fan_in == 5).all()


def test_scarcer_boutons_limit_what_spines_can_do():
    """Sources at rest grow nothing, and what dendrites want more stays vacant."""
    where = space(10, 10)
    graph = Graph(where, torch.arange(10) * 11, {"weight": torch.zeros(10)})
    nodes = {"activity": lambda p: torch.full((10,), 0.7 if p == "in" else 0.4)}
    rule = rewire.HomeostaticGrowth(growth=1.0, tau=5.0, when=when.every(1))
    net = rewire.Session(rewire.Bare(where, nodes=nodes), graph, rule, span=100)
    for _ in range(20):
        net.step()
    assert net.edges == 10 and net.history.formed == 0
    z = net.states[0]["post/ff"]
    assert float(z.max()) < 1 + 1 / 0.1  # a tenth of the vacant ones goes each time


def test_an_element_that_is_still_growing_does_not_decay():
    """At the peak of the curve an element takes 100 steps: each unit forms a synapse in each."""
    where = space(10, 10)
    nodes = {"activity": lambda p: torch.full((10,), 0.4)}
    rule = rewire.HomeostaticGrowth()
    graph = Graph(where, torch.arange(10) * 11, {"weight": torch.zeros(10)})
    net = rewire.Session(rewire.Bare(where, nodes=nodes), graph, rule, span=1000)
    for _ in range(450):
        net.step()
    assert net.history.formed == pytest.approx(37, abs=3)  # some pairs are there already


def test_of_whole_vacant_elements_the_fraction_is_lost_and_the_rest_of_one_stays():
    """NEST: z loses tau_vacant (floor(z) - synapses) after pairing, with nobody to pair with."""
    where = space(4, 4)
    nodes = {"activity": lambda p: torch.full((4,), 0.7 if p == "in" else 0.4)}
    rule = rewire.HomeostaticGrowth(growth=0.7, when=when.every(1), tau_vacant=0.25)
    graph = Graph(where, torch.arange(4) * 5, {"weight": torch.zeros(4)})
    net = rewire.Session(rewire.Bare(where, nodes=nodes), graph, rule, span=9)
    z = 1.0
    for _ in range(9):
        net.step()
        z += 0.7
        z -= 0.25 * (int(z) - 1)
        assert net.states[0]["post/ff"].numpy() == pytest.approx(z)


# -- pruning by STDP -----------------------------------------------------------------------------


def test_what_is_below_the_threshold_goes_and_nothing_else():
    where = space(50, 20)
    weight = torch.linspace(-1, 1, 1000)
    graph = Graph.full(where).with_columns({"weight": weight})
    for fields, left in (
        (dict(threshold=0.2), 800),
        (dict(threshold=0.5, relative=False), 500),
        (dict(threshold=0.9, to=0.25), 250),
        (dict(threshold=0.0), 1000),
    ):
        rule = rewire.STDPPruning(when=when.every(1), **fields)
        net = rewire.Session(rewire.Bare(where), graph, rule, span=9)
        net.step()
        assert net.edges == left
        strength = net.graph["weight"].abs()
        assert float(strength.min()) == pytest.approx(1 - left / 1000, abs=2e-3)
        net.step()
        assert net.edges == left  # pruned once, the rest is above the threshold
