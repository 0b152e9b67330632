"""The bare world: a graph and given signals, for rule authors, tests and topology-only studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..graph import Edit, Graph, Space
from ..signals import Signals, registered, signal

PAIRS = ("grad", "growth")
NODES = ("activity", "spiked", "rate")


class Bare:
    """No network: weights stay where the rules put them, signals are given functions.

    pairs: name -> function of keys, (k,) -> (k,);  nodes: name -> function of a population's name
    -> (size,). Names: "grad", "growth" and what rules look at (SNIP's "connection_sensitivity");
    "activity", "spiked", "rate".
    drift: how the world itself moves the weights in each step, (graph, step) -> (E,) new weights.
    weights: of every possible synapse, (possible,), where the starting graph has no weights of its
        own; 0 by default.
    """

    name = "bare"
    can_skip = True
    dt: float | None = None
    births: Mapping[str, Any] = {}
    straight = False

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
        self.space = space
        self.given: dict[str, Callable[..., Tensor]] = {**(pairs or {}), **(nodes or {})}
        known = registered(self.name).keys() - {"weight"}
        for unknown in self.given.keys() - known:
            raise ValueError(f"bare worlds know the signals {sorted(known)}, not {unknown!r}.")
        self.weights = torch.zeros(space.possible) if weights is None else weights.clone()
        self._lr, self._drift, self.dt = lr, drift, dt
        self.steps = 0
        # of the edges held: parallel synapses of one pair have one key, but weights of their own
        self._keys: Tensor | None = None
        self._held = torch.empty(0)

    @property
    def offers(self) -> frozenset[str]:
        return frozenset(self.given) | {"weight"}

    def watch(self, needs: frozenset[str]) -> None:
        """Nothing has to be set up for a signal here."""

    def unsupported(self, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        return "no forward pass to multiply a gain into" if "gain" in columns else None

    def begin(self, graph: Graph) -> None:
        """Hold this graph: absent weights are 0."""
        self.weights = torch.zeros_like(self.weights)
        self._hold(graph.keys, graph["weight"])

    def _hold(self, keys: Tensor, weights: Tensor) -> None:
        self._keys, self._held = keys, weights
        self.weights[keys] = weights.to(self.weights)

    def want_grads(self, wanted: bool) -> None:
        """Gradients are given functions: nothing has to be kept."""

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
        held = self._held if graph.keys is self._keys else self.weights[graph.keys]
        return graph.with_columns({"weight": held})

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make the world match the graph after an edit."""
        if edit.n_drop:
            self.weights[before.keys[edit.drop]] = 0.0
        self._hold(after.keys, after["weight"])

    def settle(self) -> None:
        """Weights wait nowhere."""

    def lr(self, graph: Graph, keys: Tensor | None) -> float | None:
        return self._lr

    def signals(self, graph: Graph) -> Signals:
        return Signals(self, graph)

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


def give_pair(name: str) -> None:
    """Let bare worlds be given a pair signal of this name."""

    @signal("bare", name)
    def pair(world: Bare, graph: Graph, keys: Tensor, **how: Any) -> Tensor:
        return world.given[name](keys)


for _name in PAIRS:
    give_pair(_name)


for _name in NODES:

    @signal("bare", _name, kind="node")
    def _node(world: Bare, graph: Graph, population: str, *, of: str = _name) -> Tensor:
        return world.given[of](population)
