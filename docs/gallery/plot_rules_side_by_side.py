"""
Four rules at equal edges
=========================

The same first weights, the same batches, the same number of synapses: what is left is the rule.
``Static`` never moves an edge; it is the control of every rule that does.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]


def accuracy_of(rule, seed, density=0.03, steps=300):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    net = rewire.attach(model, optimizer, rule, density=density, seed=seed, steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(x_train), (64,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x_train[batch]), y_train[batch]).backward()
        net.step()
    with torch.no_grad():
        return float((model(x_test).argmax(1) == y_test).float().mean()), net.edges


# %%
# A period of 20 steps instead of the papers' 100: this training has 300 steps in all.

rules = {
    "Static": rewire.Static(),
    "SET": rewire.SET(when=rewire.every(20)),
    "RigL": rewire.RigL(when=rewire.every(20)),
    "DeepR": rewire.DeepR(),
}
results = {name: [accuracy_of(rule, seed) for seed in range(3)] for name, rule in rules.items()}
for name, runs in results.items():
    print(f"{name:7} {runs[0][1]} edges", *(f"{100 * value:.1f} %" for value, _ in runs))

# %%
# Three seeds are three dots, not an error bar: with so few, show all of them.

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, runs in enumerate(results.values()):
    axes.plot([100 * value for value, _ in runs], [place] * len(runs), "o")
axes.set_yticks(range(len(results)), results)
axes.set_xlabel("test accuracy in %, density .03")
plt.show()
