"""Replicates in a stack, against runs of their own in the masked world, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import rewire
from rewire import when
from rewire.session import Session
from rewire.starting_graph import first_graph
from rewire.worlds.masked.world import Masked
from rewire.worlds.stacked import loop, stack
from rewire.worlds.stacked.loop import Batches, drive
from rewire.worlds.stacked.stack import Stacked
from rewire.worlds.torch_model.probe import Probe

SPAN, SIZE, N = 24, 6, 30
TOLERANCE = 1e-9


def mlp():
    layers = [nn.Linear(32, 20), nn.LayerNorm(20), nn.ReLU(), nn.Linear(20, 12), nn.Tanh()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(12, 3))


def conv():
    """Nothing in it turns on a rounding: a channel without synapses is constant, and a ReLU after
    BatchNorm would stand on its kink there, a max-pool on a tie."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU(), nn.AvgPool2d(2),
        nn.Conv2d(6, 4, 2, groups=2), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


MODELS = {"mlp": mlp, "conv": conv}
# eps: a gradient that is 0 but for rounding (of a scale before BatchNorm) must not become a step of
# Adam's full size, in the run alone as in the stack
OPTIMISERS = {
    "sgd": lambda p, r: torch.optim.SGD(p, lr=0.02 * (r + 1)),
    "momentum": lambda p, r: torch.optim.SGD(
        p, lr=0.01 * (r + 1), momentum=0.1 * r, weight_decay=0.01 * r
    ),
    "nesterov": lambda p, r: torch.optim.SGD(
        p, lr=0.01 * (r + 1), momentum=0.8 + 0.02 * r, weight_decay=0.01, nesterov=True
    ),
    "adam": lambda p, r: torch.optim.Adam(
        p, lr=1e-3 * (r + 1), betas=(0.9 - 0.05 * r, 0.999 - 0.01 * r), eps=1e-4 * (r + 1),
        weight_decay=0.01 * r,
    ),
    "adamw": lambda p, r: torch.optim.AdamW(p, lr=1e-3 * (r + 1), eps=1e-4, weight_decay=0.1 * r),
}  # fmt: skip
# (rule, density, steps of a round): IMP goes back while the others go on. Dense enough that no
# channel is left with one synapse, whose size BatchNorm takes away and whose drift is rounding
REPLICATES = [
    (rewire.Static(), 0.3, SPAN),
    (rewire.DeepR(noise=0.5, l1=0.02), 0.3, SPAN),
    (rewire.SET(when=when.every(3)), 0.5, SPAN),
    (rewire.RigL(when=when.every(4), fraction=0.4), 0.4, SPAN),
    (rewire.IMP(fraction=0.3, rounds=2), None, SPAN // 3),
    (rewire.IMP(fraction=0.3, rounds=1, rewind=3), None, SPAN // 3),  # is done before the others
]
SEEDS = [5, 1, 2, 3, 8, 9]


def examples():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 2, 4, 4, generator=g, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=g)


def loss(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x), y)


def built(model, r):
    torch.manual_seed(r)
    return MODELS[model]().double()


def session_of(world, r, replicates=REPLICATES):
    rule, density, span = replicates[r]
    graph = first_graph(world, density, "erk", "random", SEEDS[r])
    return Session(world, graph, rule, span=span, seed=SEEDS[r], rewinds=True)


def stack_of(model="mlp", optimiser="adam", replicates=REPLICATES):
    models = [built(model, r) for r in range(len(replicates))]
    optimizers = [OPTIMISERS[optimiser](m.parameters(), r) for r, m in enumerate(models)]
    stack = Stacked(models, optimizers)
    nets = [session_of(world, r, replicates) for r, world in enumerate(stack.worlds)]
    return stack, nets, Batches(*examples(), SIZE, SEEDS[: len(models)])


def solo_of(r, model="mlp", optimiser="adam", replicates=REPLICATES):
    own = built(model, r)
    world = Masked(own, OPTIMISERS[optimiser](own.parameters(), r))
    return session_of(world, r, replicates)


def factor(step):
    return 1 / (1 + 0.1 * step)


def run_alone(net, batches, steps=None, schedule=factor, look=None):
    """The loop that everybody writes; every dense gradient goes to ``look``."""
    world = net.world
    rates = [group.get("initial_lr", group["lr"]) for group in world.optimizer.param_groups]
    while not net.done and steps != 0:
        for group, rate in zip(world.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(net.schedule_step)
        world.optimizer.zero_grad()
        loss(world.model, batches(net.data_step)).backward()
        if look is not None:
            look({n: p.grad.clone() for n, p in world.model.named_parameters()})
        net.step()
        steps = None if steps is None else steps - 1
    return net


def edits(net):
    return [(r.total, r.round, r.drop.tolist(), r.add.tolist()) for r in net.history]


def everything(world):
    saved = world.snapshot()
    held = {f"model/{k}": v for k, v in saved["model"].items()}
    for i, state in saved["optimiser"]["state"].items():
        held |= {f"{i}/{k}": v for k, v in state.items() if v is not None}
    return held


def assert_close(found, want, exactly=False):
    assert found.keys() == want.keys()
    for name, a in found.items():
        b = want[name]
        assert a.shape == b.shape
        if exactly:
            assert torch.equal(a, b), name
        else:
            assert (a.double() - b.double()).abs().max() <= TOLERANCE, name


def assert_no_leaks(net):
    masks, model = net.masks(), dict(net.world.model.named_parameters())
    for name, mask in masks.items():
        p = model[name]
        for held in (p.detach(), *(v for v in net.world.optimizer.state[p].values() if v.dim())):
            assert held[~mask].count_nonzero() == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_replicate_equals_its_run_alone(model, optimiser):
    """Other rules, masks, seeds, rates, decays, data orders and rewinds at once."""
    stack, nets, data = stack_of(model, optimiser)
    seen = []
    drive(*nets, loss=loss, data=data, schedule=factor, on_step=lambda _: seen.append(stack.grads))
    assert all(net.done for net in nets)
    for r, net in enumerate(nets):
        own, made = solo_of(r, model, optimiser), []
        run_alone(own, data.of(r), look=made.append)
        for stacks, want in zip(seen, made, strict=False):
            assert_close({n: stacks[n][r] for n in want}, want)
        assert edits(net) == edits(own)
        assert torch.equal(net.topology, own.topology) and net.counts == own.counts
        assert net.clock == own.clock and len(made) == (13 if r == 5 else SPAN)
        found, want = everything(net.world), everything(own.world)
        found = {k: v for k, v in found.items() if k in want}
        assert_close(found, want)
        assert_no_leaks(net)
    assert len(nets[3].history) and len(nets[1].history) and nets[4].clock.round == 2


def test_counts_are_exact_at_every_step():
    _, nets, data = stack_of()
    first = [net.counts for net in nets[:4]]
    drive(*nets, loss=loss, data=data, steps=5)
    for _ in range(SPAN - 5):
        drive(*nets, loss=loss, data=data, steps=1)
        assert [net.counts for net in nets[:4]] == first
        for net in nets:
            assert_no_leaks(net)


def test_a_session_that_is_done_stays_as_it_is():
    stack, nets, data = stack_of("conv", "adam")
    drive(*nets, loss=loss, data=data, steps=2 * (SPAN // 3))
    assert [net.done for net in nets] == [False] * 5 + [True]
    before = everything(nets[5].world)
    others = everything(nets[0].world)
    drive(*nets, loss=loss, data=data, steps=3)
    assert_close(everything(nets[5].world), before, exactly=True)
    assert not torch.equal(others["model/1.running_mean"],
                           everything(nets[0].world)["model/1.running_mean"])  # fmt: skip
    with pytest.raises(AssertionError):
        assert_close(everything(nets[0].world), others, exactly=True)


def test_a_replicate_that_diverges_takes_nobody_along():
    stack, nets, data = stack_of("mlp", "sgd", REPLICATES[:3])
    stack.optimizers[0].param_groups[0]["lr"] = 1e200
    drive(*nets, loss=loss, data=data)
    assert not nets[0].world.model[1].weight.isfinite().all()
    own = run_alone(solo_of(2, optimiser="sgd"), data.of(2), schedule=lambda step: 1.0)
    assert_close(everything(nets[2].world), everything(own.world))


def test_a_function_of_its_own_for_each_session_gives_the_same_batches():
    runs = []
    for own in (False, True):
        _, nets, data = stack_of("conv", "momentum")
        data = [data.of(r) for r in range(len(nets))] if own else data
        order = [3, 0, 5, 1, 4, 2] if own else range(len(nets))
        data = [data[i] for i in order] if own else data
        drive(*(nets[i] for i in order), loss=loss, data=data)
        runs.append(nets)
    for a, b in zip(*runs, strict=True):
        assert_close(everything(a.world), everything(b.world), exactly=True)


def test_a_run_in_pieces_and_from_saved_states_is_the_same_run():
    _, whole, data = stack_of("conv", "adamw")
    drive(*whole, loss=loss, data=data, schedule=factor)
    _, nets, _ = stack_of("conv", "adamw")
    drive(*nets, loss=loss, data=data, steps=7, schedule=factor)
    drive(*nets, loss=loss, data=data, steps=4, schedule=factor)
    saved = [(net.world.snapshot(), copy.deepcopy(net.state_dict())) for net in nets]
    drive(*nets, loss=loss, data=data, steps=2, schedule=factor)  # what is saved does not move
    _, again, _ = stack_of("conv", "adamw")
    for net, (world, state) in zip(again, saved, strict=True):
        net.world.load(world)
        net.load_state_dict(state)
    drive(*again, loss=loss, data=data, schedule=factor)
    for a, b in zip(whole, again, strict=True):
        assert edits(a) == edits(b) and a.clock == b.clock
        assert_close(everything(a.world), everything(b.world), exactly=True)


@pytest.mark.parametrize("r", [1, 3, 4])
def test_a_replicate_goes_on_alone_and_a_run_alone_goes_on_in_a_stack(r):
    want = run_alone(solo_of(r), Batches(*examples(), SIZE, SEEDS).of(r))
    _, nets, data = stack_of()
    drive(*nets, loss=loss, data=data, steps=10, schedule=factor)
    own = solo_of(r)
    own.world.load(nets[r].world.snapshot())
    own.load_state_dict(nets[r].state_dict())
    run_alone(own, data.of(r))
    assert_close(everything(own.world), everything(want.world))

    half = run_alone(solo_of(r), data.of(r), steps=10)
    for group in half.world.optimizer.param_groups:
        group["initial_lr"] = 1e-3 * (r + 1)
    _, nets, _ = stack_of()
    nets[r].world.load(half.world.snapshot())
    nets[r].load_state_dict(half.state_dict())
    drive(*nets, loss=loss, data=data, schedule=factor)
    assert_close(everything(nets[r].world), everything(want.world))
    assert edits(nets[r]) == edits(want)


def test_models_in_channels_last_order_can_be_stacked():
    models = [built("conv", r).to(memory_format=torch.channels_last) for r in range(6)]
    optimizers = [OPTIMISERS["adam"](m.parameters(), r) for r, m in enumerate(models)]
    stack = Stacked(models, optimizers)
    nets = [session_of(world, r) for r, world in enumerate(stack.worlds)]
    data = Batches(*examples(), SIZE, SEEDS)
    drive(*nets, loss=loss, data=data, schedule=factor)
    for r in (1, 3):
        own = run_alone(solo_of(r, "conv"), data.of(r))
        assert edits(own) == edits(nets[r])
        assert_close(everything(nets[r].world), everything(own.world))


def test_a_snapshot_holds_one_replicate_and_not_the_whole_stack():
    stack, nets, data = stack_of()
    for v in everything(nets[2].world).values():
        assert v.untyped_storage().nbytes() == v.numel() * v.itemsize


def test_models_and_optimisers_stay_what_they_were():
    models = [built("mlp", r) for r in range(2)]
    held = [list(m.parameters()) for m in models]
    numbers = [p.detach().clone() for p in models[1].parameters()]
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in models]
    stack = Stacked(models, optimizers)
    for m, before in zip(models, held, strict=True):
        assert all(p is q for p, q in zip(m.parameters(), before, strict=True))
    assert all(map(torch.equal, models[1].parameters(), numbers))
    with torch.no_grad():
        models[1][1].weight[3, 4] = 7.0
    assert stack.parameters["1.weight"][1, 3, 4] == 7.0


def test_rounds_and_losses_are_shown():
    _, nets, data = stack_of()
    rounds, losses = [], []
    drive(*nets, loss=loss, data=data, on_step=losses.append,
          on_round=lambda net: rounds.append((net.world.index, net.clock.round)))  # fmt: skip
    assert len(losses) == SPAN and losses[0].shape == (6,)
    want = {(r, 0) for r in range(6)} | {(4, 1), (4, 2), (5, 1)}
    assert set(rounds) == want and len(rounds) == len(want)
    own = solo_of(2)
    assert float(losses[0][2]) == pytest.approx(loss(own.world.model, data.of(2)(0)).item())


def test_a_probe_serves_rules_that_look_before_the_first_step():
    class Early(rewire.Rule):
        needs = frozenset({"growth"})

        def start(self, graph, signals, rng):
            return rewire.Edit(drop=torch.arange(3), add=signals.largest("growth", 3)), {}

        def update(self, graph, signals, state, rng, clock):
            return rewire.Edit(), state

    x, y = examples()
    probe, found = Probe([(x[:8], y[:8])], loss), []
    models = [built("conv", r) for r in range(2)]
    for stacks in (True, False):
        own = [copy.deepcopy(m) for m in models]
        optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in own]
        worlds = (
            Stacked(own, optimizers, probe=probe).worlds
            if stacks
            else [Masked(*pair, probe=probe) for pair in zip(own, optimizers, strict=True)]
        )
        found.append([Session(w, first_graph(w, 0.4, "erk", "random", 0), Early(), span=5).topology
                      for w in worlds])  # fmt: skip
    assert all(map(torch.equal, *found))


# -- CUDA graphs, without CUDA --------------------------------------------------------------------


class Recorded(TorchDispatchMode):
    """A captured graph in Python: every operation, with the tensors that it read and made.

    Replaying runs the operations on those same tensors and puts what they make where it was, as a
    CUDA graph does. Numbers read by Python (``item``) and shapes that depend on values are refused.
    """

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        name = f.name()
        assert name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select",
                            "aten::item", "aten::unique_dim"), name  # fmt: skip
        out = f(*args, **(kwargs or {}))
        self.calls.append((f, args, kwargs or {}, out))
        return out

    def replay(self):
        with torch._C._AutoDispatchBelowAutograd():
            self._replay()

    def _replay(self):
        for f, args, kwargs, out in self.calls:
            writes = any(r.alias_info is not None for r in f._schema.returns)
            new = f(*args, **kwargs)
            if writes:  # a view, or in place
                continue
            for a, b in zip(self._tensors(out), self._tensors(new), strict=True):
                a.copy_(b)

    @staticmethod
    def _tensors(out):
        return [t for t in (out if isinstance(out, tuple | list) else (out,))
                if isinstance(t, torch.Tensor)]  # fmt: skip


@pytest.fixture
def recorder(monkeypatch):
    captured = []

    def capture(run, device):
        for _ in range(3):
            run()
        recorded = Recorded()
        with recorded:
            run()
        captured.append(recorded)
        return recorded.replay

    monkeypatch.setattr(stack, "capture", capture)
    monkeypatch.setattr(loop, "can_capture", lambda device: True)
    return captured


@pytest.mark.parametrize(("model", "optimiser"), [("mlp", "adam"), ("conv", "nesterov")])
def test_a_recording_of_the_step_replayed_between_edits_is_the_run(recorder, model, optimiser):
    """Rules, skipped steps, rewinds and changed rates reach a graph through its buffers alone."""
    runs, heard = [], []
    for graphs in (False, True):
        stack, nets, data = stack_of(model, optimiser)
        losses = []
        drive(*nets, loss=loss, data=data, schedule=factor, graphs=graphs, on_step=losses.append)
        runs.append(nets)
        heard.append(torch.stack(losses))
    assert torch.allclose(*heard, rtol=0, atol=TOLERANCE)
    assert len(recorder) == 1 and len(recorder[0].calls) > 100
    for a, b in zip(*runs, strict=True):
        assert edits(a) == edits(b) and a.clock == b.clock
        assert_close(everything(b.world), everything(a.world))
    assert len(runs[1][3].history) and runs[1][4].clock.round == 2


def test_a_graph_is_captured_again_where_the_models_change_their_mode(recorder):
    stack, nets, data = stack_of("conv")
    drive(*nets, loss=loss, data=data, steps=2, graphs=True)
    drive(*nets, loss=loss, data=data, steps=2, graphs=True)
    assert len(recorder) == 1
    for model in stack.models:
        model[1].eval()
    drive(*nets, loss=loss, data=data, steps=1, graphs=True)
    assert len(recorder) == 2


def test_warming_up_moves_nothing():
    stack, nets, data = stack_of("conv", "adam")
    drive(*nets, loss=loss, data=data, steps=3)
    before = [everything(net.world) for net in nets]
    stack._live.here.zero_()
    stack._active.here.zero_()
    stack._run(loss)
    for net, held in zip(nets, before, strict=True):
        assert_close(everything(net.world), held, exactly=True)


def test_everything_that_a_graph_reads_and_writes_stays_where_it_is():
    def places():
        kept = [*stack.parameters.values(), *stack.buffers.values(), *stack.masks.values(),
                *stack._batch, stack.steps, stack._live.here, stack._active.here,
                stack._numbers.here]  # fmt: skip
        kept += [t for held in stack.moments.values() for t in held.values()]
        return [t.data_ptr() for t in kept]

    stack, nets, data = stack_of("conv", "adam")
    drive(*nets, loss=loss, data=data, steps=1)
    before = places()
    drive(*nets, loss=loss, data=data, schedule=factor)
    assert places() == before
    for r, net in enumerate(nets):
        assert net.world.masks[0].data_ptr() == stack.masks["0.weight"][r].data_ptr()
        for name, p in net.world.model.named_parameters():
            assert p.data_ptr() == stack.parameters[name][r].data_ptr()
            state = net.world.optimizer.state[p]
            assert state["exp_avg"].data_ptr() == stack.moments[name]["exp_avg"][r].data_ptr()


def test_graphs_on_the_cpu_are_refused():
    _, nets, data = stack_of()
    with pytest.raises(ValueError, match="CUDA graphs need a CUDA device, and the stack is on cpu"):
        drive(*nets, loss=loss, data=data, graphs=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", MODELS)
def test_cuda_graphs_give_the_run_without_them(model):
    runs = []
    for graphs in (False, True):
        models = [built(model, r).cuda() for r in range(len(REPLICATES))]
        optimizers = [OPTIMISERS["adam"](m.parameters(), r) for r, m in enumerate(models)]
        stack = Stacked(models, optimizers)
        nets = [session_of(world, r) for r, world in enumerate(stack.worlds)]
        data = Batches(*(t.cuda() for t in examples()), SIZE, SEEDS)
        drive(*nets, loss=loss, data=data, schedule=factor, graphs=graphs)
        runs.append(nets)
    for a, b in zip(*runs, strict=True):
        assert edits(a) == edits(b)
        assert_close(everything(b.world), everything(a.world))


# -- what cannot be stacked -----------------------------------------------------------------------


def pair(**options):
    models = [built("mlp", r) for r in range(2)]
    return models, [torch.optim.SGD(m.parameters(), lr=0.1, **options) for m in models]


def test_optimisers_that_differ_or_are_not_known_are_refused():
    models, _ = pair()
    adam = [torch.optim.Adam(m.parameters()) for m in models]
    with pytest.raises(ValueError, match="one kind of optimizer, .* got Adam, SGD"):
        Stacked(models, [adam[0], torch.optim.SGD(models[1].parameters(), lr=0.1)])
    with pytest.raises(ValueError, match="got RMSprop"):
        Stacked(models, [torch.optim.RMSprop(m.parameters()) for m in models])
    with pytest.raises(ValueError, match="optimizer 0 sets amsgrad"):
        Stacked(models, [torch.optim.Adam(m.parameters(), amsgrad=True) for m in models])
    with pytest.raises(ValueError, match="optimizer 0 sets dampening"):
        Stacked(*pair(momentum=0.9, dampening=0.1))
    with pytest.raises(ValueError, match="optimizer 1 groups its parameters"):
        apart = torch.optim.Adam([{"params": [p]} for p in models[1].parameters()])
        Stacked(models, [adam[0], apart])
    with pytest.raises(ValueError, match="are not model 0's"):
        Stacked(models, adam[::-1])


def test_models_that_differ_are_refused():
    models, optimizers = pair()
    with pytest.raises(ValueError, match=r"2 models \(1 different ones\)"):
        Stacked([models[0]] * 2, optimizers)
    other = nn.Sequential(*mlp().double()[:-1], nn.Linear(12, 4).double())
    with pytest.raises(ValueError, match="model 1 is of another architecture.*6.weight"):
        Stacked([models[0], other], [optimizers[0], torch.optim.SGD(other.parameters(), lr=0.1)])
    half = [mlp().bfloat16() for _ in range(2)]
    with pytest.raises(ValueError, match="float32 or float64"):
        Stacked(half, [torch.optim.SGD(m.parameters(), lr=0.1) for m in half])


def test_a_replicate_cannot_step_alone():
    _, nets, data = stack_of()
    with pytest.raises(RuntimeError, match="together with the others"):
        nets[0].step()
    _, nets, data = stack_of()
    with pytest.raises(RuntimeError, match="together with the others"):
        nets[0].learn(*data.of(0)(0))


def test_drive_takes_all_sessions_of_one_stack():
    _, nets, data = stack_of()
    with pytest.raises(ValueError, match="one session for each of the 6 worlds of one Stacked"):
        drive(*nets[:-1], loss=loss, data=data)
    with pytest.raises(ValueError, match="a Stacked's worlds"):
        drive(solo_of(0), loss=loss, data=data)
    nets[0].world.model.eval()
    with pytest.raises(ValueError, match="training mode"):
        drive(*nets, loss=loss, data=data)


def test_a_session_without_an_end_needs_steps():
    stack = Stacked(*pair())
    nets = [Session(w, first_graph(w, 0.3, "erk", "random", 0), rewire.Static())
            for w in stack.worlds]  # fmt: skip
    data = Batches(*examples(), SIZE, [0, 1])
    with pytest.raises(ValueError, match="pass steps="):
        drive(*nets, loss=loss, data=data)
    drive(*nets, loss=loss, data=data, steps=2)
    assert [net.clock.total for net in nets] == [2, 2]


def test_a_smaller_last_batch_is_refused():
    _, nets, data = stack_of()
    x, y = examples()

    def batch(step):
        return (x[:4], y[:4]) if step == 2 else (x[:6], y[:6])

    with pytest.raises(ValueError, match="Leave out a smaller last batch"):
        drive(*nets, loss=loss, data=[batch] * 6)


def test_activity_of_units_is_not_offered():
    stack = Stacked(*pair())
    graph = first_graph(stack.worlds[0], 0.3, "erk", "random", 0)
    with pytest.raises(ValueError, match="'activity', which the masked world does not offer here"):
        Session(stack.worlds[0], graph, rewire.StructuralPlasticity(attempts=0.1), span=5)


def test_an_error_of_a_rule_says_whose_it_was():
    class Odd(rewire.Rule):
        def update(self, graph, signals, state, rng, clock):
            raise ValueError("odd")

    stack = Stacked(*pair())
    nets = [Session(w, first_graph(w, 0.3, "erk", "random", 0), rule, span=9, seed=4 + i)
            for i, (w, rule) in enumerate(zip(stack.worlds, [rewire.Static(), Odd()],
                                              strict=True))]  # fmt: skip
    with pytest.raises(ValueError, match="odd") as error:
        drive(*nets, loss=loss, data=Batches(*examples(), SIZE, [0, 1]))
    assert error.value.__notes__ == ["in replicate 1 (seed 5)"]


def test_batches_visit_every_example_once_in_an_epoch_in_orders_of_their_own():
    x, y = torch.arange(20), torch.arange(20) % 3
    data = Batches(x, y, 6, [1, 2])
    both = torch.cat([data([s, s])[0] for s in range(3)], 1)
    assert both.shape == (2, 18) and all(len(set(row.tolist())) == 18 for row in both)
    assert both[0].tolist() != both[1].tolist()
    assert torch.equal(data([2, 4])[0][1], data.of(1)(4)[0])
    with pytest.raises(ValueError, match="a batch of 21 is more than the 20 examples"):
        Batches(x, y, 21, [0])
