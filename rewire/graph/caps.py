"""What a topology may hold: slots and fan-in of units, and the limits of its space."""

from __future__ import annotations

import numpy as np
import torch

from ..kernels.slots import fill_slots, take_lowest
from .columns import Columns
from .space import Population
from .topology import Topology


def check(topology: Topology) -> None:
    """Raise ValueError where a cap of a unit or a limit of the space is broken."""
    _check_limits(topology, topology.array)
    for population in topology.space.receiving:
        if population.most is not None:
            _check_fan_in(topology, population, population.most)


def check_edit(topology: Topology, columns: Columns) -> None:
    """Raise ValueError where the edges that an edit added break a cap or a limit.

    Where there is a column ``slot`` each newborn gets the lowest free slot of its unit.
    """
    space = topology.space
    slot = columns.numbers("slot") if "slot" in columns.values else None
    for population in space.receiving:
        if population.slots is not None:
            _take_slots(topology, population, slot)
        if population.fan_in is not None:
            _check_fan_in(topology, population, population.fan_in)
    if space.limits:
        _check_limits(topology, topology.array[topology.born])


def _check_limits(topology: Topology, keys: np.ndarray) -> None:
    """Of these keys each must be allowed; the caps are of all edges."""
    space = topology.space
    allowed = space.allowed(keys)
    if allowed is not None and not allowed.all():
        bad = keys[~allowed]
        projection = space.projections[int(space.which(torch.from_numpy(bad[:1])))].name
        names = ", ".join(map(repr, space.limits))
        raise ValueError(
            f"{len(bad)} of {len(keys)} edges (first: key {bad[0]}, in {projection!r}) are not "
            f"allowed by the limits ({names})."
        )
    for cap in space.caps:
        counts = np.bincount(cap.of(topology.array), minlength=len(cap.most))
        over = np.flatnonzero(counts > cap.most)
        if len(over):
            raise ValueError(
                f"{cap.name(int(over[0]))} ({len(over)} such in all): drop as many as you add."
            )


def _check_fan_in(topology: Topology, population: Population, most: int) -> None:
    fan_in = topology.fan_in(population.name).numpy()
    if (fan_in > most).any():
        _refuse_overflow(population, fan_in, most)


def _take_slots(topology: Topology, population: Population, slot: np.ndarray | None) -> None:
    """Refuse more edges than slots; give each newborn the lowest free slot of its unit."""
    starts, most = topology.starts(population.name), population.slots
    assert most is not None
    if starts is not None and slot is not None:
        if fill_slots(starts, topology.born, slot, most) is not None:
            _refuse_overflow(population, topology.fan_in(population.name).numpy(), most)
        return
    space = topology.space
    lands, unit = space.targets(topology.array[topology.born])
    inside = lands == space.populations.index(population)
    if not inside.any():
        return
    units = np.unique(unit[inside])
    fan_in = topology.fan_in(population.name).numpy()
    if (fan_in[units] > most).any():
        _refuse_overflow(population, fan_in, most)
    if slot is not None:  # of a projection that is not stored unit by unit
        place, row = topology.into_units(population.name, units)
        take_lowest(place, row, len(units), topology.born[inside], slot, most)


def _refuse_overflow(population: Population, fan_in: np.ndarray, most: int) -> None:
    over = np.flatnonzero(fan_in > most)
    slots = most == population.slots
    has = f"has {most} slots" if slots else f"may hold {most}"
    raise ValueError(
        f"unit {over[0]} of {population.name!r} would hold {fan_in[over[0]]} incoming edges, "
        f"but {has}: {len(over)} units overflow. Drop as many as you add, or "
        + ("raise Population.slots." if slots else "allow more.")
    )
