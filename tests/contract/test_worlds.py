"""One rule object, two worlds: a PyTorch model and a Brian2 network, held to the same contract.

What is checked at every tick looks at the keys alone and shares no code with the graph's edits.
"""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")

import rewire  # noqa: E402
from rewire import when  # noqa: E402
from rewire.graph import Edit  # noqa: E402
from rewire.models.spiking.topographic_map import TopographicMap  # noqa: E402
from rewire.rule_budget import budget_of  # noqa: E402
from rewire.starting_graph import first_graph  # noqa: E402
from rewire.worlds.brian.loop import drive  # noqa: E402
from rewire.worlds.brian.wiring import Wiring  # noqa: E402
from rewire.worlds.brian.world import Brian  # noqa: E402
from rewire.worlds.masked.world import Masked  # noqa: E402

TICKS = 60
SLOTS = 20  # of each target neuron

# The same objects in both worlds, so nothing that only one understands: no rate per second, no
# learning rate of the optimiser, weights and thresholds in units that both have.
RULES = {
    "plasticity": rewire.StructuralPlasticity(
        attempts=0.1, p_form=0.9, sigma_form=0.5, sigma_form_lateral=0.5, p_elim_dep=0.5,
        p_elim_pot=0.1, birth=0.1,
    ),
    "imp": rewire.IMP(fraction=0.3, rounds=2),
    "deep-r": rewire.DeepR(eta=1e-3, l1=5.0, temperature=1e-4, birth=0.1),
    "set": rewire.SET(fraction=0.2, when=when.every(5)),
    "rigl": rewire.RigL(fraction=0.2, when=when.every(5)),
    "synaptic-sampling": rewire.SynapticSampling(eta=0.1, prior=0.1, mu=-1.0),
    "stdp-pruning": rewire.STDPPruning(threshold=0.99, to=0.1, when=when.every(20, stop=1.0)),
    "static": rewire.Static(),
}  # fmt: skip
ACTING = [name for name in RULES if name != "static"]


class Torch:
    """An MLP of 30 and 20 units in the masked world, trained on random images."""

    multapses = False

    def __init__(self, rule, seed):
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(torch.nn.Linear(36, 30), torch.nn.ReLU(),
                                         torch.nn.Linear(30, 20))  # fmt: skip
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        world = Masked(self.model, optimizer)
        graph = first_graph(world, 0.3, "uniform", "random", seed)
        self.session = rewire.Session(world, graph, rule, span=TICKS, seed=seed, rewinds=True)
        self.optimizer = optimizer

    def run(self):
        while not self.session.done:
            g = torch.Generator().manual_seed(self.session.data_step)
            self.optimizer.zero_grad()
            self.model(torch.randn(8, 36, generator=g)).square().mean().backward()
            self.session.step()
        return self

    def agrees(self):
        """The model's weights are 0 exactly outside the graph, and the graph's inside."""
        graph = self.session.graph
        for i, p in enumerate(graph.projections):
            held = torch.zeros(p.size)
            held[graph.local(i)] = graph["weight"][graph.rows(i)]
            assert torch.equal(self.model.get_parameter(p.name).detach().reshape(-1), held)


class Spiking:
    """A topographic map of 6 x 6 neurons in Brian2, STDP for training."""

    multapses = True

    def __init__(self, rule, seed):
        net = TopographicMap(side=6, slots=SLOTS, sigma_stim=1.0, start="random", p_random=0.25)
        built = net.build(seed=seed)
        self.null = built.null
        self.wiring = Wiring(built.network, built.synapses, null=built.null, w_max=net.g_max,
                             traces=("r", "o"))  # fmt: skip
        self.ends = {"in": built.sources[0], "out": built.targets[0]}
        world = Brian(
            self.wiring,
            sources=self.ends,
            targets={"out": self.ends["out"]},
            projections={"ff": ("in", "out"), "lat": ("out", "out")},
            positions=dict.fromkeys(self.ends, net.positions),
        )
        self.session = rewire.Session(world, world.graph(), rule, span=TICKS, seed=seed,
                                      rewinds=True)  # fmt: skip

    def run(self):
        drive(self.session)
        return self

    def agrees(self):
        """Brian2's own arrays hold the graph's synapses, each in its slot, and nothing else."""
        graph, n = self.session.graph, 36
        projection, pre, post = (x.numpy() for x in graph.locate())
        slot = graph["slot"].numpy()
        assert (slot < SLOTS).all() and len(set(zip(post, slot, strict=True))) == len(graph)
        expected = np.full((n, SLOTS), self.null)
        start = np.array([self.ends["in"].start, self.ends["out"].start])
        expected[post, slot] = start[projection] + pre
        weight = np.zeros((n, SLOTS))
        weight[post, slot] = graph["weight"].numpy()
        assert np.array_equal(self.wiring.pre, expected.ravel())
        assert np.array_equal(self.wiring.w, weight.ravel())


WORLDS = {"torch": Torch, "spiking": Spiking}


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = "numpy"


def watched(run):
    """The run, driven to its end; its contract is looked at after every tick."""
    session, rule = run.session, run.session.rules[0]
    acts = "tick" if isinstance(run, Spiking) else "step"  # Brian2 steps by itself
    first, act = session.counts, getattr(session, acts)
    ladder = [] if rule.name != "IMP" else list(session.states[0]["ladder"])

    def looked_at():
        before, told = session.topology.numpy().copy(), len(session.history)
        act()
        after = session.topology.numpy()
        kept, added = before, np.empty(0, np.int64)
        for record in session.history.records[told:]:
            assert 0 <= record.drop.min(initial=0)
            assert len(np.unique(record.drop)) == len(record.drop)
            kept, added = np.delete(before, record.drop), record.add
            if not run.multapses:
                assert not np.isin(added, kept).any() and len(np.unique(added)) == len(added)
        assert np.array_equal(np.sort(np.concatenate([kept, added])), after)
        assert after.min() >= 0 and after.max() < session.graph.possible
        if rule.name == "IMP":
            gone = sum(map(sum, ladder[: session.clock.round]))
            assert session.edges == sum(first) - gone
        elif budget_of(rule).kept == "exact":
            assert session.counts == first
        elif budget_of(rule).kept == "cap":
            assert session.edges <= (36 * SLOTS if isinstance(run, Spiking) else sum(first))
        if isinstance(run, Spiking):
            assert session.graph.fan_in("out").max() <= SLOTS
        else:
            run.agrees()

    setattr(session, acts, looked_at)
    run.run()
    run.agrees()
    assert session.done and session.clock.total == TICKS * (len(ladder) + 1)
    at = session.history.start.numpy()
    for record in session.history:
        at = np.sort(np.concatenate([np.delete(at, record.drop), record.add]))
    assert np.array_equal(at, session.topology.numpy())
    assert session.history.replay(session.graph).digest() == session.graph.digest()
    return run


def edits(run):
    return [(r.total, r.round, r.drop.tolist(), r.add.tolist()) for r in run.session.history]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_object_keeps_its_contract_in_both_worlds(name, world):
    rule = RULES[name]
    before = copy.deepcopy(rule)
    run, again = (watched(WORLDS[world](rule, seed=1)) for _ in range(2))
    assert run.session.rules[0] is rule and rule == before
    assert edits(run) == edits(again)
    weights = [r.session.graph["weight"] for r in (run, again)]
    assert torch.equal(*weights)
    history = run.session.history
    least = 4 if name == "stdp-pruning" else 40  # 60 ms of STDP leave most weights at w_max
    assert (history.dropped > least) == (name in ACTING)
    assert (history.formed > 40) == (name in ACTING and name not in ("imp", "stdp-pruning"))
    if name in ACTING:
        assert edits(run) != edits(watched(WORLDS[world](rule, seed=2)))


@pytest.mark.parametrize("name", ACTING)
def test_a_run_in_one_world_leaves_no_trace_in_the_other(name):
    rule = RULES[name]
    runs = [WORLDS[world](rule, seed=1) for world in ("torch", "spiking", "torch", "spiking")]
    torch_1, spiking_1, torch_2, spiking_2 = (edits(run.run()) for run in runs)
    assert torch_1 == torch_2 != spiking_1 == spiking_2


@dataclass(frozen=True, kw_only=True)
class Cheat(rewire.Rule):
    """Says that it keeps the number of edges, and loses one."""

    def update(self, graph, signals, state, rng, clock):
        return Edit(drop=torch.tensor([clock.total])), state


@dataclass(frozen=True, kw_only=True)
class Unseeded(rewire.Rule):
    """Draws from torch's own generator instead of the one it was given."""

    budget = "reported"

    def update(self, graph, signals, state, rng, clock):
        return Edit(drop=torch.randint(len(graph), (1,))), state


@pytest.mark.parametrize("world", WORLDS)
def test_the_contract_can_be_broken(world):
    with pytest.raises(AssertionError):
        watched(WORLDS[world](Cheat(), seed=1))
    run, again = WORLDS[world](Unseeded(), seed=1).run(), WORLDS[world](Unseeded(), seed=1)
    torch.rand(1)
    assert edits(run) != edits(again.run())
