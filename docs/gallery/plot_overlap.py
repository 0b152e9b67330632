"""
Do two seeds find the same edges?
=================================

The Jaccard index of the masks of pairs of trainings, beside what two random masks with as many
edges would share.
"""

from itertools import combinations

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire

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


masks = []
for seed in range(4):
    model, optimizer = network(seed)
    rule = rewire.RigL(when=rewire.every(10))
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=batches, steps=200, density=0.1, seed=seed
    )
    masks.append(net.graph.mask(0))

shared = [float((a & b).sum() / (a | b).sum()) for a, b in combinations(masks, 2)]
share = float(masks[0].float().mean())
chance = share / (2 - share)  # of independent masks of that density, in the mean
print(f"Jaccard index {min(shared):.3f} to {max(shared):.3f}, by chance {chance:.3f}")

# %%
# Hidden units have no numbers of their own: the inputs that are used agree better than the edges.

per_input = torch.stack([mask.sum(0) for mask in masks]).double()
print(f"correlation of edges per input: {torch.corrcoef(per_input)[0, 1:].mean():.2f}")
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(shared, "o", label="pairs of seeds")
axes.axhline(chance, linestyle="--", color="grey", label="by chance")
axes.set(xlabel="pair", ylabel="Jaccard index of the first layer", ylim=(0, None))
axes.legend()
plt.show()
