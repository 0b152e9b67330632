"""Limits that hold for any rule: checked after every edit, and known to whatever grows synapses.

    net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.05,
                        limits=[rewire.FanIn(most=64), rewire.Dale(excitatory=0.8)])

`FanIn`, `FanOut`, `Distance`, `NoAutapses` and `Memory` say which synapses may exist together:
`sample_absent` and `Signals.largest` choose among those that are still allowed, so that a rule's
counts stay exact, and `Graph.apply` refuses any other edit. `Dale` and `FixedPoint` say which
values weights may have: after every step, and after the rules' edits, weights are projected onto
them. A rule that cannot keep a limit is refused before step 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph import Space
from ..names import did_you_mean, short
from ..plugins import with_installed
from .limit import Cap, Limit
from .synapses import Distance, FanIn, FanOut, Memory, NoAutapses
from .weights import Dale, FixedPoint

__all__ = [
    "Cap", "Dale", "Distance", "FanIn", "FanOut", "FixedPoint", "LIMITS", "Limit", "Memory",
    "NoAutapses", "available", "from_tables", "limited",
]  # fmt: skip

LIMITS: Mapping[str, type[Limit]] = {
    c.__name__: c for c in (FanIn, FanOut, Distance, NoAutapses, Memory, Dale, FixedPoint)
}


def available() -> dict[str, type[Limit]]:
    """Every limit by name: the built-in ones, then those of installed packages.

    Raises ValueError where a package's limit takes a built-in name or is no Limit.
    """
    return with_installed("rewire.limits", LIMITS, Limit)


def from_tables(tables: Sequence[Mapping[str, Any]]) -> tuple[Limit, ...]:
    """Limits from an experiment file: tables with the key ``limit`` and the fields of that limit.

    Raises ValueError with what is wrong, the nearest name where there is no such limit.

    >>> from_tables([{"limit": "FanIn", "most": 64}])
    (FanIn(most=64, to='*'),)
    """
    out, known = [], available()
    for table in tables:
        fields = dict(table)
        name = fields.pop("limit", None)
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ValueError(f"there is no limit {name!r}{hint}; they are {', '.join(known)}.")
        out.append(known[name].from_table(fields))
    return tuple(out)


def limited(space: Space, limits: Sequence[Limit]) -> Space:
    """The space whose synapses keep these limits too. Raises ValueError for one that binds none.

    >>> from rewire.graph import Population, Projection
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> limited(space, [FanIn(most=2)]).population["a"].most
    2
    """
    if isinstance(limits, str) or not isinstance(limits, Sequence):
        example = repr(limits) if isinstance(limits, Limit) else "rewire.FanIn(most=9)"
        raise TypeError(
            f"limits are several, in a list, got {short(limits)}: write limits=[{example}]."
        )
    for limit in limits:
        if not isinstance(limit, Limit):
            raise TypeError(
                f"{short(limit)} is no limit: pass instances of classes of rewire.limits, such as "
                "rewire.limits.FanIn(most=9)."
            )
        space = limit.narrowed(space)
    if not limits:
        return space
    return Space(space.populations, space.projections, (*space.limits, *limits), space.wired)
