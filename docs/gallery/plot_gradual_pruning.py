"""
Gradual pruning: the density falls while the network learns
===========================================================

GMP (Zhu & Gupta 2017) begins with every edge and cuts along a cubic schedule; the counts are
exact at every tick.
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
net = rewire.attach(
    model, optimizer, rewire.GMP(when=rewire.every(10)), density=0.05, seed=0, steps=400
)
density, right = [], []


def note(step):
    density.append(net.edges / net.graph.possible)
    if step % 20 == 19:
        right.append(accuracy(model))


steps(model, optimizer, 400, note)
print(net.graph)

# %%

figure, (left, middle) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(density)
left.set(xlabel="step", ylabel="density", yscale="log")
middle.plot(range(20, 401, 20), right)
middle.set(xlabel="step", ylabel="test accuracy in %")
plt.show()
