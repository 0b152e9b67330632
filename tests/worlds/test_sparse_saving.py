"""What is saved of a sparse model, its optimiser and its session goes back where it came from."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import every


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.Linear(12, 5))


def data(steps, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(12, 20, generator=draw), torch.randint(5, (12,), generator=draw))
        for _ in range(steps)
    ]


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def attached(model=None, *, seed=3, rule=None, optimizer=adam, density=0.3, world="sparse"):
    model = mlp(0) if model is None else model
    rule = rewire.SET(when=every(3)) if rule is None else rule
    return rewire.attach(
        model, optimizer(model.parameters()), rule, density=density, seed=seed, steps=100,
        world=world,
    )  # fmt: skip


def trained(net, batches, whole=False):
    for x, y in batches:
        if whole:
            net.learn(x, y)
            net.rewire()
            continue
        net.world.model.zero_grad()
        cross_entropy(net.world.model(x), y).backward()
        net.step()
    return net


def state_of(net):
    return copy.deepcopy((
        net.world.model.state_dict(), net.world.optimizer.state_dict(), net.state_dict(),
    ))  # fmt: skip


def same(one, other):
    assert torch.equal(one.graph.keys, other.graph.keys)
    assert torch.equal(one.graph["weight"], other.graph["weight"])
    for a, b in zip(one.world.model.parameters(), other.world.model.parameters(), strict=True):
        assert torch.equal(a, b)


# -- of which edges a state is --------------------------------------------------------------------


def test_a_state_of_the_model_says_which_edges_it_is_of():
    net = trained(attached(), data(5))
    state = net.world.model.state_dict()
    for i, name in enumerate(("0.weight", "2.weight", "3.weight")):
        assert torch.equal(state[f"{name}_keys"].long(), net.graph.local(i))
        assert torch.equal(state[name], net.graph["weight"][net.graph.rows(i)])


def test_a_state_of_the_same_edges_is_loaded():
    net = trained(attached(), data(5))
    kept = copy.deepcopy(net.world.model.state_dict())
    before = net.graph["weight"]
    with torch.no_grad():
        for p in net.world.model.parameters():
            p.zero_()
    net.world.model.load_state_dict(kept)
    assert torch.equal(net.graph["weight"], before) and before.abs().sum() > 0


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_a_twin_with_other_edges_is_refused(strict):
    one, twin = attached(seed=3), attached(seed=4)
    assert one.counts == twin.counts
    with pytest.raises(RuntimeError, match=r"'0.weight' of this state is of other edges \(digest"):
        twin.world.model.load_state_dict(one.world.model.state_dict(), strict=strict)


def test_a_best_checkpoint_of_earlier_edges_is_refused_by_the_model_that_trained_on():
    net = trained(attached(), data(2))
    best = copy.deepcopy(net.world.model.state_dict())
    trained(net, data(5))
    weights = net.graph["weight"]
    with pytest.raises(RuntimeError, match="load the session first"):
        net.world.model.load_state_dict(best)
    assert torch.equal(net.graph["weight"], weights)


def test_a_dense_state_and_one_without_its_edges_are_refused():
    net = attached()
    for state in (mlp(0).state_dict(), net.world.model.state_dict()):
        state.pop("0.weight_keys", None)
        with pytest.raises(RuntimeError, match="'0.weight' of this state, of shape .* no entry"):
            net.world.model.load_state_dict(state)


def test_a_state_is_not_assigned_in_the_place_of_the_sessions_memory():
    net = attached()
    with pytest.raises(RuntimeError, match="assign=False"):
        net.world.model.load_state_dict(net.world.model.state_dict(), assign=True)


def test_a_part_of_a_state_without_the_lists_is_loaded():
    net = attached()
    net.world.model.load_state_dict({"0.bias": torch.ones(16)}, strict=False)
    assert (net.world.model[0].bias == 1).all()


@pytest.mark.parametrize("whole", [True, False])
def test_the_session_first_is_the_order_that_goes_on_to_the_same_bits(whole):
    steps = data(20)
    straight = trained(attached(), steps, whole)
    saved = state_of(trained(attached(), steps[:8], whole))
    again = attached(mlp(7))
    again.load_state_dict(saved[2])
    again.world.model.load_state_dict(saved[0])
    again.world.optimizer.load_state_dict(saved[1])
    same(trained(again, steps[8:], whole), straight)


def test_the_session_first_brings_another_number_of_edges():
    rule = rewire.GMP(when=every(2))
    steps = data(20)
    straight = trained(attached(rule=rule), steps)
    saved = state_of(trained(attached(rule=rule), steps[:8]))
    again = attached(mlp(7), rule=rule)
    again.load_state_dict(saved[2])
    again.world.model.load_state_dict(saved[0])
    again.world.optimizer.load_state_dict(saved[1])
    same(trained(again, steps[8:]), straight)


def test_the_session_alone_keeps_the_weights_of_edges_that_are_in_both():
    net = trained(attached(), data(10))
    other = attached(seed=3)
    before = other.graph
    other.load_state_dict(net.state_dict())
    rows, there = before.find(other.graph.keys)
    assert 0 < there.sum() < len(there)
    assert torch.equal(other.graph["weight"][there], before["weight"][rows[there]])
    assert (other.graph["weight"][~there] == 0).all()


def test_an_optimisers_state_of_other_edges_is_refused():
    one, twin = trained(attached(seed=3), data(2)), trained(attached(seed=4), data(2))
    state = one.world.optimizer.state_dict()
    with pytest.raises(ValueError, match=r"is of other edges \(digest \w+, \d+ of them\)"):
        twin.world.optimizer.load_state_dict(state)
    one.world.optimizer.load_state_dict(state)
    del state["rewire"]
    one.world.optimizer.load_state_dict(state)  # as those that were saved without


def test_an_optimisers_dense_state_is_refused():
    model = mlp(0)
    optimizer = adam(model.parameters())
    x, y = data(1)[0]
    cross_entropy(model(x), y).backward()
    optimizer.step()
    dense = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"'exp_avg' of '0.weight' .* has shape \(16, 20\)"):
        attached().world.optimizer.load_state_dict(dense)


def test_an_optimiser_without_moments_takes_any_state():
    def plain(p):
        return torch.optim.SGD(p, lr=0.1)

    one, twin = attached(optimizer=plain), attached(seed=4, optimizer=plain)
    trained(one, data(2))
    one.world.optimizer.param_groups[0]["lr"] = 0.5
    twin.world.optimizer.load_state_dict(one.world.optimizer.state_dict())
    assert twin.world.optimizer.param_groups[0]["lr"] == 0.5


# -- copies ---------------------------------------------------------------------------------------


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


RULES = {
    "SET": rewire.SET(when=every(3)),
    "DeepR": rewire.DeepR(l1=1e-2, noise=1e-2),
    "RigL": rewire.RigL(when=every(3)),
    "plasticity": rewire.StructuralPlasticity(partner="uniform", attempts=0.2, p_elim_dep=0.5),
}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("world", ["sparse", "auto"])
@pytest.mark.parametrize("whole", [True, False], ids=["plan", "layers"])
@pytest.mark.parametrize("rule", RULES)
def test_a_copy_of_a_session_trains_as_the_original_and_apart_from_it(
    rule, whole, world, duplicate
):
    steps = data(30)

    def fresh():
        distribution = {"0": 0.2, "2": 0.9, "3": 0.5}
        model = mlp(0)
        return rewire.attach(
            model, adam(model.parameters()), RULES[rule], seed=3, steps=100,
            distribution=distribution, world=world,
        )  # fmt: skip

    straight = trained(fresh(), steps, whole)
    net = trained(fresh(), steps[:8], whole)
    other = duplicate(net)
    assert other.world.model is not net.world.model
    before, untouched = state_of(net), net.graph
    same(trained(other, steps[8:], whole), straight)
    same(net, duplicate(net))
    assert torch.equal(net.graph.keys, untouched.keys)
    assert torch.equal(net.graph["weight"], untouched["weight"])
    for name, value in before[0].items():
        assert torch.equal(net.world.model.state_dict()[name], value)
    same(trained(net, steps[8:], whole), straight)
    assert other.history.formed == straight.history.formed > 0


def test_a_copied_world_checks_by_its_own_edges():
    net = trained(attached(), data(2))
    other = copy.deepcopy(net)
    trained(net, data(6))
    for part in ("model", "optimizer"):
        state = getattr(net.world, part).state_dict()
        with pytest.raises((RuntimeError, ValueError), match="of other edges"):
            getattr(other.world, part).load_state_dict(state)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
def test_a_copy_of_the_model_alone_computes_with_its_own_weights(duplicate):
    net = trained(attached(rule=RULES["RigL"]), data(5))
    model, x = net.world.model, data(1)[0][0]
    other = duplicate(model)
    assert torch.equal(other(x), model(x))
    said = model(x)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert not other(x).any() and torch.equal(model(x), said)
    for _ in range(3):
        other(x).sum().backward()
    assert not any(m.wires["weight"].passes for m in other if hasattr(m, "wires"))


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_numbers_that_the_engine_lacks_are_refused_before_step_0(dtype):
    with pytest.raises(ValueError, match="'0.weight' (is torch|has complex weights)"):
        attached(mlp(0).to(dtype))


def test_weights_of_two_types_are_refused_before_step_0():
    model = mlp(0)
    model[3].double()
    with pytest.raises(ValueError, match="'0.weight' is torch.float32, '3.weight' is torch.float6"):
        attached(model)
