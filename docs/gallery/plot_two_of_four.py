"""
Two of every four
=================

N:M sparsity keeps N of every M consecutive weights of a row, a pattern that some GPUs execute.
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
net = rewire.attach(model, optimizer, rewire.NM(n=2, m=4), seed=0)
steps(model, optimizer, 200)
mask = net.graph.mask(0)
assert (mask.view(100, 16, 4).sum(2) == 2).all()
print(f"density {net.graph.density}, {accuracy(model):.1f} %")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.imshow(mask[:24].numpy(), cmap="Greys", interpolation="nearest")
for edge in range(4, 64, 4):
    axes.axvline(edge - 0.5, linewidth=0.5)
axes.set(xlabel="input, in groups of four", ylabel="unit")
plt.show()
