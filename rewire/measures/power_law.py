"""Whether degrees have the tail of a power law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import of_each_side
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{clauset2009power,
  title = {Power-Law Distributions in Empirical Data},
  author = {Clauset, Aaron and Shalizi, Cosma Rohilla and Newman, M. E. J.},
  journal = {SIAM Review},
  volume = {51},
  number = {4},
  pages = {661--703},
  year = {2009},
  eprint = {0706.1062},
  archiveprefix = {arXiv},
}
"""

#: Exponents looked among; a tail that falls faster is no power law by any account.
RANGE = (1.0001, 30.0)


@dataclass(frozen=True)
class PowerLaw(Measure):
    """Power law p(k) = k^-alpha / zeta(alpha, xmin), k >= xmin, fitted to the degrees of each side.

    Clauset, Shalizi & Newman 2009 (arXiv:0706.1062): alpha maximises the discrete likelihood L = -n
    log zeta(alpha, xmin) - alpha sum of log k (section 3.1); xmin is the degree, of those that
    leave two different ones, at which the Kolmogorov-Smirnov distance "ks" between the tail and its
    fit is least (section 3.3). "share" is the fraction of the units in the tail. The fit alone does
    not say how plausible a power law is: see their section 4. Units without an edge are in no tail;
    nan where all degrees are equal. alpha is searched up to 30.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> import torch
    >>> space = Space([Population("a", 40), Population("b", 40)],
    ...               [Projection("p", "a", "b", "linear", (40, 40))])
    >>> degrees = (40 / torch.arange(1, 41)).long()
    >>> graph = Graph.from_masks(space, {"p": torch.arange(40) < degrees[:, None]})
    >>> fit = PowerLaw().of(graph)
    >>> round(fit["p: post alpha"], 2), fit["p: post xmin"]
    (1.84, 1.0)
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Clauset et al. 2009, arXiv:0706.1062"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each_side(graph, _fit)


def _fit(degrees: np.ndarray) -> dict[str, float]:
    value, counts = np.unique(degrees[degrees > 0], return_counts=True)
    fits = []
    for first in range(len(value) - 1):  # the last leaves one value alone
        alpha = _alpha(value[first:], counts[first:])
        fits.append((_distance(value[first:], counts[first:], alpha), first, alpha))
    if not fits:
        return dict.fromkeys(("alpha", "xmin", "ks", "share"), float("nan"))
    ks, first, alpha = min(fits)
    share = counts[first:].sum() / len(degrees)
    return {"alpha": alpha, "xmin": float(value[first]), "ks": ks, "share": float(share)}


def _alpha(value: np.ndarray, counts: np.ndarray) -> float:
    """The exponent of the greatest likelihood of a tail that begins at the first value."""
    from scipy.optimize import minimize_scalar
    from scipy.special import zeta

    n, logs = counts.sum(), (counts * np.log(value)).sum()
    smallest = value[0]

    def loss(alpha: float) -> float:
        # zeta(alpha, xmin) = xmin^-alpha (...): the power is taken out, or it underflows
        return n * (np.log(zeta(alpha, smallest) * smallest**alpha)) + alpha * (
            logs - n * np.log(smallest)
        )

    return float(minimize_scalar(loss, bounds=RANGE, method="bounded", options={"xatol": 1e-9}).x)


def _distance(value: np.ndarray, counts: np.ndarray, alpha: float) -> float:
    """Largest difference of the two cumulative distributions, over the values that occur."""
    from scipy.special import zeta

    at_most = np.cumsum(counts) / counts.sum()
    fitted = 1 - zeta(alpha, value + 1) / zeta(alpha, value[0])
    return float(np.abs(at_most - fitted).max())
