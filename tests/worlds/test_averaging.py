"""Averages of a model are of its edges by key, whoever asks for them, or refused by name."""

import copy
import gc
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import rewire
from rewire import every

WORLDS = ("masked", "sparse")
DECAYS = (0.8, None)
RULES = {
    "static": rewire.Static,
    "set": lambda: rewire.SET(fraction=0.3, when=every(2)),
    "deepr": lambda: rewire.DeepR(),
    "gmp": lambda: rewire.GMP(to=0.1, when=every(2)),
    "two": lambda: [rewire.SET(fraction=0.3, when=every(2)), rewire.AgeLimit(most=5)],
}


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10), nn.Linear(10, 4)
    )


def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))


def batches(n=12, shape=(12,)):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, *shape, generator=draw), torch.randint(4, (8,), generator=draw))
        for _ in range(n)
    ]


def attached(world, rule="set", model=None, **options):
    model = mlp() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    chosen = RULES[rule]() if isinstance(rule, str) else rule
    density = {} if rule == "gmp" else {"density": 0.3}
    return rewire.attach(
        model, optimizer, chosen, world=world, seed=3, steps=100, **density, **options
    )


def step(net, batch):
    net.world.model.zero_grad()
    cross_entropy(net.world.model(batch[0]), batch[1]).backward()
    net.step()


class ByHand:
    """The average as its definition says, edge by edge in float64."""

    def __init__(self, decay):
        self.decay, self.edges = decay, {}

    def update(self, net, born):
        graph = net.graph.effective()
        weights = dict(zip(graph.keys.tolist(), graph["weight"].double().tolist(), strict=True))
        before = {k: v for k, v in self.edges.items() if k in weights and k not in born}
        for key, w in weights.items():
            a, age = before.get(key, (0.0, 0))
            share = 1 / (age + 1) if self.decay is None or age == 0 else 1 - self.decay
            before[key] = a + share * (w - a), age + 1
        self.edges = before


def born_in(net, seen):
    return {key for record in net.history.records[seen:] for key in record.add.tolist()}


def weights_of(net, module):
    """The sparse weights of a plain or listed copy of the model, dense, one for each projection."""
    out = []
    for i, projection in enumerate(net.world.space.projections):
        p = dict(module.named_parameters())[projection.name].detach()
        if tuple(p.shape) != projection.shape:
            p = net.graph.with_columns({
                "weight": torch.zeros(len(net.graph)).index_put(
                    (torch.arange(len(net.graph))[net.graph.rows(i)],), p
                )
            }).dense(i)  # fmt: skip
        out.append(p)
    return out


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("world", WORLDS)
def test_each_edge_is_averaged_since_its_birth_and_absent_ones_are_0(world, rule, decay):
    net = attached(world, rule)
    average, hand = net.averaged(decay), ByHand(decay)
    seen = 0
    for batch in batches():
        step(net, batch)
        average.update()
        hand.update(net, born_in(net, seen))
        seen = len(net.history.records)
        graph, dense = net.graph, weights_of(net, average.model)
        for i, weight in enumerate(dense):
            assert (weight[~graph.mask(i)] == 0).all()
            keys = graph.keys[graph.rows(i)].tolist()
            expected = torch.tensor([hand.edges[k][0] for k in keys])
            assert torch.allclose(weight.reshape(-1)[graph.local(i)], expected, atol=1e-6)
    assert rule == "static" or net.history.dropped


@pytest.mark.parametrize("buffers", ["copied", "averaged"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("world", WORLDS)
def test_where_no_edge_moves_it_is_torchs_average(world, decay, buffers):
    net = attached(world, "static")
    fn = None if decay is None else get_ema_multi_avg_fn(decay)
    theirs = AveragedModel(net.world.model, multi_avg_fn=fn, use_buffers=buffers == "averaged")
    ours = net.averaged(decay, buffers=buffers)
    for batch in batches():
        step(net, batch)
        theirs.update_parameters(net.world.model)
        ours.update()
    state, own = theirs.module.state_dict(), ours.model.state_dict()
    assert state.keys() == own.keys()
    for name, value in own.items():
        if value.is_floating_point():  # torch averages what is counted too
            assert torch.allclose(value, state[name], atol=1e-6), name
    x = batches()[0][0]
    assert torch.allclose(ours.model.eval()(x), theirs.eval()(x), atol=1e-5)


@pytest.mark.parametrize("decay", DECAYS)
def test_both_worlds_average_alike(decay):
    x, models = batches()[0][0], []
    for world in WORLDS:
        net = attached(world, "set")
        average = net.averaged(decay, each_step=True)
        for batch in batches():
            step(net, batch)
        assert average.updates == 12
        models.append(average.model.eval()(x))
    assert torch.allclose(*models, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_convolutions_and_recurrent_layers_are_averaged_by_key(world):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.lstm, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 4)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    for model, shape in ((conv(), (1, 4, 4)), (Recurrent(), (3, 5))):
        net = attached(world, "set", model)
        average = net.averaged(None, each_step=True)
        mean = {}
        for batch in batches(8, shape):
            step(net, batch)
            for key, w in zip(net.graph.keys.tolist(), net.graph["weight"].tolist(), strict=True):
                mean.setdefault(key, []).append(w)
        old = [k for k in net.graph.keys.tolist() if len(mean[k]) == 8]
        graph = net.graph
        dense = torch.cat([w.reshape(-1) for w in weights_of(net, average.model)])
        assert len(old) and not dense[~torch.cat([
            graph.mask(i).reshape(-1) for i in range(len(graph.projections))
        ])].any()  # fmt: skip
        expected = torch.tensor([sum(mean[k]) / 8 for k in old])
        assert torch.allclose(dense[old], expected, atol=1e-6)
        assert average(batch[0]).shape == (8, 4)


def test_an_edge_that_falls_silent_is_absent_and_born_again_when_it_speaks():
    net = attached("masked", rewire.EdgePopup())
    average, hand = net.averaged(0.8), ByHand(0.8)
    for batch in batches():
        step(net, batch)
        average.update()
        hand.update(net, set())
    live = net.graph.effective()
    for i, weight in enumerate(weights_of(net, average.model)):
        assert (weight[~live.mask(i)] == 0).all()
        expected = torch.tensor([hand.edges[k][0] for k in live.keys[live.rows(i)].tolist()])
        assert torch.allclose(weight[live.mask(i)], expected, atol=1e-6)


@pytest.mark.parametrize("world", WORLDS)
def test_an_edge_that_came_back_between_two_updates_starts_anew(world):
    net = attached(world, "static")
    average = net.averaged(0.9)
    step(net, batches()[0])
    average.update()
    key = net.graph.keys[:1]
    graph = net.world.read(net._graph)
    net._edit(graph, rewire.Edit(drop=torch.tensor([0])))
    absent = net.graph.keys.tolist()
    assert int(key) not in absent
    graph = net.world.read(net._graph)
    net._edit(graph, rewire.Edit(add=key, birth={"weight": 7.0}))
    average.update()
    row = average.state_dict()["keys"].tolist().index(int(key))
    assert float(average.state_dict()["weight"][row]) == 7.0


@pytest.mark.parametrize("world", WORLDS)
def test_before_and_between_updates_new_edges_have_the_weight_of_now(world):
    net = attached(world, "deepr")
    average = net.averaged(0.9)
    x = batches()[0][0]
    assert torch.equal(average.model.eval()(x), net.world.model.eval()(x))
    net.world.model.train()
    step(net, batches()[0])
    average.update()
    module = average.model
    for batch in batches(3):
        step(net, batch)
    assert average.model is module
    for i, weight in enumerate(weights_of(net, module)):
        assert (weight[~net.graph.mask(i)] == 0).all()


@pytest.mark.parametrize("world", WORLDS)
def test_a_saved_average_goes_on_to_the_same_bits(world):
    def run(reload):
        net = attached(world, "set")
        average = net.averaged(0.9)
        for i, batch in enumerate(batches()):
            step(net, batch)
            average.update()
            if i == 5 and reload:
                state = pickle.loads(pickle.dumps(average.state_dict()))
                average = net.averaged(0.9)
                average.load_state_dict(state)
        return average.model.state_dict()

    straight, again = run(False), run(True)
    assert straight.keys() == again.keys()
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def test_an_average_of_another_kind_or_model_is_refused():
    net = attached("masked")
    state = net.averaged(0.9).state_dict()
    with pytest.raises(ValueError, match=r"made with decay=0.9; this one has decay=0.5"):
        net.averaged(0.5).load_state_dict(state)
    other = attached("masked", model=conv())
    with pytest.raises(ValueError, match="another model: it differs in 1.bias"):
        other.averaged(0.9).load_state_dict(state)
    state["rest"]["0.bias"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"'0.bias' has shape \(2,\) there and \(16,\) here"):
        net.averaged(0.9).load_state_dict(state)


@pytest.mark.parametrize("decay", [1.0, -0.1, "0.9", float("nan")])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay is a number from 0 to below 1"):
        attached("masked").averaged(decay)
    with pytest.raises(ValueError, match="buffers is one of copied, averaged, got 'kept'"):
        attached("masked").averaged(buffers="kept")


def test_a_world_without_a_model_is_refused():
    space = rewire.Space(
        [rewire.Population("a", 3)], [rewire.Projection("p", "a", "a", "linear", (3, 3))]
    )
    graph = rewire.Graph(space, torch.arange(4))
    session = rewire.Session(rewire.Bare(space), graph, rewire.Static())
    with pytest.raises(ValueError, match="the bare world has no torch model to average"):
        session.averaged()


def test_after_a_rewind_the_average_starts_again():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    averages, updates = [], []

    def look(net, loss):
        if not averages:
            averages.append(net.averaged(None, each_step=True))
        updates.append(averages[0].updates)

    rewire.train(
        model, optimizer, rewire.IMP(fraction=0.5, rounds=2), data=batches(6), steps=6,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1]), on_step=look,
    )  # fmt: skip
    assert max(updates) < 7 and updates.count(1) > 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_copies_of_session_and_average_go_on_by_themselves(world, whole):
    net = attached(world, "set")
    average = net.averaged(0.9, each_step=True)
    step(net, batches()[0])
    pair = (net, average)
    twin, other = pickle.loads(pickle.dumps(pair)) if whole else copy.deepcopy(pair)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in batches(6):
            step(net, batch)
            step(twin, batch)
    assert other.updates == average.updates == 7
    one, two = average.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


# -- who averages by position ----------------------------------------------------------------------


class ModelEmaV2(nn.Module):
    """As timm's."""

    def __init__(self, model, decay=0.9):
        super().__init__()
        self.module = copy.deepcopy(model)
        self.decay = decay


class Wrapper(nn.Module):
    """As a LightningModule: the model is a part of what is copied."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.device = model, torch.device("cpu")


@pytest.mark.parametrize("make", [AveragedModel, ModelEmaV2, lambda m: AveragedModel(Wrapper(m))])
@pytest.mark.parametrize("world", WORLDS)
def test_averages_by_position_are_refused_when_they_are_made(world, make):
    net = attached(world, "set")
    harm = "mix synapses" if world == "sparse" else "have weights at absent synapses"
    with pytest.raises(ValueError, match=rf"averages weights by position, and SET .*{harm}"):
        make(net.world.model)
    assert type(copy.deepcopy(net.world.model)) is nn.Sequential
    net.detach()
    make(net.world.model)


def lerped(net, n, shadow):
    for batch in batches(n):
        step(net, batch)
        with torch.no_grad():
            for a, p in zip(shadow.parameters(), net.world.model.parameters(), strict=True):
                a.lerp_(p, 0.1)


def test_an_average_of_ones_own_is_warned_of_once():
    net = attached("masked", "set")
    shadow = copy.deepcopy(net.world.model)
    with pytest.warns(
        UserWarning, match=r"deep copy of this model after its edges .*averaged"
    ) as w:
        lerped(net, 10, shadow)
    assert len([x for x in w if "deep copy" in str(x.message)]) == 1


def followed(net, target, n=10):
    """As DQN's target network with Polyak's average: through data, by position."""
    for batch in batches(n):
        step(net, batch)
        for p, follows in zip(net.world.model.parameters(), target.parameters(), strict=True):
            follows.data.mul_(0.9).add_(p.data, alpha=0.1)


@pytest.mark.parametrize("rule", ["set", "deepr", "two"])
def test_a_target_network_that_follows_through_data_is_warned_of(rule):
    net = attached("masked", rule)
    with pytest.warns(UserWarning, match=r"deep copy of this model after its edges .*averaged"):
        followed(net, copy.deepcopy(net.world.model))


MIXED = r"would mix weights of \d+ edges with those of \d+ others: .* net\.averaged"


@pytest.mark.parametrize("rule", ["set", "deepr", "two"])
@pytest.mark.parametrize("follow", [followed, lambda net, target: lerped(net, 10, target)])
def test_a_copy_that_lists_of_other_edges_are_averaged_into_is_refused(rule, follow):
    net = attached("sparse", rule)
    with pytest.raises(RuntimeError, match=MIXED):
        follow(net, copy.deepcopy(net.world.model))


@pytest.mark.parametrize("rule", ["static", "set"])
@pytest.mark.parametrize("follow", [followed, lambda net, target: lerped(net, 10, target)])
def test_a_copy_made_before_lists_of_edges_is_dense_and_refused_at_once(rule, follow):
    model = mlp()
    target = copy.deepcopy(model)
    net = attached("sparse", rule, model)
    with pytest.raises(RuntimeError, match=r"list of (its )?\d+ edges.*world='masked'"):
        follow(net, target)
    assert net.clock.step == 1


class Shadows:
    """As diffusers' EMAModel: a list of shadow parameters, which follow by position."""

    def __init__(self, parameters, decay=0.9, foreach=False):
        self.shadow_params = [p.clone().detach() for p in parameters]
        self.decay, self.foreach = decay, foreach

    @torch.no_grad()
    def step(self, parameters):
        parameters = list(parameters)
        one_minus_decay = 1 - self.decay
        if self.foreach:
            torch._foreach_sub_(
                self.shadow_params,
                torch._foreach_sub(self.shadow_params, parameters),
                alpha=one_minus_decay,
            )
            return
        for s_param, param in zip(self.shadow_params, parameters, strict=True):
            if param.requires_grad:
                s_param.sub_(one_minus_decay * (s_param - param))
            else:
                s_param.copy_(param)

    def copy_to(self, parameters):
        for s_param, param in zip(self.shadow_params, list(parameters), strict=True):
            param.data.copy_(s_param.to(param.device).data)

    def store(self, parameters):
        self.temp_stored_params = [param.detach().cpu().clone() for param in parameters]

    def restore(self, parameters):
        for c_param, param in zip(self.temp_stored_params, parameters, strict=True):
            param.data.copy_(c_param.data)


class Registered(Shadows):
    """As many a script's: new tensors by name at each update."""

    def __init__(self, parameters):
        self.shadow_params = [p.data.clone() for p in parameters]

    def step(self, parameters):
        for i, param in enumerate(parameters):
            new_average = 0.1 * param.data + 0.9 * self.shadow_params[i]
            self.shadow_params[i] = new_average.clone()


class FromStates(Shadows):
    """As others': by the model's states."""

    def __init__(self, model):
        self.model = model
        self.shadow = {k: v.clone() for k, v in model.state_dict().items()}

    def step(self, parameters):
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].mul_(0.9).add_(value, alpha=0.1)


LISTS = {
    "diffusers": lambda model: Shadows(model.parameters()),
    "foreach": lambda model: Shadows(model.parameters(), foreach=True),
    "registered": lambda model: Registered(model.parameters()),
    "states": FromStates,
    "deep copies": lambda model: pickled(Shadows(copy.deepcopy(list(model.parameters())))),
}


def pickled(ema):
    """Also after it was moved about."""
    ema.shadow_params = copy.deepcopy(ema.shadow_params)
    return ema


class EMAModel(Shadows):
    """By its own name."""


class ExponentialMovingAverage(Registered):
    """As torch_ema's, of ``p.data``."""


@pytest.mark.parametrize("average", [EMAModel, ExponentialMovingAverage])
def test_a_list_of_shadows_is_refused_when_it_is_made_by_a_class_that_says_what_it_is(average):
    net, other, static = (attached("sparse", rule) for rule in ("set", "deepr", "static"))
    masked = attached("masked", "set")
    with pytest.raises(ValueError, match=f"{average.__name__} averages weights by .* SET moves"):
        average(net.world.model.parameters())
    with pytest.raises(ValueError, match=f"{average.__name__} averages weights by .* DeepR moves"):
        average(other.world.model.parameters())
    average(static.world.model.parameters())
    average(masked.world.model.parameters())
    net.detach()
    average(net.world.model.parameters())


@pytest.mark.parametrize("rule", ["set", "deepr", "two"])
@pytest.mark.parametrize("make", LISTS)
def test_a_list_of_shadows_of_other_edges_is_refused(make, rule):
    net = attached("sparse", rule)
    shadows = LISTS[make](net.world.model)
    with pytest.raises(RuntimeError, match=MIXED):
        for batch in batches(20):
            step(net, batch)
            shadows.step(net.world.model.parameters())
    assert net.history.dropped


@pytest.mark.parametrize("make", LISTS)
def test_a_list_of_shadows_is_the_average_where_no_edge_moves(make):
    net = attached("sparse", "static")
    average, shadows = net.averaged(0.9), LISTS[make](net.world.model)
    average.update()
    for batch in batches(5):
        step(net, batch)
        average.update()
        shadows.step(net.world.model.parameters())
    if make != "states":
        shadows.store(net.world.model.parameters())
        shadows.copy_to(net.world.model.parameters())
        for p, q in zip(net.world.model.parameters(), average.model.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-6)
        shadows.restore(net.world.model.parameters())
    net.check()


def test_weights_that_were_put_aside_do_not_come_back_on_other_edges():
    net = attached("sparse", "set")
    shadows = Shadows(net.world.model.parameters())
    shadows.store(net.world.model.parameters())
    before = [s.clone() for s in shadows.temp_stored_params]
    for batch in batches(4):
        step(net, batch)
    for put_back in (shadows.copy_to, shadows.restore):
        with pytest.raises(RuntimeError, match=MIXED):
            put_back(net.world.model.parameters())
    net.check()
    kept = shadows.temp_stored_params[0]
    assert torch.equal(kept, before[0])  # comparing is nobody's harm
    assert not torch.equal(kept, net.world.model[0].weight)
    kept.copy_(net.world.model[0].weight.detach())  # written anew it is of the edges of now
    with torch.no_grad():
        assert not (kept - net.world.model[0].weight).any()
    other = pickle.loads(pickle.dumps(kept))
    assert type(other) is torch.Tensor and torch.equal(other, kept)


def test_a_masked_list_of_shadows_that_is_put_back_is_projected_and_said():
    net = attached("masked", "set")
    shadows = Shadows(net.world.model.parameters())
    for batch in batches(6):
        step(net, batch)
        shadows.step(net.world.model.parameters())
    shadows.copy_to(net.world.model.parameters())
    with pytest.raises(RuntimeError, match="absent synapses.*net.enforce"):
        net.check()
    with pytest.warns(UserWarning, match="absent synapses"):
        assert net.edges == len(net.graph)
    net.check()


@pytest.mark.parametrize("world", WORLDS)
def test_other_copies_are_nobodys_business(world):
    static = attached(world, "static")
    net = attached(world, "set")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lerped(static, 6, copy.deepcopy(static.world.model))
        best = copy.deepcopy(net.world.model)
        student = copy.deepcopy(net.world.model)
        own = torch.optim.SGD(student.parameters(), lr=0.1)
        for batch in batches(10):
            step(net, batch)
            cross_entropy(student(batch[0]), batch[1]).backward()
            own.step()
            if world == "masked":
                best.load_state_dict(net.world.model.state_dict())
            else:
                best = copy.deepcopy(net.world.model)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_an_average_made_before_attach_is_refused_at_attach(world, wrapped):
    model = mlp()
    average = AveragedModel(Wrapper(model) if wrapped else model)
    with pytest.raises(ValueError, match="AveragedModel averages weights by position, and SET"):
        attached(world, "set", model)
    attached(world, "static", mlp())
    attached(world, "set", conv())
    del average
    gc.collect()  # what the refusal's traceback still holds
    attached(world, "set", mlp())


@pytest.mark.parametrize("first", [True, False])
def test_lightnings_average_is_refused(first):
    lightning = pytest.importorskip("lightning.pytorch")
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "WeightAveraging"):
        pytest.skip("this lightning has no WeightAveraging")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = mlp()

    module, callback = Module(), callbacks.WeightAveraging()
    if first:
        callback.setup(None, module, "fit")
        with pytest.raises(ValueError, match="averages weights by position"):
            attached("masked", "set", module.model)
    else:
        net = attached("masked", "set", module.model)
        with pytest.raises(ValueError, match="averages weights by position"):
            callback.setup(None, module, "fit")
        assert net.clock.step == 0
