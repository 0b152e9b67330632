"""What the sparse world holds dense is kept as the masked world keeps it; lists are looked at."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import every


class Net(nn.Module):
    """A convolution that no list of edges can hold, and a linear layer that one can."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.taps = nn.Conv1d(3, 8, 3)
        self.read = nn.Linear(8 * 6, 5)

    def forward(self, x):
        return self.read(self.taps(x).relu().flatten(1))


class Pulled(torch.optim.SGD):
    """Moves every weight, with or without a gradient."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            p.add_(0.01)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def attached(rule=None, world="sparse", optimizer=adam, density=0.4):
    model = Net()
    net = rewire.attach(
        model, optimizer(model.parameters()), rule or rewire.Static(), density=density, seed=2,
        steps=40, world=world,
    )  # fmt: skip
    return model, net.optimizer, net


def batches(n, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(6, 3, 8, generator=draw), torch.randint(5, (6,), generator=draw))
        for _ in range(n)
    ]


def backward(model, batch):
    model.zero_grad()
    cross_entropy(model(batch[0]), batch[1]).backward()


def test_one_weight_is_dense_and_the_other_a_list():
    _, _, net = attached()
    assert net.world.forms == {"taps.weight": "masked", "read.weight": "edges"}


@pytest.mark.parametrize("write", [
    lambda m: m.taps.load_state_dict(Net(9).taps.state_dict()),
    lambda m: m.taps.reset_parameters(),
    lambda m: nn.init.ones_(m.taps.weight),
])  # fmt: skip
def test_what_others_write_is_projected_at_the_next_step_and_said(write):
    model, opt, net = attached()
    for batch in batches(2):
        backward(model, batch)
        opt.step()
    write(model)
    with pytest.raises(RuntimeError, match="absent synapses of 'taps.weight' have weights"):
        net.check()
    backward(model, batches(1)[0])
    with pytest.warns(UserWarning, match="'taps.weight'.* written from outside"):
        opt.step()
    net.check()
    assert int((model.taps.weight != 0).sum()) == net.counts[0]


def test_the_plans_loop_projects_as_well():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
    net = rewire.attach(model, adam(model.parameters()), rewire.Static(), density=0.8, steps=9,
                        world="auto")  # fmt: skip
    assert set(net.world.forms.values()) == {"masked"}
    x, y = torch.randn(6, 20), torch.randint(5, (6,))
    net.learn(x, y)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    with pytest.warns(UserWarning, match="'0.weight'.* written from outside"):
        net.learn(x, y)
    net.check()


def test_a_dense_optimiser_state_is_projected():
    model, opt, net = attached(density=0.9, world="auto")  # no lists
    assert set(net.world.forms.values()) == {"masked"}
    backward(model, batches(1)[0])
    opt.step()
    plain = Net()
    other = adam(plain.parameters())
    backward(plain, batches(1)[0])
    other.step()
    opt.load_state_dict(copy.deepcopy(other.state_dict()))
    with pytest.raises(RuntimeError, match="exp_avg other than 0"):
        net.check()
    backward(model, batches(1)[0])
    with pytest.warns(UserWarning, match="exp_avg"):
        opt.step()
    net.check()


def test_data_writes_are_found_by_check_and_enforced():
    model, _, net = attached()
    model.taps.weight.data.fill_(1.0)
    with pytest.raises(RuntimeError, match="absent synapses of 'taps.weight' have weights"):
        net.check()
    assert net.enforce() == 72 - net.counts[0]
    net.check()
    assert int((model.taps.weight == 1).sum()) == net.counts[0]


def test_own_steps_edits_and_writes_at_edges_are_silent():
    model, opt, net = attached(rewire.SET(when=every(2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in batches(9):
            backward(model, batch)
            opt.step()
            net.check()
            with torch.no_grad():
                for p in model.parameters():
                    p.clamp_(-0.1, 0.1)
    assert len(net.history) > 2


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_an_optimiser_that_moves_every_weight_moves_no_absent_one(world):
    model, opt, net = attached(world=world, optimizer=lambda p: Pulled(p, lr=0.1))
    for batch in batches(3):
        backward(model, batch)
        opt.step()
        net.check()
    absent = ~net.graph.mask(0)
    assert absent.any() and not model.taps.weight[absent].any()


def test_both_worlds_clip_by_one_norm_and_train_alike():
    def norms(world):
        model, opt, net = attached(rewire.SET(when=every(2)), world=world)
        out = []
        for batch in batches(6):
            backward(model, batch)
            out.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
            opt.step()
        return torch.stack(out), net.graph

    (masked, there), (sparse, here) = norms("masked"), norms("sparse")
    assert torch.equal(there.keys, here.keys)
    torch.testing.assert_close(sparse, masked)
    torch.testing.assert_close(here["weight"], there["weight"])


# -- what check looks at in lists -----------------------------------------------------------------


def moments_of_before(net):
    net.world.optimizer.state[net.world.model.read.weight]["exp_avg"] = torch.zeros(3)


def other_wires(net):
    net.world.model.read.wires["weight"] = copy.copy(net.world.model.read.wires["weight"])


def other_edges(net):
    wires = net.world.model.read.wires["weight"]
    wires.index.copy_(wires.index.flip(0))


def not_a_number(net):
    with torch.no_grad():
        net.world.model.read.weight[3] = float("nan")


@pytest.mark.parametrize("what, message", [
    (moments_of_before, "'exp_avg' of 'read.weight' has shape .3,. in the optimizer's state"),
    (other_wires, "layer of 'read.weight' computes with other edges than the graph"),
    (other_edges, "'read.weight' is a list of other edges than the graph"),
    (not_a_number, "weights of 1 edges are NaN .1 of 'read.weight'"),
])  # fmt: skip
def test_check_looks_at_lists_of_edges(what, message):
    model, opt, net = attached()
    backward(model, batches(1)[0])
    opt.step()
    net.check()
    what(net)
    with pytest.raises(RuntimeError, match=message):
        net.check()


def test_check_finds_nan_in_the_masked_world_as_well():
    model, _, net = attached(world="masked")
    with torch.no_grad():
        model.read.weight[net.graph.mask(1)] = float("nan")
    with pytest.raises(RuntimeError, match=f"weights of {net.counts[1]} edges are NaN"):
        net.check()
