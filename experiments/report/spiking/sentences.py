"""Sentences about a run of the spiking world, made from its numbers. No claim beyond the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ... import compare
from ..run import Loaded
from .maps import Change

SIGMA, AD = "sigma_aff_conn", "ad_conn"
MEASURES = {SIGMA: "σ", AD: "AD"}  # of the contrasts


def number(value: float, digits: int = 2) -> str:
    """1.68; a dash where there is none."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def headline(run: Loaded, found: Mapping[str, Change]) -> tuple[str, list[str]]:
    """Which rule refined the map most, and the sentences that qualify it.

    Only rules that began with the same map are ranked: the largest such group, the first of equals.
    """
    if not found:
        return "No simulation has finished yet.", []
    known = [c for c in found.values() if math.isfinite(c.by(SIGMA))]
    alike = _same_start(known)
    narrowed = sorted((c for c in alike if c.by(SIGMA) < 0), key=lambda c: c.by(SIGMA))
    if not known:
        said = "No rule started from a map that could be refined."
    elif not narrowed:
        said = f"No rule refined the map: receptive fields (σ) went {_each(alike, SIGMA)}."
    else:
        most = " most" if len(alike) > 1 else ""
        said = (
            f"The map was refined{most} under {narrowed[0].label}: receptive fields narrowed from "
            f"σ = {_way(narrowed[0], SIGMA)} cells, and their distance from their own place (AD) "
            f"went from {_way(narrowed[0], AD)}."
        )
    best = narrowed[0] if narrowed else None
    others = [c for c in known if c not in alike]
    told = [_kept(best), _moved(alike), _from_elsewhere(others), _grown(found), seeds(run, found)]
    return said, [sentence for sentence in told if sentence]


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
    return f"{number(start, digits)} to {number(end, digits)}"


def _each(some: Sequence[Change], column: str) -> str:
    return ", ".join(f"from {_way(c, column)} under {c.label}" for c in some)


def _kept(best: Change | None) -> str:
    """A map of fewer synapses looks sharper: how many the best one has."""
    if best is None:
        return ""
    return (
        f"At the end {best.label} has {number(best.of('ff_synapses')[1], 1)} feed-forward synapses "
        f"a neuron, {number(best.of('ff_synapses')[0], 1)} at the start."
    )


def _moved(known: Sequence[Change]) -> str:
    """Where the map left its place most."""
    worst = max(known, key=lambda c: c.by(AD), default=None)
    if worst is None or not worst.by(AD) > 0 or len(known) < 2:
        return ""
    return f"The map left its place most under {worst.label}: AD from {_way(worst, AD)}."


def _from_elsewhere(others: Sequence[Change]) -> str:
    """Rules that began with another map."""
    told = (f"{c.label}: σ from {_way(c, SIGMA)}, AD from {_way(c, AD)}" for c in others)
    return f"From another start, {'; '.join(told)}." if others else ""


def _grown(found: Mapping[str, Change]) -> str:
    """Maps that began without a synapse."""
    grown = [
        f"{label} a map with σ = {number(c.of(SIGMA)[1])} and AD = {number(c.of(AD)[1])}"
        for label, c in found.items()
        if not math.isfinite(c.of(SIGMA)[0]) and math.isfinite(c.of(SIGMA)[1])
    ]
    return f"From no synapse at all grew under {', '.join(grown)}." if grown else ""


def seeds(run: Loaded, found: Mapping[str, Change]) -> str:
    """How many there are, and what they allow to be said."""
    counts = sorted({change.n for change in found.values()})
    claims = [(what, c) for what, c in contrasts(run, found) if c.significant]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if claims:
        told = "; ".join(f"{c.a} against {c.b} ({MEASURES[what]})" for what, c in claims)
        return f"Means of {n} seeds. Contrasts that the seeds tell apart: {told}."
    text = "One seed" if counts == [1] else f"Means of {n} seeds"
    return f"{text}: no claim of significance."


def contrasts(run: Loaded, found: Mapping[str, Change]) -> list[tuple[str, compare.Contrast]]:
    """The contrasts that the experiment named, of σ and AD at the end, all corrected together."""
    pairs = run.experiment.get("contrasts") or run.config.get("contrasts") or []
    made, what = [], []
    for a, b in ((found[a].end, found[b].end) for a, b in pairs if {a, b} <= found.keys()):
        for column in MEASURES:
            known = [{r["seed"] for r in end.rows if r[column] is not None} for end in (a, b)]
            if known[0] & known[1]:
                made.append(compare.contrast(a, b, a.density, column=column))
                what.append(column)
    return list(zip(what, compare.corrected(made), strict=True))


def limits(run: Loaded, found: Mapping[str, Change]) -> list[str]:
    """What the seeds cannot tell."""
    fewest = min((change.n for change in found.values()), default=0)
    if not fewest:
        return []
    if fewest == 1:
        return [
            "One seed says nothing about the spread between seeds: any difference may be that of "
            "another seed."
        ]
    if fewest < compare.MIN_SEEDS:
        return [
            f"With {fewest} seeds no difference is called significant; that starts at "
            f"{compare.MIN_SEEDS} seeds and only for contrasts that the experiment named."
        ]
    if not contrasts(run, found):
        return ["The experiment named no contrast, so no difference is tested."]
    return [
        "The named contrasts are tested by flipping the signs of the paired differences, with "
        "Holm's correction for all of them; nothing else on this page is a claim about rules."
    ]


def bimodality(weights: np.ndarray) -> str:
    """How far weights, as fractions of the most they may be, sit at both ends."""
    from rewire.analysis import topography

    found = topography.bimodality(weights, 1.0)
    if math.isnan(found.low):
        return "no synapse"
    if math.isnan(found.coefficient):
        return f"all {weights[0]:.2f}"
    low, high = (f"{100 * share:.0f}\u202f%" for share in (found.low, found.high))
    return f"{low} in the lowest tenth, {high} in the highest; bimodality {found.coefficient:.2f}"
