"""Measures of connectivity: one file each, held against an oracle by one contract test.

A package adds one under the entry point ``rewire.measures``: a subclass of :class:`Measure`, or a
function ``measure(graph) -> float``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..plugins import installed_functions
from .barber_modularity import BarberModularity as BarberModularity
from .butterflies import Butterflies as Butterflies
from .capacity_used import CapacityUsed as CapacityUsed
from .communities import communities as communities
from .communities import modularity as modularity
from .dead_units import DeadUnits as DeadUnits
from .degree_assortativity import DegreeAssortativity as DegreeAssortativity
from .degree_gini import DegreeGini as DegreeGini
from .degrees import Degrees as Degrees
from .diamonds import Diamonds as Diamonds
from .directed_clustering import DirectedClustering as DirectedClustering
from .distance_dependence import DistanceDependence as DistanceDependence
from .edges_on_path import EdgesOnPath as EdgesOnPath
from .efficiency import Efficiency as Efficiency
from .imdb import IMDB as IMDB
from .k_core import KCore as KCore
from .latapy import Latapy as Latapy
from .layer_collapse import LayerCollapse as LayerCollapse
from .layer_density import LayerDensity as LayerDensity
from .lcp_correlation import LCPCorrelation as LCPCorrelation
from .measure import Measure as Measure
from .measure import Refused as Refused
from .measure import matrix as matrix
from .min_cut import MinCut as MinCut
from .motifs import Motifs as Motifs
from .negative_weights import NegativeWeights as NegativeWeights
from .nodf import NODF as NODF
from .over_time import Course as Course
from .over_time import course_of
from .path_count import PathCount as PathCount
from .path_length import PathLength as PathLength
from .percolation import Percolation as Percolation
from .percolation_by_degree import PercolationByDegree as PercolationByDegree
from .percolation_by_weight import PercolationByWeight as PercolationByWeight
from .power_law import PowerLaw as PowerLaw
from .ramanujan_bound import RamanujanBound as RamanujanBound
from .reachability import Reachability as Reachability
from .reciprocity import Reciprocity as Reciprocity
from .rich_club import RichClub as RichClub
from .robins_alexander import RobinsAlexander as RobinsAlexander
from .sign_balance import SignBalance as SignBalance
from .singular_values import SingularValues as SingularValues
from .small_world_omega import SmallWorldOmega as SmallWorldOmega
from .small_world_sigma import SmallWorldSigma as SmallWorldSigma
from .spectral_gap import SpectralGap as SpectralGap
from .spectral_nestedness import SpectralNestedness as SpectralNestedness
from .strength_assortativity import StrengthAssortativity as StrengthAssortativity
from .strength_gini import StrengthGini as StrengthGini
from .strengths import Strengths as Strengths
from .table import AnyMeasure, AnyNull, as_measures, as_null, table_of
from .table import Row as Row
from .table import Table as Table
from .weight_moments import WeightMoments as WeightMoments
from .weight_singular_values import WeightSingularValues as WeightSingularValues
from .weighted_directed_clustering import WeightedDirectedClustering as WeightedDirectedClustering
from .weighted_efficiency import WeightedEfficiency as WeightedEfficiency
from .weighted_min_cut import WeightedMinCut as WeightedMinCut
from .weighted_modularity import WeightedModularity as WeightedModularity
from .weighted_spectral_gap import WeightedSpectralGap as WeightedSpectralGap

if TYPE_CHECKING:
    from ..graph import Graph

BUILT_IN: tuple[type[Measure], ...] = (
    BarberModularity,
    Butterflies,
    CapacityUsed,
    DeadUnits,
    DegreeAssortativity,
    DegreeGini,
    Degrees,
    Diamonds,
    DirectedClustering,
    DistanceDependence,
    EdgesOnPath,
    Efficiency,
    IMDB,
    KCore,
    Latapy,
    LayerCollapse,
    LayerDensity,
    LCPCorrelation,
    MinCut,
    Motifs,
    NegativeWeights,
    NODF,
    PathCount,
    PathLength,
    Percolation,
    PercolationByDegree,
    PercolationByWeight,
    PowerLaw,
    RamanujanBound,
    Reachability,
    Reciprocity,
    RichClub,
    RobinsAlexander,
    SignBalance,
    SingularValues,
    SmallWorldOmega,
    SmallWorldSigma,
    SpectralGap,
    SpectralNestedness,
    StrengthAssortativity,
    StrengthGini,
    Strengths,
    WeightedDirectedClustering,
    WeightedEfficiency,
    WeightedMinCut,
    WeightedModularity,
    WeightedSpectralGap,
    WeightMoments,
    WeightSingularValues,
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


def measure(
    graph: Graph,
    measures: AnyMeasure | Sequence[AnyMeasure] | None = None,
    *,
    null: AnyNull | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Table:
    """Measures of a graph as a table, each held against the draws of a null model.

    graph:    what computes is measured: edges of ``gain`` 0 are left out (`Graph.effective`).
    measures: names, values or classes of measures, or functions ``measure(graph) -> float``; None:
              every measure that is known.
    null:     name ("degrees", "counts", "distance", "layers"), value or class; see `rewire.nulls`.
    draws:    graphs drawn; all measures see the same ones, each a function of seed and number.

    A measure that refuses the graph is a row without a value that says why. Raises ValueError for
    unknown names, and where the null means nothing for the graph.

    >>> from rewire.analysis.examples import two_layers
    >>> measure(two_layers(), "LayerDensity")
    measure       part   value  note
    LayerDensity        0.3889
    LayerDensity  fc1   0.3333
    LayerDensity  fc2      0.5
    >>> row = measure(two_layers(), "LayerDensity", null="layers", draws=50)["LayerDensity", "fc2"]
    >>> round(row.mean, 3), round(row.z, 2), row.draws
    (0.417, 0.99, 50)
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}.")
    return table_of(graph, as_measures(measures, known()), as_null(null), draws, seed)


def over_time(
    graphs: Iterable[tuple[int, Graph]],
    measures: AnyMeasure | Sequence[AnyMeasure] | None = None,
    *,
    null: AnyNull | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Course:
    """:func:`measure` of each of some graphs, as `rewire.analysis.over_time.graphs` gives them.

    graphs: (step, graph). The rest as in :func:`measure`.

    >>> from rewire.analysis.examples import two_layers
    >>> over_time([(0, two_layers())], "LayerDensity").values("LayerDensity", "fc2").tolist()
    [0.5]
    """
    values, model = as_measures(measures, known()), as_null(null)
    return course_of(graphs, lambda graph: table_of(graph, values, model, draws, seed))
