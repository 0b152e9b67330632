"""Statistics of paired differences: effect size, exact test, correction, and what n seeds can find.

Numbers go in and come out; `compare` says of which rules they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95  # of every interval
ALPHA = 0.05  # below which a corrected p-value is called significant
POWER = 0.8
RESAMPLES = 9999


def hedges_g(differences: ArrayLike) -> tuple[float, float, float]:
    """Hedges' g of paired differences and its interval at :data:`LEVEL`.

    Standardised by the standard deviation of the differences. The interval inverts the noncentral
    t distribution (exact for normal differences); both are scaled by Hedges' small-sample factor,
    which is 0 for two seeds: three are the fewest, and fewer raise ValueError.
    """
    d = np.asarray(differences, dtype=float)
    n, df = len(d), len(d) - 1
    if n < 3:
        raise ValueError(f"Hedges' g needs 3 paired differences or more, got {n}.")
    t = d.mean() / d.std(ddof=1) * n**0.5
    tail = (1 - LEVEL) / 2
    # nctdtrinc solves for the noncentrality; it is at its best for t > 0, and the law is symmetric
    bounds = [float(special.nctdtrinc(df, q, abs(t))) for q in (1 - tail, tail)]
    low, high = bounds if t >= 0 else (-bounds[1], -bounds[0])
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / (df / 2) ** 0.5
    scale = correction / n**0.5
    return float(t * scale), low * scale, high * scale


def sign_flip_test(
    differences: ArrayLike, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
) -> float:
    """p-value of a mean difference of 0, by flipping signs (exact up to 13 seeds).

    alternative: "greater" and "less" are for claims that name a side.

    >>> sign_flip_test([0.1, 0.2, 0.3])  # 2 of 8 assignments of signs are as extreme
    0.25
    >>> sign_flip_test([0.1, 0.2, 0.3], "greater")
    0.125
    """
    d = np.asarray(differences, dtype=float)
    return float(
        stats.permutation_test(
            (d, np.zeros_like(d)),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            alternative=alternative,
            random_state=np.random.default_rng(0),
        ).pvalue
    )


def holm(p: Sequence[float | None]) -> list[float]:
    """Holm's step-down correction, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.array(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(steps, 1)
    return corrected.tolist()


def smallest_resolvable(deviation: float, n: int) -> float:
    """The true difference that n paired seeds find with :data:`POWER`, two-sided at ALPHA.

    ``deviation`` is that of the differences; the test is Student's paired one.

    >>> round(smallest_resolvable(1.0, n=10), 2), round(smallest_resolvable(1.0, n=3), 2)
    (1.0, 3.26)
    """
    critical = stats.t.ppf(1 - ALPHA / 2, n - 1)
    return float(special.nctdtrinc(n - 1, 1 - POWER, critical)) * deviation / n**0.5


def seeds_needed(deviation: float, difference: float, most: int = 1000) -> int | None:
    """The fewest seeds that resolve ``difference``, or None above ``most``.

    >>> seeds_needed(deviation=0.01, difference=0.005)
    34
    """
    for n in range(2, most + 1):
        if smallest_resolvable(deviation, n) <= difference:
            return n
    return None


def coverage(n: int) -> float:
    """How often the range of n seeds holds the true mean, if they scatter symmetrically about it.

    No bootstrap interval of a mean covers more: it never leaves that range.

    >>> coverage(3)
    0.75
    """
    return 1 - 2.0 ** (1 - n)
