"""
The same number of edges, spread over layers in three ways
==========================================================

A density says how many edges there are in all; a distribution says how many of them each layer
gets. At low densities the spread matters as much as the rule.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]


def network():
    torch.manual_seed(0)
    sizes = [64, 200, 100, 50, 10]
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    return model, torch.optim.Adam(model.parameters(), lr=0.003)


densities, right = {}, {}
for name in ("uniform", "erk", "balanced"):
    model, optimizer = network()
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.03, distribution=name, seed=0)
    densities[name] = [c / p.size for c, p in zip(net.counts, net.graph.projections, strict=True)]
    for _ in range(200):
        batch = torch.randint(len(x_train), (64,))
        optimizer.zero_grad()
        cross_entropy(model(x_train[batch]), y_train[batch]).backward()
        optimizer.step()
    right[name] = 100 * float((model(x_test).argmax(1) == y_test).float().mean())
    print(f"{name:9} {net.edges} edges, {right[name]:.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in densities.items():
    axes.plot(range(1, 5), values, "o-", label=f"{name}: {right[name]:.0f} %")
axes.set(xlabel="layer", ylabel="density", yscale="log", xticks=range(1, 5))
axes.legend(title="test accuracy")
plt.show()
