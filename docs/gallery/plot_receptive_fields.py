"""
Local connections: receptive fields on a sheet
==============================================

Units have places on a sheet, a torus of side 1. A topology to start from joins units that are
near each other, in the way of Bogdan et al. 2018.
"""

import matplotlib.pyplot as plt
import torch

import rewire
from rewire.starts import ReceptiveField


def longest(graph):
    """The mean and the longest distance of joined units, in sides of the sheet."""
    p = graph.projections[0]
    place = graph.space.population
    _, pre, post = (part[graph.rows(0)] for part in graph.locate())
    apart = (place[p.source].positions[pre] - place[p.target].positions[post]).abs()
    return torch.minimum(apart, 1 - apart).norm(dim=1)


side = torch.arange(16) / 16
sheet = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
fields = {}
for name, initial in (("random", "random"), ("local", ReceptiveField(sigma=0.12))):
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh(), torch.nn.Linear(256, 9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rewire.Static(), density=0.05, initial=initial, exclude=["2.weight"],
        positions={"input": sheet, "0": sheet}, seed=0,
    )  # fmt: skip
    fields[name] = longest(net.graph)
    print(f"{name}: {net.edges} edges, mean distance {fields[name].mean():.2f} sides")

# %%

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.hist([f.numpy() for f in fields.values()], bins=30, label=list(fields))
axes.set(xlabel="distance of joined units in sides of the sheet", ylabel="edges")
axes.legend()
plt.show()
