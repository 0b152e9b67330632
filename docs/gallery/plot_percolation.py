"""
How much can be taken away
==========================

Units removed at random, or the best connected first: how large is the largest part that still
hangs together?
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire
from rewire import measures, pictures

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


model, optimizer = network()
rule = rewire.SET(when=rewire.every(10))
net = rewire.train(model, optimizer, rule, loss=loss, data=batches, steps=200, density=0.05, seed=0)
orders = {"at random": measures.Percolation(), "by degree": measures.PercolationByDegree()}
removed = np.linspace(0, 1, 41)
giants = {}
for name, order in orders.items():
    curve = order.giant(net.graph)
    giants[name] = np.interp(removed, np.linspace(0, 1, len(curve)), curve)

# %%

figure = pictures.percolation(removed, giants)
