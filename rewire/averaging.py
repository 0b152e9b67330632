"""Averages of a model whose edges come and go: each edge by its key, since its birth.

torch's ``AveragedModel`` averages weights by position, of two lists of other edges or of a weight
that was there and a 0 that means absent. Here the average of an edge begins with the weight that
it is born with and knows nothing of what was at its place before; absent edges weigh exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .graph import Graph
from .worlds.torch_model.base import TorchWorld

BUFFERS = ("copied", "averaged")


class Averaged:
    """An averaged copy of a session's model; made by ``net.averaged``.

    decay:   a <- decay a + (1 - decay) w at each update; None: the equal mean of all updates.
    buffers: "copied", what the model has at the last update (norms' running statistics are those
             of the model's weights, not of the average's: see ``torch.optim.swa_utils.update_bn``),
             or "averaged", as the parameters.
    each_step: whether every step of the session is an update.

    The first update after the birth of an edge takes its weight then. An edge that was dropped and
    grown again is another edge. Parameters that are not sparse are averaged over all updates; for
    those, and for edges that are never rewired, this is what ``AveragedModel`` computes. What is
    averaged of rules with silent edges is what computes, weight times gain: an edge that falls
    silent is absent, and one that speaks again is born.

    >>> import torch, rewire
    >>> model = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.1)
    >>> average = net.averaged(decay=0.9)
    >>> for x in torch.randn(5, 8, 20):
    ...     model(x).square().mean().backward()
    ...     net.step()
    ...     average.update()
    >>> average
    Averaged(decay 0.9, 5 updates, 20 edges)
    >>> bool((average.model.weight[~net.masks()["weight"]] == 0).all())
    True
    """

    def __init__(
        self,
        session: Any,
        decay: float | None = None,
        *,
        buffers: str = "copied",
        each_step: bool = False,
    ):
        world = session.world
        if not isinstance(world, TorchWorld):
            raise ValueError(f"the {world.name} world has no torch model to average.")
        if decay is not None and not (isinstance(decay, float | int) and 0 <= decay < 1):
            raise ValueError(
                f"decay is a number from 0 to below 1, or None for the equal mean, got {decay!r}."
            )
        if buffers not in BUFFERS:
            raise ValueError(f"buffers is one of {', '.join(BUFFERS)}, got {buffers!r}.")
        self.decay, self.buffers, self.updates = decay, buffers, 0
        self._session, self.each_step = session, each_step
        self._twin = world.twin(dense=False)
        self._keys, self._weight = torch.empty(0, dtype=torch.int64), torch.empty(0)
        self._ages = torch.empty(0, dtype=torch.int64)  # updates since the birth of each edge
        self._fresh = False  # whether the copy holds the averages, of the edges there are
        session.averages.add(self)

    def __repr__(self) -> str:
        kind = "equal mean" if self.decay is None else f"decay {self.decay}"
        return f"Averaged({kind}, {self.updates:,} updates, {len(self._keys):,} edges)"

    # -- averaging ------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self) -> None:
        """Take the model as it is now into the average: call it after ``net.step()``."""
        graph = self._follow()
        share = self._shares(self._ages).to(self._weight.dtype)
        self._weight.lerp_(graph["weight"].to(self._weight.dtype), share)
        self._ages += 1
        for _, now, average in self._twin.rest():
            self._mix(average, now)
        for _, now, average in self._twin.buffers():
            if self.buffers == "averaged" and average.is_floating_point():
                self._mix(average, now)
            else:
                average.copy_(now)
        self.updates += 1
        self._fresh = False

    def _shares(self, ages: Tensor) -> Tensor:
        """How much of the weight of now enters an average of so many updates."""
        if self.decay is None:
            return 1.0 / (ages + 1).double()
        return torch.where(ages == 0, 1.0, 1.0 - self.decay)

    def _mix(self, average: Tensor, now: Tensor) -> None:
        if self.updates == 0 or not average.is_floating_point():
            average.copy_(now)
        else:
            average.lerp_(now, 1.0 / (self.updates + 1) if self.decay is None else 1.0 - self.decay)

    def _follow(self) -> Graph:
        """Let the averages be of the edges that compute now, which are returned: those that are
        new begin with their weight."""
        graph: Graph = self._session.graph.effective()
        if graph.keys is self._keys or torch.equal(graph.keys, self._keys):
            return graph
        weight, ages = graph["weight"].clone(), torch.zeros(len(graph), dtype=torch.int64)
        if len(self._keys):
            rows, known = _find(self._keys, graph.keys)
            weight[known], ages[known] = self._weight[rows[known]], self._ages[rows[known]]
        self._keys, self._weight, self._ages = graph.keys, weight, ages
        self._fresh = False
        return graph

    def born(self, keys: np.ndarray) -> None:
        """These edges were grown: what was averaged of others at their places is forgotten."""
        if len(self._keys):
            rows, known = _find(self._keys, torch.from_numpy(keys))
            self._ages[rows[known]] = 0
            self._fresh = False

    def restart(self) -> None:
        """Forget everything: the weights went back to earlier ones."""
        self._keys, self.updates = self._keys[:0], 0
        self._weight, self._ages = self._weight[:0], self._ages[:0]
        self._fresh = False

    # -- using it -------------------------------------------------------------------------------

    @property
    def model(self) -> nn.Module:
        """The averaged model, in the form in which the world holds it (dense weights with exact
        zeros, or lists of edges). The module stays the same and is brought up to date whenever it
        is asked for here; before the first update it is the model itself, copied."""
        graph = self._follow()
        if not self._fresh:
            unborn = self._ages == 0
            weight = torch.where(unborn, graph["weight"].to(self._weight.dtype), self._weight)
            self._twin.hold(Graph(graph.space, graph.keys, {"weight": weight}))
            self._fresh = True
        return self._twin.model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    # -- saving it ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything of the average: keys, averages and ages of its edges, and the rest by name."""
        return {
            "decay": self.decay,
            "buffers": self.buffers,
            "updates": self.updates,
            "keys": self._keys.clone(),
            "weight": self._weight.clone(),
            "ages": self._ages.clone(),
            "rest": {name: average.detach().clone() for name, _, average in self._twin.rest()},
            "buffer": {name: average.clone() for name, _, average in self._twin.buffers()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; edges that the session has not are left out.

        Raises ValueError for an average of another kind or model.
        """
        for name in ("decay", "buffers"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"this average was made with {name}={state[name]!r}; this one has "
                    f"{name}={getattr(self, name)!r}."
                )
        rest = {name: average for name, _, average in self._twin.rest()}
        buffers = {name: average for name, _, average in self._twin.buffers()}
        for own, saved in ((rest, state["rest"]), (buffers, state["buffer"])):
            if own.keys() != saved.keys():
                other = ", ".join(sorted(own.keys() ^ saved.keys()))
                raise ValueError(f"this average is of another model: it differs in {other}.")
            for name, average in own.items():
                if average.shape != saved[name].shape:
                    raise ValueError(
                        f"this average is of another model: {name!r} has shape "
                        f"{tuple(saved[name].shape)} there and {tuple(average.shape)} here."
                    )
        possible = self._session.world.space.possible
        if len(state["keys"]) and int(state["keys"].max()) >= possible:
            raise ValueError("this average is of another model: it has edges that this one cannot.")
        for own, saved in ((rest, state["rest"]), (buffers, state["buffer"])):
            for name, average in own.items():
                average.copy_(saved[name])
        self.updates = state["updates"]
        self._keys, self._weight = state["keys"].clone(), state["weight"].clone()
        self._ages = state["ages"].clone()
        self._fresh = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session.averages.add(self)


def _find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Row of each wanted key in rising keys (any where it is not there), and whether it is."""
    rows = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return rows, keys[rows] == wanted
