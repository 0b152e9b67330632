"""Every rule on spiking networks: exact budgets, no leak, and the same in both worlds."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import test_contract as contract
from test_contract import BUDGETS, MASKED, RULES, SILENCING, STILL, Run, leaks

from rewire import models

EVENTS = {"spiking-net": (5, 12), "lsnn": (5, 12), "spiking-conv": (5, 2, 6, 6)}
OPTIONS = {
    "spiking-net": {"hidden": [10, 8]},
    "lsnn": {"hidden": [8], "adaptive": 0.5, "readout_leak": 0.5},
    "spiking-conv": {"channels": [4, 3]},
}


def built(name):
    generator = torch.Generator().manual_seed(3)
    return models.build(
        name, generator=generator, input_shape=EVENTS[name], classes=3, **OPTIONS[name]
    )


class Spiking(Run):
    """The contract's run, on spikes in place of numbers."""

    def batch(self):
        x, y = super().batch()  # half of it lies above 0
        return (x > 0).to(x), y


for name, shape in EVENTS.items():
    contract.MODELS[name] = (lambda name=name: built(name)), shape

OF_OTHER_NAMES = "deep-r-on"  # of projections that these models do not have
SEEN: set[type] = set()
CASES = []
for i, (rule, of) in enumerate(RULES.items()):
    if rule != OF_OTHER_NAMES:  # the first of a class in the quick run
        model, marks = list(EVENTS)[i % 3], [pytest.mark.slow] if type(of) in SEEN else []
        CASES.append(pytest.param(rule, "adam", model, id=f"{rule}-{model}", marks=marks))
        SEEN.add(type(of))


@pytest.mark.parametrize(("rule", "optimiser", "model"), CASES)
def test_every_rule_is_exact_and_equal_in_both_worlds(rule, optimiser, model):
    there = Spiking(rule, optimiser, model, dtype=torch.float64)
    first, kind = there.net.counts, BUDGETS[rule].kept
    there.steps(100)
    net = there.net
    if rule not in SILENCING:
        assert leaks(there) == 0
    if kind == "exact" and not rule.startswith("imp"):
        assert sum(net.counts) == sum(first)
    elif kind == "cap":
        assert sum(net.counts) <= sum(first)
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    assert (len(net.history) > 0) == (rule not in STILL)
    if rule in MASKED:
        return
    here = Spiking(rule, optimiser, model, world="sparse", dtype=torch.float64).steps(100)
    assert [e.to_bytes() for e in here.net.history] == [e.to_bytes() for e in net.history]
    mine, theirs = here.net.graph, net.graph
    assert torch.equal(mine.keys, theirs.keys)
    torch.testing.assert_close(mine["weight"], theirs["weight"], rtol=1e-8, atol=1e-10)
