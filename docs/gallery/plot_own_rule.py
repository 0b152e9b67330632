"""
A rule of your own
==================

Drop the weakest edges, draw four candidates for each at random, and grow those with the largest
gradient: RigL with a look at a few places instead of all.
"""

from dataclasses import dataclass
from typing import ClassVar

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire
from rewire import Rule, every, groups, smallest

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]
batches = list(zip(x_train.split(64), y_train.split(64), strict=True))


def network(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


def accuracy(model):
    with torch.no_grad():
        return 100 * float((model(x_test).argmax(1) == y_test).float().mean())


@dataclass(frozen=True, kw_only=True)
class Busy(Rule):
    """Drop the weakest tenth of each layer, grow where the gradient is largest among a few."""

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    fraction: float = 0.1
    when: rewire.when.When = every(10)

    def update(self, graph, signals, state, rng, clock):
        layers = groups(graph, "layer")
        k = [int(self.fraction * (end - begin)) for begin, end in layers]
        drop = smallest(graph["weight"].abs(), k, layers)
        candidates = rewire.sample_absent(graph, [4 * n for n in k], rng)
        score = signals.pair("growth", candidates)
        bounds = [0, *torch.tensor([4 * n for n in k]).cumsum(0).tolist()]
        best = [
            candidates[begin:end][score[begin:end].topk(n).indices]
            for begin, end, n in zip(bounds, bounds[1:], k, strict=False)
        ]
        return rewire.Edit(drop=drop, add=torch.cat(best).sort().values), state


# %%

results = {}
for rule in (rewire.Static(), rewire.SET(fraction=0.1, when=every(10)), Busy()):
    results[rule.name] = []
    for seed in range(3):
        model, optimizer = network(seed)
        net = rewire.train(
            model, optimizer, rule, loss=loss, data=batches, steps=200, density=0.04, seed=seed
        )
        results[rule.name].append(accuracy(model))
    print(rule.name, net.edges, *(f"{value:.1f}" for value in results[rule.name]))

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, values in enumerate(results.values()):
    axes.plot(values, [place] * len(values), "o")
axes.set_yticks(range(len(results)), results)
axes.set(xlabel="test accuracy in %, three seeds")
plt.show()
