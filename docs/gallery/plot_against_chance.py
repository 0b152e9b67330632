"""
A number against chance
=======================

Clustering by itself says nothing: hubs make some of it. Each measure is set against graphs with
the same number of edges, and against graphs with the same degrees.
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


graphs = {}
often = rewire.every(10)
for rule in (rewire.Static(), rewire.SET(when=often), rewire.RigL(when=often)):
    model, optimizer = network()
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=batches, steps=300, density=0.08, seed=0
    )
    graphs[rule.name] = net.graph

z = {}
for null in ("counts", "degrees"):
    for name, graph in graphs.items():
        row = measure(graph, "RobinsAlexander", null=null, draws=30)["RobinsAlexander", "0.weight"]
        z[null, name] = row.z
        print(f"{name:7} {row.value:.3f}; {null}: {row.mean:.3f} +- {row.sd:.3f}, z {row.z:.1f}")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for shift, null in ((-0.2, "counts"), (0.2, "degrees")):
    axes.bar([i + shift for i in range(3)], [z[null, n] for n in graphs], 0.4, label=null)
axes.axhline(0, color="grey")
axes.set_xticks(range(3), graphs)
axes.set(ylabel="z of bipartite clustering")
axes.legend(title="null model keeps")
plt.show()
