"""The bare world: a graph and given signals, for rule authors, tests and topology-only studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..arguments import checked
from ..graph import Edit, Graph, Space
from ..names import short
from ..signals import Signal, registered, signal
from ..world import World


class Bare(World):
    """No network: weights stay where rules put them, signals are the functions it is given.

    >>> import torch, rewire
    >>> space = rewire.Space(
    ...     [rewire.Population("in", 6), rewire.Population("out", 4)],
    ...     [rewire.Projection("weight", "in", "out", "linear", (4, 6))],
    ... )
    >>> world = rewire.Bare(space, pairs={"growth": lambda keys: keys.float()})
    >>> start = rewire.Graph(space, torch.arange(6))
    >>> rule = rewire.RigL(fraction=0.5, when=rewire.every(1))
    >>> session = rewire.Session(world, start, rule, span=4)
    >>> session.step()
    >>> session.topology  # the largest growth of those absent
    tensor([ 3,  4,  5, 21, 22, 23])

    pairs: name -> function of keys, (k,) -> (k,); nodes: name -> function of a population's name
        -> (size,). Whatever names the rules ask for: "growth", "connection_sensitivity", "rate".
    drift: how the world itself moves the weights in each step, (graph, step) -> (E,) new weights.
    weights: of every possible synapse, (possible,), where the starting graph has no weights of its
        own; 0 by default.
    """

    name = "bare"
    can_skip = True

    @checked()
    def __init__(
        self,
        space: Space,
        *,
        lr: float | None = 0.1,
        pairs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        nodes: Mapping[str, Callable[[str], Tensor]] | None = None,
        drift: Callable[[Graph, int], Tensor] | None = None,
        weights: Tensor | None = None,
        dt: float | None = None,
    ):
        if not isinstance(space, Space):
            raise TypeError(
                f"a bare world is one of a rewire.Space, got {short(space)}: write Bare(space), "
                "with space = rewire.Space(populations, projections)."
            )
        self.space = space
        self._signals = (
            dict(registered(self.name))
            | {name: _pair_signal(name, values) for name, values in (pairs or {}).items()}
            | {name: _node_signal(name, values) for name, values in (nodes or {}).items()}
        )
        self.weights = torch.zeros(space.possible) if weights is None else weights.clone()
        self._lr, self._drift, self.dt = lr, drift, dt
        self.steps = 0
        # of the edges held: parallel synapses of one pair have one key, but weights of their own
        self._keys: Tensor | None = None
        self._held = torch.empty(0)

    @property
    def offered(self) -> Mapping[str, Signal]:
        """The signals that it was given, and the weights."""
        return self._signals

    @classmethod
    def can_serve(cls, needs: frozenset[str], columns: frozenset[str]) -> bool:
        """Any signal may be given; there is no forward pass to multiply gains into."""
        return "gain" not in columns

    @classmethod
    def unsupported(cls, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        return "no forward pass to multiply a gain into" if "gain" in columns else None

    def begin(self, graph: Graph) -> None:
        """Hold this graph: absent weights are 0."""
        self.weights = torch.zeros_like(self.weights)
        self._hold(graph.keys, graph["weight"])

    def _hold(self, keys: Tensor, weights: Tensor) -> None:
        self._keys, self._held = keys, weights
        self.weights[keys] = weights.to(self.weights)

    def advance(
        self, graph: Graph, skip: bool, scaler: Any = None, closure: Any = None
    ) -> tuple[bool, Any]:
        """One step of the world's own: the drift, where there is one."""
        self.steps += 1
        if self._drift is not None and not skip:
            self._hold(graph.keys, self._drift(self.read(graph), self.steps))
        return True, None

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now."""
        if self._keys is None and "weight" in graph.columns:  # a start with weights of its own
            return graph
        weights_now = self._held if graph.keys is self._keys else self.weights[graph.keys]
        return graph.with_columns({"weight": weights_now})

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make the world match the graph after an edit."""
        if edit.n_drop:
            self.weights[before.keys[edit.drop]] = 0.0
        self._hold(after.keys, after["weight"])

    def lr(self, graph: Graph, keys: Tensor | None) -> float | None:
        return self._lr

    def holding(self, graph: Graph) -> Bare:
        return self

    def snapshot(self) -> dict[str, Any]:
        return {"model": {"weights": self.weights.clone()}, "optimiser": {}}

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        if "model" in parts:
            self.weights = torch.zeros_like(self.weights)
            self._hold(graph.keys, saved["model"]["weights"][graph.keys])


@signal("bare", "weight")
def _weight(world: Bare, graph: Graph, keys: Tensor) -> Tensor:
    return world.weights[keys]


def _pair_signal(name: str, values: Callable[[Tensor], Tensor]) -> Signal:
    def compute(world: Bare, graph: Graph, keys: Tensor, **how: Any) -> Tensor:
        return values(keys)

    return Signal("bare", name, compute, "pair")


def _node_signal(name: str, values: Callable[[str], Tensor]) -> Signal:
    def compute(world: Bare, graph: Graph, population: str) -> Tensor:
        return values(population)

    return Signal("bare", name, compute, "node")
