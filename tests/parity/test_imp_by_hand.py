"""IMP against a plain PyTorch loop that knows nothing of graphs: equal to the last bit."""

import copy

import pytest
import torch
from torch import nn

import rewire

STEPS = 15


def model_of():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(10, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(),
        nn.Linear(12, 4)
    )  # fmt: skip


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(16, 10, generator=g), torch.randint(4, (16,), generator=g)


def loss_of(model, data):
    x, y = data
    return nn.functional.cross_entropy(model(x), y)


def factor(step):
    return 1.0 if step < 10 else 0.1


def sparse(model):
    return [m.weight for m in model if isinstance(m, nn.Linear)]


def prune(weights, masks, scope, fraction):
    """The smallest |w| of what is left, ties to the first: sort, count, cut."""
    pools = [[(i, m) for i, m in enumerate(masks)]] if scope == "global" else [
        [(i, m)] for i, m in enumerate(masks)
    ]  # fmt: skip
    for pool in pools:
        magnitude = torch.cat([weights[i].detach()[m].abs() for i, m in pool])
        drop = max(1, round(fraction * len(magnitude)))
        dropped = torch.zeros(len(magnitude), dtype=torch.bool)
        dropped[magnitude.argsort(stable=True)[:drop]] = True
        for i, m in pool:
            n = int(m.sum())
            masks[i] = m.clone().masked_scatter_(m, ~dropped[:n])
            dropped = dropped[n:]


def by_hand(optimiser, scope, k, rounds, fraction, restore):
    """Train, prune, go back, again; masks on weights, gradients and moments at every step."""
    model = model_of()
    optimizer = OPTIMISERS[optimiser](model.parameters())
    masks = [torch.ones_like(w, dtype=torch.bool) for w in sparse(model)]
    saved, rates = None, [g["lr"] for g in optimizer.param_groups]
    start = schedule = data = 0
    levels = []
    for level in range(rounds + 1):
        for step in range(start, STEPS):
            if level == 0 and step == k:
                saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(schedule)
            optimizer.zero_grad()
            loss_of(model, batch(data)).backward()
            with torch.no_grad():
                for w, m in zip(sparse(model), masks, strict=True):
                    w.grad.mul_(m)
                optimizer.step()
                for w, m in zip(sparse(model), masks, strict=True):
                    w.mul_(m)
                    for v in optimizer.state[w].values():
                        if isinstance(v, torch.Tensor) and v.shape == w.shape:
                            v.mul_(m)
            schedule, data = schedule + 1, data + 1
        levels.append(([w.detach().clone() for w in sparse(model)], [m.clone() for m in masks]))
        if level == rounds:
            return levels, model
        prune(sparse(model), masks, scope, fraction)
        if restore == "weights":
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(copy.deepcopy(saved[1]))
        if restore != "nothing":
            start = schedule = data = k
        else:
            start = 0
        with torch.no_grad():
            for w, m in zip(sparse(model), masks, strict=True):
                w.mul_(m)
                for v in optimizer.state[w].values():
                    if isinstance(v, torch.Tensor) and v.shape == w.shape:
                        v.mul_(m)
    return None


CASES = [
    ("sgd", "global", 0, "weights"),
    ("adam", "global", 0, "weights"),
    ("adam", "layer", 4, "weights"),
    ("momentum", "global", 4, "weights"),
    ("adamw", "layer", 0, "weights"),
    ("momentum", "layer", 4, "learning_rate"),
    ("adam", "global", 0, "nothing"),
]


@pytest.mark.parametrize(("optimiser", "scope", "k", "restore"), CASES)
def test_imp_equals_a_hand_written_loop_to_the_last_bit(optimiser, scope, k, restore):
    """Weights and masks at the end of each of four levels, then every parameter and buffer."""
    expected, hand = by_hand(optimiser, scope, k, 3, 0.3, restore)
    model = model_of()
    rounds = []
    rewire.train(
        model,
        OPTIMISERS[optimiser](model.parameters()),
        rewire.IMP(fraction=0.3, rounds=3, scope=scope, rewind=k, restore=restore),
        loss=loss_of,
        data=batch,
        steps=STEPS,
        schedule=factor,
        on_round=lambda net: rounds.append(
            ([w.detach().clone() for w in sparse(model)], list(net.masks().values()))
        ),
    )
    assert len(rounds) == len(expected) == 4
    for (weights, masks), (their_weights, their_masks) in zip(rounds, expected, strict=True):
        for a, b in zip(masks, their_masks, strict=True):
            assert torch.equal(a, b)
        for a, b in zip(weights, their_weights, strict=True):
            assert torch.equal(a, b)
    for (name, a), b in zip(model.state_dict().items(), hand.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("k", [0, 5])
def test_rewound_survivors_equal_the_saved_weights(k):
    """Also biases, normalisation buffers and the optimiser's state, right after the rewind."""
    model = model_of()
    optimizer = OPTIMISERS["adam"](model.parameters())
    seen = {}

    def on_step(net, loss):
        if net.clock.total == k and k:
            seen["kept"] = copy.deepcopy((model.state_dict(), optimizer.state_dict()))

    rounds = []

    def data(step):
        if rounds and "back" not in seen:
            seen["back"] = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        return batch(step)

    if k == 0:
        seen["kept"] = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    net = rewire.train(
        model, optimizer, rewire.IMP(rounds=1, rewind=k), loss=loss_of, data=data, steps=10,
        on_step=on_step, on_round=lambda net: rounds.append(1),
    )  # fmt: skip
    masks = {n: net.masks().get(n) for n in model.state_dict()}
    for name, kept in seen["kept"][0].items():
        expected = kept if masks[name] is None else kept * masks[name]
        assert torch.equal(seen["back"][0][name], expected), name
    kept, back = seen["kept"][1]["state"], seen["back"][1]["state"]
    assert kept.keys() == back.keys()
    for i, state in kept.items():
        for what, value in state.items():
            mask = masks[[n for n, _ in model.named_parameters()][i]]
            expected = value * mask if mask is not None and value.shape == mask.shape else value
            assert torch.equal(back[i][what], expected)


def test_no_round_is_trained_for_the_edges_that_rounding_leaves():
    """Powers of .8 of LeNet's 266,200 weights: the fifth round ended one edge above its density,
    and a sixth dropped that one."""
    rule = rewire.IMP(to=tuple(0.8**k for k in range(1, 13)))
    edges, left = 266_200, []
    for (drop,) in rule.ladder([235_200, 30_000, 1_000], ["fc1", "fc2", "fc3"]):
        edges -= drop
        left.append(edges)
    assert left == [round(0.8**k * 266_200) for k in range(1, 13)]
    # a density that is another one is a round of its own
    assert [d for (d,) in rewire.IMP(to=(0.51, 0.5)).ladder([100_000], ["fc"])] == [
        20_000, 16_000, 12_800, 200, 1_000,
    ]  # fmt: skip
