"""What several seeds say about rules, and what they do not.

Result rows (dictionaries, see ``rewire results``) go in; points, summaries and contrasts come out.
Accuracies are fractions of 1. Intervals are drawn from any number of seeds above one; a difference
is *called* significant only from :data:`MIN_SEEDS` seeds on, and only where the experiment named
that contrast beforehand.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from .metric import ACCURACY, Metric
from .statistics import (
    ALPHA,
    LEVEL,
    RESAMPLES,
    coverage,
    hedges_g,
    holm,
    seeds_needed,
    sign_flip_test,
    smallest_resolvable,
)

Row = Mapping[str, Any]

EQUAL = 1.05  # edge counts within this factor count as equal
MIN_SEEDS = 6  # the fewest at which a paired sign-flip test can go below ALPHA: 2 / 2**6


# --- Rows of one rule at one density ---


@dataclass(frozen=True)
class Point:
    """One rule at one density: its rows, one per seed.

    requested: the density asked for, or None where the level is only a rung of a ladder (or Dense).
    """

    label: str
    rule: str
    requested: float | None
    level: int
    rows: tuple[Row, ...]

    @property
    def density(self) -> float:
        """Achieved, mean over seeds."""
        return float(np.mean([r["density"] for r in self.rows]))

    @property
    def over_budget(self) -> bool:
        """Whether it kept more than was asked for (a rule that only reports its budget may)."""
        return self.requested is not None and self.density > EQUAL * self.requested

    @property
    def under_budget(self) -> bool:
        """Whether it kept fewer than was asked for (a rule whose budget is a cap may)."""
        return self.requested is not None and EQUAL * self.density < self.requested

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(r["seed"] for r in self.rows)

    def values(self, column: str) -> np.ndarray:
        """One column, by ascending seed; seeds without it are left out."""
        values = (row.get(column) for row in self.rows)
        return np.array([v for v in values if v is not None], dtype=float)

    def mean(self, column: str) -> float:
        values = self.values(column)
        return float(values.mean()) if len(values) else math.nan


def points(rows: Iterable[Row]) -> dict[str, list[Point]]:
    """Points of every label in order of appearance, each label's from dense to sparse.

    Rows are of one point when their label and requested density agree; rungs of a ladder when
    their label and level do. Raises ValueError where two rows are of one point and one seed.
    """
    groups: dict[str, dict[tuple, list[Row]]] = {}
    for row in rows:
        requested = row.get("requested_density")
        key = ("rung", row["level"]) if requested is None else ("density", requested)
        groups.setdefault(row["label"], {}).setdefault(key, []).append(row)
    by_label = {}
    for label, by_key in groups.items():
        by_label[label] = sorted(
            (
                Point(
                    label,
                    group[0]["rule"],
                    value if kind == "density" else None,
                    group[0]["level"],
                    _one_per_seed(label, kind, value, group),
                )
                for (kind, value), group in by_key.items()
            ),
            key=lambda point: -point.density,
        )
    return by_label


def _one_per_seed(label: str, kind: str, value: float, group: list[Row]) -> tuple[Row, ...]:
    seeds = [row["seed"] for row in group]
    twice = sorted({s for s in seeds if seeds.count(s) > 1})
    if twice:
        where = f"density {value}" if kind == "density" else f"level {value}"
        raise ValueError(
            f"{label!r} has {seeds.count(twice[0])} rows for seed {twice[0]} at {where}; a "
            "comparison takes one. Give rules that differ different labels."
        )
    return tuple(sorted(group, key=lambda row: row["seed"]))


def at_density(points: Sequence[Point], density: float) -> Point | None:
    """A label's point at a requested density; a label that is only ever dense stands at each."""
    for point in points:
        if point.requested == density:
            return point
    return points[0] if is_dense(points) else None


def is_dense(points: Sequence[Point]) -> bool:
    """Whether a label's only point is the network with every edge."""
    return len(points) == 1 and all(r["edges"] == r["possible"] for r in points[0].rows)


def requested_densities(by_label: Mapping[str, Sequence[Point]]) -> list[float]:
    """All densities below 1 that were requested, from dense to sparse."""
    densities = {p.requested for points in by_label.values() for p in points}
    return sorted((d for d in densities if d is not None and d < 1), reverse=True)


# --- One group of seeds ---


@dataclass(frozen=True)
class Summary:
    """Mean over seeds with its interval.

    low, high: bootstrap interval of the mean at :data:`LEVEL`, None where there is none.
    method: "BCa", "percentile", or why there is no interval.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    method: str


def summarise(values: Iterable[float], *, level: float = LEVEL) -> Summary:
    """Mean and bootstrap interval (bias-corrected, accelerated where that exists).

    An interval of n seeds cannot reach beyond the outermost of them: see :func:`coverage`.
    Resampling is seeded, so that the same values give the same interval.

    >>> summarise([0.95]).method
    'one seed: no interval'
    """
    x = np.asarray(list(values), dtype=float)
    if not len(x):
        return Summary(0, math.nan, None, None, None, "no seeds")
    mean = float(x.mean())
    if len(x) == 1:
        return Summary(1, mean, None, None, None, "one seed: no interval")
    deviation = float(x.std(ddof=1))
    if np.ptp(x) == 0:
        return Summary(len(x), mean, 0.0, mean, mean, "all seeds equal")
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate BCa says so by NaN, which is caught
            interval = stats.bootstrap(
                (x,),
                np.mean,
                n_resamples=RESAMPLES,
                confidence_level=level,
                method=method,
                random_state=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite(interval.low) and np.isfinite(interval.high):
            break
    return Summary(len(x), mean, deviation, float(interval.low), float(interval.high), method)


# --- Two rules, paired by seed ---


@dataclass(frozen=True)
class Contrast:
    """Rule ``a`` minus rule ``b`` at one density, paired by seed; in fractions of 1.

    differences: one per seed both have. low, high: Student's interval of their mean. g: Hedges' g,
    the mean over the standard deviation *of the differences*, corrected for few seeds, with its
    interval from the noncentral t distribution (wide: that is what few seeds know). p: two-sided
    sign-flip permutation test, exact up to 13 seeds; p_holm: after Holm's correction over all tests
    of the report. None where there are too few seeds, or no spread.
    """

    a: str
    b: str
    density: float
    named: bool
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    g: float | None = None
    g_low: float | None = None
    g_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    tests: int = field(default=0, compare=False)
    densities: tuple[float, float] = (math.nan, math.nan)  # achieved, of a and b

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def significant(self) -> bool:
        """Whether the seeds allow to call the difference significant."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def unequal(self) -> bool:
        """Whether the two kept different numbers of edges, other than against a dense network."""
        low, high = sorted(self.densities)
        return high < 1 and high > EQUAL * low

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.unequal:
            both = " against ".join(f"{d:.3g}" for d in self.densities)
            return f"not at equal edges: density {both}; {replace(self, densities=(1, 1)).verdict}"
        if not self.named:
            return "not a named contrast: no test"
        if self.p_holm is None:
            return f"no test below {MIN_SEEDS} seeds"
        p = f"p = {self.p_holm:.2g} after Holm"
        if self.significant:
            return f"{self.a} is {'higher' if self.mean > 0 else 'lower'} ({p})"
        if 2.0 ** (1 - self.n) * self.tests > ALPHA:
            return f"not told apart ({p}; {self.n} seeds cannot pass {self.tests} tests)"
        return f"not told apart ({p})"


def contrast(
    a: Point, b: Point, density: float, *, column: str = ACCURACY.test, named: bool = True
) -> Contrast:
    """Compare two points on the seeds that both have; raises ValueError where they share none."""
    left, right = (
        {r["seed"]: r[column] for r in point.rows if r.get(column) is not None} for point in (a, b)
    )
    seeds = tuple(sorted(left.keys() & right.keys()))
    if not seeds:
        raise ValueError(
            f"{a.label!r} (seeds {sorted(left)}) and {b.label!r} (seeds {sorted(right)}) share no "
            f"seed at density {density}: nothing can be paired."
        )
    d = np.array([left[s] - right[s] for s in seeds])
    pair = Contrast(
        a.label,
        b.label,
        density,
        named,
        seeds,
        tuple(d.tolist()),
        float(d.mean()),
        densities=(a.density, b.density),
    )
    n = len(d)
    if n < 2:
        return pair
    deviation = float(d.std(ddof=1))
    if deviation < 1e-12:  # equal to rounding: no spread to compare a mean with
        return replace(pair, deviation=0.0)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * deviation / n**0.5
    g, g_low, g_high = hedges_g(d) if n > 2 else (None, None, None)
    p = sign_flip_test(d) if named and n >= MIN_SEEDS else None
    return replace(
        pair,
        deviation=deviation,
        low=pair.mean - half,
        high=pair.mean + half,
        g=g,
        g_low=g_low,
        g_high=g_high,
        p=p,
    )


def contrasts(
    rows: Iterable[Row],
    pairs: Iterable[Sequence[str]],
    *,
    column: str = ACCURACY.test,
    named: bool = True,
) -> list[Contrast]:
    """Every pair of labels at every density that both were asked for, p-values corrected together.

    Pairs without a common density or seed (unfinished runs) are left out.
    """
    compared = [
        contrast(left, right, density, column=column, named=named)
        for left, right, density in paired(points(rows), pairs)
    ]
    return corrected(compared)


def paired(
    by_label: Mapping[str, Sequence[Point]], pairs: Iterable[Sequence[str]]
) -> Iterator[tuple[Point, Point, float]]:
    """The two points of every pair at every density that both were asked for, and the density.

    Pairs without a common density or seed are left out.
    """
    for a, b in pairs:
        if a not in by_label or b not in by_label:
            continue
        for density in requested_densities({a: by_label[a], b: by_label[b]}):
            left, right = at_density(by_label[a], density), at_density(by_label[b], density)
            if left and right and {*left.seeds} & {*right.seeds}:
                yield left, right, density


def corrected(pairs: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts with the p-values of those that were tested corrected together (Holm)."""
    tests = sum(c.p is not None for c in pairs)
    p_holm = iter(holm([c.p for c in pairs if c.p is not None]))
    return [replace(c, p_holm=next(p_holm), tests=tests) if c.p is not None else c for c in pairs]


# --- What the seeds cannot tell ---


def _resolvable(deviation: float, n: int, metric: Metric, worth: float) -> list[str]:
    """What difference ``n`` seeds find, and how many find one that is worth it."""
    least = smallest_resolvable(deviation, n)
    if metric.percent:
        spread, found = f"{100 * deviation:.2f} percentage points", f"{100 * least:.1f} points"
    else:
        spread, found = f"{deviation:.3g}", f"{least:.2g}"
    sentences = [
        f"From seed to seed the difference between two rules varies by {spread} (standard "
        f"deviation, pooled over the contrasts of the table). With that spread, {n} seeds find a "
        f"true difference of {found} four times in five, and smaller ones less often."
    ]
    needed = seeds_needed(deviation, worth) if metric.percent else None
    if needed is not None and needed > n:
        sentences.append(f"To find {100 * worth:g} points as often takes about {needed} seeds.")
    return sentences


def pooled_deviation(pairs: Iterable[Contrast]) -> float | None:
    """Standard deviation of paired differences from seed to seed, pooled over contrasts."""
    known = [(c.n - 1, c.deviation) for c in pairs if c.deviation is not None]
    freedom = sum(df for df, _ in known)
    return (sum(df * s**2 for df, s in known) / freedom) ** 0.5 if freedom else None


def limits(
    pairs: Sequence[Contrast], n: int, metric: Metric = ACCURACY, worth: float = 0.005
) -> list[str]:
    """Sentences on what ``n`` seeds cannot tell. ``worth``: a difference one would care about, of a
    metric in per cent."""
    if n < 2:
        return [
            "One seed says nothing about the spread between seeds: there is no interval and no "
            "effect size here, and any difference may be due to the seed alone.",
        ]
    sentences = []
    if n < MIN_SEEDS:
        sentences.append(
            f"With {n} seeds no difference is called significant; tests start at {MIN_SEEDS} "
            "seeds, and only for contrasts that the experiment named."
        )
    elif any(c.p_holm is not None for c in pairs):
        tests = max(c.tests for c in pairs)
        sentences.append(
            f"The named contrasts are tested by flipping the signs of the {n} paired differences, "
            f"with Holm's correction for {tests} {'tests' if tests > 1 else 'test'}; nothing else "
            "on this page is a claim."
        )
        if 2.0 ** (1 - n) * tests > ALPHA:
            enough = math.ceil(1 + math.log2(tests / ALPHA))
            sentences.append(
                f"{n} seeds cannot reach p < {ALPHA} in all of {tests} tests whatever they "
                f"show; {enough} could."
            )
    deviation = pooled_deviation(pairs)
    if deviation:
        sentences += _resolvable(deviation, n, metric, worth)
    if coverage(n) < LEVEL:
        sentences.append(
            f"A bootstrap band cannot leave the range of its {n} dots, so it holds the true mean "
            f"at most about {100 * coverage(n):.0f} times in 100, not {100 * LEVEL:.0f}: "
            "compare the single dots."
        )
    return sentences
