"""Confirmed mistakes of other programs, each a test that ours does not make it."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import rewire
from rewire import when
from rewire.experiments import building, kinds
from rewire.experiments.trainings import plan
from rewire.graph import Graph, Population, Projection, Space, square_sheet
from rewire.streams import rng_for
from rewire.when import Clock


def space_of(*shapes, multapses=False):
    a = Population("a", max(max(s) for s in shapes))
    return Space(
        [a],
        [Projection(f"p{i}", "a", "a", "linear", s, multapses) for i, s in enumerate(shapes)],
    )


def bare(rule, weights, shapes, span=1, **world):
    space = space_of(*shapes)
    world = rewire.Bare(space, weights=weights, **world)
    return rewire.Session(world, Graph.full(space), rule, span=span, rewinds=True)


def finished(net):
    while not net.done:
        net.step()
    return net


def trained(rule, model, make=None, density=0.3, steps=8, **options):
    make = make or (lambda p: torch.optim.Adam(p, lr=0.01))
    optimizer = make(model.parameters())
    net = rewire.attach(model, optimizer, rule, density=density, **options)
    for step in range(steps):
        g = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        x, y = torch.randn(12, 8, generator=g), torch.randint(3, (12,), generator=g)
        nn.functional.cross_entropy(model(x), y).backward()
        net.step()
    return model, optimizer, net


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


# -- open_lth ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_open_lth_prunes_one_weight_too_many(scope):
    """Asked for 20 of 100 it prunes 21."""
    net = finished(bare(rewire.IMP(scope=scope, rounds=1), torch.randn(100), [(10, 10)]))
    assert net.edges == 80


def test_open_lth_prunes_88_per_cent_instead_of_20_where_magnitudes_tie_and_deletes_a_layer():
    weights = torch.cat([torch.full((884,), 0.1), torch.linspace(1, 2, 116)])
    net = finished(bare(rewire.IMP(rounds=1), weights, [(26, 34), (4, 29)]))
    assert net.edges == 800 and net.counts == [684, 116]
    assert net.graph.keys[0] == 200  # ties: the smaller key goes first


def test_open_lth_has_no_seed_and_its_command_gives_another_result_each_time():
    """In processes of their own, with another hash seed each (rigl seeds by hash(name))."""
    code = (
        "import torch, rewire; torch.manual_seed(0); m = torch.nn.Linear(30, 30)\n"
        "o = torch.optim.SGD(m.parameters(), lr=0.1)\n"
        "net = rewire.attach(m, o, rewire.SET(when=rewire.every(1)), density=0.2, seed=3)\n"
        "for _ in range(3): m(torch.ones(2, 30)).sum().backward(); net.step()\n"
        "print(net.graph.digest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"},
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(digests) == 1


def test_open_lth_weights_are_off_their_mask_after_the_optimiser_step():
    model, _, net = trained(rewire.Static(), mlp())
    for m, mask in zip((model[0], model[2]), net.masks().values(), strict=True):
        assert m.weight[~mask].abs().sum() == 0 and m.weight[mask].abs().min() > 0


def test_open_lth_neither_rewinds_nor_masks_the_optimisers_state():
    model, seen = mlp(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def data(step):
        seen.append(copy.deepcopy(optimizer.state_dict()["state"]))
        return torch.randn(6, 8, generator=torch.Generator().manual_seed(step))

    net = rewire.train(
        model, optimizer, rewire.IMP(rounds=1, rewind=2), steps=5, data=data,
        loss=lambda m, x: m(x).pow(2).mean(),
    )  # fmt: skip
    kept, back = seen[2], seen[5]  # at step 2, before and after the rewind
    mask = net.masks()["0.weight"]
    assert torch.equal(back[0]["exp_avg"], kept[0]["exp_avg"] * mask)
    assert torch.equal(back[0]["exp_avg_sq"], kept[0]["exp_avg_sq"] * mask)
    assert torch.equal(back[1]["exp_avg"], kept[1]["exp_avg"])  # the bias
    assert back[0]["step"] == kept[0]["step"] == 2


# -- others -----------------------------------------------------------------------------------


def test_rahulvigneswaran_freezes_all_negative_weights():
    """where(w < eps, 0, grad) there; here every live weight is trained, whatever its sign."""

    def linear():
        torch.manual_seed(0)
        return nn.Linear(8, 3)

    before = trained(rewire.Static(), linear(), density=0.8, steps=0)[2].graph["weight"]
    after = trained(rewire.Static(), linear(), density=0.8, steps=3)[2].graph["weight"]
    assert (before < 0).sum() > 5 and (before > 0).sum() > 5
    assert (after != before).all()


def test_rahulvigneswaran_trains_level_0_at_another_learning_rate():
    model, rates = mlp(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    rewire.train(
        model, optimizer, rewire.IMP(rounds=2), steps=3, data=[torch.ones(2, 8)],
        loss=lambda m, x: m(x).pow(2).mean(), schedule=lambda s: 1 / (1 + s),
        on_step=lambda net, loss: rates.append(optimizer.param_groups[0]["lr"]),
    )  # fmt: skip
    assert rates[:3] == rates[3:6] == rates[6:] == pytest.approx([0.3, 0.15, 0.1])


def test_rahulvigneswaran_picks_the_best_test_epoch(tmp_path):
    """Here the early-stopping point is that of the least validation loss, whatever the test set."""
    pytest.importorskip("sklearn")
    from rewire.experiments import store
    from rewire.experiments.data.dataset import Split
    from rewire.experiments.trainings import trainer

    experiment = kinds.parse({
        "name": "x", "model": "lenet-300-100", "data": "digits", "batch": 60, "steps": 150,
        "optimizer": {"name": "adam", "lr": 0.03}, "evaluate_every": 5, "seeds": 1,
        "rules": ["Dense"],
    })  # fmt: skip
    cell = plan.plan(experiment, building.n_train(experiment.data))[0]
    data, found = experiment.data.load(), []
    for i, labels in enumerate((data.test.y, data.test.y.roll(1))):
        scrambled = replace(data, test=Split(data.test.x, labels))
        folder = tmp_path / str(i) / cell.hash
        trainer.run_cell(cell, folder, {}, scrambled, lambda event: None, lambda: False)
        events = list(store.CellStore(folder).events())
        curve = {e["step"]: e["val_loss"] for e in events if e["event"] == "eval"}
        (row,) = (e for e in events if e["event"] == "level")
        assert row["early_stop_step"] == min(curve, key=curve.get) < 150
        found.append(row)
    own, others = found
    assert own["early_stop_step"] == others["early_stop_step"]
    assert own["test_accuracy_at_early_stop"] > 0.8 > 0.3 > others["test_accuracy_at_early_stop"]


def test_lightnings_callback_did_not_reset_the_weights():
    model = mlp()
    start = copy.deepcopy(model.state_dict())
    seen = {}

    def loss(m, x):
        seen.setdefault(len(seen), copy.deepcopy(m.state_dict()))
        return m(x).pow(2).mean()

    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rewire.IMP(rounds=1),
        steps=3, data=[torch.randn(6, 8)], loss=loss,
    )  # fmt: skip
    masks = net.masks()
    for name, value in start.items():
        assert torch.equal(seen[3][name], value * masks[name] if name in masks else value)


def test_itops_set_keeps_only_the_most_negative_weights():
    """zeta = .3 of 4868 negatives must leave 3408, not 1487; of 5050 positives 3535."""
    space = space_of((200, 200))
    g = torch.Generator().manual_seed(0)
    values = torch.cat([-torch.rand(4868, generator=g) - 1e-6, torch.rand(5050, generator=g)])
    values = values[torch.randperm(9918, generator=g)]
    graph = Graph(space, torch.arange(9918), {"weight": values}, {"weight": 0.0})
    edit, _ = rewire.SET(fraction=0.3).update(graph, None, {}, rng_for(0, "s"), Clock(1, 2))
    kept = values[~torch.isin(torch.arange(9918), torch.from_numpy(edit.drop))]
    assert int((kept < 0).sum()) == 4868 - 1460 == 3408
    assert int((kept > 0).sum()) == 5050 - 1515 == 3535
    assert kept[kept < 0].max() < values[edit.drop][values[edit.drop] < 0].min()


def test_itops_random_growth_is_bernoulli_and_the_count_drifts():
    space = space_of((50, 50))
    start = Graph(space, torch.arange(0, 2500, 5))
    net = rewire.Session(
        rewire.Bare(space, weights=torch.randn(2500)), start, rewire.SET(when=when.every(1)),
        span=200,
    )  # fmt: skip
    counts = set()
    while not net.done:
        net.step()
        counts.add(net.edges)
    assert counts == {500}


def test_rigl_torch_masks_norms_and_embeddings_and_misses_the_lstm():
    model = nn.ModuleDict({
        "embed": nn.Embedding(9, 8), "lstm": nn.LSTM(8, 6), "layer": nn.LayerNorm(6),
        "group": nn.GroupNorm(2, 6), "batch": nn.BatchNorm1d(6), "out": nn.Linear(6, 3),
    })  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5)
    assert set(net.masks()) == {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "out.weight"}
    for name in ("embed", "layer", "group", "batch"):
        assert (model[name].weight != 0).all()


def test_rigl_torch_leaves_adams_moments_dirty():
    """A synapse that comes back starts without memory, and an absent one holds none."""
    rule = rewire.RigL(when=when.every(2), fraction=0.5)
    model, optimizer, net = trained(rule, mlp(), steps=8)
    assert net.history.formed > 0
    for m, mask in zip((model[0], model[2]), net.masks().values(), strict=True):
        state = optimizer.state[m.weight]
        assert state["exp_avg"][~mask].abs().sum() == 0
        assert state["exp_avg_sq"][~mask].abs().sum() == 0
    newborn = torch.from_numpy(net.history.records[-1].add)
    flat = torch.cat([optimizer.state[m.weight]["exp_avg_sq"].reshape(-1)
                      for m in (model[0], model[2])])  # fmt: skip
    assert flat[newborn].abs().sum() == 0


def test_rigl_torch_raises_on_tied_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.b.weight = self.a.weight
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.b(self.a(x).relu()))

    model, _, net = trained(rewire.RigL(when=when.every(2), fraction=0.3), Tied())
    assert list(net.masks()) == ["a.weight", "out.weight"]
    assert model.a.weight is model.b.weight
    assert int((model.a.weight != 0).sum()) <= net.counts[0]


def test_rigl_torch_replaces_optimizer_step():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step, forward, state = optimizer.step, model.forward, dict(vars(optimizer))
    rewire.attach(model, optimizer, rewire.RigL(), density=0.3, steps=10)
    assert optimizer.step == step and model.forward == forward
    assert vars(optimizer).keys() == state.keys()


def test_srigl_sorts_a_boolean_row_so_which_weights_go_is_arbitrary():
    """Per-neuron budgets rank by magnitude, also where groups are numbers of neurons."""
    weight = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.6, 0.2, 0.8, 0.4]])
    neuron = torch.arange(2).repeat_interleave(4)
    kept = rewire.largest(weight.reshape(-1), [2, 3], neuron)
    assert kept.tolist() == [1, 3, 4, 6, 7]


def test_deep_rewire_wakes_a_synapse_where_relu_has_no_gradient():
    """theta = 0 moves by its own gradient in the very next step."""
    torch.manual_seed(0)
    model = nn.Linear(6, 6, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rewire.DeepR(l1=0.0, noise=0.0, when=when.at_steps(1)), density=0.5
    )
    with torch.no_grad():
        model.weight.mul_(-1)  # every sign is wrong now: all go, as many wake at 0
    model.weight.grad = torch.zeros(6, 6)
    net.step()
    assert net.history.formed == 18
    assert (net.graph["weight"] == 0).all()
    model.weight.grad = torch.ones(6, 6)
    net.step()
    assert torch.allclose(net.graph["weight"], torch.full((18,), -0.1))


def test_deep_rewires_active_count_is_not_saved():
    rule = rewire.DeepR(noise=0.5)
    model, optimizer, net = trained(rule, mlp(), lambda p: torch.optim.SGD(p, lr=0.1))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), net.state_dict()))
    again = mlp()
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1)
    other = rewire.attach(again, optimizer, rule, density=0.3)
    again.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    assert other.counts == net.counts and torch.equal(other.graph.keys, net.graph.keys)
    assert torch.equal(other.graph["sign"], net.graph["sign"])


def test_deep_rewire_never_trains_its_negative_bias():
    model, _, net = trained(rewire.DeepR(), mlp(), steps=0)
    before = [m.bias.clone() for m in (model[0], model[2])]
    model, _, net = trained(rewire.DeepR(), mlp(), steps=3)
    for m, old in zip((model[0], model[2]), before, strict=True):
        assert (m.bias != old).double().mean() > 0.5


def test_yanqi_chens_refills_with_plus_eps_where_the_sign_is_negative():
    """A woken synapse is born on the side of its own sign; K is exact, not an expectation."""
    space = space_of((40, 40))
    start = Graph(space, torch.arange(0, 1600, 4))
    rule = rewire.DeepR(l1=0.5, temperature=0.05, birth=0.01)
    net = rewire.Session(rewire.Bare(space, lr=0.1), start, rule, span=30)
    negative = 0
    while not net.done:
        net.step()
        assert net.edges == 400
        last = net.history.records[-1]
        graph = net.graph
        row, _ = graph.find(torch.from_numpy(last.add))
        assert torch.allclose(graph["weight"][row], 0.01 * graph["sign"][row])
        negative += int((graph["sign"][row] < 0).sum())
        assert (graph["weight"] * graph["sign"] >= 0).all()
    assert negative > 100


@pytest.mark.parametrize("density", [0.01, 0.3, 0.9, 0.999])
def test_bellecs_script_samples_with_replacement_and_starts_below_k(density):
    model = nn.Linear(50, 40)
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.DeepR(), density=density
    )
    assert net.edges == round(density * 2000) == int(net.masks()["weight"].sum())


def test_bellecs_sparse_tensors_hold_duplicate_coordinates():
    space = space_of((20, 20))
    start = Graph(space, torch.arange(0, 400, 3))
    net = rewire.Session(
        rewire.Bare(space, lr=0.1), start, rewire.DeepR(l1=1.0, temperature=0.1), span=50
    )
    while not net.done:
        net.step()
        assert (net.graph.keys.diff() > 0).all()


def test_neurogenesis_has_one_constant_with_two_values():
    """1.36e-4 and 1.36 * e ** -4 (0.0249); p_elim_dep / 180 is 1.361e-4."""
    rule = rewire.StructuralPlasticity()
    assert rule.p_elim_pot == 1.36e-4
    assert rule.p_elim_pot == pytest.approx(rule.p_elim_dep / 180, rel=1e-3)
    assert rewire.StructuralPlasticity.bogdan().p_elim_pot == rule.p_elim_pot


def test_spynnakers_first_version_wraps_distances_that_are_below_half_the_grid():
    """The offset 8 of 16 stays 8, 9 becomes 7, 1 stays 1: the nearest image on the torus."""
    where = square_sheet(256)
    space = Space(
        [Population("in", 256, where), Population("out", 256, where)],
        [Projection("ff", "in", "out", "linear", (256, 256))],
    )
    rule = rewire.StructuralPlasticity(p_form=1.0, sigma_form=4 / 16, partner="uniform")
    pre = torch.arange(16)
    (sheet,) = rule._sheets(space)
    chance = sheet.chances(0, pre, torch.zeros(16, dtype=torch.int64))
    offset = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1]).double()
    assert torch.allclose(chance, torch.exp(-(offset**2) / 32))
    assert [sheet._chance(0, i, 0) for i in range(16)] == pytest.approx(chance.tolist())


def test_spynnakers_first_version_makes_depressed_synapses_pass_both_probabilities():
    """Elimination was if / else if: p_dep must not be multiplied by p_pot."""
    space = Space([Population("a", 100)], [Projection("p", "a", "a", "linear", (100, 100))])
    rule = rewire.StructuralPlasticity(
        attempts=1.0, initial="given", partner="uniform", p_form=0.0, p_form_lateral=0.0,
        p_elim_dep=1.0, p_elim_pot=0.0, threshold=0.5,
    )  # fmt: skip
    weights = (torch.arange(10_000) % 2).float()
    net = rewire.Session(rewire.Bare(space, weights=weights), Graph.full(space), rule, span=20)
    finished(net)
    assert net.edges == 5000 and (net.graph["weight"] == 1).all()
