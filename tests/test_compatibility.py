"""May these rules run here: every reason at once, the same for a session and for a file."""

import pytest
import torch

import rewire
from rewire.compatibility import problems, unreachable
from rewire.offer import OfKind
from rewire.worlds import registry

SPACE = rewire.Space(
    [rewire.Population("a", 6), rewire.Population("b", 4)],
    [rewire.Projection("ab", "a", "b", "linear", (4, 6))],
)


def texts(rules, world, limits=(), span=100, rewinds=True):
    return [p.text for p in problems(rules, world, limits, span=span, rewinds=rewinds)]


def test_a_rule_whose_signals_are_there_has_no_problem():
    assert texts([rewire.SET(), rewire.DeepR(), rewire.IMP()], rewire.Bare(SPACE)) == []


def test_every_reason_is_found_at_once_and_a_session_raises_them_together():
    rules = [rewire.RigL(), rewire.IMP(), rewire.EdgePopup(to=0.5), rewire.STR()]
    world, limits = rewire.Bare(SPACE), (rewire.FanIn(most=2),)
    reasons = texts([*rules, rewire.CHT()], world, limits, span=None, rewinds=False)
    for start in (
        "EdgePopup and STR both set the gain of every edge",
        "RigL needs the signal 'growth', which the bare world does not offer here",
        "RigL acts at the end, or at a fraction, of the training",
        "IMP goes back to saved steps of training, which a loop of your own cannot",
        "EdgePopup cannot live in the bare world: no forward pass",
        "STR needs the signal 'grad'",
        "CHT cannot live under FanIn(most=2, to='*'): it chooses or shares out",
    ):
        assert any(reason.startswith(start) for reason in reasons), start
    graph = rewire.Graph(SPACE, torch.arange(8))
    with pytest.raises(ValueError) as refused:
        rewire.Session(rewire.Bare(SPACE), graph, [rewire.RigL(), rewire.IMP()])
    assert "RigL needs the signal 'growth'" in str(refused.value)
    assert "IMP goes back to saved steps" in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "span", "message"),
    [
        (rewire.GMP(), 100, "it would never prune in 100 steps"),
        (rewire.GMP(when=rewire.every(10)), None, "its schedule ends with the training"),
        (rewire.ACDC(), 50, "ACDC cannot be trained so: it would never compress in 50 steps"),
        (rewire.RigL(fraction=rewire.cosine(0.3), when=rewire.every(2)), None, "pass steps="),
        (
            rewire.On(rule=rewire.RigL(fraction=rewire.cosine(0.3), when=rewire.every(2)),
                      projections=("ab",)),
            None,
            "RigL on ab acts at the end, or at a fraction, of the training",
        ),
    ],
)  # fmt: skip
def test_a_training_that_is_too_short_or_of_unknown_length_is_a_problem(rule, span, message):
    world = OfKind(registry.get("masked"))
    assert any(message in text for text in texts([rule], world, span=span))
    assert texts([rule], world, span=1000) == []


def test_parts_of_a_combined_rule_are_asked_one_by_one():
    both = rewire.Combined(rules=(rewire.GMP(), rewire.SNIP()))
    (text,) = texts([both], rewire.Bare(SPACE), span=1000)
    assert text.startswith("SNIP needs the signal 'connection_sensitivity'")


def test_a_world_that_is_not_built_offers_what_one_of_its_class_would():
    sparse, masked = (OfKind(registry.get(name)) for name in ("sparse", "masked"))
    assert texts([rewire.SNIP(), rewire.RigL()], sparse) == []
    (text,) = texts([rewire.TopKAST(to=0.2)], sparse)
    assert text.startswith("TopKAST cannot live in the sparse world: silent edges are edges")
    assert texts([rewire.TopKAST(to=0.2)], masked) == []
    (text,) = texts([rewire.StructuralPlasticity(rate=10.0)], masked)
    assert "has a rate per second, and a step of the masked world stands for no time" in text
    (text,) = texts([rewire.StructuralPlasticity(partner="spiked", attempts=0.3)], masked)
    assert "needs the signal 'spiked', which the masked world does not offer" in text


@pytest.mark.parametrize(
    ("rule", "densities", "message"),
    [
        (rewire.NM(), (0.5, 0.1), "NM keeps 2 of every 4 weights, density 0.5, and was asked"),
        (rewire.GradR(), (0.7,), "the density is in (0, 0.5], got 0.7"),
        (rewire.IMP(scope="layer"), (0.01,), "IMP cannot reach density 0.01"),
        (rewire.GMP(), (0.1,), None),
        (rewire.IMP(), (0.5, 0.1), None),
    ],
)
def test_densities_that_a_rule_cannot_reach_are_said_before_it_runs(rule, densities, message):
    why = unreachable(rule, densities, [20, 20], ["fc1", "fc2"])
    assert message in why if message else why is None
