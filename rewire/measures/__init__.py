"""Measures of connectivity: one file each, held against an oracle by one contract test.

A package adds one under the entry point ``rewire.measures``: a subclass of :class:`Measure`, or a
function ``measure(graph) -> float``.
"""

from __future__ import annotations

from ..plugins import installed_functions
from .layer_density import LayerDensity
from .measure import Measure as Measure
from .measure import Refused as Refused
from .measure import matrix as matrix

BUILT_IN: tuple[type[Measure], ...] = (LayerDensity,)


def known() -> dict[str, type[Measure]]:
    """Every measure by name, those of installed packages included.

    Functions that packages register in the same group are no measures by this contract: they are
    columns of reports and of `rewire results` alone. Raises ValueError where a package registers a
    name that is taken.

    >>> known()["LayerDensity"]()
    LayerDensity()
    """
    classes = {m.__name__: m for m in BUILT_IN}
    for name, loaded in installed_functions("rewire.measures").items():
        if isinstance(loaded, type) and issubclass(loaded, Measure):
            if name in classes:
                raise ValueError(
                    f"an installed package registers the measure {name!r}, a taken name."
                )
            classes[name] = loaded
    return classes
