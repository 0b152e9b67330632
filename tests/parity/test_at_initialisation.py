"""Rules that prune before the first step, against their formulas written out by hand."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, hessian
from torch.nn.utils import prune

import rewire
from rewire.graph import Graph, Population, Projection, Space

SHAPES = [(8, 12), (6, 8), (3, 6)]


def mlp(seed=0, bias=True, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [nn.Linear(i, o, bias=bias, dtype=dtype) for o, i in SHAPES]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def relu_net(seed=0, widths=(10, 16, 12, 14, 4)):
    torch.manual_seed(seed)
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def batches(n=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(20, 12, generator=g, dtype=torch.float64), torch.arange(20) % 3)
        for _ in range(n)
    ]


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def sparse_weights(model):
    return {n: p.detach() for n, p in model.named_parameters() if n.endswith("weight")}


def attach(model, rule, density=0.25, probe=None, **more):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule, density=density, probe=probe, **more)


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def keep_by_sorting(scores, k):
    """Keys of the k largest, the smaller key the first to go among equals."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i].item(), i))
    return sorted(order[len(order) - k :])


# -- scores ------------------------------------------------------------------------------------


def test_snip_ranks_by_the_slope_of_the_loss_over_a_factor_on_each_weight():
    """dL/dc at c = 1, with c written into the network; the mean over the probe's batches."""
    model, data = mlp(), batches()
    weights = sparse_weights(model)

    def of_factors(c):
        scaled = {n: w * c[n] for n, w in weights.items()}
        return sum(loss(lambda x: functional_call(model, scaled, x), b) for b in data) / len(data)

    slope = grad(of_factors)({n: torch.ones_like(w) for n, w in weights.items()})
    net = attach(model, rewire.SNIP(), probe=rewire.Probe(data, loss))
    expected = keep_by_sorting(flat(slope.values()).abs(), round(0.25 * 162))
    assert net.graph.keys.tolist() == expected and net.edges == 40


def test_snip_takes_the_magnitude_of_the_batchs_gradient_not_of_the_examples():
    """Two examples that pull a weight in opposite directions: no sensitivity."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0, 0.1]]))
    probe = rewire.Probe([torch.tensor([[1.0, 1.0], [-1.0, 1.0]])], lambda m, x: m(x).sum(1).mean())
    net = attach(model, rewire.SNIP(), 0.5, probe)
    assert net.graph.keys.tolist() == [1]


def test_iterative_snip_ranks_anew_what_each_round_leaves():
    """Every round's counts are the geometric ones, its gradient that of the pruned network."""
    data = batches(1)
    model = mlp(3)
    net = attach(model, rewire.SNIP(rounds=4), 0.05, rewire.Probe(data, loss))
    twin, n, k = mlp(3), 162, round(0.05 * 162)
    layers = [twin[i] for i in (0, 2, 4)]
    alive = torch.ones(n, dtype=torch.bool)
    for i in range(1, 5):
        twin.zero_grad()
        loss(twin, data[0]).backward()
        score = flat([(m.weight * m.weight.grad).abs() for m in layers]).detach()
        score[~alive] = -1
        keep = keep_by_sorting(score, round(n ** (1 - i / 4) * k ** (i / 4)))
        alive[:] = False
        alive[keep] = True
        parts = alive.split([m.weight.numel() for m in layers])
        with torch.no_grad():
            for m, part in zip(layers, parts, strict=True):
                m.weight.mul_(part.view_as(m.weight))
    assert net.graph.keys.tolist() == keep and net.edges == 8
    assert net.graph.keys.tolist() != attach(
        mlp(3), rewire.SNIP(), 0.05, rewire.Probe(data, loss)
    ).graph.keys.tolist()  # fmt: skip


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_grasp_ranks_by_the_exact_hessian_times_the_gradient(temperature):
    """The whole Hessian of a small net by torch.func; the largest w * Hg stay, with their sign."""
    model, data = mlp(bias=False), batches()
    weights = sparse_weights(model)
    sizes = [w.numel() for w in weights.values()]

    def of(vector):
        parts = vector.split(sizes)
        parts_of = {n: v.view_as(w) for (n, w), v in zip(weights.items(), parts, strict=True)}
        return sum(
            nn.functional.cross_entropy(functional_call(model, parts_of, x) / temperature, y)
            for x, y in data
        ) / len(data)

    w = flat(weights.values())
    expected = w * (hessian(of)(w) @ grad(of)(w))
    probe = rewire.Probe(data, loss)
    net = attach(mlp(bias=False), rewire.GraSP(temperature=temperature), 0.25, probe)
    keys = torch.arange(162)
    world = rewire.Masked(model, torch.optim.SGD(model.parameters(), lr=0.1), probe=probe)
    scores_of_all = world.signals(Graph.full(world.space)).pair(
        "gradient_flow", keys, temperature=temperature
    )
    torch.testing.assert_close(scores_of_all, expected, rtol=1e-9, atol=1e-18)
    assert net.graph.keys.tolist() == keep_by_sorting(expected, 40)
    negative = (expected < 0).sum()
    assert negative > 40 and expected.abs().topk(40).indices.sort().values.tolist() != (
        net.graph.keys.tolist()
    )


def test_synflow_is_the_sum_over_paths_of_the_product_of_magnitudes():
    """In a net of 10-16-12-14-4 ReLU units: |W| in matrix products from both ends."""
    model = relu_net()
    net = attach(model, rewire.SynFlow.one_shot(input=(10,)), 0.2)
    w = [m.weight.detach().double().abs() for m in relu_net() if isinstance(m, nn.Linear)]
    scores = []
    for i in range(4):
        before = torch.ones(10, dtype=torch.float64)
        for m in w[:i]:
            before = m @ before
        after = torch.ones(4, dtype=torch.float64)
        for m in reversed(w[i + 1 :]):
            after = m.T @ after
        scores.append(after[:, None] * w[i] * before[None])
    n = sum(m.numel() for m in w)
    assert net.graph.keys.tolist() == keep_by_sorting(flat(scores), round(0.2 * n))


@pytest.mark.parametrize("bias", [False, True])
def test_synflow_looks_at_no_data_and_leaves_the_model_alone(bias):
    """Buffers, modes, gradients and biases stay; what the probe holds is a shape and nothing more;
    normalisation is in evaluation mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8, bias=bias), nn.BatchNorm1d(8), nn.ReLU(),
                          nn.Dropout(), nn.Linear(8, 3, bias=bias))  # fmt: skip
    model[1].eval()
    with torch.no_grad():
        model[1].running_mean.uniform_(-1, 1)
    before, twins = copy.deepcopy(model.state_dict()), [copy.deepcopy(model) for _ in range(2)]
    nets = [attach(m, rewire.SynFlow(), probe=rewire.Probe(b, loss))
            for m, b in zip([model, twins[0]], [float32(1), float32(7)], strict=True)]  # fmt: skip
    given = attach(twins[1], rewire.SynFlow(input=(12,)))
    assert torch.equal(nets[0].graph.keys, nets[1].graph.keys)
    assert torch.equal(nets[0].graph.keys, given.graph.keys)
    assert [m.training for m in model] == [True, False, True, True, True] and model.training
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        if name not in ("0.weight", "4.weight"):
            assert torch.equal(value, before[name]), name


def float32(seed):
    return [(x.float(), y) for x, y in batches(1, seed)]


def test_magnitude_is_torchs_own_global_and_layerwise_pruning():
    for scope, density in (("global", 0.3), ("layer", 0.3)):
        twin = mlp(5)
        layers = [(m, "weight") for m in twin if isinstance(m, nn.Linear)]
        net = attach(mlp(5), rewire.Magnitude(scope=scope), density, distribution="uniform")
        if scope == "global":
            prune.global_unstructured(layers, prune.L1Unstructured, amount=162 - net.edges)
        else:
            for (m, name), k in zip(layers, net.counts, strict=True):
                prune.l1_unstructured(m, name, amount=m.weight.numel() - k)
        torchs = flat([m.weight_mask for m, _ in layers]).nonzero().squeeze(1)
        assert torch.equal(net.graph.keys, torchs)


# -- budgets -----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_counts_are_exact_and_ties_broken_by_key(data):
    """Peers prune n + 1, or 88 % instead of 20 %, where scores tie."""
    space = Space([Population("a", 6)], [Projection(f"p{i}", "a", "a", "linear", s)
                                         for i, s in enumerate([(4, 5), (3, 4)])])  # fmt: skip
    numbers = st.sampled_from([0.0, 0.5, 0.5, 1.0, 2.0])
    n = space.possible
    score = torch.tensor(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    world = rewire.Bare(space, pairs={"connection_sensitivity": lambda keys: score[keys]})
    rounds = data.draw(st.sampled_from([1, 3, 10]))
    if data.draw(st.booleans()):
        k = data.draw(st.integers(1, n))
        rule = rewire.SNIP(to=k / n, rounds=rounds)
        expected = keep_by_sorting(score, k)
    else:
        counts = [data.draw(st.integers(1, size)) for size in space.sizes]
        rule = rewire.SNIP(to=tuple(counts), scope="layer", rounds=rounds)
        expected = keep_by_sorting(score[:20], counts[0])
        expected += [20 + i for i in keep_by_sorting(score[20:], counts[1])]
    net = rewire.Session(world, Graph.full(space), rule, span=3)
    assert net.graph.keys.tolist() == expected


def test_layers_get_the_counts_of_the_distribution_and_global_scope_only_their_sum():
    for distribution in ("uniform", "er", {"0": 0.1, "2": 0.5, "4": 1.0}):
        density = None if isinstance(distribution, dict) else 0.25
        static = attach(mlp(), rewire.Static(), density, distribution=distribution)
        own = attach(mlp(), rewire.Magnitude(scope="layer"), density, distribution=distribution)
        wide = attach(mlp(), rewire.Magnitude(), density, distribution=distribution)
        assert own.counts == static.counts and wide.edges == static.edges
        assert wide.counts != static.counts


def test_another_rule_goes_on_from_what_was_left():
    net = attach(mlp(), [rewire.Magnitude(), rewire.SET(when=rewire.every(1))], 0.25)
    left = attach(mlp(), rewire.Magnitude(), 0.25)
    assert torch.equal(net.graph.keys, left.graph.keys)
    loss(net.world.model, batches(1)[0]).backward()
    net.step()
    assert net.counts == left.counts and not torch.equal(net.graph.keys, left.graph.keys)


def test_a_given_start_is_cut_further():
    first = attach(mlp(), rewire.Magnitude(), 0.5)
    again = attach(mlp(), rewire.Magnitude(), 0.2, initial=first.graph)
    assert torch.equal(again.graph.keys, attach(mlp(), rewire.Magnitude(), 0.2).graph.keys)
    with pytest.raises(
        ValueError, match=r"Magnitude cannot cut \[32\] edges to \[81\] .*adds none"
    ):
        attach(mlp(), rewire.Magnitude(), 0.5, initial=again.graph)


def test_train_prunes_to_its_density_too():
    model, data = mlp(), batches(1)
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.SNIP(), steps=3, density=0.1,
        loss=loss, data=data, probe=rewire.Probe(data, loss),
    )  # fmt: skip
    assert net.edges == 16 and net.done
    assert sum(int((m.weight != 0).sum()) for m in model if isinstance(m, nn.Linear)) == 16


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "more", "message"),
    [
        (rewire.SNIP(), {}, "SNIP needs the signal 'connection_sensitivity'.*pass probe=rewire"),
        (rewire.GraSP(), {}, "GraSP needs the signal 'gradient_flow'.*pass probe=rewire.Probe"),
        (rewire.SynFlow(), {}, r"know its shape: SynFlow\(input=\(1, 28, 28\)\), or pass probe="),
        (rewire.Magnitude(), {"density": None}, r"Magnitude cuts to a density, and none was given"),
        (rewire.Magnitude(to=0.1), {}, "names its own budget, to=0.1, and a density was asked"),
        (rewire.Magnitude(to=(3, 4)), {"density": None}, "3 projections; give one for each"),
        (rewire.Magnitude(to=1e-9), {"density": None}, "it keeps at least one"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(rule, more, message):
    with pytest.raises(ValueError, match=message):
        attach(mlp(), rule, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rewire.Magnitude(to=1.5), r"a density in \(0, 1\], got to=1.5"),
        (lambda: rewire.SNIP(rounds=0), "one round or more, got rounds=0"),
        (lambda: rewire.SynFlow(rounds=0), "one round or more"),
        (lambda: rewire.GraSP(temperature=0), "temperature is above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_scores_that_are_no_numbers_are_refused_by_name():
    for rule, name in ((rewire.SNIP(), "SNIP"), (rewire.GraSP(), "GraSP")):
        probe = rewire.Probe(batches(), lambda m, b: loss(m, b) * math.nan)
        with pytest.raises(ValueError, match=f"{name}'s score is NaN at 162 of 162 places"):
            attach(mlp(), rule, probe=probe)


def test_a_flow_that_leaves_float32_is_refused_and_fits_into_float64():
    """Sixty layers whose magnitudes grow tenfold each."""

    def deep():
        layers = [nn.Linear(4, 4, bias=False) for _ in range(60)]
        for m in layers:
            nn.init.constant_(m.weight, 2.5)
        return nn.Sequential(*layers)

    with pytest.raises(ValueError, match="leaves float32: it adds up to inf. Use precision='doub"):
        attach(deep(), rewire.SynFlow(input=(4,), precision="single"), 0.5)
    assert attach(deep(), rewire.SynFlow(input=(4,)), 0.5).edges == 480


def test_synflow_wants_one_input_of_floating_point():
    probe = rewire.Probe(batches(), lambda m, b: loss(lambda x: m(x.long().abs()), b))
    model = nn.Sequential(nn.Embedding(9, 12), nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(ValueError, match="one input of floating point.*torch.int64"):
        attach(model, rewire.SynFlow(), probe=probe)
