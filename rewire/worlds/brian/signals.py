"""What rules may observe in a Brian2 network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...graph import Graph
from ...signals import blockwise, evenly, signal
from .wiring import POST, PRE
from .world import Brian


@signal("brian", "weight")
def _weight(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Weights; w_max for pairs without a synapse: what one starts with."""
    row, exists = graph.find(keys)
    out = torch.full((len(keys),), world.wiring.w_max, dtype=torch.float64)
    out[exists] = graph["weight"][row[exists]]
    return out


@signal("brian", "drift")
def _drift(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """What plasticity has changed in the weights since the last tick; 0 for absent synapses."""
    return _at_synapses(world, graph, keys, world.wiring.drift())


@signal("brian", "age")
def _age(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Seconds since the formation of each synapse; 0 for absent ones."""
    return _at_synapses(world, graph, keys, world.wiring.ages())


def _at_synapses(world: Brian, graph: Graph, keys: Tensor, values: np.ndarray) -> Tensor:
    row, exists = graph.find(keys)
    out = torch.zeros(len(keys), dtype=torch.float64)
    out[exists] = torch.from_numpy(values[world._synapses(graph, row[exists].numpy())])
    return out


def _trace(world: Brian, end: int, name: str) -> np.ndarray:
    return world.wiring.trace(end)[world.at(end)[name]]


def _coincidence(world: Brian, graph: Graph, i: int) -> Tensor:
    p = graph.projections[i]
    outer = np.outer(_trace(world, POST, p.target), _trace(world, PRE, p.source))
    return torch.from_numpy(outer.reshape(-1))


@signal("brian", "growth")
@blockwise(_coincidence)
def _growth(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Coincidence of the pair's traces, |pre| x |post|, now."""
    out = torch.empty(len(keys), dtype=torch.float64)
    which = graph.space.which(keys)
    for i in which.unique().tolist():
        within = which == i
        out[within] = _coincidence(world, graph, i)[keys[within] - graph.space.bounds[i]]
    return out


@signal("brian", "activity", kind="node")
def _activity(world: Brian, graph: Graph, population: str) -> Tensor:
    """The trace of each unit: its spikes, those long ago counting less. The presynaptic trace,
    but for units that are no source of a synapse, of which it is the postsynaptic one."""
    return torch.from_numpy(_trace(world, world.end_of(population), population))


@signal("brian", "rate", kind="node")
def _rate(world: Brian, graph: Graph, population: str) -> Tensor:
    """Spikes a second of each unit, a running mean over about the last second."""
    end = world.end_of(population)
    return torch.from_numpy(world.wiring.rates(end)[world.at(end)[population]])


def _among_spiking(world: Brian, populations: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    spiking, only_targets = world.wiring.spiking(), [p for p in populations if world.end_of(p)]
    if only_targets:  # numbered after all sources
        first = np.int32(world.wiring.sources)
        spiking = np.concatenate([spiking, world.wiring.spiking(POST) + first])
    return spiking, world.ranges(tuple(populations))


@signal("brian", "spiked", kind="node")
@evenly(_among_spiking)
def _spiked(world: Brian, graph: Graph, population: str) -> Tensor:
    """1 for units that spiked in the last time step, else 0."""
    end = world.end_of(population)
    where, spiking = world.at(end)[population], world.wiring.spiking(end)
    out = np.zeros(where.stop - where.start, np.float32)
    first, stop = spiking.searchsorted((where.start, where.stop))
    out[spiking[first:stop] - where.start] = 1
    return torch.from_numpy(out)
