"""
A residual network as one graph
===============================

A trace of the model joins its layers: sums, strides and pooling are followed. At low densities
many edges are on no path from an input to an output.
"""

import matplotlib.pyplot as plt
import torch

import rewire
from rewire import models
from rewire.analysis import metrics

densities = (0.1, 0.03, 0.01, 0.005)
useful = []
for density in densities:
    model = models.build(
        "resnet-8", generator=torch.Generator().manual_seed(0), input_shape=(3, 32, 32), classes=10
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rewire.Static(), density=density, distribution="uniform", seed=0,
        example=torch.zeros(1, 3, 32, 32),
    )  # fmt: skip
    useful.append(100 * float(metrics.effective_edges(net.graph).mean()))
    print(f"density {density}: {net.edges} edges, {useful[-1]:.1f} % on a path")

# %%

print(net.graph.network.size, "units and joints;", net.graph.network.ends)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(densities, useful, "o-")
axes.set(xscale="log", xlabel="density, the same in each layer", ylabel="% of edges on a path")
axes.invert_xaxis()
plt.show()
