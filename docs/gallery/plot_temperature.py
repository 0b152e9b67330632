"""
Deep Rewiring: the temperature sets the churn
=============================================

The noise of DEEP R is sqrt(2 eta T) times a normal number, eta the learning rate. Without noise
an edge moves only when its gradient or the drift takes its strength below 0.
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


formed, right = [], []
temperatures = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
for temperature in temperatures:
    model, optimizer = network()
    rule = rewire.DeepR(temperature=temperature)
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=batches, steps=150, density=0.1, seed=0
    )
    formed.append(net.history.formed / 150)
    right.append(accuracy(model))
    print(f"T = {temperature:g}: {formed[-1]:.1f} edges a step, {right[-1]:.1f} %")

# %%

figure, (left, middle) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
names = [f"{t:g}" for t in temperatures]
left.bar(names, formed)
left.set(xlabel="temperature", ylabel="edges formed in a step")
middle.plot(names, right, "o-")
middle.set(xlabel="temperature", ylabel="test accuracy in %")
plt.show()
