"""What a starting topology is: exact counts in each projection, places by a rule of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..graph import NONE, Graph, Projection, Space
from ..graph.incidence import Incidence
from ..strategy import Plain
from ..streams import Stream, rng_for


@dataclass(frozen=True, eq=False)
class Block:
    """A projection as a 0/1 matrix to be filled, or a group of one.

    name:   the projection's, for messages.
    rows:   postsynaptic units. pres: presynaptic units.
    taps:   parallel synapses of a pair (kernel positions, gates). Column pre * taps + tap.
    posts_at, pres_at: places of the units in the sheet, (rows, 2) and (pres, 2); None without.
    """

    name: str
    rows: int
    pres: int
    taps: int = 1
    posts_at: np.ndarray | None = None
    pres_at: np.ndarray | None = None

    @property
    def columns(self) -> int:
        return self.pres * self.taps


@dataclass(frozen=True)
class StartingTopology(Plain):
    """A distribution of topologies at given counts.

    A subclass is a frozen dataclass, one file, whose docstring gives the source; it defines
    :meth:`cells`. Groups of a convolution and parts of a stack are drawn by themselves.
    """

    def graph(self, space: Space, counts: Sequence[int], seed: int) -> Graph:
        """``counts[i]`` edges in each projection, a function of the seed.

        Raises ValueError, by name, where the topology cannot be had at these counts, or where it
        breaks a limit of the space.
        """
        parts = [NONE]
        for i, (p, count) in enumerate(zip(space.projections, counts, strict=True)):
            rng = rng_for(seed, f"topology/{self.name}", i)
            local = np.arange(p.size) if count == p.size else self._local(space, p, count, rng)
            parts.append(local + space.bounds[i])
        graph = Graph(space, torch.from_numpy(np.concatenate(parts)))
        if space.capped:
            try:
                graph.check_limits()
            except ValueError as error:
                raise ValueError(
                    f"the {self.name} topology to start from breaks a limit: {error} Start with "
                    "initial='random', which is drawn within the limits."
                ) from None
        return graph

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of ``count`` different cells of a block, each (count,)."""
        raise NotImplementedError

    def _local(self, space: Space, p: Projection, count: int, rng: Stream) -> np.ndarray:
        """Flat indices of ``count`` edges of a projection, ascending."""
        if p.multapses:
            raise ValueError(
                f"{self.name} joins each pair once at most, and {p.name!r} allows multapses."
            )
        incidence = Incidence.of(p)
        size = incidence.rows * incidence.width
        chosen = [NONE]
        for b, n in enumerate(shares(count, incidence.blocks, rng).tolist()):
            rows, columns = self.cells(_block(space, p, incidence, b), n, rng)
            chosen.append(b * size + rows * incidence.width + columns)
        local = np.sort(incidence.local(np.concatenate(chosen)))
        if len(local) != count or (len(local) > 1 and (np.diff(local) <= 0).any()):
            raise ValueError(
                f"{self.name} chose {len(np.unique(local))} different edges of {p.name!r}, where "
                f"{count} belong: its cells() must return as many different cells as it is asked."
            )
        return local


def shares(total: int, parts: int, rng: Stream) -> np.ndarray:
    """``total`` in equal parts, the remainder at random, one more each, (parts,).

    >>> sorted(shares(7, 3, rng_for(0, "example")).tolist())
    [2, 2, 3]
    """
    out = np.full(parts, total // parts if parts else 0, np.int64)
    if parts:
        out[rng.numpy.permutation(parts)[: total % parts]] += 1
    return out


def _block(space: Space, p: Projection, incidence: Incidence, b: int) -> Block:
    pres = incidence.width // p.taps
    source, target = space.population[p.source], space.population[p.target]
    ends = (target, b * incidence.rows, incidence.rows), (source, b * pres, pres)
    posts_at, pres_at = (
        None if population.positions is None else population.positions[first : first + n].numpy()
        for population, first, n in ends
    )
    return Block(p.name, incidence.rows, pres, p.taps, posts_at, pres_at)
