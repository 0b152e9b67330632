"""Sentences about a run of the spiking world, made from its numbers. No claim beyond the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ... import compare
from ..rounding import fixed, percent
from ..run import RunData
from .maps import Change
from .measures import CONTRASTS

SIGMA, AD = CONTRASTS


def headline(run: RunData, ends: Mapping[str, Change]) -> tuple[str, list[str]]:
    """Which rule refined the map most, and the sentences that qualify it.

    Only rules that began with the same map are ranked: the largest such group, the first of equals.
    """
    if not ends:
        return "No simulation has finished yet.", []
    known = [c for c in ends.values() if math.isfinite(c.by(SIGMA))]
    alike = _same_start(known)
    narrowed = sorted((c for c in alike if c.by(SIGMA) < 0), key=lambda c: c.by(SIGMA))
    if not known:
        text = "No rule started from a map that could be refined."
    elif not narrowed:
        text = f"No rule refined the map: receptive fields (σ) went {_each(alike, SIGMA)}."
    else:
        most = " most" if len(alike) > 1 else ""
        text = (
            f"The map was refined{most} under {narrowed[0].label}: receptive fields narrowed from "
            f"σ = {_way(narrowed[0], SIGMA)} cells, and their distance from their own place (AD) "
            f"went from {_way(narrowed[0], AD)}."
        )
    best = narrowed[0] if narrowed else None
    others = [c for c in known if c not in alike]
    qualifications = [
        _density(best), _displaced(alike), _other_starts(others), _grown(ends), _seeds(run, ends)
    ]  # fmt: skip
    return text, [sentence for sentence in qualifications if sentence]


def _same_start(known: Sequence[Change]) -> list[Change]:
    """The largest group that began with the same map wherever two of it have a seed in common."""
    groups: list[tuple[dict[int, float], list[Change]]] = []
    for change in known:
        began = {row["seed"]: row[SIGMA] for row in change.start.rows}
        for of_group, members in groups:
            if shared := began.keys() & of_group.keys():
                if all(began[seed] == of_group[seed] for seed in shared):
                    members.append(change)
                    of_group |= began
                    break
        else:
            groups.append((began, [change]))
    return max((members for _, members in groups), key=len, default=[])


def _way(change: Change, column: str, digits: int = 2) -> str:
    start, end = change.of(column)
    return f"{fixed(start, digits)} to {fixed(end, digits)}"


def _each(some: Sequence[Change], column: str) -> str:
    return ", ".join(f"from {_way(c, column)} under {c.label}" for c in some)


def _density(best: Change | None) -> str:
    """A map of fewer synapses looks sharper: how many the best one has."""
    if best is None:
        return ""
    return (
        f"At the end {best.label} has {fixed(best.of('ff_synapses')[1], 1)} feed-forward synapses "
        f"a neuron, {fixed(best.of('ff_synapses')[0], 1)} at the start."
    )


def _displaced(known: Sequence[Change]) -> str:
    """Where the map left its place most."""
    worst = max(known, key=lambda c: c.by(AD), default=None)
    if worst is None or not worst.by(AD) > 0 or len(known) < 2:
        return ""
    return f"The map left its place most under {worst.label}: AD from {_way(worst, AD)}."


def _other_starts(others: Sequence[Change]) -> str:
    """Rules that began with another map."""
    starts = (f"{c.label}, σ from {_way(c, SIGMA)}, AD from {_way(c, AD)}" for c in others)
    return f"Rules with another start: {'; '.join(starts)}." if others else ""


def _grown(ends: Mapping[str, Change]) -> str:
    """Maps that began without a synapse."""
    grown = [
        f"{label}, σ = {fixed(c.of(SIGMA)[1])} and AD = {fixed(c.of(AD)[1])}"
        for label, c in ends.items()
        if not math.isfinite(c.of(SIGMA)[0]) and math.isfinite(c.of(SIGMA)[1])
    ]
    return f"Maps that grew from no synapse: {'; '.join(grown)}." if grown else ""


def _seeds(run: RunData, ends: Mapping[str, Change]) -> str:
    """The number of seeds, and the claims that they support."""
    counts = sorted({change.n for change in ends.values()})
    claims = [(column, c) for column, c in contrasts(run, ends) if c.significant]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if claims:
        names = "; ".join(f"{c.a} against {c.b} ({CONTRASTS[column]})" for column, c in claims)
        return f"Means of {n} seeds. Contrasts that the seeds tell apart: {names}."
    text = "One seed" if counts == [1] else f"Means of {n} seeds"
    return f"{text}: no claim of significance."


def contrasts(run: RunData, ends: Mapping[str, Change]) -> list[tuple[str, compare.Contrast]]:
    """The contrasts that the experiment named, of σ and AD at the end, all corrected together."""
    pairs = run.experiment.get("contrasts") or run.config.get("contrasts") or []
    columns, results = [], []
    for a, b in ((ends[a].end, ends[b].end) for a, b in pairs if {a, b} <= ends.keys()):
        for column in CONTRASTS:
            seeds = [{r["seed"] for r in end.rows if r[column] is not None} for end in (a, b)]
            if seeds[0] & seeds[1]:
                columns.append(column)
                results.append(compare.contrast(a, b, a.density, column=column))
    return list(zip(columns, compare.corrected(results), strict=True))


def limits(run: RunData, ends: Mapping[str, Change]) -> list[str]:
    """What the seeds cannot tell."""
    fewest = min((change.n for change in ends.values()), default=0)
    if not fewest:
        return []
    if fewest == 1:
        return [
            "One seed says nothing about the spread between seeds: any difference may be due "
            "to the seed alone."
        ]
    if fewest < compare.MIN_SEEDS:
        return [
            f"With {fewest} seeds no difference is called significant; tests start at "
            f"{compare.MIN_SEEDS} seeds, and only for contrasts that the experiment named."
        ]
    if not contrasts(run, ends):
        return ["The experiment named no contrast, so no difference is tested."]
    return [
        "The named contrasts are tested by flipping the signs of the paired differences, with "
        "Holm's correction for all of them; nothing else on this page is a claim about rules."
    ]


def bimodality(weights: np.ndarray) -> str:
    """How far weights, as fractions of the most they may be, sit at both ends.

    >>> bimodality(np.ones(3))
    'all 1.00'
    """
    from rewire.analysis import topography

    shape = topography.bimodality(weights, 1.0)
    if math.isnan(shape.low):
        return "no synapse"
    if math.isnan(shape.coefficient):
        return f"all {weights[0]:.2f}"
    low, high = percent(shape.low, 0), percent(shape.high, 0)
    return f"{low} in the lowest tenth, {high} in the highest; bimodality {shape.coefficient:.2f}"
