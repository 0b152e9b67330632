"""What a run of trainings ends with: rules by density, test accuracy at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..summary import Summary, mean_and_spread, over_seeds


def summary(rows: Iterable[Mapping[str, Any]]) -> Summary:
    """Mean test accuracy of each rule at each density, and its spread over seeds."""
    accuracies: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        density = row["requested_density"]
        density = 1.0 if density is None and row["rule"] == "Dense" else density
        if density is not None and row["test_accuracy"] is not None:
            at = accuracies.setdefault(row["label"], {})
            at.setdefault(density, []).append(100 * row["test_accuracy"])
    densities = sorted({d for at in accuracies.values() for d in at}, reverse=True)
    seeds = max((len(values) for at in accuracies.values() for values in at.values()), default=0)
    lines = [
        [label, *(mean_and_spread(at.get(density, []), 2) for density in densities)]
        for label, at in accuracies.items()
    ]
    title = f"\nTest accuracy in %{over_seeds(seeds)}, by density:"
    return Summary(title, ["rule", *(f"{d:.4g}" for d in densities)], lines)
