"""What rules that run are warned of: never acting, and a density that is not promised."""

import warnings

import pytest
import torch

import rewire
from rewire import when
from rewire.caveats import DensityNotPromised, NeverActs, caveats
from rewire.rule import pace_of
from rewire.rule_budget import budget_of
from rewire.rules import available
from rewire.when import Clock, Every

RULES = {
    name: rule()
    for name, rule in available().items()
    if rule.__module__.startswith("rewire.") and name not in ("On", "Combined")
}
PERIODIC = {name for name, rule in RULES.items() if isinstance(pace_of(rule), Every)}


def kinds(rule, **how):
    return [type(caveat) for caveat in caveats([rule], **how)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_is_due_at_no_step_is_warned_of_and_no_other(name):
    rule = RULES[name]
    span = next((s for s in range(1, 500) if acts_in(rule, s)), None)
    if name not in PERIODIC:  # at the start, at the end, or never
        assert span in (None, 1) and kinds(rule, span=7) == []
        return
    assert span is not None and kinds(rule, span=span) == []
    if span > 1:
        assert kinds(rule, span=span - 1) == [NeverActs]
    assert kinds(rule, span=None) == [] and kinds(rule, span=10**9) == []


def acts_in(rule, span):
    """Whether it is due in so many steps, at one at which it would do something."""
    due = [s for s in range(1, span + 1) if pace_of(rule)(Clock(s, span))]
    fraction = getattr(rule, "fraction", 1.0)
    return any(when.value(fraction, Clock(s, span)) > 1e-9 for s in due)


def test_schedules_of_all_kinds_are_looked_at():
    class Odd(when.When):
        def __call__(self, clock):
            return clock.step == 77

    for schedule, least in ((when.at_steps(5, 9), 5), (Odd(), 77), (when.every(3, first=8), 9)):
        rule = rewire.SET(when=schedule)
        assert kinds(rule, span=least) == [] and kinds(rule, span=least - 1) == [NeverActs]
    assert kinds(rewire.SET(when=when.never), span=5) == []  # as it was told
    assert kinds(rewire.SET(when=when.at_end), span=5) == []
    # a ramp that has ended at the only tick
    assert kinds(rewire.RigL(when=when.every(100, stop=0.5)), span=200) == [NeverActs]
    on = rewire.On(rule=rewire.SNFS(), projections=("0",))
    assert [str(c).split(" never")[0] for c in caveats([on], span=90)] == ["SNFS on 0"]
    both = rewire.Combined(rules=(rewire.SET(), rewire.DeepR()))
    assert [str(c).split(" never")[0] for c in caveats([both], span=90)] == ["SET"]


@pytest.mark.parametrize("name", RULES)
def test_who_does_not_promise_the_density_says_so(name):
    """Exact, at or below, or warned of: no rule is none of the three."""
    rule = RULES[name]
    floats = DensityNotPromised in kinds(rule, span=10**6, densities=[0.1])
    assert floats == (budget_of(rule).kept == "reported")
    assert kinds(rule, span=10**6) == kinds(rule, span=10**6, densities=[1.0]) == []


def test_a_soft_memory_bound_is_warned_of_where_it_does_not_come_down_again():
    soft = rewire.MEST(soft=True)
    assert kinds(soft, span=1000, densities=[0.1]) == []
    constant = rewire.MEST(soft=True, fraction=0.2)
    assert kinds(constant, span=1000, densities=[0.1]) == [DensityNotPromised]
    assert kinds(soft, span=None, densities=[0.1]) == [DensityNotPromised]


def model_and_optimizer():
    model = torch.nn.Linear(20, 10)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_attach_and_train_warn_before_step_0_and_at_the_callers_line():
    with pytest.warns(NeverActs, match=r"RigL never acts in 90 steps: .* is due at none") as seen:
        rewire.attach(*model_and_optimizer(), rewire.RigL(), density=0.2, steps=90)
    assert [warning.filename for warning in seen] == [__file__]
    loss = {"loss": lambda model, x: model(x).sum(), "data": lambda step: torch.ones(2, 20)}
    with pytest.warns(DensityNotPromised, match="GradR does not promise the density 0.05") as seen:
        rewire.train(*model_and_optimizer(), rewire.GradR(), density=0.05, steps=3, **loss)
    assert [warning.filename for warning in seen] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rewire.attach(*model_and_optimizer(), rewire.RigL(), density=0.2, steps=900)
        rewire.attach(*model_and_optimizer(), rewire.STR(), steps=900)  # nothing was asked for


@pytest.mark.parametrize(
    "rule",
    [rewire.GMP(to=0.1), rewire.TopKAST(to=0.1), rewire.IMP(to=(0.1,)), rewire.STR(to=0.1),
     rewire.Combined(rules=(rewire.SET(), rewire.GMP(to=0.1)))],
    ids=lambda rule: rule.name,
)  # fmt: skip
def test_two_densities_for_one_rule_are_refused(rule):
    with pytest.raises(ValueError, match="names its own density, to=0.1, and density=0.2 was"):
        rewire.attach(*model_and_optimizer(), rule, density=0.2, steps=1000)
