"""A world of 30 lines in a user's file: every rule of ours runs in it, or is refused by name."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rewire
from rewire import rules, when
from rewire.starting_graph import first_graph

FILE = Path(__file__).parent / "regression_world.py"
SPEC = importlib.util.spec_from_file_location("regression_world", FILE)
user = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(user)

STEPS, POSSIBLE = 30, 96
OFTEN = when.every(3)

# rule -> edges to start with, and how many there are at the end: a number, or bounds
RUNS = {
    rewire.Dense(): (96, 96),
    rewire.Static(): (48, 48),
    rewire.RandomRewiring(when=OFTEN): (48, 48),
    rewire.IMP(fraction=0.5, rounds=2): (96, 24),
    rewire.IMP(fraction=0.5, rounds=2, rewind=5): (96, 24),
    rewire.DeepR(noise=0.5, l1=0.02): (48, 48),
    rewire.SoftDeepR(noise=0.3, l1=0.02): (48, (1, 96)),
    rewire.StructuralPlasticity(attempts=0.3, p_form=0.9, p_elim_dep=0.9): (48, (1, 96)),
    rewire.SET(when=OFTEN): (48, 48),
    rewire.RigL(when=OFTEN, fraction=0.4): (48, 48),
    rewire.SRigL(when=OFTEN, fraction=0.4): (48, 48),
    rewire.CHT(when=OFTEN, fraction=0.4): (48, 48),
    rewire.CHTs(when=OFTEN, fraction=0.4): (48, 48),
    rewire.CHTss(to=0.25, when=OFTEN): (48, 24),
    rewire.DSTEE(when=OFTEN, fraction=0.4): (48, 48),
    rewire.Chase(channels=0.0, when=OFTEN, fraction=0.4): (48, 48),
    rewire.GroupRigL(block=(2, 2), when=OFTEN, fraction=0.5): (48, 48),
    rewire.GMP(to=0.25, when=OFTEN): (96, 24),
    rewire.L1Shrinkage(to=0.25, l1=0.01): (96, 24),
    rewire.GraNet(to=0.25, when=OFTEN): (48, 24),
    rewire.DSR(threshold=0.05, when=OFTEN): (48, 48),
    rewire.SNFS(rewires=OFTEN): (48, 48),
    rewire.MEST(when=OFTEN, fraction=0.4): (48, 48),
    rewire.EarlyBird(to=0.25, when=OFTEN, until=1.0, distance=0.9, history=2): (96, 24),
    rewire.Magnitude(to=0.25): (96, 24),
    rewire.PHEW(to=0.25): (96, 24),
    rewire.NM(): (96, 48),
    rewire.Supermask(to=0.25): (96, 24),
    rewire.ACDC(to=0.25, when=OFTEN): (96, 24),
    rewire.HomeostaticGrowth(epsilon=1.5, growth=0.4, tau=5.0, when=OFTEN): (48, (1, 96)),
    rewire.SynapticSampling(eta=0.1, prior=0.1, mu=-1.0): (48, (1, 96)),
    rewire.STDPPruning(threshold=0.05, to=0.25, when=OFTEN): (48, (24, 48)),
    rewire.NDSNN(to=0.25, begins=0.5, when=OFTEN): (48, 24),
    rewire.ESLSNN(when=OFTEN, grow="gradient"): (48, 48),
    rewire.AgeLimit(most=4, when=when.every(2)): (48, 48),
    rewire.DropGrow(drop="random", grow="growth", when=OFTEN): (48, 48),
    rewire.Combined(rules=(rewire.SET(when=OFTEN), rewire.AgeLimit(most=4, when=when.every(2)))): (
        48,
        48,
    ),
}

# rule -> what it needs and this world does not have
REFUSED = {
    rewire.OBD(to=0.25): "'hessian_diag'",
    rewire.DiagonalFisher(to=0.25): "'fisher'",
    rewire.WoodFisher(to=0.25): "'example_gradients'",
    rewire.SNIP(to=0.25): "'connection_sensitivity'",
    rewire.FORCE(to=0.25): "'probe_gradient'",
    rewire.ProsPr(to=0.25): "'meta_gradient'",
    rewire.GraSP(to=0.25): "'gradient_flow'",
    rewire.SynFlow(to=0.25): "'synaptic_flow'",
    rewire.Wanda(to=0.25): "'input_norm'",
    rewire.SparseGPT(to=0.25): "'input_moments'",
    rewire.UnitPruning(to=0.25, score="input_norm"): "'input_norm'",
    rewire.EdgePopup(to=0.25): "gain",
    rewire.STR(): "gain",
    rewire.DynaDiag(to=0.25): "gain",
    rewire.SoftThreshold(): "gain",
    rewire.MovementPruning(to=0.25): "gain",
    rewire.TopKAST(to=0.25): "gain",
    rewire.SRSTE(): "gain",
    rewire.STDS(): "gain",
    rewire.EarlyTime(to=0.25): "'time_divergence'",
    rewire.SynOpsBudget(most=9.0): "'synaptic_operations'",
    rewire.ContinuousSparsification(to=0.25): "gain",
    rewire.Powerpropagation(to=0.25): "gain",
    rewire.GradR(): "gain",
    rewire.StructuralPlasticity(partner="spiked", attempts=0.3): "'spiked'",
    rewire.StructuralPlasticity(rate=10.0): "stands for no time",
}


def session(rule, edges=48, seed=0, **options):
    world = user.Regression(seed=seed)
    start = first_graph(world, None, [edges], "random", seed)
    return rewire.Session(world, start, rule, span=STEPS, seed=seed, rewinds=True, **options)


def test_the_world_is_a_page_and_no_rule_is_forgotten():
    code = [line for line in FILE.read_text().splitlines() if line.strip()]
    assert len(code) <= 50
    tried = {type(rule) for rule in (*RUNS, *REFUSED)}
    assert tried == set(rules.BUILT_IN)


@pytest.mark.parametrize("rule", RUNS, ids=lambda rule: rule.name)
def test_a_rule_whose_signals_it_offers_runs_with_an_exact_budget(rule):
    edges, at_end = RUNS[rule]
    run = session(rule, edges)
    world, first = run.world, run.counts
    while not run.done:
        before = run.edges
        run.step()
        if edges == at_end:
            assert run.counts == first
        if isinstance(at_end, int):
            assert at_end <= run.edges <= max(before, edges)
        absent = torch.ones(POSSIBLE, dtype=torch.bool)
        absent[run.topology] = False
        assert not world.weight[absent].any()
        assert torch.equal(world.weight[run.topology], run.graph["weight"])
    lowest, highest = at_end if isinstance(at_end, tuple) else (at_end, at_end)
    assert lowest <= run.edges <= highest
    assert run.clock.step == STEPS
    acts = rule.name not in ("Dense", "Static", "Magnitude", "PHEW", "NM", "STDPPruning")
    assert (len(run.history) > 0) == acts or rule.name == "STDPPruning"


@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: rule.name)
def test_a_rule_that_asks_for_more_is_refused_by_name_before_step_0(rule):
    world = user.Regression()
    before = world.weight.clone()
    with pytest.raises(ValueError, match=REFUSED[rule]) as refusal:
        rewire.Session(world, rewire.Graph.full(world.space), rule, span=STEPS, rewinds=True)
    assert rule.name in str(refusal.value) and "regression world" in str(refusal.value)
    assert torch.equal(world.weight, before)


@pytest.mark.parametrize("one", [rewire.SET(when=OFTEN), rewire.DeepR(noise=0.5, l1=0.02)],
                         ids=lambda rule: rule.name)  # fmt: skip
@pytest.mark.parametrize(
    "other",
    [
        rewire.RigL(when=when.every(2), fraction=0.4),
        rewire.AgeLimit(most=3, when=when.every(2)),
        rewire.Static(),
    ],
    ids=lambda rule: rule.name,
)
def test_two_rules_keep_their_budget_together(one, other):
    run = session([one, other])
    for _ in range(STEPS):
        run.step()
        assert run.edges == 48
    with pytest.raises(ValueError, match="SNIP needs the signal 'connection_sensitivity'"):
        session([one, rewire.SNIP(to=0.25)])


def test_rules_learn_there_and_a_seed_repeats_its_run():
    def ends(seed):
        run = session(rewire.RigL(when=OFTEN, fraction=0.4), seed=seed)
        before = run.world.measure(run.graph)["mse"]
        while not run.done:
            run.step()
        return before, run.world.measure(run.graph)["mse"], run.graph.digest()

    before, after, digest = ends(0)
    assert after < 0.7 * before
    assert ends(0)[2] == digest != ends(1)[2]


def test_a_rewind_brings_the_saved_weights_back():
    run = session(rewire.IMP(fraction=0.5, rounds=1, rewind=5), 96)
    for _ in range(5):
        run.step()
    saved = run.world.weight.clone()
    while run.clock.round == 0:
        run.step()
    assert run.edges == 48
    assert torch.equal(run.world.weight[run.topology], saved[run.topology])


def test_what_the_contract_cannot_guess_is_refused_with_what_to_define():
    class Forgetful(user.Regression):
        name = "regression"
        state = rewire.World.state

    world = Forgetful()
    start = rewire.Graph.full(world.space)
    with pytest.raises(ValueError, match="IMP goes back to saved .* regression .* state()"):
        rewire.Session(world, start, rewire.IMP(fraction=0.5, rounds=1), span=9, rewinds=True)
    rewire.Session(world, start, rewire.SET(), span=9)
    with pytest.raises(ValueError, match="regression world cannot show .* define .*holding"):
        world.signals(start).at(start)
    with pytest.raises(ValueError, match="makes its steps itself"):
        rewire.Session(world, start, rewire.SET(), span=9).step(closure=lambda: 0.0)
    with pytest.raises(TypeError, match="begin.*read"):
        type("Empty", (rewire.World,), {"name": "empty"})()
    with pytest.raises(TypeError, match="subclass of rewire.World"):
        rewire.Session(object(), start, rewire.SET(), span=9)


def test_options_of_an_experiment_make_a_world_and_nonsense_is_refused_by_name():
    world = user.Regression.from_options({"n_in": 5, "rate": 0.2}, seed=3)
    assert world.space.possible == 40 and world.lr(None, None) == 0.2
    assert torch.equal(world.weight, user.Regression(5, rate=0.2, seed=3).weight)
    with pytest.raises(
        ValueError, match=r"no option 'rat' \(did you mean 'rate'\?\); it takes n_in"
    ):
        user.Regression.from_options({"rat": 0.2}, seed=3)


def test_it_is_no_world_of_a_torch_model():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match="the bare world is none of a torch model"):
        rewire.attach(model, torch.optim.SGD(model.parameters()), rewire.SET(), world="bare")
    with pytest.raises(ValueError, match="did you mean 'masked'"):
        rewire.attach(model, torch.optim.SGD(model.parameters()), rewire.SET(), world="maskd")
    with pytest.raises(ValueError, match="substrate= is the old name of world="):
        rewire.attach(
            model, torch.optim.SGD(model.parameters()), rewire.SET(), world="masked",
            substrate="sparse",
        )  # fmt: skip


def test_the_old_keyword_substrate_means_the_same():
    for keyword in ("world", "substrate"):
        model = torch.nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = rewire.attach(model, optimizer, rewire.SET(), density=0.2, **{keyword: "sparse"})
        assert net.world.name == "sparse" and net.edges == 40


ASKS = """
import sys
from rewire.worlds import registry

world = registry.get("regression")
print(world.from_options({"n_in": 5}, seed=0).space.possible, *registry.available())
print(sorted(world().offers), "brian2" in sys.modules)
"""


def installed(folder: Path, entry: str) -> subprocess.CompletedProcess:
    """What a program prints where a package with a world is installed, as pip would leave it."""
    (folder / "regression_world.py").write_text(FILE.read_text())
    info = folder / "regression-0.1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: regression\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[rewire.worlds]\n{entry}\n")
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{ASKS}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_the_world_of_an_installed_package_is_found_by_name(tmp_path):
    done = installed(tmp_path, "regression = regression_world:Regression")
    assert done.returncode == 0, done.stderr
    names, signals = done.stdout.splitlines()
    assert names == "40 bare masked sparse brian regression"
    assert signals == "['activity', 'grad', 'growth', 'weight'] False"
    taken = installed(tmp_path, "masked = regression_world:Regression")
    assert "registers the world 'masked', which is taken" in taken.stderr
    none = installed(tmp_path, "regression = regression_world:torch")
    assert "is not a subclass of rewire.World" in none.stderr
