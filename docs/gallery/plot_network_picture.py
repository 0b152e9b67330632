"""
The network as layers and bundles
=================================

``rewire.pictures.network`` draws any graph: a bundle is as wide as the sum of its absolute
weights, grey where it is on no path from an input to an output.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire
from rewire import pictures

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


model, optimizer = network()
rule = rewire.RigL(when=rewire.every(10))
net = rewire.train(model, optimizer, rule, loss=loss, data=batches, steps=200, density=0.03, seed=0)

# %%

figure = pictures.network(net.graph, title=f"RigL, {net.edges} edges, {accuracy(model):.0f} %")

# %%
# The incoming weights of the units with the most edges:

fields = pictures.receptive_fields(net.graph, "0.weight")
