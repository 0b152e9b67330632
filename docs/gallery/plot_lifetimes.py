"""
How long edges live
===================

The edit log says when each edge came and went. Most edges that SET forms are dropped soon; some
of the first ones stay to the end.
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
net = rewire.attach(model, optimizer, rewire.SET(when=rewire.every(10)), density=0.1, seed=0)
born = dict.fromkeys(net.graph.keys.tolist(), 0)
ages = []


def note(step):
    global born
    now = set(net.graph.keys.tolist())
    ages.extend(step - born[key] for key in born.keys() - now)
    born = {key: born.get(key, step) for key in now}


steps(model, optimizer, 400, note)
alive = [400 - step for step in born.values()]
print(f"{len(ages)} edges were dropped, {sum(a >= 390 for a in alive)} of {len(alive)} never moved")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.hist([ages, alive], bins=range(0, 420, 20), stacked=True, label=["dropped", "still there"])
axes.set(xlabel="age in steps", ylabel="edges")
axes.legend()
plt.show()
