"""Which measure at which step goes with accuracy, across rules and within them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from .measuring import Entry, named

TOLERANCE = 1.05  # edges kept / edges asked for, up to which a rule counts as at its density
RESAMPLES = 2000


def at_density(density: float, entries: Sequence[Entry]) -> dict[str, Any]:
    labels = list(dict.fromkeys(e["label"] for e in entries))
    over = [
        label
        for label in labels
        if np.mean([e["kept"] for e in entries if e["label"] == label]) > TOLERANCE * density
    ]
    within = [e for e in entries if e["label"] not in over]
    return {
        "rules": {label: _rule([e for e in entries if e["label"] == label]) for label in labels},
        "over": over,
        "correlations": _correlations(within),
        "left_out": _leave_one_out(within),
    }


def _rule(entries: Sequence[Entry]) -> dict[str, Any]:
    scores: dict[str, list[float]] = {}
    for entry in entries:
        for row in entry["z"]:
            if row["z"] is not None and np.isfinite(row["z"]):
                scores.setdefault(named(row["measure"], row["part"]), []).append(row["z"])
    return {
        "seeds": len(entries),
        "versions": entries[0].get("versions", {}),
        "kept": float(np.mean([e["kept"] for e in entries])),
        "test_accuracy": float(np.mean([e["test_accuracy"] for e in entries])),
        "z": {name: float(np.mean(values)) for name, values in scores.items()},
        "least": {name: float(np.min(values)) for name, values in scores.items()},
        "most": {name: float(np.max(values)) for name, values in scores.items()},
    }


def _columns(entries: Sequence[Entry]) -> dict[tuple[int, str], dict[str, float]]:
    """(step, measure) -> key of a network -> value, where every one of them has it."""
    columns: dict[tuple[int, str], dict[str, float]] = {}
    for entry in entries:
        for row in entry["course"]:
            columns.setdefault((row["step"], row["name"]), {})[entry["key"]] = row["value"]
    return {name: column for name, column in columns.items() if np.ptp([*column.values()]) > 0}


def _correlations(entries: Sequence[Entry]) -> list[Entry]:
    """Every measure at every step, those furthest from 0 first."""
    rng = np.random.default_rng(0)
    accuracy = {e["key"]: e["test_accuracy"] for e in entries}
    label = {e["key"]: e["label"] for e in entries}
    rows, ranked = [], []
    for (step, name), column in _columns(entries).items():
        rules = sorted({label[key] for key in column})
        if len(rules) < 8:
            continue
        x, y = (
            np.array([np.mean([of[k] for k in column if label[k] == r]) for r in rules])
            for of in (column, accuracy)
        )
        if not np.ptp(x):
            continue
        deviations = [_deviations(of, column, label) for of in (column, accuracy)]
        rows.append({
            "step": step, "measure": name, "rules": len(rules), "rho": _spearman(x, y),
            "interval": _interval(x, y, rng), "within": _spearman(*deviations),
            "within_p": _p_within(*deviations), "networks": len(column),
        })  # fmt: skip
        ranked.append((x, rules))
    means = {r: np.mean([accuracy[k] for k in accuracy if label[k] == r]) for r in label.values()}
    furthest = _furthest_by_chance(ranked, means, rng)
    for row in rows:
        row["p_any"] = float((1 + (furthest >= abs(row["rho"])).sum()) / (len(furthest) + 1))
    return sorted(rows, key=lambda row: -abs(row["rho"]))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    a, b = stats.rankdata(x), stats.rankdata(y)
    if not np.ptp(a) or not np.ptp(b):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _interval(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> list[float]:
    """95 % of resamples of the rules."""
    draws = rng.integers(len(x), size=(RESAMPLES, len(x)))
    a, b = (_standard(stats.rankdata(values[draws], axis=1)) for values in (x, y))
    return [float(q) for q in np.quantile((a * b).sum(1), [0.025, 0.975])]


def _standard(ranks: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, so that a correlation is a product; 0 where nothing varies."""
    centred = ranks - ranks.mean(-1, keepdims=True)
    length = np.sqrt((centred**2).sum(-1, keepdims=True))
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _deviations(
    of: Mapping[str, float], keys: Iterable[str], label: Mapping[str, str]
) -> np.ndarray:
    """From the mean of each network's rule, in the order of the keys."""
    keys = list(keys)
    groups: dict[str, list[float]] = {}
    for key in keys:
        groups.setdefault(label[key], []).append(of[key])
    return np.array([of[key] - np.mean(groups[label[key]]) for key in keys])


def _p_within(x: np.ndarray, y: np.ndarray) -> float:
    """Of a rank correlation of deviations: as of so many independent networks, uncorrected."""
    return float(stats.spearmanr(x, y).pvalue) if np.ptp(x) and np.ptp(y) else 1.0


def _furthest_by_chance(
    ranked: Sequence[tuple[np.ndarray, list[str]]],
    accuracy: Mapping[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Largest |rho| of all measures and steps, with accuracies permuted among the rules."""
    names = sorted(accuracy)
    values = np.array([accuracy[name] for name in names])
    shuffled = values[np.argsort(rng.random((RESAMPLES, len(values))), axis=1)]
    furthest = np.zeros(RESAMPLES)
    by_rules: dict[tuple[str, ...], list[np.ndarray]] = {}
    for x, rules in ranked:
        by_rules.setdefault(tuple(rules), []).append(_standard(stats.rankdata(x)))
    for rules, columns in by_rules.items():
        at = [names.index(rule) for rule in rules]
        y = _standard(stats.rankdata(shuffled[:, at], axis=1))
        furthest = np.maximum(furthest, np.abs(y @ np.array(columns).T).max(1))
    return furthest


def _leave_one_out(entries: Sequence[Entry], penalty: float = 1.0) -> dict[str, Any]:
    """Each rule's mean accuracy from the measures of its networks, learned from the other rules.

    Q2 is 1 - squared errors / squared errors of predicting the other rules' mean: below 0, worse
    than that. Ridge regression on standardised measures; the penalty is not fitted.
    """
    result = {}
    columns = _columns(entries)
    labels = sorted({e["label"] for e in entries})
    accuracy = np.array(
        [np.mean([e["test_accuracy"] for e in entries if e["label"] == r]) for r in labels]
    )
    for step in sorted({step for step, _ in columns}):
        table = []
        for name in sorted(name for at, name in columns if at == step):
            column = columns[step, name]
            means = [
                np.mean([column[e["key"]] for e in entries
                         if e["label"] == r and e["key"] in column] or [np.nan])
                for r in labels
            ]  # fmt: skip
            table.append(means)
        features = np.array(table).T
        known = np.isfinite(features).all(1)
        if known.sum() < 8:
            continue
        x, y = features[known], accuracy[known]
        errors, baseline = [], []
        for i in range(len(y)):
            others = np.arange(len(y)) != i
            centre, scale = x[others].mean(0), x[others].std(0)
            scale[scale == 0] = 1
            a = (x[others] - centre) / scale
            b = y[others] - y[others].mean()
            weights = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ b)
            predicted = ((x[i] - centre) / scale) @ weights + y[others].mean()
            errors.append((y[i] - predicted) ** 2)
            baseline.append((y[i] - y[others].mean()) ** 2)
        result[str(step)] = {
            "rules": int(known.sum()),
            "measures": x.shape[1],
            "q2": float(1 - np.sum(errors) / np.sum(baseline)),
        }
    return result
