"""What a trace of a model says, what it leaves alone, and what it cannot follow."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rewire
from rewire import models
from rewire.analysis import metrics
from rewire.graph import Graph, Space
from rewire.limits import FanIn, limited
from rewire.worlds.torch_model.layers import discover
from rewire.worlds.torch_model.tracing import trace


class Residual(nn.Module):
    def __init__(self, between=torch.relu):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.between = between

    def forward(self, x):
        return self.c(x + self.b(self.between(self.a(x))))


def wired(model, example) -> Space:
    space, parameters, _ = discover(model)
    wiring = trace(model, space, parameters, example)
    return Space(space.populations, space.projections, wiring=wiring)


def attached(model, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule=rewire.Static(), density=0.3, **options)


def resnet():
    g = torch.Generator().manual_seed(0)
    return models.build("resnet-20", generator=g, input_shape=(3, 32, 32), classes=10)


# -- figures that were wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("name, idle", [("resnet-20", 0.2317), ("conv-4", 0.2920)])
def test_edges_on_no_path(name, idle, world):
    g, example = torch.Generator().manual_seed(0), torch.zeros(4, 3, 32, 32)
    model = models.build(name, generator=g, input_shape=(3, 32, 32), classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rule=rewire.SET(), density=0.005, world=world, example=example
    )
    assert net.graph.network.joined
    assert 1 - metrics.effective_edges(net.graph).mean() == pytest.approx(idle, abs=5e-5)


def test_both_worlds_are_wired_alike():
    masked, sparse = (
        attached(resnet(), world=world, example=torch.zeros(1, 3, 32, 32))
        for world in ("masked", "sparse")
    )
    assert masked.graph.space.wiring.plain() == sparse.graph.space.wiring.plain()
    assert masked.graph.description == sparse.graph.description


# -- what a trace leaves alone -------------------------------------------------------------------


def test_a_trace_leaves_the_model_and_random_numbers_alone():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten())
    model.append(nn.Linear(3 * 36, 2)).train()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert Graph.full(wired(model, torch.randn(2, 1, 8, 8))).network.joined
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules()) and not calls
    torch.manual_seed(0)
    state = torch.get_rng_state()
    wired(model, torch.zeros(2, 1, 8, 8))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None and not p.is_meta for p in model.parameters())


def test_a_model_is_followed_when_its_network_is_first_asked_for():
    class Counting(Residual):
        passes = 0

        def forward(self, x):
            type(self).passes += 1
            return super().forward(x)

    model = Counting()
    net = attached(model, example=torch.zeros(1, 6))
    net.train() if hasattr(net, "train") else None
    model(torch.randn(5, 6)).sum().backward()
    net.step()
    assert Counting.passes == 1
    assert net.graph.network.joined and Counting.passes == 2
    assert net.graph.network.joined and Counting.passes == 2


def test_graphs_of_a_session_can_be_copied_and_pickled():
    net = attached(Residual(), example=torch.zeros(1, 6))
    unasked = pickle.loads(pickle.dumps(net.graph.space))
    assert unasked.wiring is None and copy.deepcopy(net.graph.space).wiring is not None
    assert pickle.loads(pickle.dumps(net.graph.space)).wiring.program == (
        net.graph.space.wiring.program
    )


# -- where the example comes from ----------------------------------------------------------------


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def test_the_probe_is_an_example():
    batch = (torch.randn(7, 1, 8, 8), torch.zeros(7, dtype=torch.int64))
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 36, 2))
    assert not attached(copy.deepcopy(model)).graph.network.joined
    net = attached(model, probe=rewire.Probe([batch], loss))
    assert net.graph.network.joined
    assert net.graph.space.wiring.program.steps[0].shapes == ((1, 1, 8, 8),)


def test_train_takes_its_first_batch_for_an_example():
    batches = [(torch.randn(4, 6), torch.zeros(4, dtype=torch.int64))]
    model = nn.Sequential(Residual(), nn.Identity())
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
        loss=loss, data=batches, steps=2, density=0.5,
    )  # fmt: skip
    assert net.graph.network.joined


def test_a_model_of_linear_layers_needs_no_example():
    assert attached(Residual()).graph.network.joined


def test_an_example_that_does_not_fit_is_refused_when_it_is_run():
    net = attached(Residual(), example=torch.zeros(1, 7))
    with pytest.raises(RuntimeError, match="cannot be followed.*Pass an example= that it takes"):
        net.graph.network  # noqa: B018


def test_a_batch_is_followed_as_one_example_where_examples_do_not_meet():
    class OverTime(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.RNN(4, 5), nn.Linear(5, 2)

        def forward(self, x):  # time first
            return self.fc(self.rnn(x)[0])

    def first_shape(model, example):
        return wired(model, example).wiring.program.steps[0].shapes[0]

    assert first_shape(Residual(), torch.zeros(9, 6)) == (1, 6)
    assert first_shape(OverTime(), torch.zeros(3, 2, 4)) == (3, 2, 4)


def test_a_model_that_treats_one_example_in_another_way_is_followed_with_two():
    class Squeezes(Residual):
        def forward(self, x):
            return super().forward(x.squeeze() if x.dim() > 2 else x)

    class Flattens(Residual):
        def forward(self, x):
            y = x.squeeze()
            return super().forward(y if y.dim() > 1 else y[None].flip(0))

    for model, shape in ((Squeezes(), (5, 1, 6)), (Flattens(), (5, 6))):
        space = wired(model, torch.zeros(shape))
        assert space.wiring.program.steps[0].shapes[0][0] == 2
        assert Graph.full(space).network.joined


# -- what cannot be followed ---------------------------------------------------------------------


def test_an_operation_that_is_not_known_is_named_and_no_path_told():
    space = wired(Residual(lambda x: torch.fft.fft(x).real), torch.zeros(1, 6))
    graph = Graph.full(space)
    assert "fft" in space.wiring.unknown[0]
    assert not graph.network.joined
    with pytest.raises(ValueError, match="no path from an input to an output can be told"):
        metrics.effective_edges(graph)


def test_a_sort_between_layers_is_not_guessed():
    graph = Graph.full(wired(Residual(lambda x: x.sort(-1).values), torch.zeros(1, 6)))
    assert graph.network.unknown == ("sort",) and not graph.network.joined
    with pytest.raises(ValueError, match="sort, which cannot be followed"):
        metrics.dead_units(graph)


def test_what_is_decided_by_activations_is_not_guessed():
    graph = Graph.full(wired(Residual(lambda x: x * x.argmax(-1, keepdim=True)), torch.zeros(1, 6)))
    assert graph.network.unknown == ("mul",)


def test_a_threshold_carries_its_activation_on():
    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return (x > 1).float()

    graph = Graph.full(wired(Residual(Spike.apply), torch.zeros(1, 6)))
    assert graph.network.joined and metrics.effective_edges(graph).all()


def test_a_layer_that_is_never_called_has_edges_on_no_path():
    class Idle(Residual):
        def __init__(self):
            super().__init__()
            self.idle = nn.Linear(6, 3)

    graph = Graph.full(wired(Idle(), torch.zeros(1, 6)))
    assert graph.pieces[1] == ("idle.in", "idle")
    on_path = metrics.effective_edges(graph)
    i = graph.space.index("idle.weight")
    assert not on_path[graph.rows(i)].any() and on_path.sum() == len(graph) - 18


# -- writes and views ----------------------------------------------------------------------------


def test_a_write_into_memory_reaches_every_view_of_it():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4, bias=False) for _ in range(3))

        def forward(self, x):
            whole = self.a(x)
            left, right = whole[:, :2], whole[:, 2:]
            right.copy_(self.b(x)[:, :2])  # the last two units of a lead nowhere
            left.mul_(2)
            return self.c(whole)

    graph = Graph.full(wired(Writes(), torch.zeros(1, 4)))
    on_path = metrics.effective_edges(graph)
    rows = [on_path[graph.rows(i)].reshape(4, 4).all(1).tolist() for i in range(3)]
    assert rows == [[True, True, False, False], [True, True, False, False], [True] * 4]
    assert on_path.sum() == 8 + 8 + 16


def test_padding_decides_which_positions_of_a_kernel_ever_meet_a_number():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(1, 2))
    graph = Graph.full(wired(model, torch.zeros(1, 1, 1, 1)))
    on_path = metrics.effective_edges(graph)
    assert on_path[:9].tolist() == [False] * 4 + [True] + [False] * 4 and on_path[9:].all()


# -- spaces --------------------------------------------------------------------------------------


def test_limits_keep_the_wiring_and_a_part_keeps_links_alone():
    space = wired(Residual(), torch.zeros(1, 6))
    assert limited(space, [FanIn(most=3)]).wiring is space.wiring
    part = space.only((0,))
    assert part.wiring.program is None and part.wiring.links == space.wiring.links


def test_a_description_without_wiring_is_that_of_old_files():
    space, _, _ = discover(Residual())
    assert "wiring" not in Graph.full(space).description
