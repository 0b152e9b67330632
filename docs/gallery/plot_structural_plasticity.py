"""
Structural plasticity: slots bound the fan-in
=============================================

Every unit has slots; a full one may be emptied, an empty one filled (Bogdan et al. 2018). The
number of synapses is bounded by the slots and moves below them.
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
rule = rewire.StructuralPlasticity(attempts=0.2, slots=8, p_elim_dep=0.05)
net = rewire.attach(model, optimizer, rule, density=0.05, seed=0)
edges = []
steps(model, optimizer, 300, lambda step: edges.append(net.edges))
_, _, post = net.graph.locate()
fan_in = torch.bincount(post[net.graph.rows(0)], minlength=100)
print(f"{net.edges} synapses, at most {int(fan_in.max())} on a unit, {accuracy(model):.1f} %")

# %%

figure, (left, middle) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(edges)
left.axhline(8 * 110, linestyle="--", color="grey")
left.set(xlabel="step", ylabel="synapses (dashed: slots)")
middle.bar(range(9), torch.bincount(fan_in, minlength=9).tolist())
middle.set(xlabel="synapses of a hidden unit", ylabel="units")
plt.show()
