"""The measures of a map, an entry each: their columns, names, and where a page shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MapMeasure:
    """One measure of a simulation.

    column:   of the result rows and evaluations.
    title:    of its column in the table of start and end. name: in sentences and other tables.
    symbol:   σ or AD, where it is a length in cells: drawn over time, beside shuffled maps.
    digits:   after the point.
    at_start: whether it has a value at the start too.
    contrast: whether the contrasts that an experiment names compare it.
    """

    column: str
    title: str
    name: str
    digits: int = 2
    symbol: str = ""
    at_start: bool = True
    contrast: bool = False


MEASURES = (
    MapMeasure("sigma_aff_conn", "σ, count", "σ by count", symbol="σ", contrast=True),
    MapMeasure("ad_conn", "AD, count", "AD by count", symbol="AD", contrast=True),
    MapMeasure("sigma_aff_weight", "σ, weight", "σ by weight", symbol="σ"),
    MapMeasure("ad_weight", "AD, weight", "AD by weight", symbol="AD"),
    MapMeasure("ff_synapses", "feed-forward", "feed-forward synapses a neuron", 1),
    MapMeasure("lateral_synapses", "lateral", "lateral synapses a neuron", 1),
    MapMeasure("mean_weight_proportion", "mean weight", "mean weight, of the start's"),
    MapMeasure("weight_proportion", "weight sum", "sum of weights, of the start's"),
    MapMeasure("rate_hz", "rate, Hz", "target rate, Hz", 1, at_start=False),
    MapMeasure("events_per_s", "events / s", "events a second", 1, at_start=False),
)
LENGTHS = tuple(measure for measure in MEASURES if measure.symbol)
CONTRASTS = {measure.column: measure.symbol for measure in MEASURES if measure.contrast}
