"""
Which pixels a network looks at
===============================

The edges that leave each input, at the start and after training: a map of what the network found
worth reading.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train = x[:1400], y[:1400]


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


model, optimizer = network()
net = rewire.attach(
    model, optimizer, rewire.RigL(when=rewire.every(10)), density=0.05, seed=0, steps=400
)
before = net.graph.mask(0).sum(0)
steps(model, optimizer, 400)
after = net.graph.mask(0).sum(0)
dark = x_train.sum(0) == 0
print(f"{int(dark.sum())} pixels are always dark: {int(before[dark].sum())} edges before, "
      f"{int(after[dark].sum())} after")  # fmt: skip

# %%

figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
pictures = {"mean digit": x_train.mean(0), "edges before": before, "edges after": after}
for ax, (name, values) in zip(axes, pictures.items(), strict=True):
    figure.colorbar(ax.imshow(values.view(8, 8).numpy(), cmap="viridis"), ax=ax)
    ax.set(title=name, xticks=[], yticks=[])
plt.show()
