"""
Pruning before training: where the edges go
===========================================

SNIP, GraSP and SynFlow choose edges by scores of the untrained network. Ranked over all layers
together, they spread them very differently.
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


probe = rewire.Probe([(x_train[:256], y_train[:256])], lambda m, b: cross_entropy(m(b[0]), b[1]))
shares = {}
for rule in (rewire.SNIP(), rewire.GraSP(), rewire.SynFlow()):
    model, optimizer = network()
    net = rewire.attach(model, optimizer, rule, density=0.05, probe=probe, seed=0)
    steps(model, optimizer, 200)
    shares[rule.name] = [c / p.size for c, p in zip(net.counts, net.graph.projections, strict=True)]
    print(f"{rule.name}: {net.edges} edges, {accuracy(model):.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, (name, values) in enumerate(shares.items()):
    axes.bar([place + 0.27 * i for i in range(len(values))], values, width=0.25, label=name)
axes.set(xlabel="first and last layer of each rule", ylabel="density of the layer")
axes.set_xticks([])
axes.legend()
plt.show()
