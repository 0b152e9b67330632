"""
Weights that never train: edge popup
====================================

Every weight stays at its first value; what is learnt is a score, and only edges of high scores
act (Ramanujan et al. 2020).
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


right = {}
for density in (0.7, 0.5, 0.3, 0.1):
    torch.manual_seed(0)
    model, _ = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    first = model[0].weight.detach().clone()
    net = rewire.attach(model, optimizer, rewire.EdgePopup(), density=density, seed=0, steps=300)
    steps(model, optimizer, 300)
    right[density] = accuracy(model)
    live = net.graph.effective()
    print(f"density {density}: {len(live)} edges act, {right[density]:.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(list(right), list(right.values()), "o-")
axes.set(xlabel="density of edges that act", ylabel="test accuracy in %, no weight trained")
plt.show()
