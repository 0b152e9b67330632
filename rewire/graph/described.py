"""A space as plain data, and back: with nothing trusted that a file says."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch

from .space import Population, Projection, Space
from .wiring import Wiring, wiring_from_plain

MOST = 2**62  # possible synapses, and units, that keys can number
MOST_VALUES = 2**27  # numbers in one value of a traced pass, and its sizes
MOST_PADDED = 2**12  # zeros at one side of a value


class NotAGraph(ValueError):
    """Nodes and edges that make no graph: what was found, and what to do."""


def description(space: Space) -> dict[str, Any]:
    """Populations and projections, for `space_of`; ``labels`` says whether there are any."""
    return {
        "populations": [
            {"name": p.name, "size": p.size, "slots": p.slots, "fan_in": p.fan_in,
             "labels": p.labels is not None}
            for p in space.populations
        ],
        "projections": [
            {"name": p.name, "source": p.source, "target": p.target, "kind": p.kind,
             "shape": list(p.shape), "multapses": p.multapses, "groups": p.groups}
            for p in space.projections
        ],
    }  # fmt: skip


def space_of(about: Mapping[str, Any]) -> Space:
    """The space that ``about`` describes; raises NotAGraph for one that cannot be."""
    try:
        populations = [
            Population(
                str(p["name"]), size_of(p["size"]), p.get("positions"), p.get("slots"),
                p.get("fan_in"), p.get("labels") or None,
            )
            for p in about["populations"]
        ]  # fmt: skip
        projections = [
            Projection(
                str(p["name"]), str(p["source"]), str(p["target"]), str(p["kind"]),
                tuple(map(size_of, p["shape"])), bool(p["multapses"]), size_of(p["groups"]),
            )
            for p in about["projections"]
        ]  # fmt: skip
        if sum(p.size for p in populations) >= MOST or sum(p.size for p in projections) >= MOST:
            raise NotAGraph("it declares more units or synapses than keys can number (2**62).")
        space = Space(populations, projections)
    except NotAGraph:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise NotAGraph(
            f"its description of populations and projections is damaged: {error}."
        ) from error
    for p in space.projections:
        _check_fits(p, space)
    tree = about.get("wiring")
    if tree is None:
        return space
    return Space(populations, projections, wiring=_wiring(space, tree))


def _wiring(space: Space, tree: Any) -> Wiring:
    """The wiring that a description holds, of sizes that a machine can follow."""
    _check_numbers(tree)
    try:
        for _, _, *ranges in tree.get("links", ()):
            if any(sum(count for _, _, count in part) > MOST_VALUES for part in ranges):
                raise NotAGraph("a link joins more units than are read.")
        for op, _, options, shapes, _ in tree.get("program", {}).get("steps", ()):
            padded = op == "pad" and any(abs(n) > MOST_PADDED for n in options[0])
            if padded or any(prod(shape) > MOST_VALUES for shape in shapes):
                raise NotAGraph(f"a step of its wiring ({op}) is larger than are read.")
        return wiring_from_plain(space, tree)
    except NotAGraph:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError,
            MemoryError, RecursionError, OverflowError) as error:  # fmt: skip
        raise NotAGraph(f"what it says of its wiring is damaged: {error}.") from error


def _check_numbers(tree: Any) -> None:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            _check_numbers(part)
    elif isinstance(tree, int | float) and not -MOST_VALUES <= tree <= MOST_VALUES:
        raise NotAGraph(f"its wiring has the number {tree}.")


def size_of(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < MOST:
        raise NotAGraph(f"it declares the size {number!r}; sizes are whole numbers from 0 on.")
    return number


def _check_fits(p: Projection, space: Space) -> None:
    """Raise NotAGraph where a projection's parameter does not fit its populations."""
    if not p.size:
        return
    try:
        pre, post = (int(x) for x in p.locate(torch.tensor([p.size - 1])))
    except (RuntimeError, IndexError, ZeroDivisionError, ValueError) as error:
        raise NotAGraph(f"the shape {p.shape} is none of a {p.kind} projection.") from error
    sizes = space.population[p.source].size, space.population[p.target].size
    if (pre + 1, post + 1) != sizes:
        raise NotAGraph(
            f"the projection {p.name!r} with the shape {p.shape} joins {pre + 1} units to "
            f"{post + 1}, and its populations have {sizes[0]} and {sizes[1]}."
        )
