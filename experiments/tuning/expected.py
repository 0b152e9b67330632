"""What the best of n trials is expected to reach, and what each field has to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats

from ..statistics import LEVEL

RESAMPLES = 2000


@dataclass(frozen=True)
class Expected:
    """The expected best of 1, 2, ... random trials, with its interval from resampled trials."""

    best: list[float]
    low: list[float]
    high: list[float]


def expected_best(scores: Sequence[float], *, lower: bool = False) -> Expected:
    """The expected best score of n trials, n from 1 to all of them (Dodge et al. 2019).

    Unbiased, as Tang et al. (2020) have it: the mean over all subsets of n trials. The interval is
    that of percentiles over resampled sets of trials (bootstrap, seeded); near all of the trials it
    is too narrow, because nothing better than the best of them can be resampled.

    >>> expected_best([0.5, 0.7, 0.9]).best[:2]  # 0.9 is in two pairs of three
    [0.7, 0.8333333333333333]
    """
    values = np.asarray(scores, dtype=float)
    rng = np.random.default_rng(0)
    resampled = rng.choice(values, size=(RESAMPLES, len(values)))
    weights = _weights(len(values))
    best = _ordered(values, lower) @ weights.T
    spread = _ordered(resampled, lower) @ weights.T
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(spread, [tail, 100 - tail], axis=0)
    return Expected(best.tolist(), low.tolist(), high.tolist())


def _ordered(values: np.ndarray, lower: bool) -> np.ndarray:
    """From the worst to the best, along the last axis."""
    ascending = np.sort(values, axis=-1)
    return ascending[..., ::-1] if lower else ascending


def _weights(n: int) -> np.ndarray:
    """How often the i-th worst of n trials is the best of a subset, a row for each size (n, n)."""
    return np.array(
        [[comb(i, size - 1) / comb(n, size) for i in range(n)] for size in range(1, n + 1)]
    )


def association(values: Sequence[float | str | bool], scores: Sequence[float]) -> float | None:
    """How a field's values go with the scores: Spearman's rank correlation for numbers, for words
    the share of the scores' variance that lies between them (eta squared). None without spread.

    >>> association([1, 10, 100], [0.1, 0.2, 0.4])
    1.0
    >>> association(["layer", "layer", "global"], [0.1, 0.1, 0.4])
    1.0
    """
    y = np.asarray(scores, dtype=float)
    if len(y) < 3 or np.ptp(y) == 0 or len({*values}) < 2:
        return None
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return float(stats.spearmanr(np.asarray(values, dtype=float), y).statistic)
    groups = [y[[v == word for v in values]] for word in dict.fromkeys(values)]
    between = sum(len(g) * (g.mean() - y.mean()) ** 2 for g in groups)
    return float(between / ((y - y.mean()) ** 2).sum())
