"""Two rules in one network: what each promises holds after every tick, or they are refused.

`pairs` lists all of them with a composition for each; `outcome` trains one in both torch worlds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import rewire
from rewire import when
from rewire.limits import FanIn, FanOut
from rewire.rule_budget import Falling, budget_of
from rewire.rules import available

STEPS = 12
OFTEN, STEADY = when.every(3), when.every(2)
# what makes each rule act in a few steps of a small network
FIELDS: dict[str, dict[str, Any]] = {
    "SNFS": {"rewires": OFTEN, "fraction": 0.3},
    "DSR": {"when": OFTEN, "threshold": 0.05},
    "AgeLimit": {"when": STEADY, "most": 5},
    "DeepR": {"noise": 0.4, "l1": 0.02},
    "SoftDeepR": {"noise": 0.3, "l1": 0.1, "theta_min": -0.3},
    "StructuralPlasticity": {
        "attempts": 0.3, "partner": "uniform", "p_elim_dep": 0.3, "p_elim_pot": 0.1,
    },
    "HomeostaticGrowth": {"curve": "linear", "growth": 0.5, "tau": 2.0, "when": OFTEN},
    "SynapticSampling": {"prior": 0.05},
    "STDPPruning": {"threshold": 0.2, "when": OFTEN},
    "STR": {"initial": -3.0, "decay": 0.5},
    "GradR": {"alpha": 0.5},
    "Supermask": {"restore": "weights"},
    "EarlyBird": {"history": 1, "when": STEADY, "until": None},
    "EarlyTime": {"history": 1, "when": STEADY, "until": None},
    "Chase": {"when": OFTEN, "fraction": 0.3, "channels": 0.2},
    "IMP": {},
}  # fmt: skip
REPLACING = ["RandomRewiring", "SET", "RigL", "SRigL", "CHT", "CHTs", "DSTEE", "MEST", "ESLSNN",
             "DropGrow"]  # fmt: skip
FALLING = ["GMP", "GraNet", "OBD", "DiagonalFisher", "WoodFisher", "CHTss", "NDSNN", "ACDC"]
FIELDS |= {name: {"when": OFTEN, "fraction": 0.3} for name in REPLACING}
FIELDS |= {name: {"when": OFTEN} for name in FALLING}
VARIANTS = ("plain", "first on a part", "second on a part", "apart", "fan-in", "fan-out", "global")


class Pair(NamedTuple):
    first: str
    second: str
    variant: str

    def __str__(self) -> str:
        return f"{self.first}, {self.second}: {self.variant}"


def names() -> list[str]:
    """The built-in rules that stand beside others."""
    return [
        name
        for name, rule in available().items()
        if rule.__module__.startswith("rewire.") and name not in ("On", "Combined")
    ]


def pairs() -> Iterator[Pair]:
    """Every pair of rules as it is, and in one other composition."""
    for i, (first, second) in enumerate(combinations(names(), 2)):
        yield Pair(first, second, "plain")
        yield Pair(first, second, VARIANTS[1 + i % (len(VARIANTS) - 1)])


def built(name: str, scope: str | None = None) -> Any:
    cls = available()[name]
    values = dict(FIELDS.get(name, {}))
    if scope is not None and name != "SparseGPT" and "scope" in {f.name for f in fields(cls)}:
        values["scope"] = scope
    return cls(**values)


def rules_of(pair: Pair) -> list[Any]:
    scope = "global" if pair.variant == "global" else None
    first, second = built(pair.first, scope), built(pair.second, scope)
    if pair.variant in ("first on a part", "apart"):
        first = rewire.On(rule=first, projections=("0", "4"))
    if pair.variant in ("second on a part", "apart"):
        second = rewire.On(rule=second, projections=("2",))
    return [first, second]


def limits_of(pair: Pair) -> list[Any]:
    return {"fan-in": [FanIn(most=7)], "fan-out": [FanOut(most=7)]}.get(pair.variant, [])


class Refused(NamedTuple):
    """What was said before step 0."""

    text: str


def outcome(pair: Pair, world: str) -> Refused | list[tuple[int, ...]]:
    """The live edges of each projection after each tick, the start first, or why there are none.

    Raises AssertionError where a promise is broken, and whatever a rule raises while it trains.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    draw = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(16, 12, generator=draw), torch.randint(4, (16,), generator=draw))
        for _ in range(STEPS)
    ]
    looks: list[tuple[int, ...]] = []
    density = 0.5 if {pair.first, pair.second} & {"NM", "SRSTE"} else 0.25
    begun = []

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def look(net: Any, _: float = 0.0) -> None:
        begun.append(True)
        graph = net.graph
        graph.check_limits()
        assert len(graph.keys) < 2 or (graph.keys.diff() > 0).all()
        assert not graph["weight"].isnan().any()
        looks.append(tuple(graph.live_counts()))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = rewire.train(
                model, optimizer, rules_of(pair), loss=loss, density=density, world=world,
                data=lambda step: batches[step % STEPS], steps=STEPS, seed=2, on_step=look,
                limits=limits_of(pair), probe=rewire.Probe(batches[:2], loss),
            )  # fmt: skip
    except ValueError as error:
        if begun:
            raise
        return Refused(str(error))
    look(net)
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    check_promises(net, looks, round(density * net.graph.possible))
    return looks


def check_promises(net: Any, looks: list[tuple[int, ...]], asked: int) -> None:
    budgets = [budget_of(rule) for rule in net.rules]
    kept = {budget.kept for budget in budgets}
    totals = [sum(look) for look in looks]
    if "reported" in kept or any(budget.visits for budget in budgets):
        return
    falls = any(isinstance(getattr(budget, "inner", budget), Falling) for budget in budgets)
    if falls:
        assert totals[-1] == asked, (totals, asked)
        return
    if kept == {"exact"}:
        assert set(totals) == {asked}, (totals, asked)
        inner = [getattr(rule, "rule", rule) for rule in net.rules]
        layered = all(getattr(rule, "scope", "layer") != "global" and not budget_of(rule).at_start
                      for rule in inner)  # fmt: skip
        assert not layered or len(set(looks)) == 1, looks
    assert max(totals) <= asked, (totals, asked)


def named(text: str, pair: Pair) -> bool:
    """Whether a refusal names a rule of the pair, or its class."""
    return any(name in text for name in (pair.first, pair.second))


def disagreement(pair: Pair) -> str | None:
    """What both worlds do not do alike, or None."""
    masked, sparse = outcome(pair, "masked"), outcome(pair, "sparse")
    if isinstance(masked, Refused) or isinstance(sparse, Refused):
        said = [o.text for o in (masked, sparse) if isinstance(o, Refused)]
        if not all(named(text, pair) for text in said):
            return f"a refusal names no rule: {said}"
        only = "the sparse world" in said[0] or "world" in said[0]
        return None if len(said) == 2 or only else f"one world alone refuses: {said}"
    counts = np.array(masked) != np.array(sparse)
    return f"{int(counts.sum())} counts differ" if counts.any() else None
