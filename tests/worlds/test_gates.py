"""Silent edges: a gain multiplies each weight in the forward pass, and who is trained is said."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.func import functional_call

import rewire
from rewire.graph import Edit, Graph, Rewind
from rewire.rule import Rule
from rewire.when import Every, When

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.3),
}


def gains(step: int, keys: torch.Tensor) -> torch.Tensor:
    """A third silent, another third at a half, the rest at 1; others at every step."""
    return ((keys + step) % 3).float() / 2


@dataclass(frozen=True, kw_only=True)
class Turning(Rule):
    """Turns the gains by a formula of the step and the key; may swap an edge for an absent one."""

    moves: str = "all"
    swaps: bool = False
    when: When = Every(1)

    columns = {"gain": 1.0, "chosen": 1.0}

    @property
    def trains(self):
        return self.moves

    def start(self, graph, signals, rng):
        return Edit(set={"gain": gains(0, graph.keys)}), {}

    def update(self, graph, signals, state, rng, clock):
        chosen = (graph.keys % 4 > 0).float()
        edit = {"gain": gains(clock.step, graph.keys), "chosen": chosen}
        if not self.swaps:
            return Edit(set=edit), state
        held = torch.zeros(graph.possible, dtype=torch.bool)
        held[graph.keys] = True
        absent = (~held).nonzero().squeeze(1)[:2]
        return Edit(set=edit, drop=torch.tensor([0, 5]), add=absent, birth={"gain": 0.0}), state


def net_of(dtype=torch.float64, kind="mlp"):
    torch.manual_seed(0)
    if kind == "conv":
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).to(
            dtype
        )
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).to(dtype)


def batch(step, kind="mlp", dtype=torch.float64):
    g = torch.Generator().manual_seed(step)
    shape = (10, 2, 4, 4) if kind == "conv" else (10, 8)
    return torch.randn(shape, generator=g).to(dtype), torch.randint(3, (10,), generator=g)


def attached(rule, optimiser="momentum", density=None, kind="mlp", **options):
    model = net_of(kind=kind)
    optimizer = OPTIMISERS[optimiser](model.parameters())
    return model, optimizer, rewire.attach(model, optimizer, rule, density=density, **options)


def step(run, kind="mlp"):
    model, optimizer, net = run
    x, y = batch(net.clock.total, kind)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    net.step()


def by_hand(optimiser, moves, steps, kind):
    """The same training written out: leaf weights, an effective model, autograd."""
    model = net_of(kind=kind)
    names = [n for n, p in model.named_parameters() if p.dim() > 1]
    weights = dict(model.named_parameters())
    optimizer = OPTIMISERS[optimiser](model.parameters())
    offset, spans = 0, {}
    for n in names:
        spans[n] = torch.arange(offset, offset + weights[n].numel()).view(weights[n].shape)
        offset += weights[n].numel()
    for t in range(steps):
        gain = {n: gains(t, spans[n]).double() for n in names}
        chosen = {n: (spans[n] % 4 > 0) | (t == 0) for n in names}
        moved = {
            "all": {n: torch.ones_like(chosen[n]) for n in names},
            "live": {n: gain[n] != 0 for n in names},
            "none": {n: torch.zeros_like(chosen[n]) for n in names},
            "chosen": chosen,
        }[moves]
        effective = {n: (weights[n].detach() * gain[n]).requires_grad_() for n in names}
        x, y = batch(t, kind)
        optimizer.zero_grad()
        rest = {n: p for n, p in weights.items() if n not in names}
        loss = nn.functional.cross_entropy(functional_call(model, {**rest, **effective}, (x,)), y)
        loss.backward()
        before = copy.deepcopy((
            {n: weights[n].detach() for n in names},
            {n: optimizer.state.get(weights[n], {}) for n in names},
        ))  # fmt: skip
        for n in names:
            weights[n].grad = effective[n].grad
        optimizer.step()
        with torch.no_grad():
            for n in names:
                weights[n].copy_(torch.where(moved[n], weights[n], before[0][n]))
                for name, v in optimizer.state[weights[n]].items():
                    if isinstance(v, torch.Tensor) and v.shape == weights[n].shape:
                        was = before[1][n].get(name)
                        if was is None:
                            was = torch.full_like(v, 0.3 if name == "sum" else 0.0)
                        v.copy_(torch.where(moved[n], v, was))
    return [weights[n].detach() for n in names], [weights[n] for n in weights if n not in names]


@pytest.mark.every_other
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("moves", ["all", "live", "none", "chosen"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_training_with_gains_is_the_same_as_written_by_hand(optimiser, moves, kind):
    run = attached(Turning(moves=moves), optimiser, kind=kind)
    for _ in range(6):
        step(run, kind)
    weights, rest = by_hand(optimiser, moves, 6, kind)
    graph = run[2].graph
    for i, w in enumerate(weights):
        torch.testing.assert_close(graph.dense(i), w, rtol=1e-12, atol=1e-13)
    biases = [p for n, p in run[0].named_parameters() if p.dim() == 1]
    torch.testing.assert_close(biases, rest, rtol=1e-12, atol=1e-13)


def test_the_model_computes_with_weight_times_gain_and_the_graph_counts_live_edges():
    run = attached(Turning())
    for _ in range(4):
        step(run)
    model, _, net = run
    graph = net.graph
    for i, p in enumerate((model[0].weight, model[2].weight)):
        assert torch.equal(p, graph.dense(i) * graph.dense(i, "gain"))
        assert torch.equal(net.masks()[f"{2 * i}.weight"], graph.dense(i, "gain") != 0)
    live = int((graph["gain"] != 0).sum())
    assert 0 < live < len(graph) == graph.possible
    assert net.edges == live == sum(net.counts) == len(graph.effective())
    assert net.density == graph.density == live / graph.possible
    shown = graph.effective()
    assert torch.equal(shown.dense(0), model[0].weight) and "gain" not in shown.columns


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adamw"])
def test_absent_edges_stay_clean_while_others_fall_silent_and_are_swapped(optimiser):
    run = attached(Turning(swaps=True, moves="live"), optimiser, density=0.5)
    model, optimizer, net = run
    for _ in range(5):
        step(run)
        graph = net.graph
        assert len(graph) == 66 and len(net.history) == net.clock.step
        for i, p in enumerate((model[0].weight, model[2].weight)):
            absent = ~graph.mask(i)
            assert p[absent].abs().sum() == 0 and net.world.stored[i][absent].abs().sum() == 0
            for v in optimizer.state[p].values():
                if isinstance(v, torch.Tensor) and v.shape == p.shape:
                    assert (v[absent] == 0).all()
    assert net.history.replay(net.graph).digest() == net.graph.digest()


def test_a_run_with_silent_edges_saved_in_the_middle_continues_to_the_same_bits():
    run = attached(Turning(moves="live", swaps=True), "adamw", density=0.5)
    for _ in range(4):
        step(run)
    saved = copy.deepcopy([run[0].state_dict(), run[1].state_dict(), run[2].state_dict()])
    twin = copy.deepcopy(run)
    again = attached(Turning(moves="live", swaps=True), "adamw", density=0.5)
    for part, state in zip(again, saved, strict=True):
        part.load_state_dict(state)
    for one in (run, twin, again):
        for _ in range(4):
            step(one)
    for other in (twin, again):
        assert torch.equal(other[2].graph["weight"], run[2].graph["weight"])
        assert torch.equal(other[2].graph.keys, run[2].graph.keys)
        for p, q in zip(other[0].parameters(), run[0].parameters(), strict=True):
            assert torch.equal(p, q)


@dataclass(frozen=True, kw_only=True)
class Back(Rule):
    """Goes back to step 2 once."""

    saves = frozenset({2})
    when: When = Every(1, first=5, stop=5)

    def update(self, graph, signals, state, rng, clock):
        return (Edit(rewind=Rewind(2)) if clock.round == 0 else Edit()), state


def test_a_rewind_brings_back_the_weights_of_silent_edges():
    model, optimizer, kept = net_of(), None, {}
    optimizer = OPTIMISERS["momentum"](model.parameters())

    def note(net, loss):
        kept[net.clock.total] = net.graph["weight"]

    rewire.train(
        model, optimizer, [Turning(), Back()], steps=6, data=batch, on_step=note,
        loss=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]),
    )  # fmt: skip
    assert not torch.equal(kept[3], kept[5])
    # the gains of step 5 stay, the weights of step 2 are back: both forms agree
    assert len(kept) == 6 + 3
    held = kept[6] - kept[3]
    assert held.abs().max() < 0.1  # one step from the same weights, under other gains


def test_signals_at_another_graph_see_its_gains_and_leave_the_model_alone():
    data = batch(0)
    loss = lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1])  # noqa: E731
    run = attached(Turning(), probe=rewire.Probe([data], loss))
    step(run)
    net, before = run[2], copy.deepcopy(run[0].state_dict())
    graph = net.graph
    other = graph.with_columns({"gain": torch.ones(len(graph))})
    found = net.world.signals(graph).at(other).pair("grad", graph.keys)
    model = net_of()
    with torch.no_grad():
        for i, name in enumerate(("0", "2")):
            getattr(model, name).weight.copy_(graph.dense(i))
            getattr(model, name).bias.copy_(getattr(run[0], name).bias)
    loss(model, data).backward()
    expected = torch.cat([model[0].weight.grad.reshape(-1), model[2].weight.grad.reshape(-1)])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    for name, value in run[0].state_dict().items():
        assert torch.equal(value, before[name])
    assert isinstance(graph, Graph)


def test_a_scaler_that_skips_a_step_leaves_silent_edges_as_they_are():
    model, optimizer, net = attached(Turning(moves="live"), "adamw")
    step((model, optimizer, net))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    held, shown = net.graph, copy.deepcopy(model.state_dict())
    x, y = batch(1)
    optimizer.zero_grad()
    (scaler.scale(nn.functional.cross_entropy(model(x), y)) * torch.inf).backward()
    net.step(scaler=scaler)
    assert net.clock.step == 1 and torch.equal(net.graph["weight"], held["weight"])
    for name, value in model.state_dict().items():
        assert torch.equal(value, shown[name])


@pytest.mark.parametrize("optimiser", ["momentum", "adamw"])
def test_channels_last_weights_fall_silent_as_others_do(optimiser):
    runs = []
    for form in (torch.contiguous_format, torch.channels_last):
        model = net_of(kind="conv").to(memory_format=form)
        optimizer = OPTIMISERS[optimiser](model.parameters())
        run = model, optimizer, rewire.attach(model, optimizer, Turning(moves="live"))
        for _ in range(5):
            step(run, "conv")
        assert run[0][0].weight.is_contiguous(memory_format=form)
        runs.append(run)
    plain, turned = (run[2].graph for run in runs)
    torch.testing.assert_close(plain["weight"], turned["weight"], rtol=1e-12, atol=1e-13)
    assert torch.equal(plain["gain"], turned["gain"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_fall_silent_too(dtype):
    model = net_of(dtype=dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(model, optimizer, rewire.TopKAST(decay=0.1), density=0.25)
    for t in range(5):
        x, y = batch(t, dtype=dtype)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).float(), y).backward()
        net.step()
    assert net.edges == 33 and all(p.isfinite().all() for p in model.parameters())
    graph = net.graph
    for i, p in enumerate((model[0].weight, model[2].weight)):
        assert torch.equal(p, (graph.dense(i) * graph.dense(i, "gain")).to(dtype))


def test_limits_on_weights_hold_for_silent_edges_and_those_on_fan_in_count_them():
    def attach(limit):
        model = net_of()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        net = rewire.attach(model, optimizer, rewire.TopKAST(), density=0.25, limits=[limit])
        for _ in range(4):
            step((model, optimizer, net))
        return model, net.graph

    from rewire.limits import Dale, FanIn, FixedPoint

    for limit in (Dale(), FixedPoint(bits=4, fraction=3)):
        model, graph = attach(limit)
        for i, p in enumerate((model[0].weight, model[2].weight)):
            stored = graph.dense(i)
            assert torch.equal(p, stored * graph.dense(i, "gain")) and (p == 0).sum() > 20
            if isinstance(limit, Dale):  # a presynaptic unit has one sign, silent edges too
                assert ((stored >= 0).all(0) | (stored <= 0).all(0)).all()
            else:
                assert torch.equal(stored * 8, (stored * 8).round())
    with pytest.raises(ValueError, match="TopKAST cannot live under FanIn"):
        attach(FanIn(most=4))
