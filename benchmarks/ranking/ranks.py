"""Ranks and their uncertainty, frontiers, contrasts: numbers of entries to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rewire.experiments.compare import MIN_SEEDS
from rewire.experiments.statistics import ALPHA, holm, sign_flip_test

RESAMPLES = 2000
BOUNDS = (0.025, 0.975)
COSTS = {
    "training FLOPs": lambda entry: entry["train_flops"]["sparse"],
    "live edges": lambda entry: entry["edges"],
    "most edges held": lambda entry: entry["most_held"],
}

Entry = dict[str, Any]


# -- one network and density ----------------------------------------------------------------------


def add_ranks(entries: Sequence[Entry], lower: bool) -> list[Entry]:
    """From best to worst, with ``rank`` and ``interval`` of those at their density or below.

    There is no interval where a rule has one seed: nothing says how it varies.
    """
    sign = 1 if lower else -1
    ordered = sorted(entries, key=lambda e: (sign * e["test"]["mean"], e["label"]))
    within = [e for e in ordered if not e["over"]]
    bounds = _bounds(_resampled(within, lower)) if _vary(within) else [None] * len(within)
    place = {e["label"]: i for i, e in enumerate(within)}
    return [
        {**e, "rank": place[e["label"]] + 1, "interval": bounds[place[e["label"]]]}
        if e["label"] in place
        else {**e, "rank": None, "interval": None}
        for e in ordered
    ]


def _vary(entries: Sequence[Entry]) -> bool:
    return bool(entries) and all(len(e["test"]["values"]) > 1 for e in entries)


def _bounds(drawn: np.ndarray) -> list[list[float]]:
    """Of each column of (draws, columns)."""
    return np.quantile(drawn, BOUNDS, axis=0).T.tolist()


def _resampled(entries: Sequence[Entry], lower: bool) -> np.ndarray:
    """(RESAMPLES, entries) ranks of the means of seeds drawn with replacement."""
    rng = np.random.default_rng(0)
    means = np.stack([_means(e["test"]["values"], rng) for e in entries], axis=1)
    return stats.rankdata(means if lower else -means, axis=1)


def _means(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Of seeds drawn with replacement, as far from the mean as as many seeds are on average."""
    x = np.asarray(values)
    n = len(x)
    drawn = x[rng.integers(n, size=(RESAMPLES, n))].mean(1)
    # the spread of n values about their own mean is (n - 1) / n of that about the true one
    return x.mean() + (drawn - x.mean()) * (n / (n - 1)) ** 0.5 if n > 1 else drawn


def frontier(network: Mapping[str, Any], cost: str) -> list[dict[str, Any]]:
    """Entries of all densities that none beats at as little cost, cheapest first.

    ``share``: of resamples of the seeds, in how many an entry stands so.
    """
    entries = [
        {**e, "asked": density}
        for density, listed in [("1", [network["dense"]] if network["dense"] else []),
                                *network["densities"].items()]
        for e in listed
    ]  # fmt: skip
    price = np.array([COSTS[cost](e) for e in entries])
    sign = -1 if network["metric"]["lower"] else 1
    rng = np.random.default_rng(0)
    drawn = sign * np.stack([_means(e["test"]["values"], rng) for e in entries], axis=1)
    share = _unbeaten(price, drawn).mean(0)
    at_means = sign * np.array([[e["test"]["mean"] for e in entries]])
    unbeaten = _unbeaten(price, at_means)[0]
    rows = [
        {"label": e["label"], "asked": e["asked"], "cost": float(price[i]),
         "test": e["test"]["mean"], "share": float(share[i])}
        for i, e in enumerate(entries)
        if unbeaten[i]
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row["cost"])


def _unbeaten(price: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(draws, entries): whether no other entry is as cheap and better, or cheaper and as good."""
    beaten = np.zeros(values.shape, bool)
    for i in range(len(price)):
        cheap, cheaper = price <= price[i], price < price[i]
        better = (values[:, cheap] > values[:, [i]]).any(1)
        beaten[:, i] = better | (values[:, cheaper] >= values[:, [i]]).any(1)
    return ~beaten


# -- several networks -----------------------------------------------------------------------------


def overall(networks: Sequence[Mapping[str, Any]], of: str = "densities") -> dict[str, Any]:
    """Mean ranks over networks, and over the densities in each, of rules that have all ranks.

    The interval draws networks with replacement, and in each the seeds of every rule.
    """
    by_task = {
        (network["name"], density): {e["label"]: e for e in entries if e["rank"] is not None}
        for network in networks
        for density, entries in network.get(of, {}).items()
    }
    if not by_task:
        return {"rules": [], "left_out": []}
    everywhere = set.intersection(*(set(entries) for entries in by_task.values()))
    anywhere = list(dict.fromkeys(
        e["label"] for n in networks for entries in n.get(of, {}).values() for e in entries
    ))  # fmt: skip
    labels = [label for label in anywhere if label in everywhere]
    lower = {network["name"]: network["metric"]["lower"] for network in networks}
    means, drawn, known = [], [], []  # (networks, labels), (networks, RESAMPLES, labels)
    names = list(dict.fromkeys(name for name, _ in by_task))
    for name in names:
        own = [[entries[label] for label in labels]
               for (of_network, _), entries in by_task.items() if of_network == name]  # fmt: skip
        means.append(np.mean([_ranks(entries, lower[name]) for entries in own], axis=0))
        drawn.append(np.mean([_resampled(entries, lower[name]) for entries in own], axis=0))
        known.append(all(_vary(entries) for entries in own))
    rng = np.random.default_rng(1)
    which = rng.integers(len(names), size=(RESAMPLES, len(names)))
    resampled = np.stack(drawn)[which, np.arange(RESAMPLES)[:, None]].mean(1)
    low_high = _bounds(resampled)
    by_network = [_bounds(x) if sure else [None] * len(labels)
                  for x, sure in zip(drawn, known, strict=True)]  # fmt: skip
    rules = [
        {"label": label, "mean": float(np.mean([m[i] for m in means])), "interval": low_high[i],
         "by_network": {name: {"rank": float(means[n][i]), "interval": by_network[n][i]}
                        for n, name in enumerate(names)}}
        for i, label in enumerate(labels)
    ]  # fmt: skip
    return {
        "rules": sorted(rules, key=lambda rule: rule["mean"]),
        "left_out": [label for label in anywhere if label not in everywhere],
        "agreement": _agreement(names, means, drawn),
    }


def _ranks(entries: Sequence[Entry], lower: bool) -> np.ndarray:
    means = np.array([e["test"]["mean"] for e in entries])
    return stats.rankdata(means if lower else -means)


def _agreement(
    names: Sequence[str], means: Sequence[np.ndarray], drawn: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Spearman's correlation of the ranks of each two networks, with its interval over seeds."""
    rows = []
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            low, high = np.quantile(_correlations(drawn[i], drawn[j]), BOUNDS)
            rho = _correlations(means[i][None], means[j][None])[0]
            rows.append({"networks": [first, names[j]], "rho": float(rho),
                         "interval": [float(low), float(high)]})  # fmt: skip
    return rows


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row's ranks; 0 where one side has no order."""
    a, b = (stats.rankdata(x, axis=1) for x in (a, b))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    length = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), length, out=np.zeros(len(a)), where=length > 0)


def changes(ranked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rules whose ranks on two networks have intervals apart, with the two that are furthest."""
    rows = []
    for rule in ranked["rules"]:
        places = sorted(rule["by_network"].items(), key=lambda item: item[1]["rank"])
        (best, first), (worst, last) = places[0], places[-1]
        if _apart(first["interval"], last["interval"]):
            rows.append({"label": rule["label"], "best": {"network": best, **first},
                         "worst": {"network": worst, **last}})  # fmt: skip
    return sorted(rows, key=lambda row: row["best"]["rank"] - row["worst"]["rank"])


def _apart(first: Sequence[float] | None, last: Sequence[float] | None) -> bool:
    """Whether the first interval ends before the last begins; False where one is not known."""
    return first is not None and last is not None and first[1] < last[0]


def by_tuning(network: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rules with searched fields beside the same at defaults, ranked among these rules alone.

    ``gain`` is the difference of means in the better direction; ``changes`` says whether the
    intervals of the two ranks are apart. Fields are those that a search chose, the rule's own of a
    run that no search was made for.
    """
    searches = network.get("searches", {})
    lower, rows = network["metric"]["lower"], []
    for density, tuned in network.get("tuned", {}).items():
        usual = {e["label"]: e for e in network["densities"].get(density, [])}
        pairs = [(usual[e["label"]], e) for e in tuned if e["label"] in usual]
        pairs = [(a, b) for a, b in pairs if not (a["over"] or b["over"])]
        before = {e["label"]: e for e in add_ranks([a for a, _ in pairs], lower)}
        after = {e["label"]: e for e in add_ranks([b for _, b in pairs], lower)}
        for label, was in before.items():
            now = after[label]
            gain = now["test"]["mean"] - was["test"]["mean"]
            apart = _apart(was["interval"], now["interval"]) or _apart(
                now["interval"], was["interval"]
            )
            search = searches.get(label, {"after": now["fields"], "trials": None, "spent": None})
            rows.append({"label": label, "density": density, **search,
                         "gain": -gain if lower else gain, "changes": apart,
                         "default": {k: was[k] for k in ("rank", "interval")},
                         "tuned": {k: now[k] for k in ("rank", "interval")}})  # fmt: skip
    return rows


# -- contrasts ------------------------------------------------------------------------------------


def contrasts(networks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pairs that the networks' experiments name, over all networks that name them.

    A difference is positive where the first is better. ``p`` is there from six differences on:
    signs flipped, each difference in units of the root mean square of its network's.
    """
    pairs = dict.fromkeys(tuple(pair) for n in networks for pair in n["contrasts"])
    densities = dict.fromkeys(density for n in networks for density in n["densities"])
    rows = [
        row
        for a, b in pairs
        for density in densities
        if (row := _contrast(a, b, density, networks)) is not None
    ]
    tested = [row for row in rows if row["p"] is not None]
    for row, corrected in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = corrected
        row["significant"] = corrected < ALPHA
    return rows


def _contrast(
    a: str, b: str, density: str, networks: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    by_network, scaled = {}, list[float]()
    for network in (n for n in networks if [a, b] in n["contrasts"]):
        listed = {e["label"]: e for e in network["densities"].get(density, [])}
        if network["dense"]:
            listed[network["dense"]["label"]] = network["dense"]
        if a not in listed or b not in listed or listed[a]["over"] or listed[b]["over"]:
            continue
        left, right = (dict(zip(e["seeds"], e["test"]["values"], strict=True))
                       for e in (listed[a], listed[b]))  # fmt: skip
        sign = -1 if network["metric"]["lower"] else 1
        d = sign * np.array([left[s] - right[s] for s in sorted(left.keys() & right.keys())])
        if len(d):
            size = np.sqrt((d**2).mean())
            scaled += (d / size if size else d).tolist()
            by_network[network["name"]] = {"mean": float(d.mean()), "n": len(d),
                                           "better": int((d > 0).sum())}  # fmt: skip
    if not by_network:
        return None
    p = sign_flip_test(scaled) if len(scaled) >= MIN_SEEDS and np.any(scaled) else None
    return {"a": a, "b": b, "density": density, "by_network": by_network, "n": len(scaled),
            "p": p, "p_holm": None, "significant": False}  # fmt: skip
