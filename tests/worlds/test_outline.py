"""A model that changes after its plan was traced trains on as it does layer by layer."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import rewire
from rewire import every
from rewire.native import sparse as engine
from rewire.worlds.sparse import native_step
from rewire.worlds.sparse.plan.fingerprint import Outline

pytestmark = pytest.mark.skipif(engine is None, reason="the engine was not built")
OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),  # which the engine does not have
}


class Net(nn.Module):
    """Two convolutions and two linear layers, ``head`` dense; ``twice`` steers the forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        # no bias before a norm: its gradient is rounding alone, which Adam makes steps of
        self.first, self.norm = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.block = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.ReLU()
        )
        self.hidden, self.drop, self.head = nn.Linear(32, 9), nn.Dropout(0.0), nn.Linear(9, 4)
        self.twice = False
        self.double()

    def forward(self, x):
        x = self.block(self.act(self.norm(self.first(x)))).flatten(1)
        x = self.head(self.drop(torch.tanh(self.hidden(x))))
        return x + x if self.twice else x


def both(*changes):
    def change(model, optimizer):
        for one in changes:
            one(model, optimizer)

    return change


def frozen(*names):
    def change(model, optimizer):
        for name in names:
            model.get_submodule(name).requires_grad_(False)

    return change


def new_head(model, optimizer):
    model.head = nn.Linear(9, 4).double()


def trained_head(model, optimizer):
    optimizer.add_param_group({"params": model.head.parameters(), "lr": 0.02})


def other_means(model, optimizer):
    model.norm.running_mean = torch.ones(6).double()


def other_activation(model, optimizer):
    model.act.forward = torch.tanh


def new_norm(model, optimizer):
    model.norm = nn.BatchNorm2d(6, eps=0.1, momentum=0.5).double()


def another_layer(model, optimizer):
    model.hidden = nn.Linear(32, 9).double()


def doubled(module, args, out):
    return 2 * out


# what is done to the model -> why it then runs layer by layer, None where it is traced anew
CHANGES = {
    "a norm is frozen": (lambda m, o: m.norm.eval(), "norm is frozen"),
    "the whole model is": (lambda m, o: m.eval(), "norm is frozen"),
    "its numbers are": (frozen("norm"), None),
    "a sparse weight is": (lambda m, o: m.first.weight.requires_grad_(False), None),
    "all but the head are": (frozen("first", "norm", "block", "hidden"), None),
    "a norm has other options": (lambda m, o: vars(m.norm).update(eps=0.1, momentum=0.5), None),
    "a norm starts anew": (lambda m, o: m.norm.reset_parameters(), None),
    "a norm is another": (new_norm, None),
    "a norm's means are": (other_means, None),
    "a bias moves": (lambda m, o: setattr(m.head.bias, "data", torch.ones(4).double()), None),
    "a layer is dropped from": (lambda m, o: setattr(m.drop, "p", 0.5), "dropout"),
    "the head is another": (new_head, None),
    "the head is another, trained": (both(new_head, trained_head), None),
    "the head starts anew": (lambda m, o: m.head.reset_parameters(), None),
    "a sparse layer is another": (another_layer, "'hidden.weight' was replaced"),
    "a layer is taken out": (lambda m, o: setattr(m.block, "2", nn.Identity()), None),
    "the forward pass is steered": (lambda m, o: setattr(m, "twice", True), None),
    "a layer is hooked": (lambda m, o: m.act.register_forward_hook(doubled), "act .* has hooks"),
    "a block is": (lambda m, o: m.block.register_forward_hook(doubled), "block .* has hooks"),
    "the model is": (lambda m, o: m.register_forward_hook(doubled), "the model .* has hooks"),
    "a gradient is": (lambda m, o: m.head.bias.register_hook(lambda g: 2 * g), "head .* has hooks"),
    "a forward pass is another": (other_activation, "act .* another"),
    "a weight is computed": (lambda m, o: parametrizations.weight_norm(m.head), "head .* computes"),
    "a frozen norm is hooked": (
        both(lambda m, o: m.norm.eval(), lambda m, o: m.norm.register_forward_hook(doubled)),
        "norm .* has hooks",
    ),
}  # fmt: skip


REFUSED = {
    "a sparse weight is": "'first.weight' was frozen after attach",
    "all but the head are": "'first.weight' was frozen after attach",
    "a sparse layer is another": "the module 'hidden' is another Linear",
}


class Pair:
    """One training with a plan and one layer by layer, on the same batches."""

    def __init__(self, optimizer, rule, *, standing=True, **options):
        self.nets = []
        for _ in range(2):
            model = Net()
            self.nets.append(rewire.attach(
                model, OPTIMIZERS[optimizer](model.parameters()), rule, seed=3, steps=40,
                world="sparse", exclude=["head*"], **{"density": 0.3, **options},
            ))  # fmt: skip
            if not standing:  # as sessions that nobody attached: the plan looks for itself
                self.nets[-1].world.standing = None
        self.planned, layers = (net.world for net in self.nets)
        layers.native.untraceable = "to compare"
        self.data = torch.Generator().manual_seed(1)

    def batch(self):
        x = torch.randn(7, 2, 8, 8, generator=self.data, dtype=torch.float64)
        return x, torch.randint(4, (7,), generator=self.data)

    def change(self, what):
        for net in self.nets:
            torch.manual_seed(5)
            what(net.world.model, net.world.optimizer)

    def train(self, steps):
        for _ in range(steps):
            (x, y), losses = self.batch(), []
            for net in self.nets:
                torch.manual_seed(net.clock.total)  # of dropout
                losses.append(net.learn(x, y))
                net.rewire()
            assert losses[0] == pytest.approx(losses[1], rel=1e-9)

    def evaluate(self):
        x, y = self.batch()
        found = [net.world.evaluate(x, y) for net in self.nets]
        assert found[0] == pytest.approx(found[1], rel=1e-9)

    def check(self):
        one, other = self.nets
        assert torch.equal(one.graph.keys, other.graph.keys)
        ours, theirs = (net.world.model.state_dict() for net in self.nets)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.allclose(value, theirs[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_trains_on_as_layer_by_layer(change, optimizer):
    what, reason = CHANGES[change]
    rule = rewire.DeepR(l1=1e-3, noise=1e-3)
    pair = Pair(optimizer, rule, standing=change not in REFUSED)
    pair.train(4)
    pair.evaluate()
    assert pair.planned.plan is not None
    pair.change(what)
    pair.evaluate()  # seen at once
    pair.train(4)
    pair.evaluate()
    pair.check()
    if reason is None:
        assert pair.planned.plan is not None and pair.planned.untraceable is None
    else:
        assert pair.planned.plan is None and re.search(reason, pair.planned.untraceable or "")


@pytest.mark.parametrize("change", REFUSED)
def test_what_takes_a_sparse_weight_away_is_refused_after_attach(change):
    pair = Pair("momentum", rewire.DeepR(l1=1e-3, noise=1e-3))
    pair.train(2)
    pair.change(CHANGES[change][0])
    for net in pair.nets:
        with pytest.raises(RuntimeError, match=REFUSED[change]):
            net.learn(*pair.batch())


def with_options(**options):
    return lambda model, optimizer: optimizer.param_groups[0].update(options)


def lower_rate(model, optimizer):
    optimizer.param_groups[0]["lr"].mul_(0.1)


def loaded(model, optimizer):
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state["momentum_buffer"] *= 2
    optimizer.load_state_dict(saved)


SGD = {
    "a rate": ({"momentum": 0.9}, with_options(lr=0.01)),
    "a rate in a tensor": ({"lr": torch.tensor(0.1)}, lower_rate),
    "momentum": ({}, with_options(momentum=0.9)),
    "no momentum": ({"momentum": 0.9}, with_options(momentum=0.0)),
    "Nesterov": ({"momentum": 0.9}, with_options(nesterov=True)),
    "ascent": ({"momentum": 0.9}, with_options(maximize=True)),  # which the engine does not have
    "another group": ({"momentum": 0.9}, trained_head),
    "another state": ({"momentum": 0.9}, loaded),
}  # fmt: skip


@pytest.mark.parametrize("change", SGD)
def test_an_optimizer_that_was_changed_steps_on_as_layer_by_layer(change, monkeypatch):
    options, what = SGD[change]

    def make(parameters):
        kept = list(parameters)[:-2]  # the head comes later, if at all
        return torch.optim.SGD(kept, **{"lr": 0.1, **copy.deepcopy(options)})

    monkeypatch.setitem(OPTIMIZERS, "SGD", make)
    pair = Pair("SGD", rewire.Static())  # an edit would hand over the state anyway
    pair.train(4)
    pair.change(what)
    pair.train(4)
    assert pair.planned.plan is not None
    pair.check()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_change_taken_back_brings_the_plan_back_with_the_edges_of_now(optimizer):
    pair = Pair(optimizer, rewire.RigL(when=every(2), fraction=0.5))
    pair.train(3)
    pair.evaluate()
    pair.change(lambda m, o: m.norm.eval())
    pair.train(4)
    assert "frozen" in pair.planned.untraceable
    pair.change(lambda m, o: m.norm.train())
    pair.evaluate()
    pair.train(3)
    assert pair.planned.plan is not None and pair.planned.untraceable is None
    pair.evaluate()
    pair.check()


def test_a_rule_that_asks_for_gradients_of_a_frozen_weight_is_given_those_of_the_layers():
    pair = Pair("momentum", rewire.RigL(when=every(2), fraction=0.5), standing=False)
    pair.train(3)
    pair.change(lambda m, o: m.hidden.weight.requires_grad_(False))
    pair.train(4)
    assert "'hidden.weight' is frozen" in pair.planned.untraceable
    pair.check()


def test_hooks_on_every_module_are_called():
    pair = Pair("momentum", rewire.Static())
    pair.train(2)
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, args, out: 2 * out if isinstance(module, nn.ReLU) else None
    )
    try:
        pair.train(2)
        assert "hooks" in pair.planned.untraceable
    finally:
        hook.remove()
    pair.train(2)
    assert pair.planned.plan is not None
    pair.check()


@pytest.fixture
def traces(monkeypatch):
    """How often a plan was made or tried, for training or not."""
    made, trace = [], native_step.plan.trace

    def noted(*args, **options):
        made.append(options["training"])
        return trace(*args, **options)

    monkeypatch.setattr(native_step.plan, "trace", noted)
    return made


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_edits_of_rules_are_no_other_model(scope, traces):
    """Where layers gain and lose edges, their parameters are others."""
    pair = Pair("AdamW", rewire.DeepR(l1=1e-2, noise=1e-2, scope=scope))
    counts = set()
    for _ in range(6):
        pair.train(1)
        pair.evaluate()
        counts.add(tuple(pair.nets[0].counts))
    assert (len(counts) > 1) == (scope == "global")
    assert traces == [True, False]


class Counting(nn.Module):
    """Counts its passes, and cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(nn.functional.gelu(x))


def test_what_a_forward_pass_changes_is_no_other_model(traces):
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5, world="sparse")
    for _ in range(5):
        net.learn(torch.ones(4, 6), torch.tensor([0, 1, 2, 0]))
        net.rewire()
    assert "gelu" in net.world.untraceable
    assert traces == [True] and model.calls == 5 + 1  # torch.fx passes once


@pytest.mark.parametrize("kind", ["masked", "sparse"])
def test_an_evaluation_leaves_every_module_in_its_mode(kind):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5, world=kind)
    model.norm.eval()
    net.world.evaluate(torch.ones(4, 2, 8, 8).double(), torch.tensor([0, 1, 2, 0]))
    assert model.training and model.block.training and not model.norm.training


def test_an_outline_holds_until_something_is_another():
    model = Net()
    outline = Outline(model)
    assert outline.holds()
    model.eval()
    assert not outline.holds()
    model.train()
    assert outline.holds()
    model.extra = 1
    assert not outline.holds()
    del model.extra, model.twice
    assert not outline.holds()
    outline = Outline(model)
    model.head.bias.data.zero_()
    model.norm(torch.ones(2, 6, 4, 4).double())  # numbers alone
    assert outline.holds()
    model.norm.register_buffer("more", torch.ones(1))
    assert not outline.holds()
