"""
Two rules in one network
========================

``On`` restricts a rule to some layers. Here DEEP R rewires the first layer at every step, and
SET the second every 20 steps.
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
rule = [
    rewire.On(rule=rewire.DeepR(), projections=("0.weight",)),
    rewire.On(rule=rewire.SET(when=rewire.every(20)), projections=("2.weight",)),
]
net = rewire.attach(model, optimizer, rule, density=0.1, seed=0)
before = [set(net.graph.keys[net.graph.rows(i)].tolist()) for i in range(2)]
kept = [[], []]


def note(step):
    for i in range(2):
        now = set(net.graph.keys[net.graph.rows(i)].tolist())
        kept[i].append(len(now & before[i]) / len(before[i]))


steps(model, optimizer, 200, note)
print(net, f"{accuracy(model):.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(kept[0], label="first layer, DeepR")
axes.plot(kept[1], label="second layer, SET")
axes.set(xlabel="step", ylabel="share of the first edges", ylim=(0, 1.02))
axes.legend()
plt.show()
