"""Activity of units, tapped in the forward pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Graph
from .group import Ranks
from .layers import Site


class Tap:
    """A forward hook that keeps what a population said in the last training pass.

    A deep copy of the model gets an inert one: copies never write into the original's world.
    """

    def __init__(self, site: Site | None, seen: dict[str, Tensor | None], population: str):
        self.site, self.seen, self.population = site, seen, population

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any = None) -> None:
        if self.site is None or not module.training:
            return
        inputs = (*args, *kwargs.values())  # by keyword: attention's query, a layer's input
        x = kwargs.get("query", inputs[0]) if self.site.tap == "input" else output
        while isinstance(x, tuple):
            x = x[0]
        self.seen[self.population] = x.detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tap:
        return Tap(None, {}, self.population)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tap, (None, {}, self.population)


class Taps:
    """What the populations of a model said in the last training pass."""

    def __init__(self, sites: Mapping[str, Site]):
        self.sites = sites
        self.ranks: Ranks | None = None  # whose batches are parts of one
        # all names from the start: torch.compile compiles again for a dictionary that grows
        self._seen: dict[str, Tensor | None] = dict.fromkeys(sites)
        self._seen_before: dict[str, Tensor | None] = {}  # by the last step
        self._silent = frozenset[str]()  # populations that said nothing since the step before
        self._hooks: list[Any] = []

    def listen(self) -> None:
        """Hook into the model, once."""
        if self._hooks:
            return
        for population, site in self.sites.items():
            tap = Tap(site, self._seen, population)
            self._hooks.append(
                site.module.register_forward_pre_hook(tap, with_kwargs=True)
                if site.tap == "input"
                else site.module.register_forward_hook(tap, with_kwargs=True)
            )

    def settle(self) -> None:
        """A step is over: what is heard from now on belongs to the next."""
        if self._hooks:
            known = self._seen.items()
            self._silent = frozenset(n for n, x in known if self._seen_before.get(n) is x)
            self._seen_before = dict(self._seen)

    def activity(self, graph: Graph, population: str) -> Tensor:
        """Standard deviation of each unit over the last training batch, (size,).

        Units whose values stay inside a module (an LSTM's layers) count as equally active.
        """
        if population not in self.sites:
            return torch.ones(graph.space.population[population].size)
        values = self._seen[population]
        if values is None or population in self._silent:
            raise ValueError(
                f"no activity of {population!r} was seen since the last step: it is known after a "
                "forward pass in training mode. torch.compile forgets who listens where it "
                "compiled this class of model before, or compiles it again: call "
                "torch.compiler.reset() first."
            )
        return activity(self.sites[population], values, self.ranks).cpu()

    def __deepcopy__(self, memo: dict[int, Any]) -> Taps:
        """On the copy of the model, hooks of its own for the inert ones that were copied."""
        other = Taps(copy.deepcopy(self.sites, memo))
        other.ranks = copy.deepcopy(self.ranks, memo)
        if self._hooks:
            for inert in copy.deepcopy(self._hooks, memo):
                inert.remove()
            other.listen()
        return other


def activity(site: Site, x: Tensor, ranks: Ranks | None = None) -> Tensor:
    """How much each unit says: the standard deviation of its value over batch and places, (size,).

    A unit that is constant over the batch (an empty pixel, a dead unit) has activity 0, whatever
    its offset. For an embedding: how often each row was looked up.
    """
    if site.kind == "embedding":
        counts = torch.bincount(x.reshape(-1).cpu(), minlength=site.size)
        return (counts if ranks is None else ranks.sum(counts)).float()
    channels_first = site.kind.startswith("conv")
    values = x.movedim(1, -1) if channels_first else x
    values = values[..., site.at : site.at + site.size].reshape(-1, site.size)
    if ranks is None:
        return values.float().std(0, correction=0)
    n, whole = ranks.count(len(values)), values.double()
    mean = ranks.sum(whole.sum(0)) / n
    return (ranks.sum((whole - mean).square().sum(0)) / n).sqrt().float()
