"""
Deep Rewiring in a loop of your own
===================================

A dense model, one call of :py:obj:`rewire.attach`, and the training loop stays as it is. The number
of synapses is exact after every step.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

# %%
# ``density`` is edges / possible edges. A tenth of 7,400 weights are 740 synapses.

net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.1, seed=0)
print(net.graph)

# %%
# ``net.step()`` stands where ``optimizer.step()`` was: the optimizer's step, then the rule's.

accuracy, formed = [], []
for step in range(400):
    batch = torch.randint(len(x_train), (64,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x_train[batch]), y_train[batch]).backward()
    net.step()
    if step % 20 == 19:
        with torch.no_grad():
            accuracy.append(float((model(x_test).argmax(1) == y_test).float().mean()))
        formed.append(net.history.formed)

print(f"{net.edges} synapses, {net.history.formed} formed and {net.history.dropped} dropped")
print(f"test accuracy {100 * accuracy[-1]:.1f} %")

# %%
# Training moves synapses while their number stays the same.

steps = range(20, 401, 20)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(steps, accuracy)
left.set(xlabel="step", ylabel="test accuracy", ylim=(0, 1))
right.plot(steps, formed)
right.set(xlabel="step", ylabel="synapses formed since the start")
plt.show()
