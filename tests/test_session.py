"""Sessions: attaching, stepping, saving, and what is refused before step 0."""

import copy
import io
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import rewire
from rewire import when
from rewire.graph import Edit, Graph
from rewire.limits import FanIn
from rewire.rule import Rule
from rewire.when import Every, When


def model_of(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).to(dtype)


def attached(rule, model=None, density=0.3, **options):
    model = model_of() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, rewire.attach(model, optimizer, rule=rule, density=density, **options)


def backward(model, optimizer, step=0, scale=1.0):
    g = torch.Generator().manual_seed(step)
    dtype = next(model.parameters()).dtype
    x, y = torch.randn(10, 8, generator=g).to(dtype), torch.randint(3, (10,), generator=g)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x).float(), y) * scale
    loss.backward()
    return loss


def steps(run, n):
    model, optimizer, net = run
    for _ in range(n):
        backward(model, optimizer, net.clock.total)
        net.step()
    return run


# -- before step 0 ----------------------------------------------------------------------------


def test_imp_in_a_loop_of_ones_own_points_to_rewire_train():
    with pytest.raises(ValueError, match=r"IMP goes back to saved steps.*Use rewire\.train"):
        attached(rewire.IMP(), density=None, steps=10)
    with pytest.raises(ValueError, match=r"Use rewire\.train"):
        attached(rewire.IMP(restore="nothing"), density=None, steps=10)


def test_a_branch_is_no_rule_to_attach():
    with pytest.raises(
        ValueError, match=r"RandomReinit is a branch, not a rule.*Attach Static\(\)"
    ):
        attached(rewire.RandomReinit())


@pytest.mark.parametrize(
    "rule",
    [
        rewire.RigL(),
        rewire.SET(when=when.at_end),
        rewire.SET(fraction=when.cubic(0.1, 0.5, begin=0.5, stop=1000)),
        rewire.SET(when=when.every(5, stop=0.5)),
        rewire.SET(fraction=when.linear(0.5)),
    ],
    ids=str,
)
def test_fractions_of_a_training_of_unknown_length_are_refused(rule):
    with pytest.raises(ValueError, match=r"whose length is not known: pass steps= to attach"):
        attached(rule)
    attached(rule, steps=100)


@dataclass(frozen=True, kw_only=True)
class Curious(Rule):
    needs = frozenset({"hessian_of_dreams"})


@dataclass(frozen=True, kw_only=True)
class Gated(Rule):
    columns = {"gain": 1.0}


def test_a_rule_whose_signal_no_world_offers_is_refused_by_name():
    with pytest.raises(ValueError) as refused:
        attached(Curious())
    assert "Curious needs the signal 'hessian_of_dreams', which the masked world" in str(
        refused.value
    )
    assert "it offers ['activity', 'grad', 'growth'" in str(refused.value)
    space = rewire.Space(
        [rewire.Population("a", 2)], [rewire.Projection("p", "a", "a", "linear", (2, 2))]
    )
    bare = rewire.Bare(space)
    with pytest.raises(ValueError, match=r"RigL needs the signal 'growth', which the bare world "
                       r"does not offer here \(it offers \['weight'\]\)"):  # fmt: skip
        rewire.Session(bare, Graph.full(space), rewire.RigL(), span=5)
    with pytest.raises(ValueError, match="needs the signal 'spiked'"):
        attached(rewire.StructuralPlasticity(partner="spiked"))


def test_a_gain_needs_a_world_that_multiplies_it():
    assert attached(Gated())[2].world.name == "masked"
    with pytest.raises(ValueError, match="Gated cannot live in the sparse world: silent edges"):
        attached(Gated(), world="sparse")
    assert attached(Gated(), world="auto")[2].world.name == "masked"
    space = rewire.Space(
        [rewire.Population("a", 2)], [rewire.Projection("p", "a", "a", "linear", (2, 2))]
    )
    with pytest.raises(ValueError, match="Gated cannot live in the bare world: no forward pass"):
        rewire.Session(rewire.Bare(space), Graph.full(space), Gated(), span=5)


def test_one_rule_alone_sets_the_gain():
    with pytest.raises(ValueError, match="Gated and Gated both set the gain of every edge"):
        attached([Gated(), Gated()])


def test_deep_r_without_any_learning_rate_asks_for_eta():
    space = rewire.Space(
        [rewire.Population("a", 9)], [rewire.Projection("p", "a", "a", "linear", (9, 9))]
    )
    world = rewire.Bare(space, lr=None)
    for rule in (rewire.DeepR, rewire.SoftDeepR):
        with pytest.raises(
            ValueError, match=f"{rule.__name__} needs a learning rate here: set its"
        ):
            rewire.Session(world, Graph.full(space), rule(), span=5)
    for able in (rewire.DeepR(eta=1, birth=0.1), rewire.SoftDeepR(eta=1)):
        rewire.Session(world, Graph.full(space), able, span=5).step()
    with pytest.raises(ValueError, match="would end every woken synapse"):
        rewire.Session(world, Graph.full(space), rewire.DeepR(eta=1), span=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 1.5}, r"density 1.5 is not in \(0, 1\]"),
        ({"density": 0.0}, r"density 0.0 is not in \(0, 1\]"),
        ({"density": 1e-4}, "cannot give 2 projections 0 edges"),
        ({"distribution": "even"}, "distribution 'even' is not known"),
        ({"initial": "largest"}, "initial must be 'random', 'magnitude' or a Graph"),
        (
            {"include": ["fc*"]},
            r"the pattern 'fc\*' matches no weight; there are 0.weight, 2.weight",
        ),
        ({"exclude": ["*"]}, "no weight that can be sparse among"),
        ({"positions": {"hidden": None}}, "positions name the population 'hidden'; there are"),
        ({"positions": {"input": torch.zeros(3, 2)}}, r"must have shape \(8, 2\), got \(3, 2\)"),
    ],
    ids=str,
)
def test_what_cannot_be_attached_is_refused_before_the_first_step(options, message):
    with pytest.raises(ValueError, match=message):
        attached(rewire.Static(), **options)


def test_an_initial_graph_must_fit_the_model():
    _, _, net = attached(rewire.Static())
    other = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="the initial graph joins .*, the model has"):
        rewire.attach(
            other, torch.optim.SGD(other.parameters(), lr=1.0), rewire.Static(), initial=net.graph
        )


def test_soft_deep_r_names_a_projection_that_starts_empty():
    with pytest.raises(ValueError, match="needs synapses at the start: '2.weight' has none"):
        attached(rewire.SoftDeepR(), density=None, distribution=[10, 0])
    attached(rewire.SoftDeepR(theta_min=-0.1), density=None, distribution=[10, 0])


# -- stepping ---------------------------------------------------------------------------------


def test_step_is_optimise_and_rewire():
    whole = steps(attached(rewire.DeepR(noise=0.3)), 5)
    model, optimizer, net = attached(rewire.DeepR(noise=0.3))
    for _ in range(5):
        backward(model, optimizer, net.clock.total)
        net.optimise()
        net.rewire()
        net.rewire()  # nothing more is due
    assert torch.equal(net.graph.keys, whole[2].graph.keys)
    assert torch.equal(net.graph["weight"], whole[2].graph["weight"])


def test_a_session_ends_after_its_steps_and_says_so():
    run = steps(attached(rewire.Static(), steps=3), 3)
    assert run[2].done
    with pytest.raises(RuntimeError, match="this session ended after 3 of 3 steps"):
        run[2].step()
    with pytest.raises(RuntimeError, match="nothing was stepped since the last tick"):
        run[2].tick()


def test_several_rules_act_in_their_order_and_share_the_graph():
    rules = [rewire.SET(when=when.every(2)), rewire.DeepR(noise=0.5, when=when.every(3))]
    model, optimizer, net = steps(attached(rules), 6)
    acted = [(r.total, r.rule) for r in net.history]
    assert [t for t, rule in acted if rule == 0] == [2, 4, 6]
    assert {t for t, rule in acted if rule == 1} <= {3, 6}
    assert acted[-2:] == [(6, 0), (6, 1)]
    assert net.edges == round(0.3 * 132)
    alone = steps(attached([rewire.SET(when=when.every(2)), rewire.Static()]), 2)[2]
    first = steps(attached(rules), 2)[2]
    assert torch.equal(alone.graph.keys, first.graph.keys)  # a rule never shifts another's draws


def test_a_rule_may_stop_the_run():
    class Enough(Rule):
        def update(self, graph, signals, state, rng, clock):
            return Edit(stop=clock.step == 2), state

    net = steps(attached(Enough()), 2)[2]
    assert net.done and net.clock.step == 2


def test_a_repaired_bug_in_a_rule_shows_its_own_message():
    class Greedy(Rule):
        def update(self, graph, signals, state, rng, clock):
            return Edit(add=graph.keys[:1]), state

    model, optimizer, net = attached(Greedy())
    with pytest.raises(ValueError, match="they exist already or are named twice"):
        steps((model, optimizer, net), 1)


def test_the_log_counts_and_replays():
    net = steps(attached(rewire.SET(when=when.every(2))), 8)[2]
    churn = net.history.churn()
    assert churn[:, 0].tolist() == [2, 4, 6, 8]
    assert (churn[:, 1] == churn[:, 2]).all()
    assert net.history.formed == churn[:, 1].sum()
    assert "4 edits" in repr(net.history)
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    assert net.history.take() and len(net.history) == 0 and net.history.formed > 0
    with pytest.raises(RuntimeError, match="records were taken"):
        net.history.replay(net.graph)
    assert "start" not in net.state_dict(history=False)


def test_the_step_counts_follow_rewinds_only_where_they_are_restored():
    seen = {}
    for restore in ("weights", "learning_rate", "nothing"):
        model = model_of()
        net = rewire.train(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            rewire.IMP(rounds=1, rewind=2 if restore != "nothing" else 0, restore=restore),
            loss=lambda m, batch: m(batch).pow(2).sum(),
            data=lambda step: torch.randn(4, 8, generator=torch.Generator().manual_seed(step)),
            steps=5,
        )
        seen[restore] = (net.clock.step, net.clock.round, net.clock.total, net.schedule_step,
                         net.data_step)  # fmt: skip
    assert seen == {
        "weights": (5, 1, 8, 4, 5),  # a schedule has no step after its last
        "learning_rate": (5, 1, 8, 4, 5),
        "nothing": (5, 1, 10, 4, 10),
    }


# -- train ------------------------------------------------------------------------------------


def test_train_follows_the_schedule_and_meets_the_same_data_after_a_rewind():
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    asked, rates = [], []

    def data(step):
        asked.append(step)
        return torch.ones(4, 8) * step

    rewire.train(
        model, optimizer, rewire.IMP(rounds=2, rewind=1), steps=3, data=data,
        loss=lambda m, batch: m(batch).pow(2).mean(), schedule=lambda step: 0.5**step,
        on_step=lambda net, loss: rates.append(optimizer.param_groups[0]["lr"]),
    )  # fmt: skip
    assert asked == [0, 1, 2, 1, 2, 1, 2]
    assert rates == pytest.approx([0.2 * 0.5**s for s in asked])


def test_train_reads_an_iterable_again_from_its_start_after_a_rewind():
    model, seen = model_of(), []

    def loss(m, batch):
        seen.append(int(batch[0, 0]))
        return m(batch).pow(2).mean()

    rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.0), rewire.IMP(rounds=1), steps=4,
        data=[torch.full((2, 8), float(i)) for i in range(3)], loss=loss,
    )  # fmt: skip
    assert seen == [0, 1, 2, 0, 0, 1, 2, 0]
    with pytest.raises(ValueError, match="data is empty: train"):
        rewire.train(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                     loss=loss, data=[], steps=1)  # fmt: skip
    with pytest.raises(TypeError, match="train.. does not take 'densty'"):
        rewire.train(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                     loss=loss, data=[1], steps=1, densty=0.1)  # fmt: skip


def test_train_takes_imps_density_as_the_one_to_end_at():
    model = model_of()
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.IMP(fraction=0.5), density=0.1,
        loss=lambda m, b: m(b).pow(2).mean(), data=[torch.ones(2, 8)], steps=2,
    )  # fmt: skip
    assert net.edges == 13 and net.clock.round == 4  # 132 -> 66 -> 33 -> 16 or 17 -> 13
    assert net.done


# -- saving -----------------------------------------------------------------------------------


def test_a_state_of_other_rules_or_another_model_is_refused():
    net = steps(attached(rewire.SET()), 1)[2]
    with pytest.raises(ValueError, match=r"saved by the rules \['0.SET'\]; the session has"):
        attached(rewire.DeepR())[2].load_state_dict(net.state_dict())
    small = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    other = rewire.attach(small, optimizer, rewire.SET(), density=0.5)
    with pytest.raises(ValueError, match="belongs to another model: its projections are"):
        other.load_state_dict(net.state_dict())


def test_a_state_without_history_or_snapshots_still_continues():
    run = steps(attached(rewire.DeepR(noise=0.3)), 3)
    saved = copy.deepcopy((run[0].state_dict(), run[1].state_dict()))
    small = copy.deepcopy(run[2].state_dict(history=False, saved=False))
    assert "history" not in small and "saved" not in small
    model, optimizer, net = attached(rewire.DeepR(noise=0.3))
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    net.load_state_dict(small)
    steps(run, 3)
    steps((model, optimizer, net), 3)
    assert torch.equal(net.graph.keys, run[2].graph.keys)
    assert torch.equal(net.graph["weight"], run[2].graph["weight"])
    assert net.history.formed == run[2].history.formed


def test_attaching_changes_no_key_of_the_models_or_the_optimisers_state():
    plain = model_of()
    optimizer = torch.optim.Adam(plain.parameters())
    before = list(plain.state_dict()), list(optimizer.state_dict())
    ids = [id(p) for p in plain.parameters()]
    net = rewire.attach(plain, optimizer, rewire.StructuralPlasticity(), density=0.3)
    steps((plain, optimizer, net), 2)
    assert (list(plain.state_dict()), list(optimizer.state_dict())) == before
    assert [id(p) for p in plain.parameters()] == ids
    fresh = model_of()
    fresh.load_state_dict(plain.state_dict())  # a plain model reads it
    buffer = io.BytesIO()
    torch.save(plain, buffer)  # and the model itself can be pickled
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    x = torch.randn(4, 8)
    assert torch.equal(again(x), plain(x)) and torch.equal(fresh(x), plain(x))


def test_a_deep_copied_model_runs_its_own_weights_and_never_writes_into_the_session():
    """deep-rewire's copies run the original's weights."""
    model, optimizer, net = steps(attached(rewire.StructuralPlasticity()), 2)
    twin = copy.deepcopy(model)
    x = torch.randn(5, 8)
    before, activity = model(x).clone(), net.world.taps._seen
    held = {k: v.clone() for k, v in activity.items()}
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(2.0)
    twin.train()(x * 100)
    assert torch.equal(model.eval()(x), before)
    assert not torch.equal(twin(x), before)
    assert all(torch.equal(held[k], net.world.taps._seen[k]) for k in held)


# -- rules of one's own -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DropOldest(Rule):
    """A user's rule: each synapse counts its age; the oldest are replaced at random."""

    columns = {"age": 0.0}
    fraction: float = 0.1
    when: When = Every(2)

    def update(self, graph, signals, state, rng, clock):
        age = graph["age"] + 1
        ranges = rewire.groups(graph, "layer")
        k = [int(self.fraction * (hi - lo)) for lo, hi in ranges]
        drop = rewire.largest(age, k, ranges)
        add = rewire.sample_absent(graph, k, rng, without=drop)
        return Edit(set={"age": age}, drop=drop, add=add), {"turns": state.get("turns", 0) + 1}


def test_a_rule_of_ones_own_works_everywhere():
    run = steps(attached(DropOldest(fraction=0.25)), 8)
    net = run[2]
    assert net.states[0]["turns"] == 4 and net.history.formed > 0
    assert net.graph["age"].max() == 4 and net.graph["age"].min() == 0
    newest = net.graph.find(torch.from_numpy(net.history.records[-1].add))[0]
    assert (net.graph["age"][newest] == 0).all()
    saved = copy.deepcopy((run[0].state_dict(), run[1].state_dict(), net.state_dict()))
    other = attached(DropOldest(fraction=0.25), seed=0)
    for part, state in zip(other, saved, strict=True):
        part.load_state_dict(state)
    steps(other, 4), steps(run, 4)
    assert torch.equal(other[2].graph.keys, net.graph.keys)
    assert torch.equal(other[2].graph["age"], net.graph["age"])
    assert DropOldest.from_table({"when": 7}).when == when.every(7)


PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "forgetful"
        version = "1.0"
        [project.entry-points."rewire.rules"]
        Forgetful = "forgetful:Forgetful"
        [project.entry-points."rewire.signals"]
        dice = "forgetful"
        [tool.setuptools]
        py-modules = ["forgetful"]
    """,
    "forgetful.py": '''
        """A rule and a signal from another package."""
        from dataclasses import dataclass
        import rewire

        @rewire.signal("masked", "dice")
        def dice(world, graph, keys):
            return (keys * 7919 % 101).float()

        @dataclass(frozen=True, kw_only=True)
        class Forgetful(rewire.Rule):
            """Replaces the synapses that the dice like least."""
            needs = frozenset({"dice"})
            source = "here"
            k: int = 3

            def update(self, graph, signals, state, rng, clock):
                drop = rewire.smallest(signals.pair("dice", graph.keys), self.k)
                add = rewire.sample_absent(graph, self.k, rng, without=drop)
                return rewire.Edit(drop=drop, add=add), state
    ''',
    "use.py": """
        import torch, rewire
        from rewire import rules
        rule = rules.get("Forgetful").from_table({"k": 4})
        model = torch.nn.Linear(10, 10)
        net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule, density=0.3)
        for _ in range(3):
            model(torch.randn(5, 10)).sum().backward()
            net.step()
        print(net.history.formed, net.edges, "Forgetful" in rules.available())
    """,
}


def test_a_rule_and_a_signal_of_an_installed_package_are_found(tmp_path):
    """Built and installed into a folder of its own, run in a process of its own."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name, text in PACKAGE.items():
        (source / name).write_text(textwrap.dedent(text))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    flags = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*pip, *flags, str(source)], check=True, capture_output=True, text=True)
    assert not Path(target, "rewire").exists()
    done = subprocess.run(
        [sys.executable, str(source / "use.py")],
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["12", "30", "True"]


def test_importing_rewire_imports_no_torch():
    code = "import sys, rewire; assert 'torch' not in sys.modules; rewire.DeepR; print('ok')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ok"


class Told(rewire.Bare):
    """Keeps what it is told of whether a step's weights may wait."""

    def __init__(self, space):
        super().__init__(space)
        self.told = []

    def advance(self, graph, skip, scaler=None, closure=None):
        self.told.append(self.straight)
        return super().advance(graph, skip, scaler, closure)

    def settle(self):
        self.told.append("settle")


class Fails(Rule):
    def update(self, graph, signals, state, rng, clock):
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("rule", [rewire.DeepR(), Fails()])
@pytest.mark.parametrize("limits", [(), (FanIn(most=99),)])
def test_any_world_is_told_whether_only_the_rules_follow_its_step(rule, limits):
    """Where limits look at the weights too, nothing may wait; ``optimise`` alone is no whole step;
    and what waits is asked for whatever becomes of the rules."""
    space = attached(rewire.Static())[2].graph.space
    net = rewire.Session(Told(space), Graph.full(space), rule, span=5, limits=limits)
    if isinstance(rule, Fails):
        with pytest.raises(RuntimeError, match="on purpose"):
            net.step()
    else:
        net.step()
    assert net.world.told == [not limits, "settle"]
    net.optimise()
    assert net.world.told[2:] == [False]


def test_a_state_of_another_seed_is_refused() -> None:
    def session(seed: int) -> rewire.Session:
        model = nn.Linear(6, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return rewire.attach(model, optimizer, rewire.SET(), density=0.5, seed=seed)

    with pytest.raises(ValueError, match="saved under seed 1; the session has seed 2"):
        session(2).load_state_dict(session(1).state_dict())
