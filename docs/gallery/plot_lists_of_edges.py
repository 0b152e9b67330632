"""
Computing with the edges alone
==============================

On a CPU ``world="sparse"`` holds each weight as the list of its edges: nothing as large as the
dense weight is made. The same rule moves the same edges, and the weights agree to rounding.
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


sessions = {}
for world in ("masked", "sparse"):
    model, optimizer = network()
    net = rewire.attach(
        model, optimizer, rewire.RigL(when=rewire.every(10)), density=0.05, seed=0, steps=100,
        world=world,
    )  # fmt: skip
    torch.manual_seed(2)
    steps(model, optimizer, 100)
    sessions[world] = net
    numbers = sum(p.numel() for p in model.parameters())
    print(f"{world}: {net.edges} edges, {numbers} numbers in parameters, {accuracy(model):.1f} %")

masked, sparse = (sessions[name].graph for name in ("masked", "sparse"))
print("the same edges:", torch.equal(masked.keys, sparse.keys))
difference = float((masked["weight"] - sparse["weight"]).abs().max())
print(f"largest difference of a weight: {difference:.1e}")

# %%

figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
axes.plot(masked["weight"].numpy(), sparse["weight"].numpy(), ".")
axes.set(xlabel="weight, masked", ylabel="weight, lists of edges")
plt.show()
