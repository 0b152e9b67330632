"""Functions of a graph, of two, and of an edit log: measures, overlap with chance, lives of edges.

Everything public is here by name, and loaded when it is first asked for. Four functions share their
module's name and are in it: `exploration.exploration`, `lifetimes.lifetimes`, `overlap.overlap` and
`topography.topography`; so are maps' own `topography.distances`, `Turnover` and `turnover`, of
synapses a second. `rewire.measures` has measures as values, with null models.

>>> from rewire.analysis import degrees, examples
>>> degrees(examples.two_layers())["hidden"].fan_in.tolist()
[2, 1, 1]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..names import no_attribute

_HOMES = {
    "two_layers": "examples", "sheets": "examples",
    "Churn": "lifetimes", "churn": "lifetimes", "Lifetimes": "lifetimes", "Edits": "lifetimes",
    "sampled": "lifetimes",
    "Matching": "matching", "match_units": "matching", "relabel": "matching",
    "Degrees": "metrics", "degrees": "metrics", "tail": "metrics", "input_map": "metrics",
    "layer_density": "metrics", "ends": "metrics", "Dead": "metrics", "dead_units": "metrics",
    "effective_edges": "metrics", "adjacency": "metrics", "followed": "metrics",
    "traced_edges": "on_path",
    "graphs": "over_time", "kept": "over_time", "distances": "over_time",
    "explored": "over_time", "Turnover": "over_time", "turnover": "over_time",
    "Survival": "over_time", "survival": "over_time",
    "Overlap": "overlap", "Pairwise": "overlap", "pairwise": "overlap", "WHOLE": "overlap",
    "Topography": "topography", "quality": "topography", "receptive_fields": "topography",
    "places": "topography", "locate": "topography", "Comparison": "topography",
    "compare": "topography", "connectivity_control": "topography",
    "weight_control": "topography", "Bimodality": "topography", "bimodality": "topography",
    "DistanceHistogram": "topography", "distance_histogram": "topography",
    "synapse_lifetimes": "topography",
}  # fmt: skip
_MODULES = frozenset({"examples", "exploration", *_HOMES.values()})

__all__ = [*_HOMES]

if TYPE_CHECKING:
    from .examples import sheets as sheets
    from .examples import two_layers as two_layers
    from .lifetimes import Churn as Churn
    from .lifetimes import Edits as Edits
    from .lifetimes import Lifetimes as Lifetimes
    from .lifetimes import churn as churn
    from .lifetimes import sampled as sampled
    from .matching import Matching as Matching
    from .matching import match_units as match_units
    from .matching import relabel as relabel
    from .metrics import Dead as Dead
    from .metrics import Degrees as Degrees
    from .metrics import adjacency as adjacency
    from .metrics import dead_units as dead_units
    from .metrics import degrees as degrees
    from .metrics import effective_edges as effective_edges
    from .metrics import ends as ends
    from .metrics import followed as followed
    from .metrics import input_map as input_map
    from .metrics import layer_density as layer_density
    from .metrics import tail as tail
    from .on_path import traced_edges as traced_edges
    from .over_time import Survival as Survival
    from .over_time import Turnover as Turnover
    from .over_time import distances as distances
    from .over_time import explored as explored
    from .over_time import graphs as graphs
    from .over_time import kept as kept
    from .over_time import survival as survival
    from .over_time import turnover as turnover
    from .overlap import WHOLE as WHOLE
    from .overlap import Overlap as Overlap
    from .overlap import Pairwise as Pairwise
    from .overlap import pairwise as pairwise
    from .topography import Bimodality as Bimodality
    from .topography import Comparison as Comparison
    from .topography import DistanceHistogram as DistanceHistogram
    from .topography import Topography as Topography
    from .topography import bimodality as bimodality
    from .topography import compare as compare
    from .topography import connectivity_control as connectivity_control
    from .topography import distance_histogram as distance_histogram
    from .topography import locate as locate
    from .topography import places as places
    from .topography import quality as quality
    from .topography import receptive_fields as receptive_fields
    from .topography import synapse_lifetimes as synapse_lifetimes
    from .topography import weight_control as weight_control


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise no_attribute(__name__, name, [*_HOMES, *_MODULES])


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
