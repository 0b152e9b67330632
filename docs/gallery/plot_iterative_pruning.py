"""
Tickets and their control: iterative pruning with rewinding
===========================================================

Train, drop the smallest half, go back to the weights of step 10, and train again (Frankle &
Carbin 2019). The control has the same masks and fresh weights.
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


def batch(step):
    chosen = torch.randint(1400, (64,), generator=torch.Generator().manual_seed(step))
    return x_train[chosen], y_train[chosen]


def loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


# %%
# ``rewire.train`` is a loop that can go back; ``on_round`` is called before each cut.

model, optimizer = network()
levels, tickets = [], []


def note(session):
    levels.append((session.graph.density, accuracy(model)))
    tickets.append({name: mask.clone() for name, mask in session.masks().items()})


rewire.train(
    model, optimizer, rewire.IMP(fraction=0.5, rounds=5, rewind=10), loss=loss, data=batch,
    steps=100, on_round=note,
)  # fmt: skip

# %%
# The same masks with other weights: a session that never moves an edge, from each ticket.

fresh = []
for masks in tickets[1:]:
    model, optimizer = network(seed=1)
    net = rewire.attach(model, optimizer, rewire.Static(), initial=masks)
    for step in range(100):
        optimizer.zero_grad()
        loss(model, batch(step)).backward()
        optimizer.step()
    fresh.append((net.graph.density, accuracy(model)))

print("tickets:", *(f"{density:.3f}: {value:.1f} %" for density, value in levels))
print("fresh:  ", *(f"{density:.3f}: {value:.1f} %" for density, value in fresh))
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(*zip(*levels, strict=True), "o-", label="ticket")
axes.plot(*zip(*fresh, strict=True), "s--", label="same mask, fresh weights")
axes.set(xscale="log", xlabel="density", ylabel="test accuracy in %")
axes.invert_xaxis()
axes.legend()
plt.show()
