"""What people mistype: each call is refused in our words, which say what was asked, found, to do.

One line is one mistake: the call, and a part of its message. None ends in an error that Python, or
torch, would raise somewhere below.
"""

from __future__ import annotations

import re
import warnings

import networkx as nx
import pytest
import torch
from torch import nn

import rewire
from rewire import Graph, Population, Projection, Space
from rewire.caveats import NoDensity

WORLDS = ("masked", "sparse")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def attach(rule=None, model=None, optimizer=None, density=0.5, **options):
    model = net() if model is None else model
    optimizer = sgd(model) if optimizer is None else optimizer
    rule = rewire.SET() if rule is None else rule
    return rewire.attach(model, optimizer, rule, density=density, **options)


def train(**options):
    model = net()
    usual = {
        "rule": rewire.SET(), "loss": lambda model, batch: model(batch).sum(), "steps": 2,
        "data": [torch.ones(2, 6)], "density": 0.5,
    }  # fmt: skip
    arguments = {key: v for key, v in {**usual, **options}.items() if v is not MISSING}
    return rewire.train(model, sgd(model), **arguments)


MISSING = object()


def pops():
    return [Population("in", 6), Population("out", 4)]


def space():
    return Space(pops(), [Projection("w", "in", "out", "linear", (4, 6))])


def keys(*numbers):
    return torch.tensor(numbers)


# Calls that a world of torch models takes part in: they are made in both.
OF_TORCH = {
    "a rule by its name": (lambda **o: attach("RigL", **o), "write rewire.RigL()"),
    "a rule's name misspelt": (lambda **o: attach("Rigl", **o), "did you mean 'RigL'?"),
    "a rule's name as in the paper": (lambda **o: attach("DEEP R", **o), "did you mean 'DeepR'?"),
    "a rule's class": (lambda **o: attach(rewire.RigL, **o), "a class of rules, not a rule: write"),
    "a class among rules": (lambda **o: attach([rewire.SET(), rewire.RigL], **o), "write RigL()"),
    "a number among rules": (lambda **o: attach([rewire.SET(), 3], **o), "3 is no rule: pass"),
    "no rules": (lambda **o: attach([], **o), "the list is empty. rewire.Static() keeps"),
    "rules in a set": (lambda **o: attach({rewire.SET()}, **o), "which a set does not have"),
    "a rule's table": (lambda **o: attach({"rule": "RigL"}, **o), "rewire.rules.from_table({"),
    "a function for a rule": (lambda **o: attach(lambda g: g, **o), "is no rule: pass an instance"),
    "a branch's class": (lambda **o: attach(rewire.RandomReinit, **o), "which are no rules: they"),
    "a limit for a rule": (lambda **o: attach(rewire.FanIn(most=3), **o), "limits=[FanIn(most=3"),
    "sparsity": (lambda **o: attach(sparsity=0.9, **o), "density=0.1 for sparsity=0.9"),
    "a percentage": (lambda **o: attach(density=10, **o), "for 10 % write density=0.1"),
    "a density in quotes": (lambda **o: attach(density="0.1", **o), "as density=0.1"),
    "a percentage in quotes": (lambda **o: attach(density="10%", **o), "as density=0.1"),
    "several densities": (lambda **o: attach(density=[0.1, 0.2], **o), "experiment's, densities="),
    "densities by name": (lambda **o: attach(density={"0.weight": 0.1}, **o), "are distribution={"),
    "no edge at all": (lambda **o: attach(density=0, **o), "density 0 is not in (0, 1]"),
    "a density below 0": (lambda **o: attach(density=-0.1, **o), "density -0.1 is not in (0, 1]"),
    "a density that is none": (lambda **o: attach(density=float("nan"), **o), "density nan is not"),
    "a density of truth": (lambda **o: attach(density=True, **o), "density True is not in (0, 1]"),
    "an argument misspelt": (lambda **o: attach(densty=0.1, **o), "did you mean 'density'?"),
    "a learning rate": (lambda **o: attach(lr=0.1, **o), "the learning rate is the optimizer's"),
    "rules= for rule=": (lambda **o: attach(rules=[rewire.SET()], **o), "rule= takes one rule"),
    "model and optimizer turned round": (
        lambda **o: rewire.attach(sgd(net()), net(), rewire.SET(), density=0.5, **o),
        "the other way round: the model comes first",
    ),
    "an optimizer's class": (lambda **o: attach(optimizer=torch.optim.SGD, **o), "the class SGD"),
    "an optimizer's name": (lambda **o: attach(optimizer="adam", **o), "make one, as torch.optim"),
    "another model's optimizer": (
        lambda **o: attach(optimizer=sgd(net()), **o),
        "Give the optimizer this model's parameters",
    ),
    "no parameters": (
        lambda **o: attach(model=nn.ReLU(), optimizer=sgd(net()), **o), "has no parameter at all",
    ),
    "no layer that can be sparse": (
        lambda **o: attach(model=nn.LayerNorm(4), **o), "no weight that can be sparse",
    ),
    "a model's class": (
        lambda **o: attach(model=nn.Sequential, optimizer=sgd(net()), **o), "make one, as Sequen",
    ),
    "a model's name": (
        lambda **o: attach(model="lenet", optimizer=sgd(net()), **o), "rewire.models.build",
    ),
    "a model's numbers": (
        lambda **o: attach(model=net().state_dict(), optimizer=sgd(net()), **o), "load it into",
    ),
    "a distribution misspelt": (lambda **o: attach(distribution="ekr", **o), "did you mean 'er'?"),
    "a distribution in capitals": (lambda **o: attach(distribution="ERK", **o), "mean 'erk'?"),
    "a density for a distribution": (
        lambda **o: attach(distribution=0.1, **o), "one density is density=0.1",
    ),
    "a layer that is not there": (
        lambda **o: attach(density=None, distribution={"fc9": 0.1}, **o), "names no projection",
    ),
    "a layer's density in quotes": (
        lambda **o: attach(density=None, distribution={"0": "0.1"}, **o), "and holds '0': '0.1'",
    ),
    "densities for counts": (
        lambda **o: attach(density=None, distribution=[0.1, 0.2], **o), "whole numbers, got [0.1",
    ),
    "words for counts": (
        lambda **o: attach(density=None, distribution=["a", 2], **o), "got ['a', 2]",
    ),
    "a start misspelt": (lambda **o: attach(initial="randm", **o), "did you mean 'random'?"),
    "one mask of two": (
        lambda **o: attach(initial={"0.weight": torch.ones(5, 6)}, **o), "there is none for 2.w",
    ),
    "steps in quotes": (lambda **o: attach(steps="1000", **o), "got '1000'"),
    "no steps": (lambda **o: attach(steps=0, **o), "a whole number from 1 up"),
    "a seed in quotes": (lambda **o: attach(seed="a", **o), "seed is a whole number, got 'a'"),
    "one limit": (lambda **o: attach(limits=rewire.FanIn(most=3), **o), "write limits=[FanIn("),
    "a limit's name": (lambda **o: attach(limits=["FanIn"], **o), "'FanIn' is no limit: pass"),
    "a limit's class": (lambda **o: attach(limits=rewire.FanIn, **o), "write limits=[rewire."),
    "one pattern": (lambda **o: attach(include="0.weight", **o), "a list: write ['0.weight']"),
    "a number for patterns": (lambda **o: attach(exclude=0, **o), "exclude=0): expected several"),
    "a number among patterns": (lambda **o: attach(include=[0], **o), "each to be a text"),
    "a pattern of nothing": (lambda **o: attach(include=["nope"], **o), "matches no weight; there"),
    "a kind for projections": (lambda **o: attach(projections="linear", **o), "expected a table"),
    "positions of nobody": (lambda **o: attach(positions=3, **o), "positions=3): expected a table"),
    "positions of another size": (
        lambda **o: attach(positions={"input": torch.ones(3, 2)}, **o), "must have shape (6, 2)",
    ),
    "batches for a probe": (
        lambda **o: attach(rewire.SNIP(), probe=[torch.ones(2, 6)], **o), "expected a Probe",
    ),
    "no probe": (lambda **o: attach(rewire.SNIP(), **o), "pass probe=rewire.Probe(batches, loss)"),
    "a scheduler's name": (lambda **o: attach(scheduler="cosine", **o), "takes a scheduler of"),
    "a yes in words": (lambda **o: attach(embeddings="yes", **o), "expected True or False"),
    "a loss for a step": (lambda **o: attach(**o).step(3.0), "backward() takes the loss"),
    "no loss": (lambda **o: train(loss=MISSING, **o), "train needs loss=: loss= is a function"),
    "no data": (lambda **o: train(data=MISSING, **o), "train needs data=: data= is an iterable"),
    "a loss's name": (lambda **o: train(loss="mse", **o), "got 'mse': write"),
    "a loss of torch": (lambda **o: train(loss=nn.MSELoss(), **o), "got MSELoss(): write"),
    "a loss of three": (lambda **o: train(loss=lambda a, b, c: 0, **o), "write def loss(model, b"),
    "a loss of a float": (lambda **o: train(loss=lambda m, b: 3.0, **o), "gave 3.0: it has to"),
    "a loss of many": (lambda **o: train(loss=lambda m, b: m(b), **o), "gave a tensor (2, 4): it"),
    "data that is a number": (lambda **o: train(data=3, **o), "got 3: give one of these"),
    "data by name": (lambda **o: train(data="digits", **o), "got 'digits': give one of these"),
    "data that is one tensor": (lambda **o: train(data=torch.ones(2, 6), **o), "write|data=[(x,"),
    "a loader's class": (lambda **o: train(data=torch.utils.data.DataLoader, **o), "DataLoader'>"),
    "training without an end": (lambda **o: train(steps=None, **o), "needs the number of optimi"),
    "a factor for a schedule": (lambda **o: train(schedule=0.9, **o), "schedule=lambda step: 0.9"),
    "a rule's schedule": (lambda **o: train(schedule=rewire.cosine(0.3), **o), "got Cosine(start="),
    "a schedule of words": (lambda **o: train(schedule=lambda s: "a", **o), "schedule(0) gave 'a'"),
    "a number to call": (lambda **o: train(on_step=3, **o), "on_step=3): expected a function"),
    "epochs": (lambda **o: train(epochs=3, **o), "say steps=, the number of optimizer steps"),
    "train's argument misspelt": (lambda **o: train(densty=0.3, **o), "did you mean 'density'?"),
    "train's one pattern": (lambda **o: train(include="0", **o), "train(include='0'): expected"),
}  # fmt: skip

ALONE = {
    "no rule": (lambda: rewire.attach(net(), sgd(net())), "attach needs rule=: rule= is one rule"),
    "nothing": (lambda: rewire.attach(), "attach needs model=, optimizer=, rule="),
    "a world misspelt": (lambda: attach(world="sprase"), "did you mean 'sparse'?"),
    "a world's class": (lambda: attach(world=rewire.Masked), "world is 'masked', 'sparse' or"),
    "a field misspelt": (lambda: rewire.DeepR(temprature=1), "did you mean 'temperature'?"),
    "a field without its name": (lambda: rewire.IMP(0.2), "write IMP(fraction=0.2) for 0.2"),
    "two without names": (lambda: rewire.RigL(0.3, 100), "write RigL(fraction=0.3)"),
    "a field in quotes": (lambda: rewire.RigL(fraction="0.3"), "= '0.3': expected a number from"),
    "a field in percent": (lambda: rewire.RigL(fraction=30), "expected a number from 0 to 1"),
    "a list for a field": (lambda: rewire.RigL(fraction=[0.3]), "expected a number from 0 to 1"),
    "a function for a field": (lambda: rewire.RigL(fraction=rewire.cosine), "expected a number"),
    "a number for when": (lambda: rewire.RigL(when=100), "write rewire.every(100)"),
    "a text for when": (lambda: rewire.RigL(when="every 100"), "one of rewire.when: write"),
    "rounds in quotes": (lambda: rewire.IMP(rounds="3"), "'3': expected a whole number from 1"),
    "a rewind to before": (lambda: rewire.IMP(rewind=-1), "expected a whole number from 0 up"),
    "a density of a rule": (lambda: rewire.RigL(density=0.1), "has no parameter 'density'; it t"),
    "rules without a name": (lambda: rewire.Combined([rewire.RigL()]), "write Combined(rules="),
    "a class on a part": (
        lambda: rewire.On(rule=rewire.RigL, projections=["x"]), "expected a Rule",
    ),
    "one projection of a part": (
        lambda: rewire.On(rule=rewire.RigL(), projections="x"), "expected several values",
    ),
    "a limit without a name": (lambda: rewire.FanIn(3), "write FanIn(most=3)"),
    "a limit's field": (lambda: rewire.FanIn(max=3), "no parameter 'max'; it takes most, to"),
    "a period in quotes": (lambda: rewire.every("100"), "Every.n = '100': expected a whole number"),
    "no period": (lambda: rewire.every(), "every needs n=: n= is the number of steps from one"),
    "a period of none": (lambda: rewire.every(0), "not a period: it takes a whole number from 1"),
    "an argument of every": (lambda: rewire.every(100, until=9), "no argument 'until'; it takes n"),
    "steps in a list": (lambda: rewire.at_steps([1, 2]), "expected each to be a whole number"),
    "a cosine of words": (lambda: rewire.cosine("a"), "Cosine.start = 'a': expected a number"),
    "a ramp to nowhere": (lambda: rewire.cubic(1.0), "cubic needs end="),
    "a population of no size": (lambda: Population("a"), "Population needs size="),
    "a size in quotes": (lambda: Population("a", "10"), "size = '10': expected a whole number"),
    "half a unit": (lambda: Population("a", 10.5), "size = 10.5: expected a whole number from 0"),
    "name and size turned round": (lambda: Population(10, "a"), "name = 10: expected a text"),
    "positions misspelt": (lambda: Population("a", 3, posistions=None), "mean 'positions'?"),
    "too few positions": (lambda: Population("a", 4, torch.ones(3, 2)), "shape (4, 2), one row a"),
    "too few labels": (lambda: Population("a", 4, labels=["x"]), "4 units and 1 labels: give one"),
    "a kind misspelt": (
        lambda: Projection("w", "in", "out", "liner", (4, 6)), "did you mean 'linear'?",
    ),
    "a shape in quotes": (
        lambda: Projection("w", "in", "out", "linear", "4x6"), "shape = '4x6': expected several",
    ),
    "a shape of one axis": (
        lambda: Projection("w", "in", "out", "linear", (4,)), "has 2 axes or more, as (post, pre)",
    ),
    "populations for names": (
        lambda: Projection("w", *pops(), "linear", (4, 6)), "source = Population(",
    ),
    "one population": (lambda: Space(Population("a", 3), []), "takes a list of populations, got"),
    "a pair for a population": (lambda: Space([("a", 3)], []), "is no population: a space takes"),
    "a population misspelt": (
        lambda: Space(pops(), [Projection("w", "inn", "out", "linear", (4, 6))]), "mean 'in'?",
    ),
    "a shape turned round": (
        lambda: Space(pops(), [Projection("w", "in", "out", "linear", (6, 4))]),
        "Is the shape turned round? It is (post, pre).",
    ),
    "no projections": (lambda: Space(pops()), "Space needs projections="),
    "keys in a list": (lambda: Graph(space(), [0, 5]), "got [0, 5]: write torch.tensor("),
    "keys with a point": (lambda: Graph(space(), keys(0.0, 5.0)), "(2,) of torch.float32: write"),
    "keys out of order": (lambda: Graph(space(), keys(5, 0)), "key 0 follows key 5: sort them"),
    "a key twice": (lambda: Graph(space(), keys(5, 5)), "key 5 is given twice, and a pair holds"),
    "a key beyond": (lambda: Graph(space(), keys(0, 99)), "no key 99: keys run from 0 to 23"),
    "a graph of no space": (lambda: Graph(pops(), keys(0)), "a graph is one of a rewire.Space"),
    "a graph of no keys": (lambda: Graph(space()), "Graph needs keys="),
    "a column in a list": (
        lambda: Graph(space(), keys(0), {"weight": [1.0]}), "column 'weight' is [1.0]: give a ten",
    ),
    "a column without a name": (
        lambda: Graph(space(), keys(0), torch.ones(1)), 'write {"weight": weights}',
    ),
    "columns misspelt": (lambda: Graph(space(), keys(0), column={}), "did you mean 'columns'?"),
    "one mask": (lambda: Graph.from_masks(space(), torch.ones(4, 6)), "by its name, as {'w': ...}"),
    "a mask of another": (
        lambda: Graph.from_masks(space(), {"v": torch.ones(4, 6)}), "no projection 'v'",
    ),
    "a mask of words": (lambda: Graph.from_masks(space(), {"w": "x"}), "is 'x', and no array"),
    "no graph of networkx": (lambda: Graph.from_networkx("x"), "'x' is no graph of networkx"),
    "no matrix": (lambda: Graph.from_scipy("x"), "no sparse matrix of scipy (post, pre): write"),
    "a model for a space": (lambda: rewire.counts_for(net(), 0.1), "give net.graph.space"),
    "batches that are one": (
        lambda: rewire.Probe(torch.ones(2, 6), lambda m, b: 0), "write rewire.Probe([(x, y)]",
    ),
    "a probe's loss by name": (lambda: rewire.Probe([0], "mse"), "got 'mse': write one, as for"),
    "save turned round": (lambda: rewire.save("x.pt", attach()), "write rewire.save(net, "),
    "load without a model": (lambda: rewire.load("x.pt"), "load needs model=, optimizer="),
    "a model for a world": (lambda: rewire.Session(net(), None, rewire.SET()), "a world is an in"),
    "a bare world of nothing": (lambda: rewire.Bare(3), "is one of a rewire.Space, got 3: write"),
    "a rule that is not there": (lambda: rewire.rules.get("Rigl"), "did you mean 'RigL'?"),
}  # fmt: skip


def refused(call, words):
    """The call's refusal, which is ours, and says these words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError), match=re.escape(words.split("|")[-1])) as error:
            call()
    raised = error.traceback[-1].path
    assert "torch" not in raised.parts and "rewire" in raised.parts, f"raised in {raised}"
    text = str(error.value)
    assert not re.search(r"__init__\(\)|not iterable|not subscriptable|positional argument", text)


@pytest.mark.parametrize("mistake", OF_TORCH)
@pytest.mark.parametrize("world", WORLDS)
def test_a_mistake_is_refused_in_our_words_in_both_worlds(mistake, world):
    call, words = OF_TORCH[mistake]
    refused(lambda: call(world=world), words)


@pytest.mark.parametrize("mistake", ALONE)
def test_a_mistake_is_refused_in_our_words(mistake):
    refused(*ALONE[mistake])


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (rewire, "Rigl", "did you mean 'RigL'?"),
        (rewire, "DEEPR", "did you mean 'DeepR'?"),
        (rewire, "attatch", "did you mean 'attach'?"),
        (rewire, "LotteryTicket", "it is called IMP"),
        (rewire.rules, "Rigl", "did you mean 'RigL'?"),
        (rewire.analysis, "lifetimez", "did you mean 'lifetimes'?"),
    ],
)
def test_a_name_that_a_module_lacks_is_answered_with_the_nearest(module, name, words):
    with pytest.raises(AttributeError, match=re.escape(words)):
        getattr(module, name)
    assert not hasattr(module, name)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", [rewire.SET(), rewire.DeepR(), rewire.RigL(), rewire.Static()])
def test_a_missing_density_is_not_dense_in_silence(rule, world):
    with pytest.warns(NoDensity, match=f"{rule.name} starts with every edge.*Pass density=0.1"):
        attach(rule, density=None, steps=1000, world=world)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (rewire.Dense(), {"density": None}),
        (rewire.SET(), {"density": 1.0}),
        (rewire.SET(), {"density": None, "distribution": {"*": 0.5}}),
        (rewire.SET(), {"density": 0.5}),
    ],
)
def test_who_says_how_many_edges_is_not_warned(rule, options, world):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoDensity)
        attach(rule, world=world, **options)


def test_every_name_that_the_rules_export_is_there():
    for name in rewire.rules.__all__:
        assert getattr(rewire.rules, name) is not None


def test_a_graph_of_networkx_still_comes_in():
    assert len(Graph.from_networkx(nx.karate_club_graph())) == 156
