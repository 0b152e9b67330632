"""Every rule in every world that offers its needs: one line in ``RULES`` adds a rule.

What must hold whatever the rule: the same seed makes the same edits; the budget is kept; columns
follow their edges; the log replays; nothing leaks into absent synapses; a saved run continues to
the same bits; a deep copy is a run of its own.
"""

import copy
import functools
import io
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import checkpoint, rules, when
from rewire.budget import random_graph
from rewire.graph import Edit, square_sheet
from rewire.rule import silences
from rewire.rule_budget import budget_of
from rewire.starting_graph import first_graph
from rewire.torch_loop import masked_only, torch_world

STEPS, DENSITY = 12, 0.25

RULES = {
    "dense": rewire.Dense(),
    "static": rewire.Static(),
    "imp": rewire.IMP(fraction=0.3, rounds=2),
    "imp-layer": rewire.IMP(fraction=0.3, rounds=2, scope="layer", rewind=3),
    "imp-fine-tune": rewire.IMP(fraction=0.3, rounds=2, restore="nothing"),
    "imp-rate": rewire.IMP(fraction=0.3, rounds=2, rewind=3, restore="learning_rate"),
    "imp-one-shot": rewire.IMP.one_shot(0.25),
    "deep-r": rewire.DeepR(noise=0.5, l1=0.02),
    "deep-r-global": rewire.DeepR(noise=0.5, l1=0.02, scope="global", when=when.every(2)),
    "deep-r-layers": rewire.DeepR(noise=0.5, l1=0.02, scope="global", draw="layer"),
    "deep-r-birth": rewire.DeepR(temperature=0.02, birth=0.1),
    "soft-deep-r": rewire.SoftDeepR(noise=0.3, l1=0.02),
    "plasticity": rewire.StructuralPlasticity(attempts=0.3, p_form=0.9, p_elim_dep=0.9),
    "plasticity-uniform": rewire.StructuralPlasticity(
        attempts=0.3, p_elim_dep=0.5, partner="uniform", initial="kernel", birth=0.05
    ),
    "plasticity-rare": rewire.StructuralPlasticity(
        attempts=0.2, p_elim_dep=0.5, partner="population", when=when.every(3)
    ),
    "set": rewire.SET(when=when.every(3), birth=0.1),
    "set-magnitude": rewire.SET(when=when.every(3), drop="magnitude"),
    "rigl": rewire.RigL(when=when.every(3), fraction=0.4),
    "magnitude": rewire.Magnitude(to=DENSITY),
    "magnitude-row": rewire.Magnitude(to=DENSITY, scope="row", layers=rewire.LAMP()),
    "magnitude-owl": rewire.Magnitude(
        to=DENSITY, scope="layer", layers=rewire.OWL(outlier=1.5, per="layer")
    ),
    "wanda": rewire.Wanda(to=DENSITY),
    "wanda-owl": rewire.Wanda(to=DENSITY, layers=rewire.OWL(outlier=1.5), sequential=False),
    "wanda-at-end": rewire.Wanda(
        to=0.1, when=when.at_end, layers=rewire.OWL(outlier=1.5, spread=0.04)
    ),
    "snip-at-end": rewire.SNIP(to=0.1, when=when.at_end, rounds=2),
    "sparse-gpt-at-end": rewire.SparseGPT(to=0.1, when=when.at_end),
    "units-at-end": rewire.UnitPruning(keep=0.5, when=when.at_end),
    "wanda-n-of-m": rewire.Wanda(n=2, m=4, undivided="dense"),
    "sparse-gpt": rewire.SparseGPT(to=DENSITY),
    "sparse-gpt-row": rewire.SparseGPT(to=DENSITY, scope="row", block=5, layers=rewire.LAMP()),
    "units": rewire.UnitPruning(to=0.5),
    "units-by-wanda": rewire.UnitPruning(
        keep=0.5, scope="global", of="both", score="input_norm", times_weight=True
    ),
    "sparse-gpt-n-of-m": rewire.SparseGPT(n=1, m=4, block=8, undivided="dense"),
    "snip": rewire.SNIP(to=DENSITY),
    "snip-iterative": rewire.SNIP(to=DENSITY, rounds=5, scope="layer"),
    "force": rewire.FORCE(to=DENSITY, rounds=5),
    "force-row": rewire.FORCE(to=DENSITY, rounds=3, scope="row"),
    "prospr": rewire.ProsPr(to=DENSITY, momentum=0.9),
    "grasp": rewire.GraSP(to=DENSITY),
    "synflow": rewire.SynFlow(to=DENSITY, rounds=20),
    "phew": rewire.PHEW(to=DENSITY),
    "chase": rewire.Chase(channels=0.3, fraction=0.3, when=when.every(3)),
    "dyna-diag": rewire.DynaDiag(to=DENSITY, until=0.75, rate=0.1),
    "block-rigl": rewire.GroupRigL(block=(2, 3), fraction=0.4, when=when.every(3)),
    "diagonal-rigl": rewire.GroupRigL(groups="diagonal", fraction=0.5, when=when.every(3)),
    "gmp": rewire.GMP(to=0.1, when=when.every(3)),
    "gmp-global": rewire.GMP(to=0.1, when=when.every(2, stop=0.75), scope="global"),
    "gmp-lamp": rewire.GMP(to=0.1, when=when.every(3), scope="lamp"),
    "magnitude-lamp": rewire.Magnitude(to=DENSITY, scope="lamp"),
    "imp-lamp": rewire.IMP(fraction=0.3, rounds=2, scope="lamp", restore="nothing"),
    "ac-dc-lamp": rewire.ACDC(to=DENSITY, when=when.every(3), scope="lamp"),
    "l1-shrinkage": rewire.L1Shrinkage(to=0.1, l1=0.05),
    "granet": rewire.GraNet(to=0.1, when=when.every(3)),
    "dsr": rewire.DSR(threshold=0.05, when=when.every(3)),
    "snfs": rewire.SNFS(rewires=when.every(3)),
    "mest": rewire.MEST(when=when.every(3), fraction=0.4),
    "mest-soft": rewire.MEST(when=when.every(3), fraction=0.4, soft=True, lam=0.5),
    "obd": rewire.OBD(to=0.1, when=when.every(3)),
    "diagonal-fisher": rewire.DiagonalFisher(to=0.1, when=when.every(3), scope="layer"),
    "woodfisher": rewire.WoodFisher(to=0.1, when=when.every(3), block=20, survivors="singles"),
    "woodfisher-joint": rewire.WoodFisher(
        to=0.1, when=when.every(4), block=7, damp=1e-4, scope="layer"
    ),
    "early-bird": rewire.EarlyBird(to=0.1, when=when.every(1), until=1.0, distance=0.3, history=3),
    "early-time": rewire.EarlyTime(to=0.1, when=when.every(1), until=1.0, distance=0.3, history=3),
    "srigl": rewire.SRigL(when=when.every(3), fraction=0.4, min_salient=0.8),
    "cht": rewire.CHT(when=when.every(3), fraction=0.4),
    "cht-soft": rewire.CHT(when=when.every(3), fraction=0.4, soft=True, stop_at=0.5),
    "chts": rewire.CHTs(when=when.every(3), fraction=0.4),
    "chts-paths": rewire.CHTs(
        when=when.every(3), fraction=0.4, score="CH3-L3p", regrowth="largest", chain=False
    ),
    "chtss": rewire.CHTss(to=0.1, when=when.every(3), fraction=0.4),
    "dst-ee": rewire.DSTEE(when=when.every(3), fraction=0.4, c=0.1),
    "nm": rewire.NM(undivided="dense"),
    "edge-popup": rewire.EdgePopup(to=DENSITY),
    "edge-popup-given": rewire.EdgePopup(
        to=DENSITY, scope="global", weights="given", ranks="value", rate=5.0
    ),
    "supermask": rewire.Supermask(to=DENSITY),
    "supermask-signed": rewire.Supermask(
        to=DENSITY, criterion="movement", weights="signed", scope="global", restore="weights"
    ),
    "str": rewire.STR(to=DENSITY, initial=-3.0, decay=0.5),
    "soft-threshold": rewire.SoftThreshold(to=0.1),
    "soft-threshold-through": rewire.SoftThreshold(
        to=0.1, scope="global", straight_through=True, when=when.every(2)
    ),
    "movement": rewire.MovementPruning(to=0.1),
    "continuous-sparsification": rewire.ContinuousSparsification(to=0.1, penalty=0.01),
    "continuous-sparsification-layer": rewire.ContinuousSparsification(
        to=DENSITY, initial=-0.5, scope="layer", until=1.0
    ),
    "powerpropagation": rewire.Powerpropagation(to=0.1),
    "powerpropagation-global": rewire.Powerpropagation(to=DENSITY, alpha=4.0, scope="global"),
    "top-kast": rewire.TopKAST(to=DENSITY, decay=1.0),
    "sr-ste": rewire.SRSTE(n=1, m=2, decay=0.1, undivided="dense"),
    "ac-dc": rewire.ACDC(to=DENSITY, when=when.every(3)),
    "grad-r": rewire.GradR(to=DENSITY, alpha=0.1),
    "random-rewiring": rewire.RandomRewiring(when=when.every(3), fraction=0.3),
    "homeostatic": rewire.HomeostaticGrowth(
        epsilon=1.5, eta=0.1, growth=0.4, tau=5.0, when=when.every(3)
    ),
    "homeostatic-linear": rewire.HomeostaticGrowth(
        epsilon=0.6, growth=0.3, tau=5.0, curve="linear", birth=0.1, when=when.every(2)
    ),
    "synaptic-sampling": rewire.SynapticSampling(prior=0.05, mu=-0.8),
    "stds": rewire.STDS(to=0.1),
    "stds-threshold": rewire.STDS(threshold=0.3, schedule="linear"),
    "ndsnn": rewire.NDSNN(to=0.1, when=when.every(3)),
    "esl-snn": rewire.ESLSNN(when=when.every(3)),
    "esl-snn-gradient": rewire.ESLSNN(when=when.every(3), grow="gradient"),
    "stdp-pruning": rewire.STDPPruning(threshold=0.1, to=0.1, when=when.every(3)),
    "synops-budget": rewire.SynOpsBudget(most=1e6, when=when.every(3)),
    "age-limit": rewire.AgeLimit(most=5, when=when.every(2)),
    "random-drop-grow": rewire.DropGrow(drop="random", grow="growth", when=when.every(3)),
    "deep-r-on": rewire.On(
        rule=rewire.DeepR(noise=0.5, l1=0.02), projections=("0*", "lstm*", "ff")
    ),
    "combined": rewire.Combined(
        rules=(rewire.GMP(to=0.1, when=when.every(3)), rewire.SET(when=when.every(2)))
    ),
}
BUDGETS = {name: budget_of(rule) for name, rule in RULES.items()}
SILENCING = {n for n in RULES if silences(RULES[n])}
MASKED = SILENCING | {"early-time"}
STILL = {"dense", "static", "synops-budget"} | {n for n in RULES if BUDGETS[n].at_start} | SILENCING
DRAWING = ("age", "esl", "deep", "soft-deep", "plas", "set", "dsr", "mest", "random", "homeo",
           "synap", "cht-soft", "chts")  # fmt: skip
DRAWS = {name for name in RULES if name.startswith(DRAWING)}

OPTIMISERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


MODELS = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(12, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(),
            nn.Linear(8, 3)
        ),
        (12,),
    ),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2),
            nn.Flatten(), nn.Linear(16, 3)
        ),
        (2, 6, 6),
    ),
    "lstm": (Recurrent, (4, 5)),
}  # fmt: skip

EVERYTHING = list(itertools.product(RULES, OPTIMISERS, MODELS))
# Latin: each rule meets each model once, and each optimiser over the table, in the quick run.
QUICK = [
    (rule, list(OPTIMISERS)[(i + j) % 3], model)
    for i, rule in enumerate(RULES)
    for j, model in enumerate(MODELS)
]
ONE_A_RULE = [QUICK[3 * i + i // 3 % 3] for i in range(len(RULES))]  # every pair of the other two
CASES = [
    pytest.param(*case, id="-".join(case), marks=[] if case in QUICK else pytest.mark.slow)
    for case in EVERYTHING
]
every_case = pytest.mark.parametrize(("rule", "optimiser", "model"), CASES)
one_case_a_rule = pytest.mark.parametrize(
    ("rule", "optimiser", "model"), [pytest.param(*case, id=case[0]) for case in ONE_A_RULE]
)


class Run:
    """A small training run in a loop of one's own."""

    def __init__(self, rule, optimiser="momentum", model="mlp", seed=0, world="masked", dtype=None):
        torch.manual_seed(0)
        build, self.shape = MODELS[model]
        self.model, self.dtype = build().to(dtype), dtype
        self.model.timesteps = 5  # which these models do not read
        if not hasattr(self.model, "takes_spikes"):  # numbers that are not 0 stand for spikes
            self.model.takes_spikes = [n for n, m in self.model.named_modules()
                                       if isinstance(m, nn.Linear | nn.Conv2d)]  # fmt: skip
        self.optimizer = OPTIMISERS[optimiser](self.model.parameters())
        budget, rule = BUDGETS[rule], RULES[rule]
        whole = budget.visits or budget.at_start or isinstance(rule, rewire.Dense)
        density = None if whole else budget.starts_at(DENSITY)
        g = torch.Generator().manual_seed(99)
        data = torch.randn(20, *self.shape, generator=g, dtype=dtype), torch.arange(20) % 3
        probe = rewire.Probe([data], lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]))
        world = torch_world(self.model, self.optimizer, world, seed, [rule], probe=probe)
        graph = first_graph(world, density, "erk", "random", seed)
        self.net = rewire.Session(world, graph, rule, span=STEPS, seed=seed, rewinds=True)

    def batch(self):
        g = torch.Generator().manual_seed(self.net.data_step)
        x = torch.randn(10, *self.shape, generator=g, dtype=self.dtype)
        return x, torch.randint(3, (10,), generator=g)

    def step(self):
        x, y = self.batch()
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(x), y).backward()
        self.net.step()

    def steps(self, n):
        for _ in range(n):
            if self.net.done:
                break
            self.step()
        return self

    def everything(self):
        """All of it, to be compared bit for bit."""
        model = {k: v.clone() for k, v in self.model.state_dict().items()}
        return {"model": model, "optimiser": copy.deepcopy(self.optimizer.state_dict()),
                "net": copy.deepcopy(self.net.state_dict())}  # fmt: skip


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def edits(run):
    return [(r.total, r.step, r.round, r.drop.tolist(), r.add.tolist()) for r in run.net.history]


def leaks(run):
    """The largest weight or moment at an absent synapse."""
    worst = 0.0
    graph = run.net.graph
    masks = {p.name: graph.mask(i) for i, p in enumerate(graph.projections)}
    for name, p in run.model.named_parameters():
        if name not in masks:
            continue
        absent = ~masks[name]
        state = run.optimizer.state.get(p, {}).values()
        for v in [p, *(v for v in state if isinstance(v, torch.Tensor) and v.shape == p.shape)]:
            worst = max([worst, *v.detach()[absent].abs().tolist()])
    return worst


def test_the_table_has_every_built_in_rule():
    assert {type(rule) for rule in RULES.values()} == {*rules.BUILT_IN, rewire.On}


@every_case
def test_budget_leaks_columns_and_log_at_every_step(rule, optimiser, model):
    run = Run(rule, optimiser, model)
    net, kind = run.net, BUDGETS[rule].kept
    first = net.counts
    held = {}  # column -> what each synapse, existing or not, holds there at every waking
    fixed = {name: b for name, b in RULES[rule].columns.items() if callable(b)}
    gains = {tuple(net.graph["gain"].tolist())} if rule in SILENCING else set()
    for column, birth in fixed.items():
        held[column] = birth(torch.arange(net.graph.possible), 0)
        held[column][net.graph.keys] = net.graph[column]
    while not net.done:
        before = net.graph
        run.step()
        after = net.graph
        assert leaks(run) == 0
        last = net.history.records[-1:]
        born = torch.from_numpy(last[0].add) if last and last[0].total == net.clock.total else None
        lived = before.keys if born is None else before.keys[~torch.isin(before.keys, born)]
        lived = lived[after.find(lived)[1]]
        if rule in SILENCING:
            gains.add(tuple(after["gain"].tolist()))
        for column in fixed:
            here, there = after[column][after.find(lived)[0]], before[column][before.find(lived)[0]]
            assert torch.equal(here, there)  # signs are fixed
            assert torch.equal(after[column], held[column][after.keys])  # of the born ones too
        assert (after.keys.diff() > 0).all()
        if rule.startswith("imp"):
            continue
        if kind == "exact" and getattr(RULES[rule], "scope", "layer") == "layer":
            assert net.counts == first
        elif kind == "exact":
            assert sum(net.counts) == sum(first)
        elif kind == "cap":
            assert sum(net.counts) <= sum(first)
    if rule.startswith("imp"):
        ladder = net.states[0]["ladder"]
        assert net.edges == sum(first) - sum(map(sum, ladder))
        assert net.clock.round == len(ladder) > 0
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    assert net.history.formed - net.history.dropped == len(net.graph) - len(net.history.start)
    assert (len(net.history) > 0) == (rule not in STILL)
    assert (len(gains) > 1) == (rule in SILENCING)
    never_sparse = {n for n, _ in run.model.named_parameters()} - set(net.masks())
    assert all("bias" in n or n.startswith("1.") for n in never_sparse)


@one_case_a_rule
def test_the_same_seed_makes_the_same_run_and_another_seed_another(rule, optimiser, model):
    first, again, other = (Run(rule, optimiser, model, seed) for seed in (0, 0, 1))
    for run in (first, again, other):
        run.steps(40)
    assert edits(first) == edits(again)
    assert same(first.everything(), again.everything())
    if rule in DRAWS or rule == "rigl":
        assert edits(first) != edits(other)


@one_case_a_rule
def test_a_run_saved_in_the_middle_continues_to_the_same_bits(rule, optimiser, model, tmp_path):
    """Saved by torch.save and by rewire.checkpoint, which give the same back."""
    run = Run(rule, optimiser, model).steps(7)
    buffer, held = io.BytesIO(), run.everything()
    torch.save(held, buffer)
    buffer.seek(0)
    checkpoint.save(tmp_path / "c.safetensors", held)
    saved, _ = checkpoint.load(tmp_path / "c.safetensors")
    assert same(saved, torch.load(buffer, weights_only=True))
    run.steps(40)

    again = Run(rule, optimiser, model)
    again.model.load_state_dict(saved["model"])
    again.optimizer.load_state_dict(saved["optimiser"])
    again.net.load_state_dict(saved["net"])
    again.steps(40)
    assert same(run.everything(), again.everything())
    assert edits(run) == edits(again)


@one_case_a_rule
def test_a_state_dict_is_not_changed_by_the_steps_that_follow(rule, optimiser, model):
    run = Run(rule, optimiser, model).steps(4)
    held = run.net.state_dict()
    copied = copy.deepcopy(held)
    run.steps(6)
    assert same(held, copied)


@one_case_a_rule
def test_a_deep_copy_is_a_run_of_its_own(rule, optimiser, model):
    """The copy goes on as the original would have, and the original does not notice."""
    straight = Run(rule, optimiser, model).steps(40)
    run = Run(rule, optimiser, model).steps(5)
    before = run.everything()
    twin = copy.deepcopy(run)
    twin.steps(40)
    assert same(run.everything(), before)
    assert same(twin.everything(), straight.everything())
    run.steps(40)
    assert same(run.everything(), straight.everything())


# -- the bare world ---------------------------------------------------------------------------


PAIRS = (
    "growth", "connection_sensitivity", "gradient_flow", "synaptic_flow", "fisher", "hessian_diag",
    "input_norm", "probe_gradient", "meta_gradient", "time_divergence", "synaptic_operations",
)  # fmt: skip


def input_moments(keys):
    """X X^T of some inputs of the bare world's projections, of 9 and 8 columns, row by row."""
    x = torch.randn(20, 17, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    first, second = x[:, :9].T @ x[:, :9], torch.zeros(8, 9, dtype=torch.float64)
    second[:, :8] = x[:, 9:].T @ x[:, 9:]
    in_first = (keys < 72)[:, None]
    return torch.where(in_first, first[keys % 9], second[(keys - 72) % 8])


def bare(rule, seed=0):
    a, b = rewire.Population("a", 9, square_sheet(9)), rewire.Population("b", 8)
    space = rewire.Space(
        [a, b],
        [
            rewire.Projection("ff", "a", "b", "linear", (8, 9)),
            rewire.Projection("lat", "b", "b", "spiking", (8, 8)),
        ],
    )
    g = torch.Generator().manual_seed(5)
    weights = torch.randn(space.possible, generator=g) * 0.1
    gradient = torch.randn(space.possible, generator=g)
    world = rewire.Bare(
        space,
        lr=0.1,
        pairs={
            **dict.fromkeys(PAIRS, lambda keys: gradient[keys].abs()),
            "example_gradients": lambda keys: torch.stack([gradient[keys], keys / 100], 1),
            "grad": lambda keys: gradient[keys],
            "input_moments": input_moments,
        },
        nodes={"activity": lambda p: torch.ones(space.population[p].size)},
        drift=lambda graph, step: graph["weight"] - 0.01 * gradient[graph.keys],
        weights=weights,
    )
    budget = BUDGETS[rule]
    full = budget.visits or budget.at_start or rule == "dense" or budget.starts_at(0.2) == 1
    graph = random_graph(space, [72, 64] if full else [20, 10], rewire.rng_for(seed, "topology"))
    return rewire.Session(world, graph, RULES[rule], span=STEPS, seed=seed, rewinds=True)


def through(net, steps=40):
    while not net.done and steps:
        net.step()
        steps -= 1
    return net


OPEN = [name for name in RULES if name not in SILENCING]  # to worlds without a gain


@pytest.mark.parametrize("rule", sorted(SILENCING))
def test_rules_with_silent_edges_are_refused_where_no_gain_is_multiplied(rule):
    with pytest.raises(ValueError, match="cannot live in the bare world: no forward pass"):
        bare(rule)
    with pytest.raises(ValueError, match="cannot live in the sparse world: silent edges"):
        Run(rule, world="sparse")
    assert Run(rule, world="auto").net.world.name == "masked"


@pytest.mark.parametrize("rule", OPEN)
def test_every_rule_runs_in_the_bare_world(rule):
    net, again = bare(rule), through(bare(rule))
    first = net.counts
    while not net.done:
        net.step()
        if not rule.startswith("imp"):
            if BUDGETS[rule].kept == "exact":
                assert net.edges == sum(first)
            elif BUDGETS[rule].kept == "cap":
                assert net.edges <= sum(first)
        held = torch.zeros(net.graph.possible, dtype=torch.bool)
        held[net.graph.keys] = True
        assert net.world.weights[~held].abs().sum() == 0
    assert torch.equal(net.graph.keys, again.graph.keys)
    assert torch.equal(net.graph["weight"], again.graph["weight"])
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    assert (len(net.history) > 0) == (rule not in STILL)
    if rule in DRAWS:
        assert not torch.equal(net.graph.keys, through(bare(rule, 1)).graph.keys)


@pytest.mark.parametrize("rule", [name for name in RULES if name not in STILL - SILENCING])
def test_every_rule_that_acts_stops_at_a_gradient_that_is_nan(rule):
    run = Run(rule).steps(2)
    with pytest.raises(ValueError, match="NaN"):
        while not run.net.done:
            x, y = run.batch()
            run.optimizer.zero_grad()
            (nn.functional.cross_entropy(run.model(x), y) * torch.nan).backward()
            run.net.step()


@pytest.mark.parametrize("rule", RULES)
def test_a_rules_update_leaves_graph_and_state_as_they_were(rule):
    """Pure functions: asked twice they answer twice the same, and nothing was written to."""
    if rule in SILENCING:
        run = Run(rule).steps(3)
        net = run.net
    else:
        net = through(bare(rule), 2)
        net.plan()
        net.world.advance(net._graph, False)
    shown = net.world.read(net._graph)
    state = net.states[0]
    before = copy.deepcopy((shown.keys, shown.columns, state))
    clock = net.clock._replace(step=STEPS)
    answers = []
    for _ in range(2):
        rng = rewire.rng_for(0, "pure")
        edit, new = net.rules[0].update(shown, net.world.signals(shown), state, rng, clock) if (
            rule not in STILL
        ) else (Edit(), {})  # fmt: skip
        answers.append((edit.drop, edit.add, dict(edit.set), dict(new)))
    assert same(answers[0], answers[1])
    assert same(before, (shown.keys, shown.columns, state))


def test_only_rules_with_silent_edges_and_of_time_are_masked_under_auto():
    assert {name for name, rule in RULES.items() if masked_only(rule)} == MASKED


# Layers as lists of edges with every model, and each in the form that is cheaper with one.
SPARSE = [
    pytest.param(*case.values, kind, id=f"{case.id}-{kind}", marks=case.marks)
    if kind == "sparse" or case.values in ONE_A_RULE
    else pytest.param(*case.values, kind, id=f"{case.id}-{kind}", marks=pytest.mark.slow)
    for case in CASES
    for kind in ("sparse", "auto")
    if case.values[0] not in MASKED  # which are refused, or masked: tested above
]


@functools.lru_cache(1)  # of one case in each kind of world, one after the other
def masked(rule, optimiser, model):
    """The edits and the last graph of a run in the masked world."""
    net = Run(rule, optimiser, model, dtype=torch.float64).steps(100).net
    return [record.to_bytes() for record in net.history], net.graph


@pytest.mark.parametrize(("rule", "optimiser", "model", "kind"), SPARSE)
def test_the_sparse_world_makes_the_same_edits_of_the_same_weights(rule, optimiser, model, kind):
    edits, theirs = masked(rule, optimiser, model)
    here = Run(rule, optimiser, model, world=kind, dtype=torch.float64).steps(100)
    assert [record.to_bytes() for record in here.net.history] == edits
    mine = here.net.graph
    assert torch.equal(mine.keys, theirs.keys)
    torch.testing.assert_close(mine["weight"], theirs["weight"], rtol=1e-8, atol=1e-10)
    held = here.net.world
    assert held.name == "sparse"
    assert sum(w.parameter.numel() for w in held.weights if w.form == "edges") == sum(
        n for n, w in zip(here.net.counts, held.weights, strict=True) if w.form == "edges"
    )
