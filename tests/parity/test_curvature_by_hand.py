"""OBD, diagonal Fisher and WoodFisher against formulas written out on whole matrices."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian, jacrev, vmap

import rewire
from rewire import when
from rewire.rules.woodfisher import inverse_fisher, step
from rewire.starting_graph import first_graph
from rewire.torch_loop import torch_world

SIZES = (6, 8, 5, 3)


def relu_net(seed=0, act=nn.ReLU):
    torch.manual_seed(seed)
    layers = []
    for i, o in zip(SIZES, SIZES[1:], strict=False):
        layers += [nn.Linear(i, o), act()]
    return nn.Sequential(*layers[:-1]).double()


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.conv(x))).flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


MODELS = {
    "relu": (relu_net, (6,)),
    "tanh": (lambda: relu_net(act=nn.Tanh), (6,)),
    "conv": (lambda: Convolutional().double(), (1, 3, 3)),
    "lstm": (lambda: Recurrent().double(), (3, 4)),
}


def data(shape=(6,), n=12, seed=1):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=g, dtype=torch.float64)
    return x, torch.randint(3, (n,), generator=g)


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def probe_of(x, y, size=5):
    return rewire.Probe(list(zip(x.split(size), y.split(size), strict=True)), loss)


def world_of(model, probe, density=0.6, world="masked"):
    world = torch_world(model, torch.optim.SGD(model.parameters(), lr=0.1), world, probe=probe)
    rule = rewire.Static()
    counts = [round(density * n) for n in world.space.sizes]
    graph = first_graph(world, None, counts, "random", 0)
    net = rewire.Session(world, graph, rule, span=10)
    return net, world.signals(net.graph)


def by_hand(model, names, x, y):
    """Jacobians (N, 3, P), Hessians by the output (N, 3, 3) and gradients (N, P), by torch.func.

    Without the recurrent layers' kernels, which torch.func does not know.
    """
    model = copy.deepcopy(model).eval()
    held = {n: p.detach() for n, p in model.named_parameters()}
    held |= dict(model.named_buffers())

    def of(weights, one):
        return functional_call(model, held | weights, one.unsqueeze(0)).squeeze(0)

    weights = {n: held[n] for n in names}
    slopes = [jacrev(of)(weights, one) for one in x]
    jacobian = torch.stack([
        torch.cat([s[n].reshape(3, -1) for n in names], 1) for s in slopes
    ])  # fmt: skip
    outputs = torch.stack([of(weights, one) for one in x])
    by_output = vmap(hessian(nn.functional.cross_entropy))(outputs, y)
    p = outputs.softmax(1)
    p[torch.arange(len(y)), y] -= 1
    return jacobian, by_output, torch.einsum("nkp,nk->np", jacobian, p)


@pytest.mark.parametrize("kind", ["masked", "sparse", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_the_diagonals_are_those_of_whole_matrices(name, kind):
    build, shape = MODELS[name]
    model, (x, y) = build(), data(shape)
    dense = copy.deepcopy(model)
    net, signals = world_of(model, probe_of(x, y), world=kind)
    keys, masks = net.graph.keys, net.masks()
    with torch.no_grad():
        for n, mask in masks.items():
            dense.get_parameter(n).mul_(mask)
    jacobian, by_output, gradients = by_hand(dense, list(masks), x, y)
    newton = torch.einsum("nip,nij,njp->p", jacobian, by_output, jacobian) / len(x)
    diagonal = signals.pair("hessian_diag", keys)
    torch.testing.assert_close(diagonal, newton[keys], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(
        signals.pair("fisher", keys), gradients.square().mean(0)[keys], rtol=1e-9, atol=1e-14
    )
    torch.testing.assert_close(
        signals.pair("example_gradients", keys), gradients.T[keys], rtol=1e-9, atol=1e-14
    )
    some = torch.arange(0, net.graph.possible, 3)  # at absent ones there is nothing
    exists = net.graph.find(some)[1]
    fisher_of_some = signals.pair("fisher", some)
    assert not fisher_of_some[~exists].any() and fisher_of_some[exists].any()


def test_the_square_of_a_batchs_gradient_is_not_the_fisher_diagonal():
    """Two examples that pull a weight in opposite directions: the batch's gradient is 0."""
    model = nn.Linear(1, 1, bias=False)
    x = torch.tensor([[1.0], [-1.0]])
    probe = rewire.Probe([x], lambda m, x: m(x).mean())
    _, signals = world_of(model, probe, 1.0)
    assert signals.pair("fisher", torch.tensor([0])).tolist() == [1.0]
    assert signals.pair("hessian_diag", torch.tensor([0])).tolist() == [0.0]  # a linear loss


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_lecuns_recursion_is_his_and_where_it_differs(name):
    """Equations 8-11 by numpy; exact in the last layer, up to a factor of 2 off below."""
    model, (x, y) = MODELS[name][0](), data()
    twin = copy.deepcopy(model)
    net, signals = world_of(model, probe_of(x, y), 1.0)
    weights = [twin[i].weight.detach().numpy() for i in (0, 2, 4)]
    biases = [twin[i].bias.detach().numpy() for i in (0, 2, 4)]
    state, inputs, slopes = x.numpy(), [], []
    for w, b in zip(weights, biases, strict=True):
        inputs.append(state)
        a = state @ w.T + b
        state = np.maximum(a, 0) if name == "relu" else np.tanh(a)
        slopes.append((a > 0) * 1.0 if name == "relu" else 1 - np.tanh(a) ** 2)
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    h, parts = p * (1 - p), [None] * 3  # d2E / da2 of the output units
    for i in (2, 1, 0):
        parts[i] = (h.T @ inputs[i] ** 2 / len(x)).reshape(-1)
        if i:
            h = (h @ weights[i] ** 2) * slopes[i - 1] ** 2
    recursive = signals.pair("hessian_diag", net.graph.keys, recursion=True)
    expected = torch.from_numpy(np.concatenate(parts))
    torch.testing.assert_close(recursive, expected, rtol=1e-9, atol=1e-14)
    exact = signals.pair("hessian_diag", net.graph.keys)
    ratio = [float((recursive / exact)[net.graph.rows(i)].nanmedian()) for i in range(3)]
    assert ratio[2] == pytest.approx(1, abs=1e-9)
    assert all(0.1 < abs(r - 1) < 1 for r in ratio[:2])  # what is left out is not small


@pytest.mark.parametrize("kind", ["masked", "sparse"])
def test_the_recursion_goes_through_convolutions_norms_and_pooling(kind):
    """A convolution of one place and one channel is a linear layer, whatever comes after."""
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
    wide = nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    ).double()  # fmt: skip
    flat[1].running_var.fill_(2.0)
    for a, b in zip((0, 1, 3), (0, 1, 5), strict=True):
        wide[b].load_state_dict(
            {k: v.view_as(wide[b].state_dict()[k]) for k, v in flat[a].state_dict().items()}
        )
    x, y = data((4,))
    pictures = probe_of(x.view(-1, 4, 1, 1), y)
    one, two = (world_of(m, p, world=kind) for m, p in ((flat, probe_of(x, y)), (wide, pictures)))
    assert torch.equal(one[0].graph.keys, two[0].graph.keys)
    h = [s.pair("hessian_diag", net.graph.keys, recursion=True) for net, s in (one, two)]
    torch.testing.assert_close(h[0], h[1], rtol=1e-10, atol=1e-15)
    assert (h[0] > 0).any()


def test_what_a_probe_or_a_model_cannot_give_is_refused_before_the_first_step():
    def attach(model, rule, batches, of=loss):
        return rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule,
                             density=0.5, steps=200, probe=rewire.Probe(batches, of))  # fmt: skip

    x, y = data()
    for rule in (rewire.OBD(), rewire.DiagonalFisher(), rewire.WoodFisher()):
        with pytest.raises(ValueError, match=r"pass probe=rewire.Probe\(batches, loss\)"):
            model = relu_net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            rewire.attach(model, optimizer, rule, density=0.5, steps=200)
    with pytest.raises(ValueError, match="stops at BatchNorm2d: its output is not"):
        attach(MODELS["conv"][0](), rewire.OBD(recursion=True), [data((1, 3, 3))])
    with pytest.raises(ValueError, match="LeCun's recursion follows a chain"):
        attach(MODELS["lstm"][0](), rewire.OBD(recursion=True), [data((3, 4))])
    net, signals = world_of(relu_net(), rewire.Probe([(x, y[:3])], lambda m, b: m(b[0]).sum()))
    with pytest.raises(ValueError, match=r"first dimensions of their tensors are \[3, 12\]"):
        signals.pair("fisher", net.graph.keys)
    twice = rewire.Probe([(x, y)], lambda m, b: loss(m, b) + loss(m, b))
    net, signals = world_of(relu_net(), twice)
    with pytest.raises(ValueError, match="called the model 2 times"):
        signals.pair("hessian_diag", net.graph.keys)
    for bad, message in ((dict(block=0), "one synapse or more"), (dict(damp=0.0), "above 0")):
        with pytest.raises(ValueError, match=message):
            rewire.WoodFisher(**bad)


@pytest.mark.parametrize("kind", ["masked", "sparse"])
def test_a_look_at_the_curvature_leaves_the_model_and_the_gradients_alone(kind):
    """Modes, running statistics and what a rule after it asks of the training pass."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rule = [rewire.RigL(when=when.every(100))]
    net = rewire.attach(model, optimizer, rule, density=0.5, steps=100, probe=probe_of(x, y),
                        world=kind)  # fmt: skip
    net.plan()
    net.world.want_grads(True)
    loss(model, (x, y)).backward()
    net.world.advance(net.graph, False)
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    signals, keys = net.world.signals(net.graph), torch.arange(net.graph.possible)
    before = signals.pair("growth", keys).clone()
    for name in ("fisher", "example_gradients", "hessian_diag"):
        signals.pair(name, net.graph.keys)
    signals.pair("hessian_diag", net.graph.keys, recursion=True)
    assert torch.equal(signals.pair("growth", keys), before) and before.any()
    assert all(m.training for m in model.modules())
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())


# -- what the rules do with them ---------------------------------------------------------------


def drops(rule, steps=2, model=None, seed=0, world="masked"):
    """The graph before and after the one tick of a rule, with a learning rate of 0."""
    model = model or relu_net(seed)
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    net = rewire.attach(model, optimizer, rule, density=0.4, steps=steps, seed=seed,
                        probe=probe_of(x, y), world=world)  # fmt: skip
    before = net.graph
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, (x, y)).backward()
        net.step()
    return before, net.graph


def keep_by_sorting(scores, k):
    order = sorted(range(len(scores)), key=lambda i: (float(scores[i]), i))
    return sorted(order[len(order) - k :])


@pytest.mark.parametrize("rule", ["OBD", "DiagonalFisher"])
def test_the_least_salient_go(rule):
    before, after = drops(getattr(rewire, rule)(when=when.every(2, stop=1.0)))
    names = [p.name for p in before.projections]
    jacobian, by_output, gradients = by_hand(relu_net(), names, *data())
    h = {
        "OBD": torch.einsum("nip,nij,njp->p", jacobian, by_output, jacobian) / 12,
        "DiagonalFisher": gradients.square().mean(0),
    }[rule]
    saliency = h * before["weight"].square() / 2
    assert len(after) == round(0.4 * len(before))
    assert after.keys.tolist() == keep_by_sorting(saliency, len(after))
    at = before.find(after.keys)[0]
    assert torch.equal(after["weight"], before["weight"][at])


def test_obds_saliency_is_the_loss_gained_to_second_order():
    """At a minimum, dropping one weight costs h w^2 / 2: linear regression, where that is exact."""
    g = torch.Generator().manual_seed(0)
    x = torch.linalg.qr(torch.randn(40, 6, generator=g, dtype=torch.float64))[0] * 3
    y = torch.randn(40, 1, generator=g, dtype=torch.float64)
    model = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)

    def error(m, batch):
        return (m(batch[0]) - batch[1]).square().mean()

    net, signals = world_of(model, rewire.Probe([(x, y)], error), 1.0)
    saliency = signals.pair("hessian_diag", net.graph.keys) * net.graph["weight"].square() / 2
    base = error(model, (x, y)).item()
    for q in range(6):
        cut = copy.deepcopy(model)
        with torch.no_grad():
            cut.weight[0, q] = 0
        assert error(cut, (x, y)).item() - base == pytest.approx(float(saliency[q]), rel=1e-9)


@pytest.mark.parametrize("survivors", ["singles", "joint", "nothing"])
@pytest.mark.parametrize("block", [1000, 7])
def test_woodfisher_is_the_dense_inverse(survivors, block):
    """F built as a matrix, inverted whole and block by block; the update by its formula."""
    damp = 1e-3
    rule = rewire.WoodFisher(
        when=when.every(2, stop=1.0), block=block, damp=damp, survivors=survivors
    )
    before, after = drops(rule)
    names = [p.name for p in before.projections]
    _, _, g = by_hand(relu_net(), names, *data())
    n, w = len(before), before["weight"]
    fisher = damp * torch.eye(n, dtype=torch.float64) + g.T @ g / len(g)
    blocks = [
        list(range(a, min(a + block, hi)))
        for lo, hi in zip(before.bounds, before.bounds[1:], strict=False)
        for a in range(lo, hi, block)
    ]
    inverse = torch.zeros_like(fisher)
    for b in blocks:
        inverse[np.ix_(b, b)] = torch.linalg.inv(fisher[np.ix_(b, b)])
    cost = w.square() / (2 * inverse.diagonal())
    staying = keep_by_sorting(cost, round(0.4 * n))
    assert after.keys.tolist() == staying
    dropped = sorted(set(range(n)) - set(staying))
    move = torch.zeros_like(w)
    if survivors == "singles":
        for q in dropped:
            move -= w[q] * inverse[:, q] / inverse[q, q]
    elif survivors == "joint":
        some = inverse[np.ix_(dropped, dropped)]
        move = -inverse[:, dropped] @ torch.linalg.solve(some, w[dropped])
    torch.testing.assert_close(after["weight"], (w + move)[staying], rtol=1e-8, atol=1e-11)
    assert (survivors == "nothing") == torch.equal(after["weight"], w[staying])


def test_the_recursion_of_rank_one_updates_gives_the_same_inverse():
    """The paper's equation 7: F^-1 - (F^-1 g)(F^-1 g)^T / (N + g^T F^-1 g)."""
    g = torch.randn(9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inverse = torch.eye(9, dtype=torch.float64) / 1e-2
    for n in range(14):
        v = inverse @ g[:, n]
        inverse = inverse - torch.outer(v, v) / (14 + g[:, n] @ v)
    torch.testing.assert_close(inverse_fisher(g.unsqueeze(0), 1e-2)[0], inverse)


def test_the_joint_step_is_the_best_and_one_alone_is_the_same_either_way():
    """Among all moves that set those weights to 0 it costs least, d^T F d / 2."""
    g = torch.randn(1, 8, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inverse, fisher = inverse_fisher(g, 0.1), torch.linalg.inv(inverse_fisher(g, 0.1))[0]
    leaves = torch.zeros(1, 8, dtype=torch.bool)
    leaves[0, 3] = True
    both = [step(inverse, w, leaves, joint=j)[0] for j in (True, False)]
    torch.testing.assert_close(both[0], both[1])
    leaves[0, [1, 6]] = True

    def cost(move):
        move = torch.where(leaves[0], -w[0], move)
        return float(move @ fisher @ move / 2)

    joint, singles = (cost(step(inverse, w, leaves, joint=j)[0]) for j in (True, False))
    torch.testing.assert_close(step(inverse, w, leaves, joint=True)[0][leaves[0]], -w[0][leaves[0]])
    assert joint < singles < cost(torch.zeros(8, dtype=torch.float64)) * 1.5
    assert joint < cost(torch.zeros(8, dtype=torch.float64))


def test_gradients_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="WoodFisher's gradients are not finite"):
        inverse_fisher(torch.full((1, 2, 3), torch.nan), 1.0)


@pytest.mark.parametrize("rule", [rewire.OBD, rewire.DiagonalFisher, rewire.WoodFisher])
def test_where_the_engine_makes_the_steps_the_curvature_is_that_of_its_weights(rule):
    """The sparse world's native plan and the masked world, ten steps of training apart."""
    ended = []
    for kind in ("masked", "sparse"):
        model = relu_net(3)
        x, y = data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
        net = rewire.attach(model, optimizer, rule(when=when.every(4)), density=0.3, steps=20,
                            probe=probe_of(x, y), world=kind)  # fmt: skip
        for _ in range(20):
            optimizer.zero_grad()
            if kind == "sparse":
                net.learn(x, y)
            else:
                loss(model, (x, y)).backward()
                net.optimise()
            net.rewire()
        ended.append(net)
    assert ended[1].world.plan is not None or ended[1].world.untraceable
    assert ended[0].history.dropped == ended[1].history.dropped > 60
    assert torch.equal(ended[0].graph.keys, ended[1].graph.keys)
    torch.testing.assert_close(
        ended[0].graph["weight"], ended[1].graph["weight"], rtol=1e-7, atol=1e-10
    )
