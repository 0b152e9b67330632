"""The headline and the sentences that qualify it. No claim beyond the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import compare, statistics
from ..rounding import density_words, percent, times
from ..run import RunData


def headline(run: RunData) -> tuple[str, list[str]]:
    """The main finding in one sentence, and the sentences that qualify it."""
    if not run.rows:
        return "Nothing has finished yet.", []
    if run.focus is None:
        if run.dense is None:
            return "No level at a requested density has finished yet.", []
        return (
            f"{run.dense.label} reaches {_judged(run, run.dense)}; nothing sparse has finished.",
            [],
        )
    points = [p for label in run.points if (p := run.point(label, run.focus)) is not None]
    in_budget = (p for p in points if not p.over_budget)
    ranked = sorted(in_budget, key=lambda p: run.metric.rank(p.mean(run.metric.test)))
    if not ranked:
        return f"No rule kept to density {run.focus:g}.", [_budgets(points)]
    best, others = ranked[0], ranked[1:]
    text = (
        f"With {density_words(run.focus)}, {best.label} has the {run.metric.best} mean test "
        f"{run.metric.title}, {_judged(run, best)}"
    )
    if run.dense is not None:
        text += f"; {run.dense.label}, with all of them, {_judged(run, run.dense)}"
    if len(others) > 1:
        text += f"; the {run.metric.worst} is {others[-1].label}, {_judged(run, others[-1])}"
    elif others:
        text += f"; {others[0].label} has {_judged(run, others[0])}"
    qualifications = (_seeds(run, points), _budgets(points), _cost(run, best))
    return text + ".", [sentence for sentence in qualifications if sentence]


def _judged(run: RunData, point: compare.Point) -> str:
    mean = point.mean(run.metric.test)
    return percent(mean) if run.metric.percent else run.metric.number(mean)


def _seeds(run: RunData, points: Sequence[compare.Point]) -> str:
    counts = sorted({len(p.rows) for p in points})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    pairs = contrasts(run)
    claims = [c for c in pairs if c.significant]
    if claims:
        names = "; ".join(f"{c.a} against {c.b} at density {c.density:g}" for c in claims)
        return f"Means of {n} seeds. Contrasts that the seeds tell apart: {names}."
    text = f"{'One seed' if counts == [1] else f'Means of {n} seeds'}: no claim of significance"
    deviation = compare.pooled_deviation(pairs)
    if deviation and counts[0] > 1:
        least = run.metric.factor * statistics.smallest_resolvable(deviation, counts[0])
        size = f"{least:.1f} points" if run.metric.percent else f"{least:.2g}"
        text += f", and a true difference below about {size} would often be missed"
    return text + "."


def _budgets(points: Sequence[compare.Point]) -> str:
    """Which rules kept more edges than asked for, and are not ranked, and which kept fewer."""
    over, under = (
        ", ".join(f"{p.label} (density {p.density:.2g})" for p in points if getattr(p, budget))
        for budget in ("over_budget", "under_budget")
    )
    lines = [f"Not ranked, because more edges were kept than asked for: {over}."] if over else []
    return " ".join(lines + ([f"Fewer edges than asked for: {under}."] if under else []))


def _cost(run: RunData, best: compare.Point) -> str:
    """What the best rule cost, in dense trainings."""
    cost = "train_flops_sparse"
    if run.dense is None or not run.dense.mean(cost) > 0 or math.isnan(best.mean(cost)):
        return ""
    unit = run.dense.mean(cost)
    return (
        f"{best.label} took {times(best.mean(cost) / unit)} the training FLOPs of one dense "
        "training, the trainings it started from included (live edges counted)."
    )


def contrasts(run: RunData) -> list[compare.Contrast]:
    """The named contrasts; without any, every rule against the dense network (never tested)."""
    pairs, named = compared_pairs(run)
    return compare.contrasts(run.rows, pairs, column=run.metric.test, named=named)


def compared_pairs(run: RunData) -> tuple[Sequence[Sequence[str]], bool]:
    """Pairs of labels that a page compares, and whether the experiment named them."""
    pairs = run.experiment.get("contrasts") or run.config.get("contrasts") or []
    if pairs or run.dense is None:
        return pairs, True
    return [(label, run.dense.label) for label in run.points if label != run.dense.label], False
