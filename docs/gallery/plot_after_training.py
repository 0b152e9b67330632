"""
Pruning a trained network at once
=================================

Magnitude looks at the weights, Wanda at weights and inputs, SparseGPT also moves the weights
that stay. None trains afterwards.
"""

import copy

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]


def network(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def steps(model, optimizer, count, each=None):
    for step in range(count):
        batch = torch.randint(len(x_train), (64,))
        optimizer.zero_grad()
        cross_entropy(model(x_train[batch]), y_train[batch]).backward()
        optimizer.step()
        if each is not None:
            each(step)


def accuracy(model):
    with torch.no_grad():
        return 100 * float((model(x_test).argmax(1) == y_test).float().mean())


model, optimizer = network()
steps(model, optimizer, 300)
print(f"dense: {accuracy(model):.1f} %")

# %%

probe = rewire.Probe([(x_train[:256], y_train[:256])], lambda m, b: cross_entropy(m(b[0]), b[1]))
densities = (0.5, 0.3, 0.2, 0.1, 0.05)
curves = {}
for rule in (rewire.Magnitude(scope="layer"), rewire.Wanda(), rewire.SparseGPT()):
    curves[rule.name] = []
    for density in densities:
        pruned = copy.deepcopy(model)
        adam = torch.optim.Adam(pruned.parameters())
        rewire.attach(
            pruned, adam, rule, density=density, distribution="uniform", probe=probe, seed=0
        )
        curves[rule.name].append(accuracy(pruned))
    print(rule.name, *(f"{value:.1f}" for value in curves[rule.name]))

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in curves.items():
    axes.plot(densities, values, "o-", label=name)
axes.set(xscale="log", xlabel="density", ylabel="test accuracy in %, not trained again")
axes.invert_xaxis()
axes.legend()
plt.show()
