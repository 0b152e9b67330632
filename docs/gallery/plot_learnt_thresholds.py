"""
Learnt thresholds: the density is an outcome
============================================

STR (Kusupati et al. 2020) learns a threshold for each layer; what falls below it is silent. How
many edges stay depends on the weight decay and is reported, not promised.
"""

import warnings

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


curves = {}
for decay in (3e-3, 1e-2, 2e-2):
    torch.manual_seed(0)
    model, _ = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    with warnings.catch_warnings():  # that no density is promised
        warnings.simplefilter("ignore")
        net = rewire.attach(model, optimizer, rewire.STR(), seed=0, steps=300)
    curves[decay] = []
    steps(
        model, optimizer, 300,
        lambda step, net=net, curve=curves[decay]: curve.append(net.graph.effective().density),
    )  # fmt: skip
    print(f"decay {decay:g}: density {curves[decay][-1]:.3f}, {accuracy(model):.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for decay, values in curves.items():
    axes.plot(values, label=f"weight decay {decay:g}")
axes.set(xlabel="step", ylabel="density of what is not silent")
axes.legend()
plt.show()
