"""The masked world against masking weights, gradients and every moment at every step."""

import pytest
import torch
from torch import nn

import rewire

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd-l2": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam-l2": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "adam-loop": lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0, weight_decay=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.05, t0=3),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}
# Adamax keeps max(u, |g| + eps): eps, not a moment, is what absent synapses hold
EPS = {("adamax", "exp_inf"): 1e-8}
# the value that an optimiser's own state starts at, where that is not 0
FIRST = {("adagrad", "sum"): 0.1, ("rprop", "step_size"): 0.01}


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 14), nn.ReLU(), nn.Linear(14, 4))


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(12, 9, generator=g), torch.randint(4, (12,), generator=g)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_masked_gradients_and_edits_are_bit_equal_to_masking_everything_every_step(optimiser):
    """SET rewires in the one loop; the other replays its masks on tensors, and births at zero."""
    ours = model_of()
    optimizer = OPTIMISERS[optimiser](ours.parameters())
    net = rewire.attach(
        ours, optimizer, rule=rewire.SET(when=rewire.every(4), birth=0.2), density=0.4, steps=30
    )
    by_hand = model_of()
    reference = OPTIMISERS[optimiser](by_hand.parameters())
    weights = [by_hand[0].weight, by_hand[2].weight]
    masks = list(net.masks().values())
    with torch.no_grad():
        for w, m in zip(weights, masks, strict=True):
            w.mul_(m)
    for step in range(30):
        for model, opt in ((ours, optimizer), (by_hand, reference)):
            opt.zero_grad()
            nn.functional.cross_entropy(model(batch(step)[0]), batch(step)[1]).backward()
        with torch.no_grad():
            for w, m in zip(weights, masks, strict=True):
                w.grad.mul_(m)
        reference.step()
        edits = len(net.history)
        net.step()
        if len(net.history) > edits:  # what was dropped and what was born, from the log
            new = list(net.masks().values())
            born = torch.zeros(net.graph.possible, dtype=torch.bool)
            born[torch.from_numpy(net.history.records[-1].add)] = True
            born = [b.view(m.shape) for b, m in zip(born.split([126, 56]), new, strict=True)]
            with torch.no_grad():
                for w, b, ourw in zip(weights, born, (ours[0].weight, ours[2].weight), strict=True):
                    w[b] = ourw[b]
                    for name, v in reference.state[w].items():
                        if isinstance(v, torch.Tensor) and v.shape == w.shape:
                            v[b] = FIRST.get((optimiser, name), 0.0)
            masks = new
        with torch.no_grad():
            for w, m in zip(weights, masks, strict=True):
                w.mul_(m)
                for name, v in reference.state[w].items():
                    untouched = (optimiser, name) in FIRST | EPS
                    if isinstance(v, torch.Tensor) and v.shape == w.shape and not untouched:
                        v.mul_(m)
        for a, b in zip(ours.parameters(), by_hand.parameters(), strict=True):
            assert torch.equal(a, b)
        for w, ourw, m in zip(weights, (ours[0].weight, ours[2].weight), masks, strict=True):
            assert ourw[~m].abs().sum() == 0
            for name, v in optimizer.state[ourw].items():
                expected = reference.state[w][name]
                if not isinstance(v, torch.Tensor) or v.shape != ourw.shape:
                    assert v == expected
                    continue
                assert torch.equal(v[m], expected[m]), name
                if (optimiser, name) not in FIRST:
                    assert (v[~m].abs() <= EPS.get((optimiser, name), 0)).all(), name
    assert len(net.history) == 7


def test_a_density_of_one_is_the_plain_optimiser_to_the_last_bit():
    ours, plain = model_of(), model_of()
    optimizer, reference = (torch.optim.AdamW(m.parameters(), lr=0.01) for m in (ours, plain))
    net = rewire.attach(ours, optimizer, rule=rewire.Dense())
    for step in range(10):
        for model, opt in ((ours, optimizer), (plain, reference)):
            opt.zero_grad()
            nn.functional.cross_entropy(model(batch(step)[0]), batch(step)[1]).backward()
        net.step()
        reference.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
