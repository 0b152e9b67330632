"""Rules as values and as plain tables; the registry; streams of random numbers."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest, norm

import rewire
from rewire import branches, rules, strategy, when
from rewire.rule import Rule
from rewire.rule_budget import Budget, budget_of
from rewire.streams import rng_for
from rewire.when import Clock

ROOT = Path(__file__).parents[1]
RULES = [
    rewire.Dense(), rewire.Static(), rewire.RandomReinit(),
    rewire.IMP(), rewire.IMP(fraction=0.3, scope="layer", rates={"fc3": 0.1}, to=(0.2, 0.05)),
    rewire.IMP.one_shot(0.1), rewire.IMP(rewind=50, restore="learning_rate"),
    rewire.DeepR(), rewire.DeepR(temperature=1e-9, scope="global", when=when.every(5)),
    rewire.SoftDeepR(), rewire.SoftDeepR(theta_min=-0.1),
    rewire.StructuralPlasticity(), rewire.StructuralPlasticity.bogdan(initial="kernel"),
    rewire.SET(), rewire.SET(fraction=when.linear(0.5, 0.1), drop="magnitude", when=when.at_end),
    rewire.RigL(), rewire.RigL(fraction=0.3, when=when.every(10, stop=100)),
    rewire.Magnitude(), rewire.Magnitude(to=(3, 5), scope="layer"), rewire.SNIP(to=0.1, rounds=5),
    rewire.FORCE(rounds=5), rewire.ProsPr(steps=2, gradient="first_order"),
    rewire.GraSP(temperature=1.0), rewire.SynFlow(input=(1, 28, 28)), rewire.SynFlow.one_shot(),
    rewire.L1Shrinkage(l1=0.0, until=0.5),
    rewire.PHEW(to=0.1),
    rewire.Chase(channels=0.1, least=0.5, until=300),
    rewire.DynaDiag(cold=0.1, until=300),
    rewire.GroupRigL(groups="diagonal"), rewire.GroupRigL(block=(2, 8)),
    rewire.DSTEE(c=0.1, epsilon=0.5),
    rewire.CHTs(score="CH3-L3p", regrowth="largest"), rewire.CHTss(begins=0.4, steepness=3.0),
    rewire.RigL.itop(), rewire.SET.itop(), rewire.GMP(), rewire.GMP(to=0.05, scope="global"),
    rewire.GraNet(begins=1.0), rewire.DSR(), rewire.DSR(aim=600), rewire.MEST(soft=True, lam=0.0),
    rewire.NM(n=1), rewire.SRSTE(decay=0.0), rewire.EdgePopup(rate=0.5, ranks="value"),
    rewire.Supermask(criterion="movement", restore="weights", when=when.Last(3)),
    rewire.STR(to=0.1, initial=-5.0), rewire.SoftThreshold(straight_through=True, until=0.5),
    rewire.MovementPruning(scope="layer"), rewire.TopKAST(more=0.2, refresh=100),
    rewire.STDS(threshold=1.0, schedule="linear"), rewire.NDSNN(to=0.1), rewire.ESLSNN(),
    rewire.EarlyTime(candidates=(1, 3), look=1),
    rewire.ContinuousSparsification(initial=-0.1), rewire.Powerpropagation(to=0.1, alpha=3),
    rewire.GradR(to=0.1), rewire.ACDC(when=when.every(10, first=50, stop=0.85)),
    rewire.SNFS(rewires=when.every(50)), rewire.RandomRewiring.beside(rewire.MEST()),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rule_is_a_value_that_round_trips_through_a_plain_table(rule):
    table = rule.to_table()
    again = type(rule).from_table(table)
    assert again == rule and hash(again) == hash(rule)
    assert again.to_table() == table
    assert all(isinstance(v, str | int | float | dict | list) for v in table.values())


def test_every_built_in_rule_says_what_it_is_and_where_it_comes_from():
    for name, rule in rules.available().items():
        assert rule.__name__ == name == rule().name
        assert rule.source and rule.kind and rule.__doc__
        assert budget_of(rule()).kept in ("exact", "cap", "reported")
        assert isinstance(rule().needs, frozenset)


def test_exports_registries_and_the_page_on_rules_name_the_same_rules_and_branches():
    listed = {c.__name__ for c in (*rules.BUILT_IN, *branches.BUILT_IN, rewire.On)}
    exported = {n for n in rewire.__all__ if is_derived(getattr(rewire, n), Rule, branches.Branch)}
    # of branches the control alone is exported at the top
    assert exported - {"Rule"} == {c.__name__ for c in (*rules.BUILT_IN, rewire.On)} | {
        "RandomReinit"
    }
    table = (ROOT / "docs/rules.md").read_text(encoding="utf-8").partition("## All rules")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [name for cell in rows for name in re.findall("`([A-Za-z0-9]+)`", cell)]
    assert sorted(names) == sorted(listed)


def is_derived(value, *bases):
    return isinstance(value, type) and issubclass(value, bases)


def test_a_branch_is_no_rule_but_reads_tables_as_rules_do():
    assert "RandomReinit" not in rules.available() and "RigL" not in branches.available()
    assert not issubclass(branches.Branch, Rule)
    for name, branch in branches.available().items():
        assert branch.__name__ == name and branch.source and branch.kind == "branch"
        assert branch.kept in ("exact", "reported") and branch.__doc__
    table = {"times": 2.0, "sigma": "change"}
    assert branches.WeightNoise.from_table(table).to_table() == table
    with pytest.raises(ValueError, match=r"no parameter 'time' \(did you mean 'times'\?\)"):
        branches.WeightNoise.from_table({"time": 2.0})


def test_a_word_is_a_budget_and_a_rule_has_a_dozen_members():
    class Plain(Rule):
        budget = "cap"

    @dataclass(frozen=True, kw_only=True)
    class ByField(Rule):
        soft: bool = False

        @property
        def budget(self):
            return "reported" if self.soft else "exact"

    assert budget_of(Plain()) == Budget("cap") == budget_of(Plain)
    assert budget_of(ByField(soft=True)).kept == "reported" and budget_of(ByField()) == Budget()
    own = vars(Rule).keys() - vars(strategy.Plain).keys()
    assert len([name for name in own if not name.startswith("_")]) <= 12
    with pytest.raises(TypeError, match="Old defines prunes_at_start, starts_at, which no rule"):
        type("Old", (Rule,), {"prunes_at_start": True, "starts_at": lambda self, density: 1.0})


@pytest.mark.parametrize(
    ("rule", "density", "start", "visits", "at_start"),
    [
        (rewire.RigL(), 0.1, 0.1, False, False),
        (rewire.GMP(), 0.1, 1.0, False, False),
        (rewire.GraNet(begins=0.3), 0.1, 0.3, False, False),
        (rewire.GraNet(begins=0.3), 0.6, 0.6, False, False),
        (rewire.SNIP(), 0.1, 0.1, False, True),
        (rewire.NM(), 0.5, 0.5, False, True),
        (rewire.SRSTE(), 0.5, 1.0, False, False),
        (rewire.IMP(), 0.1, 0.1, True, False),
        (rewire.Combined(rules=(rewire.RigL(), rewire.GMP())), 0.1, 1.0, False, False),
        (rewire.On(rule=rewire.SNIP(), projections=("*",)), 0.1, 0.1, False, True),
    ],
    ids=str,
)
def test_a_budget_says_where_a_run_starts(rule, density, start, visits, at_start):
    budget = budget_of(rule)
    assert budget.starts_at(density) == start
    assert (budget.visits, budget.at_start) == (visits, at_start)
    assert budget.rungs(rule, [100], ["fc1"]) == (rule.ladder([100], ["fc1"]) if visits else [])


def test_counts_reach_a_rule_that_prunes_at_the_start_once():
    rule = rewire.SNIP()
    assert rule.budget.aimed(rule, [3, 5]).to == (3, 5)
    fixed = rewire.SNIP(to=0.1)
    with pytest.raises(ValueError, match="SNIP names its own budget, to=0.1, and a density was"):
        fixed.budget.aimed(fixed, [3, 5])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (rewire.RigL, r"RigL is a class of rules, not a rule: write RigL\(\)"),
        ("RigL", r"'RigL' is the name of a rule, not a rule: write rewire.RigL\(\)"),
        ("Rigl", r"'Rigl' is a text, not a rule \(did you mean 'RigL'\?\)"),
        ([rewire.GMP(), rewire.RigL], "RigL is a class of rules"),
        (0.3, "0.3 is no rule: pass an instance"),
        (None, "None is no rule"),
        (branches.Shuffle, "Shuffle is a class of branches, which are no rules"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_to_write(rule, message):
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=message):
        rewire.attach(model, optimizer, rule=rule, density=0.5)
    with pytest.raises(TypeError, match=message):
        rewire.train(model, optimizer, rule, loss=None, data=[], steps=1)


def test_a_branch_cannot_be_attached():
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="RandomReinit is a branch, not a rule: it starts anew"):
        rewire.attach(model, optimizer, rule=rewire.RandomReinit(), density=0.5)


def test_a_mistyped_keyword_gets_the_nearest_one():
    with pytest.raises(
        TypeError, match=r"DeepR has no parameter 'temprature' \(did you mean 'temp"
    ):
        rewire.DeepR(temprature=1)
    with pytest.raises(
        TypeError, match=r"FanIn has no parameter 'moost' \(did you mean 'most'\?\)"
    ):
        rewire.FanIn(moost=3)

    class Own(Rule):
        def __init__(self, number):
            object.__setattr__(self, "number", number)

    assert Own(number=3).number == 3
    with pytest.raises(
        TypeError, match=r"Own has no parameter 'nmber' \(did you mean 'number'\?\)"
    ):
        Own(nmber=3)


def test_the_registry_suggests_the_nearest_name():
    assert rules.get("DeepR") is rewire.DeepR
    with pytest.raises(ValueError, match=r"no rule 'DeepRR' \(did you mean 'DeepR'\?\); one of"):
        rules.get("DeepRR")


def test_a_table_is_refused_with_all_of_its_mistakes_at_once():
    with pytest.raises(ValueError) as refused:
        rewire.IMP.from_table({"fractoin": 0.2, "rewind": "late", "scope": "layers"})
    text = str(refused.value)
    assert "IMP has no parameter 'fractoin' (did you mean 'fraction'?); it takes" in text
    assert "IMP.rewind = 'late'" in text and "IMP.scope = 'layers'" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rewire.IMP(fraction=1.0), r"drops a fraction in \(0, 1\)"),
        (lambda: rewire.IMP(fraction=0.0), "drops a fraction"),
        (lambda: rewire.IMP(to=(0.0,)), r"densities in \(0, 1\]"),
        (lambda: rewire.IMP(rates={"fc": 0.1}), "rates may only be 0"),
        (lambda: rewire.SoftDeepR(birth=0.1), "takes no birth"),
        (lambda: rewire.SoftDeepR(theta_min=0.1), "must be below 0"),
        (lambda: rewire.SoftDeepR(l1=0.0), "needs l1 > 0 and noise"),
        (lambda: rewire.SoftDeepR(temperature=0.0), "needs l1 > 0 and noise"),
        (lambda: rewire.StructuralPlasticity(p_form=1.2), "p_form is a probability, got 1.2"),
        (lambda: rewire.StructuralPlasticity(attempts=0.0), "a fraction of the slots, got 0.0"),
        (lambda: rewire.StructuralPlasticity(attempts=2.0), "a fraction of the slots"),
    ],
)
def test_impossible_parameters_are_refused_when_the_rule_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_rule_without_an_update_says_so():
    class Lazy(Rule):
        pass

    with pytest.raises(NotImplementedError, match="Lazy does not say what it does"):
        Lazy().update(None, None, {}, None, Clock(1, 2))


# -- streams ----------------------------------------------------------------------------------


def test_a_stream_is_a_function_of_seed_label_and_tick():
    def numbers(*name):
        rng = rng_for(*name)
        return [*rng.normal(3).tolist(), *rng.uniform(3).tolist(), *rng.integers(99, 3).tolist(),
                *rng.permutation(5).tolist()]  # fmt: skip

    first = numbers(0, "rule", 3)
    assert numbers(0, "rule", 3) == first
    for other in ((1, "rule", 3), (0, "rulf", 3), (0, "rule", 4)):
        assert numbers(*other)[:6] != first[:6]


def test_streams_have_golden_values():
    """Written once: a change of these is a change of every stored run."""
    rng = rng_for(0, "golden", 1)
    assert rng.integers(10**6, 4).tolist() == [948941, 663787, 409103, 94639]
    assert rng.permutation(6).tolist() == [3, 0, 2, 4, 5, 1]
    assert rng.normal(2).tolist() == pytest.approx([0.14312, 0.12398], abs=1e-5)


def test_normal_numbers_are_normal_into_their_tails():
    z = rng_for(2, "law").normal(4_000_000).numpy()
    assert kstest(z[:500_000], "norm").pvalue > 0.001
    for beyond in (2, 3, 4, 4.5):  # 3.49 is where the second inversion begins
        expected = 4e6 * 2 * norm.sf(beyond)
        assert abs((abs(z) > beyond).sum() - expected) < 4 * expected**0.5
    assert 5 < abs(z).max() < 6.3


def test_numbers_go_on_where_the_last_call_stopped():
    rng, other = rng_for(0, "on", 1), rng_for(0, "on", 1)
    both = torch.cat([rng.normal(6), rng.normal(5)])
    assert torch.equal(both, other.normal(11))


def test_numbers_have_the_law_that_they_promise():
    rng = rng_for(1, "law")
    z, u = rng.normal(40_000), rng.uniform(40_000)
    assert abs(z.mean()) < 4 / 200 and abs(z.var() - 1) < 4 * 2**0.5 / 200
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 4 * 12**-0.5 / 200
    assert torch.bincount(rng.integers(4, 40_000)).min() > 10_000 - 4 * 87
    assert sorted(rng.permutation(100).tolist()) == list(range(100))


def test_mest_keeps_its_edges_but_under_a_soft_bound():
    assert rewire.MEST().budget.kept == "exact"
    assert rewire.MEST(soft=True).budget.kept == "reported"
