"""Measures of connectivity: one file each, held against an oracle by one contract test.

A package adds one under the entry point ``rewire.measures``: a subclass of :class:`Measure`, or a
function ``measure(graph) -> float``.
"""

from __future__ import annotations

from ..plugins import installed_functions
from .butterflies import Butterflies as Butterflies
from .capacity_used import CapacityUsed as CapacityUsed
from .dead_units import DeadUnits as DeadUnits
from .degree_assortativity import DegreeAssortativity as DegreeAssortativity
from .degree_gini import DegreeGini as DegreeGini
from .degrees import Degrees as Degrees
from .diamonds import Diamonds as Diamonds
from .edges_on_path import EdgesOnPath as EdgesOnPath
from .efficiency import Efficiency as Efficiency
from .k_core import KCore as KCore
from .latapy import Latapy as Latapy
from .layer_collapse import LayerCollapse as LayerCollapse
from .layer_density import LayerDensity as LayerDensity
from .measure import Measure as Measure
from .measure import Refused as Refused
from .measure import matrix as matrix
from .min_cut import MinCut as MinCut
from .negative_weights import NegativeWeights as NegativeWeights
from .nodf import NODF as NODF
from .path_count import PathCount as PathCount
from .path_length import PathLength as PathLength
from .percolation import Percolation as Percolation
from .percolation_by_degree import PercolationByDegree as PercolationByDegree
from .percolation_by_weight import PercolationByWeight as PercolationByWeight
from .power_law import PowerLaw as PowerLaw
from .reachability import Reachability as Reachability
from .rich_club import RichClub as RichClub
from .robins_alexander import RobinsAlexander as RobinsAlexander
from .sign_balance import SignBalance as SignBalance
from .spectral_nestedness import SpectralNestedness as SpectralNestedness
from .strength_assortativity import StrengthAssortativity as StrengthAssortativity
from .strength_gini import StrengthGini as StrengthGini
from .strengths import Strengths as Strengths
from .weight_moments import WeightMoments as WeightMoments
from .weighted_efficiency import WeightedEfficiency as WeightedEfficiency
from .weighted_min_cut import WeightedMinCut as WeightedMinCut

BUILT_IN: tuple[type[Measure], ...] = (
    Butterflies,
    CapacityUsed,
    DeadUnits,
    DegreeAssortativity,
    DegreeGini,
    Degrees,
    Diamonds,
    EdgesOnPath,
    Efficiency,
    KCore,
    Latapy,
    LayerCollapse,
    LayerDensity,
    MinCut,
    NegativeWeights,
    NODF,
    PathCount,
    PathLength,
    Percolation,
    PercolationByDegree,
    PercolationByWeight,
    PowerLaw,
    Reachability,
    RichClub,
    RobinsAlexander,
    SignBalance,
    SpectralNestedness,
    StrengthAssortativity,
    StrengthGini,
    Strengths,
    WeightedEfficiency,
    WeightedMinCut,
    WeightMoments,
)


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
