"""What a row measures, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from scipy import stats

from ..errors import ConfigError
from ..statistics import ALPHA, LEVEL, hedges_g, holm, sign_flip_test
from .paper import Paper, Protocol, Row
from .tables import Tables, Values

MIN_TESTED = 6  # seeds, below which nothing is called significant
MIN_EFFECT = 3  # seeds, below which there is no effect size
Verdict = Literal["holds", "fails", "not measured"]


@dataclass(frozen=True)
class Judged:
    """A row with what was measured, in the row's unit.

    mean: over seeds. low, high: its interval at 95 % (Student's t), where there are two seeds.
    g: Hedges' g of the paired differences, from three seeds. p: of rows that the paper names as
    tested, of a mean difference at the bound against the side of the claim, by flipping signs,
    corrected (Holm) over those rows; from six seeds.
    clear: whether the whole interval is on the same side of the bounds as the mean.
    """

    name: str
    verdict: Verdict
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    values: Mapping[str, float] | None = None
    means: Sequence[float] | None = None
    clear: bool = False
    g: float | None = None
    p: float | None = None
    reason: str = ""

    def as_table(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if v not in (None, "", ())}

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < ALPHA


def judge(paper: Paper, tables: Tables, protocol: Protocol) -> list[Judged]:
    """Every row of a protocol, in the order of the file."""
    judged = []
    for row in paper.rows:
        if protocol not in row.protocols:
            continue
        try:
            judged.append(_judged(row, tables, protocol))
        except ConfigError as error:
            raise ConfigError(f"{paper.name}, row {row.name}: {error}") from None
    tested = [j for j in judged if j.p is not None]
    corrected = dict(zip((j.name for j in tested), holm([j.p for j in tested]), strict=True))
    return [replace(j, p=corrected.get(j.name)) for j in judged]


def _judged(row: Row, tables: Tables, protocol: Protocol) -> Judged:
    parts = [tables.values(s, row.column) for s in row.selectors]
    for s, values in zip(row.selectors, parts, strict=True):
        if not values:
            return Judged(row.name, "not measured", reason=f"nothing is there of: {s}")
    seeds = sorted(set.intersection(*(set(values) for values in parts)))
    if row.of is not None and row.minus is None and row.over is None:
        seeds = sorted(parts[0])
    if not seeds:
        return Judged(row.name, "not measured", reason="no seed is in all of its parts")
    by_seed, mean, means = _measured(row, parts, seeds)
    low, high = row.bounds(protocol)
    holds = math.isfinite(mean) and low <= mean <= high
    judged = Judged(
        row.name,
        "holds" if holds else "fails",
        mean=mean,
        n=len(seeds),
        values={str(seed): value for seed, value in by_seed.items()},
        means=means,
    )
    return _with_spread(judged, row, list(by_seed.values()), low, high)


def _measured(
    row: Row, parts: Sequence[Values], seeds: Sequence[int]
) -> tuple[Values, float, list[float] | None]:
    """The value of each seed, their mean, and the means of what is compared; in the row's unit."""
    scale = row.scale
    means = [scale * fmean(values[seed] for seed in seeds) for values in parts]
    if row.order is not None:  # the pair of neighbours that are nearest
        pairs = list(zip(parts, parts[1:], strict=False))
        gaps = [{seed: scale * (a[seed] - b[seed]) for seed in seeds} for a, b in pairs]
        nearest = min(gaps, key=lambda gap: fmean(gap.values()))
        return nearest, fmean(nearest.values()), means
    if row.minus is not None:
        differences = {seed: scale * (parts[0][seed] - parts[1][seed]) for seed in seeds}
        return differences, fmean(differences.values()), means
    if row.over is not None:
        ratios = {seed: _ratio(parts[0][seed], parts[1][seed]) for seed in seeds}
        factor = scale if row.unit == "%" else 1.0
        ratio = factor * _ratio(means[0], means[1])
        return {seed: factor * value for seed, value in ratios.items()}, ratio, means
    values = {seed: scale * parts[0][seed] for seed in seeds}
    return values, fmean(values.values()), None


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _with_spread(
    judged: Judged, row: Row, values: Sequence[float], low: float, high: float
) -> Judged:
    """With interval, effect size and p-value, as far as the seeds allow."""
    n = len(values)
    if n < 2 or judged.mean is None or not all(map(math.isfinite, values)):
        return judged
    deviation = stdev(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / math.sqrt(n)
    bottom, top = judged.mean - half, judged.mean + half
    inside = low <= bottom and top <= high
    clear = inside if judged.verdict == "holds" else top < low or bottom > high
    judged = replace(judged, low=bottom, high=top, clear=clear)
    if row.minus is None and row.order is None:
        return judged
    g = hedges_g(values)[0] if n >= MIN_EFFECT and deviation > 0 else None
    p = None
    if n >= MIN_TESTED and row.tested:
        if row.least is not None:
            p = sign_flip_test([value - low for value in values], "greater")
        else:
            p = sign_flip_test([value - high for value in values], "less")
    return replace(judged, g=g, p=p)
