"""
A limit on fan-in holds for any rule
====================================

Without a limit RigL makes hubs. ``FanIn`` caps every unit at a number of incoming synapses; the
number of edges stays exact, and growth chooses among the places that are still allowed.
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


fan_in = {}
for name, limits in (("no limit", []), ("at most 8", [rewire.FanIn(most=8, to="0")])):
    model, optimizer = network()
    rule = rewire.RigL(when=rewire.every(10))
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=batches, steps=300, density=0.08, seed=0,
        limits=limits,
    )  # fmt: skip
    _, _, post = net.graph.locate()
    fan_in[name] = torch.bincount(post[net.graph.rows(0)], minlength=100)
    most = int(fan_in[name].max())
    print(f"{name}: {net.edges} edges, fan-in up to {most}, {accuracy(model):.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.hist([n.numpy() for n in fan_in.values()], bins=range(0, 33), label=list(fan_in))
axes.set(xlabel="incoming synapses of a hidden unit", ylabel="units")
axes.legend()
plt.show()
