"""Whoever calls the optimiser, and whatever is written between steps: the promise holds."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

import rewire

WORLDS = ("masked", "sparse")
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "plain": lambda p: torch.optim.SGD(p, lr=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


def mlp(seed=0, sizes=(20, 30, 4)):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))


def batches(n=12):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 20, generator=generator), torch.arange(16) % 4) for _ in range(n)]


def attached(world, rule, optimizer="sgd", density=0.3, **options):
    model = mlp()
    opt = OPTIMIZERS[optimizer](model.parameters())
    net = rewire.attach(model, opt, rule, density=density, world=world, seed=3, **options)
    return model, opt, net


def backward(model, batch):
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    return loss


def same(net, other):
    a, b = net.graph, other.graph
    assert torch.equal(a.keys, b.keys)
    assert torch.equal(a["weight"], b["weight"])
    assert net.clock == other.clock


RULES = {
    "set": lambda: rewire.SET(fraction=0.3, when=rewire.every(3)),
    "rigl": lambda: rewire.RigL(fraction=0.3, when=rewire.every(4)),
    "gmp": lambda: rewire.GMP(to=0.1, when=rewire.every(2)),
    "static": rewire.Static,
}


@pytest.mark.every_other
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("world", WORLDS)
def test_the_optimisers_own_step_is_the_sessions(world, optimizer, rule):
    density = None if rule == "gmp" else 0.3
    options = {"optimizer": optimizer, "density": density, "steps": 12}
    model, opt, net = attached(world, RULES[rule](), **options)
    twin, _, reference = attached(world, RULES[rule](), **options)
    for batch in batches():
        backward(model, batch)
        opt.step()
        net.check()
        backward(twin, batch)
        reference.step()
        same(net, reference)
    assert net.clock.step == 12
    if rule != "static":
        assert net.history.formed or net.history.dropped


@pytest.mark.parametrize("world", WORLDS)
def test_a_closure_and_a_scheduler_make_the_same_steps(world):
    model, opt, net = attached(world, RULES["rigl"](), steps=12)
    twin, other, reference = attached(world, RULES["rigl"](), steps=12)
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 3) for o in (opt, other)]
    for batch in batches():
        opt.step(lambda batch=batch: backward(model, batch))
        backward(twin, batch)
        reference.step()
        for scheduler in schedulers:
            scheduler.step()
        same(net, reference)


@pytest.mark.parametrize("world", WORLDS)
def test_accumulated_passes_are_one_step(world):
    model, opt, net = attached(world, RULES["rigl"](), steps=3)
    twin, _, reference = attached(world, RULES["rigl"](), steps=3)
    for step in range(3):
        model.zero_grad()
        twin.zero_grad()
        for x, y in batches()[4 * step : 4 * step + 4]:
            for m in (model, twin):
                (nn.functional.cross_entropy(m(x), y) / 4).backward()
        opt.step()
        reference.step()
        same(net, reference)
    assert net.clock.step == 3


def test_a_step_that_a_scaler_leaves_out_is_none():
    model, opt, net = attached("masked", RULES["set"](), steps=12)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for i, batch in enumerate(batches(4)):
        model.zero_grad()
        scaler.scale(nn.functional.cross_entropy(model(batch[0]), batch[1])).backward()
        if i == 1:
            model[0].bias.grad[0] = float("inf")
        scaler.step(opt)
        scaler.update()
        net.check()
    assert net.clock.step == 3


def test_an_infinite_gradient_at_an_absent_synapse_hides_nothing_and_skips_nothing():
    model, opt, net = attached("masked", rewire.Static(), "plain")
    backward(model, batches()[0])
    absent = ~net.masks()["0.weight"]
    hooked = model[0].weight.register_hook(lambda g: torch.where(absent, torch.inf, g))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    model.zero_grad()
    scaler.scale(nn.functional.cross_entropy(model(batches()[1][0]), batches()[1][1])).backward()
    hooked.remove()
    assert model[0].weight.grad.isfinite().all()
    scaler.step(opt)
    scaler.update()
    assert net.clock.step == 1
    net.check()


@pytest.mark.parametrize("rule", ["rigl", "static"])
def test_anybodys_clip_sees_the_edges_alone_in_both_worlds(rule):
    norms, nets = {}, []
    for world in WORLDS:
        model, opt, net = attached(world, RULES[rule](), density=0.1, steps=12)
        norms[world] = []
        for batch in batches(8):
            backward(model, batch)
            norms[world].append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.25)))
            opt.step()
        nets.append(net)
    assert norms["masked"] == pytest.approx(norms["sparse"], rel=1e-5)
    masked, sparse = (net.graph for net in nets)
    assert torch.equal(masked.keys, sparse.keys)
    torch.testing.assert_close(masked["weight"], sparse["weight"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("world", WORLDS)
def test_clip_is_torchs(world):
    model, opt, net = attached(world, rewire.Static())
    backward(model, batches()[0])
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    torch.testing.assert_close(net.clip(0.01), norm)
    after = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert float(after) == pytest.approx(0.01, rel=1e-3)


def test_the_dense_gradient_of_a_rule_is_clipped_as_the_edges_are():
    model, opt, net = attached("masked", rewire.RigL(when=rewire.every(1), fraction=0.3), steps=9)
    plain = mlp()
    plain.load_state_dict(model.state_dict())
    backward(model, batches()[0])
    backward(plain, batches()[0])
    torch.testing.assert_close(net.world.backward.dense()[0], plain[0].weight.grad, rtol=0, atol=0)
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    edges = net.masks()["0.weight"]
    factor = (model[0].weight.grad / plain[0].weight.grad)[edges][0]
    torch.testing.assert_close(net.world.backward.dense()[0], plain[0].weight.grad * factor)


@pytest.mark.parametrize("rule", ["set", "rigl"])
@pytest.mark.parametrize("in_place", [True, False])
def test_numbers_added_to_gradients_after_the_pass_train_no_absent_weight(rule, in_place):
    model, opt, net = attached("masked", RULES[rule](), steps=6)
    for k, batch in enumerate(batches(6)):
        backward(model, batch)
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
            p.grad = p.grad.add_(noise) if in_place else p.grad + noise
        opt.step()
        assert net.world.check() == []


def test_what_is_added_to_a_gradient_in_place_is_added_to_the_dense_one_of_rules():
    model, opt, net = attached("masked", rewire.RigL(when=rewire.every(1), fraction=0.3), steps=9)
    plain = mlp()
    plain.load_state_dict(model.state_dict())
    backward(model, batches()[0])
    backward(plain, batches()[0])
    weight, noise = model[0].weight, 0.001 * torch.randn(model[0].weight.shape)
    weight.grad.mul_(0.5).add_(noise)
    dense, absent = net.world.backward.dense()[0], ~net.masks()["0.weight"]
    expected = 0.5 * plain[0].weight.grad + noise
    torch.testing.assert_close(dense[~absent], expected[~absent])
    torch.testing.assert_close(dense[absent], expected[absent], rtol=0.05, atol=1e-4)
    weight.grad[:, 0] = torch.inf  # at edges too: hides nothing
    assert not net.world.backward.dense()[0].isfinite().all()


class SAM(torch.optim.Optimizer):
    """Foret et al. 2021, two passes: up the gradient, then a step by the gradient found there."""

    def __init__(self, params, base, rho=0.5, **options):
        super().__init__(params, {"rho": rho, **options})
        self.base_optimizer = base(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                up = 0.5 * p.grad
                p.add_(up)
                self.state[p]["up"] = up

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["up"])
        self.base_optimizer.step()

    def step(self, closure):
        closure = torch.enable_grad()(closure)
        closure()
        self.first_step()
        self.zero_grad()
        loss = closure()
        self.second_step()
        return loss


@pytest.mark.parametrize("by", ["closure", "hand"])
def test_sams_second_pass_sees_no_absent_weight(by):
    model = mlp()
    opt = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    net = rewire.attach(model, opt, RULES["set"](), density=0.3, steps=12)
    seen = []

    def closure(batch):
        masks = net.masks()
        seen.append(int((model[0].weight[~masks["0.weight"]] != 0).sum()))
        return backward(model, batch)

    for batch in batches(6):
        if by == "closure":
            opt.step(lambda batch=batch: closure(batch))
        else:
            closure(batch)
            opt.first_step()
            closure(batch)
            opt.second_step()
        net.check()
    assert seen == [0] * 12
    assert net.clock.step == 6


def test_what_others_write_is_projected_at_the_next_step_and_said():
    model, opt, net = attached("masked", rewire.Static(), "adam")
    for batch in batches(3):
        backward(model, batch)
        opt.step()
    dense = mlp(seed=9).state_dict()
    for write in (
        lambda: model.load_state_dict(dense),
        lambda: model[0].reset_parameters(),
        lambda: nn.init.ones_(model[2].weight),
    ):
        write()
        with pytest.raises(RuntimeError, match=r"absent synapses of '\d.weight' have weights"):
            net.check()
        backward(model, batches()[0])
        with pytest.warns(UserWarning, match="written from outside"):
            opt.step()
        net.check()


def test_a_dense_optimiser_state_is_projected():
    model, opt, net = attached("masked", rewire.Static(), "adam")
    backward(model, batches()[0])
    opt.step()
    plain = mlp()
    other = OPTIMIZERS["adam"](plain.parameters())
    backward(plain, batches()[0])
    other.step()
    opt.load_state_dict(copy.deepcopy(other.state_dict()))
    with pytest.raises(RuntimeError, match="exp_avg other than 0"):
        net.check()
    backward(model, batches()[1])
    with pytest.warns(UserWarning, match="exp_avg"):
        opt.step()
    net.check()


def test_data_writes_are_found_by_check_and_enforced():
    model, opt, net = attached("masked", rewire.Static())
    model[0].weight.data.fill_(1.0)
    with pytest.raises(RuntimeError, match=r"absent synapses of '0.weight' have weights"):
        net.check()
    assert net.enforce() == 600 - net.counts[0]
    net.check()
    assert int((model[0].weight == 1).sum()) == net.counts[0]


def test_a_write_of_ones_own_at_the_edges_is_silent():
    model, opt, net = attached("masked", RULES["set"](), steps=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in batches():
            backward(model, batch)
            opt.step()
            with torch.no_grad():
                for p in model.parameters():
                    p.clamp_(-0.1, 0.1)


@pytest.mark.parametrize("rule", [rewire.EdgePopup, rewire.TopKAST])
def test_rules_with_silent_edges_keep_what_the_user_wrote(rule):
    model, opt, net = attached("masked", rule(), density=0.3, steps=20)
    backward(model, batches()[0])
    net.step()
    shown = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.copy_(torch.where(shown != 0, 2 * shown, 0.0))
    written = model[0].weight.detach().clone()
    net.world.guard()
    torch.testing.assert_close(model[0].weight.detach(), written)
    net.world.gates.open()
    net.world.gates.close()
    torch.testing.assert_close(model[0].weight.detach(), written)


def test_the_last_step_is_the_last():
    model, opt, net = attached("masked", rewire.Static(), steps=2)
    for batch in batches(2):
        backward(model, batch)
        opt.step()
    backward(model, batches()[0])
    with pytest.raises(RuntimeError, match="ended after 2 of 2 steps"):
        opt.step()
    net.detach()
    opt.step()


def test_a_later_session_takes_over():
    model, opt, first = attached("masked", rewire.Static(), density=0.5)
    second = rewire.attach(model, opt, RULES["set"](), density=0.2, steps=12)
    for batch in batches(4):
        backward(model, batch)
        opt.step()
        second.check()
    assert (first.clock.step, second.clock.step) == (0, 4)


def test_a_step_that_fails_is_none():
    model, opt, net = attached("masked", RULES["set"](), steps=12)

    def broken():
        raise KeyError("data")

    with pytest.raises(KeyError):
        opt.step(broken)
    for batch in batches(3):
        backward(model, batch)
        opt.step()
    assert net.clock.step == 3


@pytest.mark.parametrize("world", ["masked"])
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_of_a_session_trains_alike_and_apart(world, way):
    model, opt, net = attached(world, RULES["rigl"](), "adam", steps=12)
    for batch in batches(3):
        backward(model, batch)
        opt.step()
    other = copy.deepcopy(net) if way == "deepcopy" else pickle.loads(pickle.dumps(net))
    same(net, other)
    for batch in batches(5):
        backward(model, batch)
        opt.step()
        backward(other.world.model, batch)
        other.optimizer.step()
        other.check()
        same(net, other)


def test_a_step_that_a_scaler_leaves_out_inside_the_optimiser_moves_no_silent_edge():
    """A fused optimiser is called all the same, and looks for the overflow itself."""
    model = mlp()
    opt = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    net = rewire.attach(model, opt, rewire.EdgePopup(), density=0.3, seed=3, steps=12)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for i, batch in enumerate(batches(3)):
        model.zero_grad()
        scaler.scale(nn.functional.cross_entropy(model(batch[0]), batch[1])).backward()
        if i == 1:
            model[0].bias.grad[0] = float("inf")
        before = [p.detach().clone() for p in model.parameters()]
        scaler.step(opt)
        scaler.update()
        if i == 1:
            assert all(map(torch.equal, before, model.parameters()))
    assert net.clock.step == 2


@pytest.mark.parametrize("world", WORLDS)
def test_a_state_that_torch_asks_for_before_the_first_step_is_no_step(world):
    states = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    ends = []
    for asks in (False, True):
        model, optimizer, net = attached(world, RULES["set"](), "plain")
        if asks:
            states.get_optimizer_state_dict(model, optimizer)
            assert net.clock.total == 0
        for batch in batches():
            backward(model, batch)
            optimizer.step()
        ends.append(net)
    same(*ends)
