"""Topologies to start from, by the names that ``initial=`` takes: one file each.

>>> import rewire
>>> from torch import nn, optim
>>> model = nn.Sequential(nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 10))
>>> optimizer = optim.SGD(model.parameters(), lr=0.1)
>>> net = rewire.attach(model, optimizer, rewire.SET(), density=0.2, initial="small-world")
>>> net.edges
560
>>> from rewire.starts import SmallWorld
>>> SmallWorld(beta=0.5).graph(net.graph.space, net.counts, seed=0)  # another one, at its counts
Graph(560 of 2,800 synapses, density 0.2, columns [])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bipartite_receptive_field import BipartiteReceptiveField as BipartiteReceptiveField
from .ramanujan import Ramanujan as Ramanujan
from .receptive_field import ReceptiveField as ReceptiveField
from .regular import Regular as Regular
from .scale_free import ScaleFree as ScaleFree
from .small_world import SmallWorld as SmallWorld
from .start import Block as Block
from .start import StartingTopology as StartingTopology

BUILT_IN: Mapping[str, type[StartingTopology]] = {
    "small-world": SmallWorld,
    "scale-free": ScaleFree,
    "receptive-field": ReceptiveField,
    "bipartite-receptive-field": BipartiteReceptiveField,
    "regular": Regular,
    "ramanujan": Ramanujan,
}


def named(initial: Any) -> StartingTopology | None:
    """A starting topology by name, table or value; None for what is none of them.

    A table has the name under "name" and fields beside it, as in an experiment file.

    >>> named("regular"), named({"name": "small-world", "beta": 0.2}), named("random")
    (Regular(), SmallWorld(beta=0.2), None)
    """
    if isinstance(initial, StartingTopology):
        return initial
    if isinstance(initial, str):
        return BUILT_IN[initial]() if initial in BUILT_IN else None
    if isinstance(initial, Mapping) and isinstance(initial.get("name"), str):
        fields = {name: value for name, value in initial.items() if name != "name"}
        cls = BUILT_IN.get(initial["name"])
        return None if cls is None else cls.from_table(fields)
    return None
