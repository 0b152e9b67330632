"""
Save, resume, go back
=====================

One file holds model, optimizer, rules, clock and edit log. A run that is resumed ends with the
same bits; one that goes back has the edges of that time again.
"""

import tempfile
from pathlib import Path

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


file = Path(tempfile.mkdtemp()) / "net.safetensors"
model, optimizer = network()
net = rewire.attach(model, optimizer, rewire.SET(when=rewire.every(5)), density=0.1, seed=0)
steps(model, optimizer, 100)
rewire.save(net, file)
torch.manual_seed(1)
steps(model, optimizer, 100)
print(f"{file.stat().st_size / 1024:.0f} kB")

# %%
# Another process would do this:

again, its_optimizer = network(seed=5)
twin = rewire.load(file, again, its_optimizer)
torch.manual_seed(1)
steps(again, its_optimizer, 100)
print("the same bits:", torch.equal(twin.graph["weight"], net.graph["weight"]))

# %%
# Going back to the file, edges included:

curve = []
for _ in range(3):
    net.load(file)
    torch.manual_seed(len(curve))
    steps(model, optimizer, 60, lambda step: curve.append(accuracy(model)) if step % 5 == 4 else 0)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for i in range(3):
    axes.plot(range(105, 165, 5), curve[12 * i : 12 * (i + 1)], label=f"order of data {i}")
axes.set(xlabel="step", ylabel="test accuracy in %")
axes.legend()
plt.show()
