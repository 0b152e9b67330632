"""What a run of trainings ends with: rules by density, the task's metric at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..summary import Summary, mean_and_spread, over_seeds
from ..tasks import metric_of


def summary(rows: Sequence[Mapping[str, Any]]) -> Summary:
    """Mean of each rule's metric on the test set at each density, and its spread over seeds."""
    metric = metric_of(rows[0] if rows else {})
    measured: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        density = row["requested_density"]
        density = 1.0 if density is None and row["rule"] == "Dense" else density
        if density is not None and row[metric.test] is not None:
            at = measured.setdefault(row["label"], {})
            at.setdefault(density, []).append(metric.factor * row[metric.test])
    densities = sorted({d for at in measured.values() for d in at}, reverse=True)
    seeds = max((len(values) for at in measured.values() for values in at.values()), default=0)
    digits = 2 if metric.percent else 4
    lines = [
        [label, *(mean_and_spread(at.get(density, []), digits) for density in densities)]
        for label, at in measured.items()
    ]
    unit = " in %" if metric.percent else ""
    title = f"\nTest {metric.title}{unit}{over_seeds(seeds)}, by density:"
    return Summary(title, ["rule", *(f"{d:.4g}" for d in densities)], lines)
