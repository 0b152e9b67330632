"""
A measure of your own
=====================

A function of a graph is a measure: it is held against chance like any other.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire
from rewire.measures import measure

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train = x[:1400], y[:1400]
batches = list(zip(x_train.split(64), y_train.split(64), strict=True))


def network(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


def shared_inputs(graph):
    """Share of pairs of hidden units with at least half of the inputs of either in common."""
    mask = graph.mask(0).double()
    common, size = mask @ mask.T, mask.sum(1)
    alike = 2 * common >= torch.minimum(size[:, None], size[None, :])
    alike &= (size[:, None] > 0) & (size[None, :] > 0)
    n = len(mask)
    return float((alike.sum() - alike.diagonal().sum()) / (n * (n - 1)))


rows = {}
often = rewire.every(10)
for rule in (rewire.Static(), rewire.SET(when=often), rewire.RigL(when=often)):
    model, optimizer = network()
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=batches, steps=200, density=0.08, seed=0
    )
    (rows[rule.name],) = measure(net.graph, shared_inputs, null="degrees", draws=30)
    row = rows[rule.name]
    print(f"{rule.name:7} {row.value:.3f}, chance {row.mean:.3f}, z {row.z}")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, row in enumerate(rows.values()):
    axes.plot([row.low, row.high], [place, place], linewidth=6, alpha=0.4, color="grey")
    axes.plot(row.value, place, "o")
axes.set_yticks(range(len(rows)), rows)
axes.set(xlabel="share of pairs with like inputs (grey: 95 % of the null model)")
plt.show()
