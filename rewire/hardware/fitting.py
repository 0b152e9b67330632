"""Whether a network fits a neuromorphic platform: what it takes there, and what it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from typing import Any

import numpy as np

from ..graph import Graph
from .placing import Placement
from .result import Fit, Overflow, PopulationFit, ProjectionFit
from .rounding import rounding_of
from .targets import Target, named

HALVINGS = 10  # of the range in which the largest density that fits lies


def fit(
    graph: Graph, target: str | Target = "spinnaker1", limits: Mapping[str, Any] | None = None
) -> Fit:
    """What a network takes on a neuromorphic platform, and by what it does not fit.

    graph:  any; what computes is placed: edges of ``gain`` 0 are left out (`Graph.effective`).
    target: a name of `rewire.hardware.known`, or a :class:`Target`.
    limits: fields of the target to change, by name.

    Raises ValueError for a name or a limit that is not known, and for weights that are not finite.

    >>> from rewire.analysis.examples import two_layers
    >>> placed = fit(two_layers(), "loihi1")
    >>> placed.fits, placed.cores, placed.bytes
    (True, 2, 40)
    >>> fit(two_layers(), "generic", {"fan_in": 1}).overflows[0].value
    2
    """
    goal = named(target) if isinstance(target, str) else target
    goal = goal.with_limits(limits) if limits else goal
    graph = graph.effective()
    placement = Placement(graph, goal)
    overflows = _overflows(graph, placement)
    return Fit(
        target=goal,
        density=graph.density,
        projections=tuple(_projections(graph, placement)),
        populations=tuple(_populations(graph, placement)),
        cores=len(placement.cores),
        chips=placement.chips,
        overflows=tuple(overflows),
        unknown=tuple(_unknown(graph)),
        fitting_density=_fitting_density(graph, goal) if overflows else None,
    )


def _projections(graph: Graph, placement: Placement) -> list[ProjectionFit]:
    weights = rounding_of(graph, placement.target)
    fits = list[ProjectionFit]()
    for i, p in enumerate(graph.projections):
        blocks = [core.blocks[i] for core in placement.cores if i in core.blocks]
        rows = graph.rows(i)
        fits.append(
            ProjectionFit(
                p.name,
                p.source,
                p.target,
                synapses=rows.stop - rows.start,
                bytes=sum(block.bytes for block in blocks),
                padding=sum(block.padding for block in blocks),
                longest_row=max((block.longest for block in blocks), default=0),
                weights=weights[i],
            )
        )
    return fits


def _populations(graph: Graph, placement: Placement) -> list[PopulationFit]:
    fits = list[PopulationFit]()
    for p in graph.populations:
        cores = [core for core in placement.cores if core.population == p.name]
        fits.append(
            PopulationFit(
                p.name,
                p.size,
                len(cores),
                max((core.neurons for core in cores), default=0),
                int(graph.fan_in(p.name).max()) if p.size else 0,
                int(graph.fan_out(p.name).max()) if p.size else 0,
            )
        )
    return fits


_REMEDY = {
    "core_bytes": "a single neuron is too large: lower its fan-in (rewire.FanIn), or spread it",
    "chip_bytes": "a single neuron is too large: lower its fan-in (rewire.FanIn), or spread it",
    "row_bytes": "a presynaptic neuron joins one neuron too often: forbid multapses",
    "synapses_per_chip": "a single neuron is too large: lower its fan-in (rewire.FanIn)",
    "input_axons": "a single neuron hears too many: lower its fan-in (rewire.FanIn)",
    "output_axons": "a single neuron reaches too many cores: lower its fan-out (rewire.FanOut)",
    "fan_in": "lower it by the limit rewire.FanIn, or at a lower density",
    "fan_out": "lower it by the limit rewire.FanOut, or at a lower density",
}


def _overflows(graph: Graph, placement: Placement) -> list[Overflow]:
    target = placement.target
    worst: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for core in placement.cores:
        for limit, value, most in core.over(target):
            worst.setdefault((limit, core.population), []).append((value, most))
    for p in graph.populations:
        for limit, counts in (("fan_in", graph.fan_in), ("fan_out", graph.fan_out)):
            most = getattr(target, limit)
            if most is None:
                continue
            values = counts(p.name).numpy()
            for value in values[values > most].tolist():
                worst.setdefault((limit, p.name), []).append((value, most))
    broken = [
        Overflow(limit, where, max(over)[0], over[0][1], len(over), _REMEDY[limit])
        for (limit, where), over in worst.items()
    ]
    if target.chips is not None and placement.chips > target.chips:
        remedy = "allow more chips, or lower the density"
        broken.append(
            Overflow("chips", "the whole network", placement.chips, target.chips, 1, remedy)
        )
    return broken


_SHARED = ("conv", "conv_transpose")
_GATED = ("rnn", "attention")


def _unknown(graph: Graph) -> list[str]:
    """What the graph does not say of the neurons and synapses that hardware needs."""
    shared = [p.name for p in graph.projections if p.kind in _SHARED]
    gated = [p.name for p in graph.projections if p.kind in _GATED]
    reasons = list[str]()
    if shared:
        reasons.append(
            f"{', '.join(shared)}: a convolution uses each weight at every place of an image, and "
            "is counted at one place: a channel as one neuron"
        )
    if gated:
        reasons.append(
            f"{', '.join(gated)}: gates and attention compute more than a neuron sums; synapses "
            "are counted one by one, a unit as one neuron"
        )
    wiring = graph.space.wiring
    if wiring is not None and (links := [k for k in wiring.links if k.source != k.target]):
        first = ", ".join(f"{k.source} -> {k.target}" for k in links[:3])
        reasons.append(
            f"{len(links)} connections without weights of the graph ({first}) are not counted"
        )
    if wiring is None and len(graph.pieces) > 1:
        names = "; ".join(", ".join(piece) for piece in graph.pieces[:3])
        reasons.append(
            f"nothing says how the graph's {len(graph.pieces)} pieces ({names}) are joined: units "
            "that two of them share are counted twice; trace the model with an example input"
        )
    return reasons


def _fitting_density(graph: Graph, target: Target) -> float | None:
    """About the density at which the network fits, its synapses thinned at random; None: at none.

    Two digits, rounded down. A draw of numbers decides which synapses stay at each density.
    """
    order = np.random.default_rng(0).random(len(graph))
    keys = graph.keys

    def fits(share: float) -> bool:
        thinned = Graph(graph.space, keys[order < share])
        return not _overflows(thinned, Placement(thinned, target))

    if not fits(0.0):
        return None
    low = 0.5
    while not fits(low):  # ends: without synapses it fits
        low /= 2
    high = 2 * low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    density = low * graph.density
    digit = 10.0 ** (floor(log10(density)) - 1)
    return round(floor(density / digit) * digit, 12)
