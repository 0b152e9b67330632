"""
Communities in networkx
=======================

A trained network as a graph of networkx: Louvain's communities, and which layers they reach
over.
"""

import matplotlib.pyplot as plt
import networkx as nx
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rewire

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
x_train, y_train = x[:1400], y[:1400]
batches = list(zip(x_train.split(64), y_train.split(64), strict=True))


def network(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


model, optimizer = network()
rule = rewire.RigL(when=rewire.every(10))
net = rewire.train(model, optimizer, rule, loss=loss, data=batches, steps=300, density=0.04, seed=0)
graph = net.graph.to_networkx(weight="abs").to_undirected()
graph.remove_nodes_from(list(nx.isolates(graph)))
groups = sorted(nx.community.louvain_communities(graph, seed=0), key=len, reverse=True)
print(f"{graph.number_of_nodes()} units with edges in {len(groups)} communities, modularity "
      f"{nx.community.modularity(graph, groups):.2f}")  # fmt: skip

# %%

places = rewire.graph.layout(net.graph)
colour = {unit: i for i, group in enumerate(groups) for unit in group}
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
nx.draw_networkx_edges(graph, places, ax=axes, alpha=0.15)
nx.draw_networkx_nodes(
    graph, places, ax=axes, node_size=15, node_color=[colour[unit] for unit in graph],
    cmap="tab20",
)  # fmt: skip
axes.axis("off")
plt.show()
