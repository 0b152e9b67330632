"""
Topologies to start from
========================

Random, small-world, scale-free and regular: as many edges in each layer, to the edge, at other
places.
"""

import matplotlib.pyplot as plt
import torch

import rewire

degrees, masks = {}, {}
for name in ("random", "small-world", "scale-free", "regular"):
    model = torch.nn.Sequential(torch.nn.Linear(64, 49), torch.nn.ReLU(), torch.nn.Linear(49, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.15, initial=name, seed=0)
    masks[name] = net.graph.mask(0)
    degrees[name] = masks[name].sum(0)
    print(f"{name:11} {net.edges} edges, out of an input {int(degrees[name].min())} to "
          f"{int(degrees[name].max())}")  # fmt: skip

# %%

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, (name, mask) in zip(axes, masks.items(), strict=True):
    ax.imshow(mask.numpy(), cmap="Greys", interpolation="nearest")
    ax.set(title=name, xlabel="input", yticks=[])
plt.show()
