"""What is done to a model after attach: rules leave it alone, or the next step says what to do."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import rewire

WORLDS = ("masked", "sparse")


def attached(world, rule=None, density=0.3):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("body", nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 12)))
    model.add_module("head", nn.Linear(12, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rule = rule or rewire.SET(fraction=0.3, when=rewire.every(1))
    net = rewire.attach(model, optimizer, rule, density=density, world=world)
    return model, optimizer, net


def passes(model):
    model.zero_grad()
    dtype = next(model.parameters()).dtype
    loss = nn.functional.cross_entropy(model(torch.randn(6, 8, dtype=dtype)), torch.arange(6) % 4)
    loss.backward()


def freeze(model):
    model.body[0].requires_grad_(False)


def assign(model):
    model.body[0].weight = nn.Parameter(model.body[0].weight.detach().clone())


def replace_the_head(model):
    model.head = nn.Linear(12, 4)


def replace_the_body(model):
    model.body = nn.Sequential(nn.Linear(8, 12))


def remove_a_layer(model):
    del model.body[2]
    model.head = nn.Linear(20, 4)


DONE = {
    "frozen": (freeze, "'body.0.weight' was frozen after attach .*keeps out what is frozen"),
    "assigned": (assign, "'body.0.weight' is another parameter than at attach"),
    "head replaced": (replace_the_head, "the module 'head' is another Linear .*'head.weight'"),
    "body replaced": (replace_the_body, "module 'body'.*'body.0.weight', 'body.2.weight'"),
    "removed": (remove_a_layer, "the module '2' is gone since attach.*'body.2.weight'"),
    "double": (lambda m: m.double(), "'body.0.weight' was torch.float32 on cpu .*torch.float64"),
    "meta": (lambda m: m.to("meta"), "'body.0.weight' is another parameter than at attach"),
}


@pytest.mark.parametrize("what", DONE)
@pytest.mark.parametrize("world", WORLDS)
def test_the_next_step_says_what_was_changed(world, what):
    model, optimizer, net = attached(world)
    passes(model)
    optimizer.step()
    before, clock = net.topology, net.clock
    change, message = DONE[what]
    if world == "sparse" and what in ("assigned", "double", "meta"):  # at once
        with pytest.raises(RuntimeError, match="weights are lists of edges"):
            change(model)
        assert torch.equal(net.topology, before) and net.clock == clock
        return
    change(model)
    if what != "meta":
        passes(model)
    for step in (net.step, optimizer.step, net.check):
        with pytest.raises(RuntimeError, match=message):
            step()
    assert torch.equal(net.topology, before) and net.clock == clock


def hooked_norm(module):
    nn.utils.weight_norm(module)


@pytest.mark.parametrize("wrap", [
    parametrizations.weight_norm, hooked_norm, parametrizations.orthogonal,
    lambda module: prune.random_unstructured(module, "weight", 0.5),
])  # fmt: skip
def test_a_weight_that_is_parametrised_after_attach_is_refused(wrap):
    model, optimizer, net = attached("masked")
    wrap(model.head)
    passes(model)
    with pytest.raises(RuntimeError, match="'head.weight' is another parameter.*parametrised"):
        optimizer.step()


@pytest.mark.parametrize("world", WORLDS)
def test_a_frozen_layer_is_kept_out_by_attaching_again(world):
    """In the way that the refusal names, with the edges that were there."""
    model, optimizer, net = attached(world)
    passes(model)
    net.step()
    kept = net.to_dense().head.weight.detach()
    masks = net.masks()
    if world == "masked":
        net.detach()
    else:
        with pytest.raises(ValueError, match="'body.0.weight' is a list of edges.*net.to_dense"):
            rewire.attach(model, optimizer, rewire.SET(), density=0.3, world=world)
        model = net.to_dense()
    model.head.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.SET(fraction=0.3, when=rewire.every(1))
    net = rewire.attach(model, optimizer, rule, initial="nonzero", world=world)
    for name, mask in net.masks().items():
        assert not (mask & ~masks[name]).any() and mask.sum() > 0.6 * masks[name].sum()
    for _ in range(3):
        passes(model)
        optimizer.step()
    assert [p.name for p in net.graph.projections] == ["body.0.weight", "body.2.weight"]
    assert torch.equal(model.head.weight, kept) and (kept == 0).any()


def test_groups_that_lose_or_change_a_sparse_weight_are_refused():
    for change in ("lost", "turned round"):
        model, _, _ = attached("masked")
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(
            [{"params": twin.body.parameters(), "lr": 0.1}, {"params": twin.head.parameters()}],
            lr=0.2,
        )
        net = rewire.attach(twin, optimizer, rewire.Static(), initial="nonzero")
        passes(twin)
        optimizer.step()
        groups = optimizer.param_groups
        if change == "lost":
            del groups[0]["params"][0]
        else:
            groups.reverse()
        passes(twin)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="'body.0.weight' is no longer in group 0"):
                net.step()


@pytest.mark.parametrize("world", WORLDS)
def test_groups_that_are_loaded_are_the_same(world):
    model, optimizer, net = attached(world)
    for _ in range(2):
        passes(model)
        optimizer.step()
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert net.clock.step == 2


@pytest.mark.parametrize("world", WORLDS)
def test_thawed_again_it_trains_on(world):
    model, optimizer, net = attached(world)
    passes(model)
    model.head.weight.requires_grad_(False)  # as a loop of a GAN does between two steps
    model.head.weight.requires_grad_(True)
    optimizer.step()
    assert net.clock.step == 1


@pytest.mark.parametrize("world", WORLDS)
def test_another_optimizer_of_the_same_weights_is_refused_before_it_moves_them(world):
    model, optimizer, net = attached(world)
    other = torch.optim.Adam(model.parameters(), lr=0.1)
    passes(model)
    before = net.graph["weight"]
    with pytest.raises(RuntimeError, match="'body.0.weight' is sparse .*another SGD .* this Adam"):
        other.step()
    assert torch.equal(net.graph["weight"], before)
    optimizer.step()
    net.detach()
    other.step()  # nobody's business any more


@pytest.mark.parametrize("world", WORLDS)
def test_another_optimizer_of_other_weights_steps_as_it_likes(world):
    model, optimizer, net = attached(world)
    other = torch.optim.Adam([model.head.bias, nn.Parameter(torch.ones(3))], lr=0.1)
    passes(model)
    bias = model.head.bias.detach().clone()
    other.step()
    assert not torch.equal(model.head.bias, bias) and net.clock.step == 0


@pytest.mark.parametrize("world", WORLDS)
def test_a_group_that_is_added_later_trains_and_moves_no_rate(world):
    model, optimizer, net = attached(world, rewire.DeepR(l1=0.0, temperature=0.0))
    extra = nn.Linear(4, 4)
    optimizer.add_param_group({"params": extra.parameters(), "lr": 0.5})
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(extra(model(torch.randn(6, 8))), torch.arange(6) % 4)
        loss.backward()
        before = extra.weight.detach().clone()
        optimizer.step()
        assert not torch.equal(extra.weight, before)
    net.check()
    assert net.world.lr(net.graph, None) == 0.1 and net.clock.step == 3


@pytest.mark.parametrize("world", WORLDS)
def test_a_copy_stands_by_itself(world):
    model, optimizer, net = attached(world)
    passes(model)
    optimizer.step()
    twin = copy.deepcopy(net)
    freeze(model)
    with pytest.raises(RuntimeError, match="frozen after attach"):
        net.step()
    passes(twin.world.model)
    twin.step()
    freeze(twin.world.model)
    with pytest.raises(RuntimeError, match="frozen after attach"):
        twin.step()


def test_a_hook_that_rewrites_a_weight_in_every_pass_is_noticed():
    """Also through ``weight.data``, which leaves no trace at the tensor."""
    model, optimizer, net = attached("masked", rewire.Static())

    def rewrite(module, args):
        module.weight.data.add_(1.0)

    model.head.register_forward_pre_hook(rewrite)
    passes(model)
    with pytest.warns(UserWarning, match="absent synapses of 'head.weight'"):
        optimizer.step()
    net.check()


def test_data_that_is_assigned_is_projected_and_said():
    model, optimizer, net = attached("masked", rewire.Static())
    model.head.weight.data = torch.ones(4, 12)
    passes(model)
    with pytest.warns(UserWarning, match="absent synapses of 'head.weight'"):
        optimizer.step()
    net.check()


@pytest.mark.parametrize("world", WORLDS)
def test_train_says_it_too(world):
    """A rewind gives weights other numbers, and is no change of the model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.IMP(fraction=0.5, rounds=2)

    def train(on_step):
        return rewire.train(
            model, optimizer, rule, steps=3, world=world, on_step=on_step,
            loss=lambda model, x: model(x).square().sum(), data=lambda step: torch.randn(4, 8),
        )  # fmt: skip

    assert train(None).clock.round == 2

    def freeze(net, loss):
        if net.clock.round == 1:
            model[0].requires_grad_(False)

    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="'0.weight' was frozen after attach"):
        train(freeze)
