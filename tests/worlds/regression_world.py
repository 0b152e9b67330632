"""A world of somebody else's, as a user writes it: least squares whose weights are a graph's edges.

No module of ours knows it; :mod:`tests.worlds.test_regression_world` runs every rule in it.
"""

import torch

import rewire


class Regression(rewire.World):
    """W of y = W x by plain gradient descent on its edges; the rest of W is 0."""

    name = "regression"
    can_skip = True

    def __init__(self, n_in: int = 12, n_out: int = 8, rate: float = 0.1, seed: int = 0):
        draw = torch.Generator().manual_seed(seed)
        self.x, self.rate = torch.randn(64, n_in, generator=draw), rate
        self.y = self.x @ torch.randn(n_in, n_out, generator=draw)
        self.weight = torch.randn(n_out * n_in, generator=draw) / n_in
        ends = [rewire.Population("x", n_in), rewire.Population("y", n_out)]
        self.space = rewire.Space(ends, [rewire.Projection("w", "x", "y", "linear", (n_out, n_in))])

    def error(self):
        return self.x @ self.weight.view(self.y.shape[1], -1).T - self.y

    def gradient(self):
        return (self.error().T @ self.x / len(self.x)).view(-1)

    def begin(self, graph):
        self.weight.zero_()[graph.keys] = graph["weight"]

    def read(self, graph):
        return graph.with_columns({"weight": self.weight[graph.keys]})

    def step(self, graph):
        self.weight[graph.keys] -= self.rate * self.gradient()[graph.keys]

    def lr(self, graph, keys):
        return self.rate

    def state(self):
        return {"weight": self.weight}

    def measure(self, graph):
        return {"mse": float(self.error().square().mean())}


@rewire.signal("regression", "grad")
def grad(world, graph, keys):
    return world.gradient()[keys]


@rewire.signal("regression", "growth")
def growth(world, graph, keys):
    return world.gradient()[keys].abs()


@rewire.signal("regression", "activity", kind="node")
def activity(world, graph, population):
    values = world.x if population == "x" else world.error() + world.y
    return values.std(0)
