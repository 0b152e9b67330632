"""Whether excitation and inhibition of a unit cancel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import projections
from .measure import Measure, Weights

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{vanvreeswijk1996chaos,
  title = {Chaos in Neuronal Networks with Balanced Excitatory and Inhibitory Activity},
  author = {van Vreeswijk, Carl and Sompolinsky, Haim},
  journal = {Science},
  volume = {274},
  pages = {1724--1726},
  year = {1996},
  doi = {10.1126/science.274.5293.1724},
}
"""


@dataclass(frozen=True)
class SignBalance(Measure):
    """Excitation against inhibition: (E - I) / (E + I) of each unit, a mean over the units.

    E and I are the sums of a unit's positive and of its negative weights' sizes, incoming ("post")
    or outgoing ("pre") within a projection: 0 where they cancel, 1 where all is excitation. Units
    without weight are left out; nan where none is left. Of weights alone, not of activity, in which
    van Vreeswijk & Sompolinsky 1996 (doi:10.1126/science.274.5293.1724) define balance. Parallel
    edges count each.

    >>> from rewire.analysis.examples import sheets
    >>> SignBalance().of(sheets())
    {'ff: pre': 1.0, 'ff: post': 1.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "van Vreeswijk & Sompolinsky 1996, doi:10.1126/science.274.5293.1724"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "signed"
    bounds: ClassVar[tuple[float | None, float | None]] = (-1, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        out: dict[str, float] = {}
        signed = projections(graph, "signed")
        for (name, net), (_, size) in zip(signed, projections(graph, "absolute"), strict=True):
            out |= {f"{name}: {side}": _mean(net, size, axis) for side, axis in SIDES}
        return out


SIDES = (("pre", 0), ("post", 1))


def _mean(net: sp.csr_array, size: sp.csr_array, axis: int) -> float:
    difference, total = net.sum(axis=axis), size.sum(axis=axis)
    weighty = total > 0
    if not weighty.any():
        return float("nan")
    return float(np.clip(difference[weighty] / total[weighty], -1, 1).mean())
