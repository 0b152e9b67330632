"""A state of a model says which edges it is of; writes from outside are noticed by who reads."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import every

WORLDS = ("masked", "sparse")


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10), nn.Linear(10, 4)
    )


def images():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def batches(n=10, shape=(12,)):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, *shape, generator=draw), torch.randint(4, (8,), generator=draw))
        for _ in range(n)
    ]


def attached(world="masked", seed=3, model=None, rule=None, density=0.3):
    model = mlp() if model is None else model
    rule = rewire.SET(fraction=0.3, when=every(2)) if rule is None else rule
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return rewire.attach(
        model, optimizer, rule, world=world, seed=seed, steps=100, density=density
    )  # fmt: skip


def trained(net, steps):
    for x, y in steps:
        net.world.model.zero_grad()
        cross_entropy(net.world.model(x), y).backward()
        net.step()
    return net


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


THROUGH = {
    "file": through_a_file, "copy": copy.deepcopy, "pickle": lambda s: pickle.loads(pickle.dumps(s))
}  # fmt: skip


STOPPED = r"'0.weight' was loaded from a state of other edges .*net.adopt\(state\)"


@pytest.mark.parametrize("whose", ["ours", "theirs", "closure"])
@pytest.mark.parametrize("through", THROUGH)
def test_a_masked_state_of_other_edges_is_evaluated_and_not_trained(through, whose):
    net, x = trained(attached(), batches(2)), batches(1)[0][0]
    best = THROUGH[through](net.world.model.state_dict())
    expected = net.world.model.eval()(x)
    trained(net, batches(4))
    net.world.model.train().load_state_dict(best)
    assert torch.equal(net.world.model.eval()(x), expected)
    clock, weights = net.clock, [p.clone() for p in net.world.model.parameters()]
    steps = {
        "ours": net.step, "theirs": net.optimizer.step,
        "closure": lambda: net.optimizer.step(lambda: 0.0),
    }  # fmt: skip
    for use in (steps[whose], net.state_dict, net.to_dense, lambda: net.graph):
        with pytest.raises(RuntimeError, match=STOPPED):
            use()
    assert net.clock == clock
    for p, before in zip(net.world.model.parameters(), weights, strict=True):
        assert torch.equal(p, before)
    again = net.world.model.state_dict()  # of what is in the weights, not of the session
    plain = attached(seed=8)
    plain.adopt(again)
    assert torch.equal(plain.world.model.eval()(x), expected)


@pytest.mark.parametrize("way", ["session", "adopt", "enforce", "another"])
def test_what_was_loaded_of_other_edges_is_settled_in_four_ways(way):
    net = trained(attached(), batches(2))
    best, session = copy.deepcopy(net.world.model.state_dict()), copy.deepcopy(net.state_dict())
    weight, keys = net.graph["weight"], net.graph.keys
    trained(net, batches(4))
    now = copy.deepcopy(net.world.model.state_dict())
    net.world.model.load_state_dict(best)
    {
        "session": lambda: net.load_state_dict(session), "adopt": lambda: net.adopt(best),
        "enforce": net.enforce, "another": lambda: net.world.model.load_state_dict(now),
    }[way]()  # fmt: skip
    net.check()
    if way in ("session", "adopt"):
        assert torch.equal(net.graph.keys, keys) and torch.equal(net.graph["weight"], weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(net, batches(3))
    net.check()


@pytest.mark.parametrize("through", THROUGH)
def test_a_masked_state_of_the_same_edges_is_loaded_without_a_word(through):
    net = trained(attached(), batches(2))
    state, weight = THROUGH[through](net.world.model.state_dict()), net.graph["weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            for p in net.world.model.parameters():
                p.mul_(2)
        net.world.model.load_state_dict(state)
        assert torch.equal(net.graph["weight"], weight)
        trained(net, batches(3))


def test_the_session_first_then_model_and_optimizer_is_the_order():
    half, steps = trained(attached(), batches()[:5]), batches()[5:]
    saved = copy.deepcopy(
        (half.state_dict(), half.world.model.state_dict(), half.optimizer.state_dict())
    )
    again = attached(seed=3, model=mlp(7))
    again.load_state_dict(saved[0])
    again.world.model.load_state_dict(saved[1])
    again.optimizer.load_state_dict(saved[2])
    trained(half, steps)
    trained(again, steps)
    assert torch.equal(again.graph.keys, half.graph.keys)
    assert torch.equal(again.graph["weight"], half.graph["weight"])


def test_a_plain_model_takes_a_masked_state_as_any_other():
    net = trained(attached(), batches(3))
    plain = mlp(5)
    result = plain.load_state_dict(through_a_file(net.world.model.state_dict()), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    x = batches(1)[0][0]
    assert torch.equal(plain.eval()(x), net.world.model.eval()(x))
    plain.load_state_dict(net.world.model.state_dict(), assign=True)


def test_a_dense_state_is_projected_with_a_warning():
    net = trained(attached(), batches(3))
    net.world.model.load_state_dict(mlp(5).state_dict())
    with pytest.warns(UserWarning, match="absent synapses of '0.weight' have weights other than 0"):
        trained(net, batches(1))
    net.check()


@pytest.mark.parametrize("model", [mlp, images])
@pytest.mark.parametrize("world", WORLDS)
def test_a_state_does_not_take_the_place_of_the_sessions_parameters(world, model):
    net = attached(world, model=model())
    parameters = list(net.world.model.parameters())
    with pytest.raises(RuntimeError, match="assign=False"):
        net.world.model.load_state_dict(net.world.model.state_dict(), assign=True)
    assert parameters[0] is next(net.world.model.parameters())


def test_what_the_sparse_world_holds_dense_says_its_edges_too():
    one, twin = (attached("sparse", seed, images()) for seed in (3, 4))
    assert one.world.forms["0.weight"] == "masked"
    state = one.world.model.state_dict()
    del state["3.weight"], state["3.weight_keys"]
    twin.world.model.load_state_dict(state, strict=False)
    with pytest.raises(RuntimeError, match="'0.weight' was loaded from a state of other edges"):
        trained(twin, batches(1, (1, 4, 4)))
    with pytest.warns(UserWarning, match="absent synapses of '0.weight'"):
        with torch.no_grad():
            one.world.model[0].weight.fill_(1.0)
        trained(one, batches(1, (1, 4, 4)))
    assert (one.world.model[0].weight[~one.masks()["0.weight"]] == 0).all()


def test_without_a_session_no_state_says_anything():
    net = attached()
    copied = copy.deepcopy(net.world.model)
    for model in (copied, pickle.loads(pickle.dumps(copied)), net.to_dense(), net.detach()):
        model = net.world.model if model is None else model
        metadata = model.state_dict()._metadata
        assert all("rewire" not in local for local in metadata.values())
        model.load_state_dict(mlp(5).state_dict())


# -- taking a state with its edges ---------------------------------------------------------------


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize(("origin", "world"), [(a, b) for a in WORLDS for b in WORLDS])
def test_a_state_is_adopted_with_its_edges(origin, world, through):
    source = trained(attached(origin, seed=4), batches(3))
    state = THROUGH[through](source.world.model.state_dict())
    net = trained(attached(world), batches(5))
    clock, kept = net.clock, net.graph
    moments = {}
    if world == "masked":
        moments = {p: s["momentum_buffer"].clone() for p, s in net.optimizer.state.items()}
    net.adopt(state)
    assert torch.equal(net.graph.keys, source.graph.keys) and net.clock == clock
    assert torch.equal(net.graph["weight"], source.graph["weight"])
    x = batches(1)[0][0]
    ours, theirs = net.world.model.eval()(x), source.world.model.eval()(x)
    assert torch.allclose(ours, theirs, atol=1e-6)
    net.check()
    for i, p in enumerate(net.world.sparse_parameters() if world == "masked" else []):
        both = kept.mask(i) & net.graph.mask(i)
        now = net.optimizer.state[p]["momentum_buffer"]
        assert torch.equal(now[both], moments[p][both]) and both.any() and not now[~both].any()
    start = net.history.start
    trained(net, batches(4))
    net.check()
    assert torch.equal(net.history.replay(net.graph).keys, net.graph.keys)
    assert torch.equal(start, source.graph.keys) and net.history.dropped


def test_what_cannot_be_adopted_is_refused_by_name_and_changes_nothing():
    net = trained(attached(), batches(3))
    before = net.state_dict(), copy.deepcopy(net.world.model.state_dict())
    state = attached(seed=4).world.model.state_dict()
    plain = dict(state)
    fewer = attached(density=0.2).world.model.state_dict()
    named = copy.deepcopy(state)
    named["9.weight"] = named["1.weight"]
    partial = copy.deepcopy(state)
    del partial["3.weight"]
    norm = copy.deepcopy(state)
    norm["1.weight"] = torch.ones(3)
    for other, why in (
        (plain, r"'0.weight' of this state, of shape \(16, 12\), does not say which edges"),
        (fewer, r"edges in '0.weight', and this session"), (named, "differs in '9.weight'"),
        (partial, "has no '3.weight'"), (norm, r"'1.weight' has shape \(3,\) there and \(16,\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            net.adopt(other)
    assert torch.equal(net.graph.keys, before[0]["keys"])
    for name, value in net.world.model.state_dict().items():
        assert torch.equal(value, before[1][name])
    silent = attached(rule=rewire.EdgePopup())
    with pytest.raises(ValueError, match="EdgePopup has silent edges"):
        silent.adopt(silent.world.model.state_dict())


@pytest.mark.parametrize("world", WORLDS)
def test_adopted_edges_keep_the_limits(world):
    model = mlp()
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.SET(), density=0.3, seed=3,
        world=world, limits=[rewire.FanIn(most=6)],
    )  # fmt: skip
    free = attached(world, seed=4)
    free.load_state_dict({**free.state_dict()})
    counts = net.counts
    source = mlp()
    other = rewire.attach(
        source, torch.optim.SGD(source.parameters(), lr=0.1), rewire.SET(), seed=4, world=world,
        distribution=counts,
    )  # fmt: skip
    before = net.graph
    with pytest.raises(ValueError, match="may hold 6"):
        net.adopt(other.world.model.state_dict())
    assert torch.equal(net.graph.keys, before.keys)


# -- writes that leave no mark --------------------------------------------------------------------

READS = {
    "graph": lambda net: net.graph,
    "session": lambda net: net.state_dict(),
    "model": lambda net: net.world.model.state_dict(),
    "dense": lambda net: net.to_dense(),
    "average": lambda net: net.averaged().model,
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("how", ["copy_", "assigned"])
def test_a_write_through_data_is_noticed_at_every_read(how, read):
    net = trained(attached(), batches(2))
    weight = net.world.model[0].weight
    if how == "copy_":
        weight.data.copy_(torch.ones(16, 12))
    else:
        weight.data = torch.ones(16, 12)
    with pytest.warns(UserWarning, match="absent synapses of '0.weight' have weights other than 0"):
        READS[read](net)
    assert (weight[~net.masks()["0.weight"]] == 0).all() and (
        weight[net.masks()["0.weight"]] == 1
    ).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        READS[read](net)
        trained(net, batches(2))


def test_what_is_written_beside_silent_edges_is_kept_but_for_absent_ones():
    net = trained(attached(rule=rewire.EdgePopup()), batches(2))
    with torch.no_grad():
        net.world.model[0].weight.data.mul_(2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.graph  # noqa: B018
