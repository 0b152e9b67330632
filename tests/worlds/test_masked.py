"""The masked world in the user's own loop: mixed precision, closures, wrappers, optimisers."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import rewire
from rewire import checkpoint, when
from rewire.graph import NOTHING, Edit, Graph
from rewire.native import kernels
from rewire.rule import Rule
from rewire.rule_budget import budget_of
from rewire.worlds.masked import memory
from rewire.worlds.masked import weights as masked


def model_of(dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(8, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 10), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(10, 3)).to(dtype)


def attached(rule, model=None, optimizer=None, density=0.3, **options):
    model = model_of() if model is None else model
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, rewire.attach(model, optimizer, rule=rule, density=density, **options)


def batch(step, dtype=torch.float32):
    g = torch.Generator().manual_seed(step)
    return torch.randn(10, 8, generator=g).to(dtype), torch.randint(3, (10,), generator=g)


def loss_of(model, step, dtype=torch.float32):
    x, y = batch(step, dtype)
    return nn.functional.cross_entropy(model(x).float(), y)


def leaks(model, optimizer, net):
    masks = net.masks()
    worst = 0.0
    for name, p in model.named_parameters():
        if name in masks:
            state = optimizer.state.get(p, {}).values()
            for v in [p, *(v for v in state if isinstance(v, torch.Tensor) and v.shape == p.shape)]:
                worst = max([worst, *v.detach()[~masks[name].to(v.device)].abs().tolist()])
    return worst


def look(net):
    """A step of the world's own in which gradients are kept, as for a rule that is due."""
    net.plan()
    net.world.want_grads(True)
    net.world.advance(net._graph, False)


RULES = {
    "static": rewire.Static(),
    "deep-r": rewire.DeepR(noise=0.5, l1=0.02),
    "soft": rewire.SoftDeepR(noise=0.3, l1=0.02),
    "set": rewire.SET(when=when.every(2)),
    "rigl": rewire.RigL(when=when.every(2), fraction=0.4),
    "plasticity": rewire.StructuralPlasticity(attempts=0.5, p_form=0.9, p_elim_dep=0.9),
}
every_rule = pytest.mark.parametrize("rule", RULES)


# -- mixed precision --------------------------------------------------------------------------


@every_rule
def test_a_step_that_the_scaler_skips_is_no_step_for_the_rules(rule):
    model, optimizer, net = attached(RULES[rule])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        before = copy.deepcopy((net.clock, net.graph, len(net.history), model.state_dict()))
        if step == 3:  # an overflow
            model[0].weight.grad[0, 0] = torch.inf
        net.step(scaler=scaler)
        if step == 3:
            assert net.clock == before[0] and len(net.history) == before[2]
            assert torch.equal(net.graph.keys, before[1].keys)
            assert all(torch.equal(v, before[3][k]) for k, v in model.state_dict().items())
            assert scaler.get_scale() == 512.0
    assert net.clock.total == 5 == net.schedule_step
    assert leaks(model, optimizer, net) == 0


def test_rules_see_unscaled_gradients_and_clipping_before_is_respected():
    """The same edits with and without a scale, where the user has unscaled to clip."""
    runs = []
    for scale in (1.0, 4096.0):
        model, optimizer, net = attached(RULES["rigl"])
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for step in range(6):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, step)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            net.step(scaler=scaler)
        runs.append((net.graph.keys, net.graph["weight"]))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.allclose(runs[0][1], runs[1][1], atol=1e-6)


def test_a_disabled_scaler_is_no_scaler():
    first, second = attached(RULES["set"]), attached(RULES["set"])
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in range(4):
        for (model, optimizer, net), options in ((first, {}), (second, {"scaler": scaler})):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            net.step(**options)
    assert torch.equal(first[2].graph["weight"], second[2].graph["weight"])


def test_a_scaler_and_a_closure_together_are_refused():
    """GradScaler cannot look for overflows in gradients that a closure is yet to make."""
    model, optimizer, net = attached(RULES["static"])
    with pytest.raises(ValueError, match="a scaler and a closure cannot be used together"):
        net.step(scaler=torch.amp.GradScaler("cpu"), closure=lambda: loss_of(model, 0))
    assert net.clock.total == 0


@every_rule
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_every_float_type_are_rewired_without_leaks(rule, dtype):
    model, optimizer, net = attached(RULES[rule], model_of(dtype))
    first = net.counts
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step, dtype).backward()
        net.step()
        assert leaks(model, optimizer, net) == 0
        if budget_of(RULES[rule]).kept == "exact":
            assert net.counts == first
    assert all(p.dtype == dtype for p in model.parameters())
    for i, m in enumerate(model[j].weight for j in (0, 3, 5)):
        rows = net.graph.rows(i)
        assert torch.equal(m.detach().reshape(-1)[net.graph.local(i)].double(),
                           net.graph["weight"][rows].double())  # fmt: skip
    if rule != "static":
        assert len(net.history) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_signals_of_every_float_type_rank_absent_synapses(dtype):
    model, optimizer, net = attached(RULES["rigl"], model_of(dtype))
    loss_of(model, 0, dtype).backward()
    gradient = model[0].weight.grad.clone()
    look(net)
    signals = net.world.signals(net.graph)
    for name in ("grad", "growth", "weight"):
        keys = signals.largest(name, [3, 0, 2])
        assert len(keys) == 5 and not net.graph.find(keys)[1].any()
    assert signals.pair("grad", torch.arange(96)).dtype == torch.float32
    assert torch.equal(signals.pair("grad", torch.arange(96)), gradient.reshape(-1).float())


# -- the loop ---------------------------------------------------------------------------------


@every_rule
def test_accumulated_gradients_are_one_step(rule):
    """Two half batches make the edits of one whole batch; RigL ranks by their sum."""
    runs = []
    for parts in (1, 2):
        model, optimizer, net = attached(RULES[rule], model_of(torch.float64))
        for step in range(6):
            optimizer.zero_grad()
            x, y = batch(step, torch.float64)
            for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
                (nn.functional.cross_entropy(model(xs), ys) / parts).backward()
            net.step()
        runs.append(net)
    if rule != "plasticity":  # activity is of the last forward pass
        assert torch.equal(runs[0].graph.keys, runs[1].graph.keys)
        assert torch.allclose(runs[0].graph["weight"], runs[1].graph["weight"])
    assert runs[0].clock.total == runs[1].clock.total == 6


@every_rule
def test_a_closure_gives_the_same_run_and_its_loss(rule):
    first, second = attached(RULES[rule]), attached(RULES[rule])
    for step in range(5):
        model, optimizer, net = first
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        assert net.step() is None

        model, optimizer, net = second

        def closure(model=model, optimizer=optimizer, step=step):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        assert net.step(closure=closure) == loss
    assert torch.equal(first[2].graph.keys, second[2].graph.keys)
    assert torch.equal(first[2].graph["weight"], second[2].graph["weight"])


def test_the_users_own_hooks_on_the_optimiser_still_run():
    model, optimizer, net = attached(RULES["rigl"])
    plain = type(optimizer).step
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("pre"))
    optimizer.register_step_post_hook(lambda *_: called.append("post"))
    hooked = [p.register_hook(lambda g: called.append("grad") or g) for p in [model[0].weight]]
    for step in range(4):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        net.step()
    assert called.count("pre") == called.count("post") == 2  # RigL takes every other step
    assert called.count("grad") == 4 and len(hooked) == 1
    assert type(optimizer).step is plain and "step" not in vars(optimizer)


class Idle(rewire.Rule):
    """Is due in every step, and does nothing."""

    def update(self, graph, signals, state, rng, clock):
        return NOTHING, state


DEEP_R = rewire.DeepR(l1=1e-3, noise=1e-2)


@pytest.mark.parametrize(
    "rule",
    [rewire.Static(), DEEP_R, rewire.SET(when=rewire.every(2)), [Idle(), DEEP_R], [DEEP_R, Idle()],
     [DEEP_R, DEEP_R]],
)  # fmt: skip
@pytest.mark.parametrize(
    "options",
    [{"fused": True}, {"foreach": True}, {"foreach": False}, {"weight_decay": 0.1},
     {"fused": True, "weight_decay": 0.1}, {"maximize": True}],
)  # fmt: skip
def test_plain_sgd_on_a_list_of_the_edges_is_that_on_masked_gradients(rule, options, monkeypatch):
    def run(scarce):
        monkeypatch.setattr(masked, "SCARCE", scarce)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **options)
        net = rewire.attach(model, optimizer, rule, density=0.05, seed=1)
        if scarce == 12:
            model, optimizer, net = copy.deepcopy((model, optimizer, net))
        held = list(optimizer.param_groups[0]["params"])
        for step in range(6):
            optimizer.zero_grad()
            x = torch.randn(16, 64, generator=torch.Generator().manual_seed(step))
            model(x).square().mean().backward()
            on_edges = scarce == 12 and kernels is not None
            assert (net.world.edge_step.slopes(net.graph) is not None) == on_edges
            net.step()
        assert all(a is b for a, b in zip(held, optimizer.param_groups[0]["params"], strict=True))
        assert not optimizer.state
        return net, model

    (ours, model), (theirs, other) = run(12), run(10**9)
    assert torch.equal(ours.graph.keys, theirs.graph.keys)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("halves", [False, True])
def test_weights_changed_between_the_halves_of_a_step_are_seen(halves):
    """The list of the edges that was stepped stands for the weights within one step alone."""
    torch.manual_seed(0)
    model = nn.Linear(64, 48)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.DeepR(l1=0.0, noise=0.0), density=0.05, seed=1)
    model(torch.randn(16, 64)).square().mean().backward()
    before = net.graph
    if not halves:
        net.step()
        assert not torch.equal(net.graph["weight"], before["weight"])
        return
    net.optimise()
    model.weight.data.mul_(0.5)  # torch's version counter does not see it
    now = model.weight.detach().reshape(-1)[before.keys]
    net.rewire()
    row, there = net.graph.find(before.keys)
    same = there & (now * before["sign"] >= 0)
    assert same.sum() > 100
    assert torch.equal(net.graph["weight"][row[same]], now[same])


class Looks(rewire.Rule):
    """Looks at the weights by a signal, or fails."""

    seen = None

    def update(self, graph, signals, state, rng, clock):
        if Looks.seen is None:
            raise RuntimeError("on purpose")
        Looks.seen.append((signals.pair("weight", graph.keys), graph["weight"].clone()))
        return rewire.Edit(), state


@pytest.mark.parametrize("fails", [False, True])
def test_a_rule_that_looks_at_the_weights_or_fails_finds_the_step_made(fails):
    torch.manual_seed(0)
    model = nn.Linear(64, 48)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Looks.seen = None if fails else []
    net = rewire.attach(model, optimizer, Looks(), density=0.05, seed=1)
    model(torch.randn(16, 64)).square().mean().backward()
    keys = net.graph.keys
    want = net.graph["weight"] - 0.1 * model.weight.grad.reshape(-1)[keys]
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            net.step()
    else:
        net.step()
        [(signal, column)] = Looks.seen
        assert torch.equal(signal, column)
    assert torch.allclose(model.weight.detach().reshape(-1)[keys], want, atol=1e-7)
    assert torch.allclose(net.graph["weight"], want, atol=1e-7)


def test_rigl_leaves_the_whole_optimiser_step_out_on_its_ticks():
    model, optimizer, net = attached(RULES["rigl"], optimizer=None)
    for step in range(1, 5):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        net.step()
        assert net.skipped == (step % 2 == 0)
        for name in ("0.bias", "1.weight", "1.bias", "5.bias"):
            same = torch.equal(before[name], dict(model.named_parameters())[name])
            assert same == (step % 2 == 0)


def test_a_learning_rate_schedule_moves_deep_rs_drift():
    model, optimizer, net = attached(rewire.DeepR(l1=0.5, noise=0.0))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with torch.no_grad():
        for i in (0, 3, 5):
            model[i].weight.copy_(100 * (model[i].weight != 0) * model[i].weight.sign())
    optimizer.param_groups[0]["momentum"] = 0.0
    moved = []
    for _ in range(3):
        before = net.graph["weight"].abs()
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        net.step()
        moved.append(float((before - net.graph["weight"].abs()).mean()))
        schedule.step()
    assert moved == pytest.approx([0.05, 0.025, 0.0125], rel=1e-3)


def test_a_step_without_gradients_moves_nothing():
    model, optimizer, net = attached(RULES["static"])
    before = net.graph["weight"]
    net.step()
    assert torch.equal(net.graph["weight"], before)


def test_gradients_set_to_zero_instead_of_none_are_fine():
    model, optimizer, net = attached(RULES["rigl"])
    for step in range(6):
        optimizer.zero_grad(set_to_none=False)
        loss_of(model, step).backward()
        net.step()
    assert leaks(model, optimizer, net) == 0 and net.history.formed > 0


# -- models -----------------------------------------------------------------------------------


def conv_of(layout, dtype=torch.float64):
    """Channels last, by one number of planes and another of places in a kernel."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, (3, 2)), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(24, 3)).to(dtype).to(memory_format=layout)
    assert model[0].weight.is_contiguous(memory_format=layout)
    return model


def conv_step(model, optimizer, net, step, layout):
    g = torch.Generator().manual_seed(step)
    x = torch.randn(8, 3, 6, 6, generator=g).to(model[0].weight.dtype).to(memory_format=layout)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), torch.arange(8) % 3).backward()
    net.step()


LAYOUTS = (torch.contiguous_format, torch.channels_last)
FUSED = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-4, fused=True),
}


@every_rule
@pytest.mark.parametrize("optimiser", FUSED)
@pytest.mark.parametrize("density", [0.3, 0.06])  # below 1 / SCARCE the kernels gather
def test_weights_in_channels_last_order_are_rewired_as_others(rule, optimiser, density):
    """The same run as with contiguous weights: keys are positions, not addresses."""
    runs = []
    for layout in LAYOUTS:
        model = conv_of(layout)
        optimizer = FUSED[optimiser](model.parameters())
        model, optimizer, net = attached(RULES[rule], model, optimizer, density=density)
        for step in range(6):
            conv_step(model, optimizer, net, step, layout)
            assert leaks(model, optimizer, net) == 0
        assert model[0].weight.is_contiguous(memory_format=layout)
        runs.append((net, [(r.total, r.drop.tolist(), r.add.tolist()) for r in net.history]))
    assert runs[0][1] == runs[1][1] and runs[0][0].counts == runs[1][0].counts
    assert torch.equal(runs[0][0].graph.keys, runs[1][0].graph.keys)
    weights = [net.graph["weight"] for net, _ in runs]
    assert torch.allclose(*weights, rtol=0, atol=1e-10)


def test_a_model_that_is_turned_to_channels_last_later_goes_on_as_it_was():
    runs = []
    for layout in LAYOUTS:
        model, optimizer, net = attached(RULES["rigl"], conv_of(LAYOUTS[0]))
        for step in range(8):
            if step == 3:
                model.to(memory_format=layout)
            conv_step(model, optimizer, net, step, layout)
            assert leaks(model, optimizer, net) == 0
        runs.append(net.graph)
    assert torch.equal(runs[0].keys, runs[1].keys)
    assert torch.allclose(runs[0]["weight"], runs[1]["weight"], rtol=0, atol=1e-10)


def test_moments_from_a_file_lie_as_the_weights_do(tmp_path):
    """A checkpoint holds plain arrays, and torch's fused steps read moments in the weights' order
    without a look at their strides."""
    runs = []
    for saved in (False, True):
        model = conv_of(torch.channels_last)
        optimizer = FUSED["adam"](model.parameters())
        model, optimizer, net = attached(RULES["deep-r"], model, optimizer)
        for step in range(8):
            if saved and step == 4:
                checkpoint.save(tmp_path / "saved", net.world.snapshot())
                tree, _ = checkpoint.load(tmp_path / "saved")
                assert tree["optimiser"]["state"][0]["exp_avg"].is_contiguous()
                state = net.state_dict()
                net.world.load(tree)
                net.load_state_dict(state)
            if saved and step == 6:
                checkpoint.save(tmp_path / "saved", net.world.snapshot())
                tree, _ = checkpoint.load(tmp_path / "saved")
                net.world.restore(tree, frozenset({"model", "optimiser"}), net.graph)
            conv_step(model, optimizer, net, step, torch.channels_last)
        runs.append(net.graph)
    assert torch.equal(runs[0].keys, runs[1].keys)
    assert torch.equal(runs[0]["weight"], runs[1]["weight"])


class Copies(TorchDispatchMode):
    """Which operations made a tensor as large as the widest weight."""

    def __init__(self, size):
        super().__init__()
        self.size, self.found = size, []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        out = f(*args, **(kwargs or {}))
        made = f._schema.returns and f._schema.returns[0].alias_info is None
        if made and isinstance(out, torch.Tensor) and out.numel() >= self.size:
            self.found.append(f.name())
        return out


@pytest.mark.skipif(kernels is None, reason="the kernels were not built")
@pytest.mark.parametrize("rule", ["static", "deep-r", "set"])
@pytest.mark.parametrize("density", [0.3, 0.06])
def test_no_dense_copy_of_a_weight_in_channels_last_is_made(rule, density):
    model = conv_of(torch.channels_last)
    model, optimizer, net = attached(RULES[rule], model, density=density)
    for step in range(3):  # the momentum is there
        conv_step(model, optimizer, net, step, torch.channels_last)
    model(torch.randn(8, 3, 6, 6).double()).square().mean().backward()
    with Copies(model[2].weight.numel()) as copies:
        net.step()
    assert not copies.found
    with Copies(model[2].weight.numel()) as copies:
        net.world.signals(net.graph).largest("weight", 1)  # ranks all that are absent
    assert copies.found


def test_the_kernels_serve_channels_last_weights_of_both_types():
    for dtype in (torch.float32, torch.float64):
        world = attached(RULES["static"], conv_of(torch.channels_last, dtype))[2].world
        fast = memory.addresses(world.parameters)
        if kernels is None:
            assert fast is None
            continue
        assert fast.turned == [(3, 9), (6, 6), (1, 1)]
        assert all(m.dtype is torch.bool and memory.layout(m) == memory.layout(p)
                   for m, p in zip(world.masks, world.parameters, strict=True))  # fmt: skip


@pytest.mark.parametrize("native", [True, False])
def test_single_numbers_of_channels_last_tensors_are_found(native, monkeypatch):
    """Every verb of the kernels, and what stands in for them, against torch's own indexing."""
    if native and kernels is None:
        pytest.skip("the kernels were not built")
    shapes = [(4, 3, 2, 5), (5, 7), (3, 2, 2, 3, 2), (6, 4, 1, 1)]
    forms = [torch.channels_last, torch.contiguous_format, torch.channels_last_3d,
             torch.channels_last]  # fmt: skip
    g = torch.Generator().manual_seed(0)
    plain = [torch.randn(shape, generator=g) for shape in shapes]
    held = [t.clone().contiguous(memory_format=f) for t, f in zip(plain, forms, strict=True)]
    sizes = torch.tensor([t.numel() for t in plain])
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]).numpy()
    keys = torch.randperm(int(sizes.sum()), generator=g)[:90].sort().values
    values = torch.randn(90, generator=g)

    def whole(tensors):
        return torch.cat([t.reshape(-1) for t in tensors])

    want = whole(plain)
    if native:
        fast = memory.addresses(held)
        place = fast.tensors, fast.turned, ends
        assert (fast.verbs.gather(*place, keys.numpy()) == want[keys].numpy()).all()
        fast.verbs.scatter(*place, keys.numpy(), values.numpy())
        want[keys] = values
        assert torch.equal(whole(held), want)
        fast.verbs.fill(*place, keys[:30].numpy(), 7.0)
        want[keys[:30]] = 7.0
        assert torch.equal(whole(held), want)
        fast.verbs.keep_only(*place, keys[20:].numpy())
        want = torch.zeros_like(want).index_put((keys[20:],), want[keys[20:]])
        assert torch.equal(whole(held), want)
        return
    views = memory.Views()
    for t, lo, hi in zip(held, ends[:-1], ends[1:], strict=True):
        here = (keys >= int(lo)) & (keys < int(hi))
        local = (keys[here] - int(lo)).numpy()
        assert (views.gather(t, local) == want[keys[here]].numpy()).all()
        views.scatter(t, local, values[here].numpy())
        want[keys[here]] = values[here]
    assert torch.equal(whole(held), want)


def test_no_synapse_is_written_twice_where_order_is_not_certain():
    """Off the CPU an indexed write of one place twice has no order; DEEP R may drop a synapse and
    wake it in one tick."""
    model = nn.Linear(6, 6).to(torch.bfloat16)  # bfloat16 has no numpy view: the same path
    model, optimizer, net = attached(rewire.Static(), model, density=0.5)
    world, graph = net.world, net.graph
    key = graph.keys[4]
    edit = Edit(drop=torch.tensor([4]), add=key.reshape(1), birth={"weight": 2.0})
    seen, put = [], torch.Tensor.__setitem__
    try:

        def watched(self, index, value):
            if isinstance(index, tuple) and all(isinstance(i, torch.Tensor) for i in index):
                seen.append(torch.stack(index, 1))
            return put(self, index, value)

        torch.Tensor.__setitem__ = watched
        world.write(graph, graph.apply(edit), edit)
    finally:
        torch.Tensor.__setitem__ = put
    assert seen and all(len(s.unique(dim=0)) == len(s) for s in seen)
    assert model.weight.detach().reshape(-1)[key] == 2.0
    assert net.world.masks[0].reshape(-1)[key] == 1


class Talker(nn.Module):
    """Embedding, recurrence, attention, norms, and a tied pair."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 8, batch_first=True)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, i):
        x = self.gru(self.lstm(self.embed(i))[0])[0]
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return self.head(x)


@pytest.mark.parametrize("rule", [r for r in RULES if r != "static"])
def test_recurrent_attentive_and_tied_weights_are_rewired_without_leaks(rule):
    torch.manual_seed(0)
    model = Talker()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    _, _, net = attached(RULES[rule], model, optimizer, embeddings=True)
    names = set(net.masks())
    assert "embed.weight" in names and "head.weight" not in names
    assert not any("norm" in n or "bias" in n for n in names)
    assert len(names) == 1 + 8 + 2 + 2
    untouched = {n for n, _ in model.named_parameters()} - names
    for step in range(6):
        words = torch.randint(12, (4, 7), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten()
                                    ).backward()  # fmt: skip
        net.step()
        assert leaks(model, optimizer, net) == 0
    assert net.history.formed > 0
    assert model.head.weight is model.embed.weight
    for n, p in model.named_parameters():
        if n in untouched:
            assert (p != 0).any(), n
    for name, flat in (("lstm", model.lstm._flat_weights), ("gru", model.gru._flat_weights)):
        held = dict(getattr(model, name).named_parameters())
        assert {id(w) for w in flat} == {id(w) for w in held.values()}


def test_sparse_gradients_are_refused_before_they_can_do_harm():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="'0.weight' .*sparse gradients"):
        attached(RULES["static"], model, embeddings=True)
    attached(RULES["static"], model)  # left out, it may do as it likes


def test_compiled_models_keep_working():
    """Compiled before or after attach; the compiled code reads the weights that rules write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = attached(RULES["deep-r"])
        before = model_of()
        compiled_before = torch.compile(before, backend="aot_eager")
        after = attached(RULES["deep-r"])
        compiled_after = torch.compile(after[0], backend="aot_eager")
        runs = [
            (plain[0], *plain[1:]),
            (compiled_before, *attached(RULES["deep-r"], compiled_before)[1:]),
            (compiled_after, *after[1:]),
        ]
        for step in range(4):
            for model, optimizer, net in runs:
                optimizer.zero_grad()
                loss_of(model, step).backward()
                net.step()
    for _, _, net in runs[1:]:
        assert torch.equal(net.graph.keys, plain[2].graph.keys)
        assert torch.allclose(net.graph["weight"], plain[2].graph["weight"], atol=1e-6)


@pytest.mark.slow
def test_models_compiled_by_inductor_keep_working():
    plain = attached(RULES["deep-r"])
    model = torch.compile(model_of())
    other = (model, *attached(RULES["deep-r"], model)[1:])
    for step in range(4):
        for m, optimizer, net in (plain, other):
            optimizer.zero_grad()
            loss_of(m, step).backward()
            net.step()
    assert torch.equal(other[2].graph.keys, plain[2].graph.keys)


class Listening(Rule):
    needs = frozenset({"activity"})

    def update(self, graph, signals, state, rng, clock):
        return Edit(), {"heard": signals.node("activity", "input")}


def test_activity_is_seen_in_a_compiled_model():
    torch.compiler.reset()
    model = torch.compile(model_of(), backend="aot_eager")
    _, optimizer, net = attached(RULES["plasticity"], model)
    other, theirs, reference = attached(RULES["plasticity"])
    for step in range(4):
        for m, o, n in ((model, optimizer, net), (other, theirs, reference)):
            o.zero_grad()
            loss_of(m, step).backward()
            n.step()
    assert torch.equal(net.graph.keys, reference.graph.keys)


def test_activity_that_is_no_longer_seen_is_refused_and_not_used_again():
    """torch.compile reuses the code of another model of the class, which has no one listening."""
    torch.compiler.reset()
    model = torch.compile(model_of(), backend="aot_eager")
    _, optimizer, net = attached(Listening(), model)
    loss_of(model, 0).backward()
    net.step()
    loss_of(torch.compile(model_of(), backend="aot_eager"), 0)
    loss_of(model, 1).backward()
    with pytest.raises(ValueError, match=r"seen since the last step.*torch.compiler.reset\(\)"):
        net.step()
    torch.compiler.reset()
    model, optimizer, net = attached(Listening())
    with pytest.raises(ValueError, match="no activity of 'input' was seen"):
        net.step()
    loss_of(model, 0).backward()
    net.step()
    model.eval()
    loss_of(model, 1).backward()
    with pytest.raises(ValueError, match="after a forward pass in training mode"):
        net.step()


# -- optimisers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torch.optim.LBFGS, "LBFGS cannot train sparse weights: it keeps one flat history"),
        (torch.optim.Adafactor, "Adafactor cannot train sparse weights: it keeps factored"),
        (torch.optim.SparseAdam, "SparseAdam cannot train sparse weights: it wants sparse"),
    ],
)
def test_optimisers_that_cannot_be_kept_clean_are_refused_by_name(make, message):
    model = model_of()
    with pytest.raises(ValueError, match=message):
        attached(RULES["static"], model, make(list(model.parameters())))


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="the optimizer does not hold '0.weight', which is to be"):
        attached(RULES["static"], model_of(), torch.optim.SGD(model_of().parameters(), lr=0.1))


class Mixer(torch.optim.Optimizer):
    """Each weight moves by its row's mean gradient: leaks through any gradient mask."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                moment = self.state[p].setdefault("moment", torch.zeros_like(p))
                moment.add_(p.grad.mean(-1, keepdim=True).expand_as(p))
                p.sub_(group["lr"] * moment)


class Factored(Mixer):
    """State that is not one number for each weight."""

    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["rows"] = torch.ones(p.shape[0])


@every_rule
def test_an_unknown_optimiser_that_mixes_synapses_is_projected_at_every_step(rule):
    model = model_of()
    model, optimizer, net = attached(RULES[rule], model, Mixer(model.parameters()))
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        net.step()
        assert leaks(model, optimizer, net) == 0


def test_muon_is_projected_at_every_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12, bias=False), nn.ReLU(), nn.Linear(12, 3, bias=False))
    optimizer = torch.optim.Muon(model.parameters(), lr=0.05)
    model, optimizer, net = attached(RULES["set"], model, optimizer)
    before = net.graph["weight"]
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        net.step()
        assert leaks(model, optimizer, net) == 0
    assert len(before) == net.edges and net.history.formed > 0


def test_state_of_another_shape_is_refused_by_name():
    model = model_of()
    with pytest.raises(ValueError, match=r"Factored keeps 'rows' of shape \(4,\) for a weight of"):
        attached(RULES["static"], model, Factored(model.parameters()))


class FactoredWhereLarge(Mixer):
    """Another state for large weights, which no trial on small ones shows."""

    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            if p.numel() > 50:
                self.state[p]["rows"] = torch.ones(p.shape[0])


def test_state_of_another_shape_of_large_weights_is_refused_by_name():
    model = model_of()
    model, optimizer, net = attached(RULES["static"], model, FactoredWhereLarge(model.parameters()))
    loss_of(model, 0).backward()
    message = r"FactoredWhereLarge keeps 'rows' of shape \(12,\) for '0.weight'"
    with pytest.raises(ValueError, match=message):
        net.step()


# -- the start --------------------------------------------------------------------------------


class Snip(Rule):
    """Keeps the k synapses of largest |w dL/dw| of the probe's batches."""

    needs = frozenset({"grad"})
    when = when.never

    def start(self, graph, signals, rng):
        score = (graph["weight"] * signals.pair("grad", graph.keys)).abs()
        return Edit(drop=rewire.smallest(score, len(graph) // 2)), {}


def test_a_probe_gives_gradients_before_the_first_step_and_leaves_the_model_alone():
    """Mean gradient over its batches; normalisation buffers, gradients, weights stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
    before = copy.deepcopy(model.state_dict())
    probe = rewire.Probe([0, 1], loss_of)
    twin = copy.deepcopy(model)
    (sum(loss_of(twin, i) for i in (0, 1)) / 2).backward()
    score = torch.cat([(m.weight * m.weight.grad).abs().reshape(-1) for m in (twin[0], twin[3])])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, Snip(), probe=probe)
    expected = score.detach().argsort(stable=True)[66:].sort().values
    assert torch.equal(net.graph.keys, expected)
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        if name not in ("0.weight", "3.weight"):
            assert torch.equal(value, before[name]), name


def test_gradients_before_the_first_step_need_a_probe():
    with pytest.raises(
        ValueError, match="no gradient before the first step: pass probe= to attach"
    ):
        attached(Snip())


def test_signals_at_another_graph_are_those_of_a_world_that_holds_it():
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), probe=rewire.Probe([0], loss_of))
    signals = net.world.signals(net.graph)
    half = Graph(net.graph.space, net.graph.keys[::2])
    twin = model_of()
    with torch.no_grad():
        for i, m in enumerate((twin[0], twin[3], twin[5])):
            m.weight.mul_(half.mask(i))
    loss_of(twin, 0).backward()
    there = torch.cat([m.weight.grad.reshape(-1) for m in (twin[0], twin[3], twin[5])])
    keys = torch.arange(net.graph.possible)
    assert torch.allclose(signals.at(half).pair("grad", keys), there, atol=1e-7)
    assert not torch.allclose(signals.pair("grad", keys), there, atol=1e-4)


def test_nan_gradients_are_refused_by_name_and_layer():
    model, optimizer, net = attached(RULES["rigl"])
    for step in range(2):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        if step == 1:
            model[3].weight.grad.fill_(torch.nan)
            with pytest.raises(
                ValueError, match="the signal 'growth' is NaN at .* synapses of '3.weight'"
            ):
                net.step()
        else:
            net.step()


def test_asking_for_more_absent_synapses_than_there_are_is_refused():
    model, optimizer, net = attached(RULES["rigl"])
    loss_of(model, 0).backward()
    look(net)
    with pytest.raises(ValueError, match="cannot grow 97 edges in '0.weight': only"):
        net.world.signals(net.graph).largest("growth", [97, 0, 0])
    with pytest.raises(KeyError, match="'activity' is a node signal: ask node"):
        net.world.signals(net.graph).pair("activity", torch.arange(3))


def test_the_largest_of_all_layers_is_ranked_together():
    model, optimizer, net = attached(RULES["rigl"])
    twin = copy.deepcopy(model)  # the model's own gradients are cleared at absent synapses
    loss_of(twin, 0).backward()
    net.world.want_grads(True)
    loss_of(model, 0).backward()
    gradient = torch.cat([twin[i].weight.grad.abs().reshape(-1) for i in (0, 3, 5)])
    look(net)
    gradient[net.graph.keys] = -1
    expected = gradient.argsort(descending=True)[:20].sort().values
    assert torch.equal(net.world.signals(net.graph).largest("growth", 20), expected)


def test_positions_and_extra_state_survive_a_snapshot():
    """Modules may keep more in their state_dict than tensors."""

    class Counting(nn.Linear):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    model = nn.Sequential(Counting(4, 4), nn.Linear(4, 2))
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.IMP(rounds=1), steps=2,
        data=[torch.ones(2, 4)], loss=lambda m, b: m(b).pow(2).mean(),
    )  # fmt: skip
    assert net.done and net.edges < 24
