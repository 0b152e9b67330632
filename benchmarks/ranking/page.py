"""The page: every number from the results, every sentence by the program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewire.experiments.metric import Metric

from .ranks import COSTS, by_tuning, changes, frontier, overall
from .runs import UNRANKED

BEGIN, END = "<!-- ranking -->", "<!-- /ranking -->"
MOVED = 12  # rules with a change of rank that are listed

Found = Mapping[str, Any]


def filled(page: str, results: Found) -> str:
    """The page with what stands between its comments written anew. Raises ValueError without."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no {BEGIN} and {END} to write between.")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    return f"{before}{BEGIN}\n\n{markdown(results).rstrip()}\n\n{END}{after}"


def markdown(results: Found) -> str:
    """The part of the documentation that is written by this program."""
    networks = results["networks"]
    lines = [*_protocol(results), ""]
    if len(networks) > 1:
        lines += [*_over_all(networks), ""]
        lines += [*_moved(networks), ""]
    if any(network.get("tuned") for network in networks):
        lines += [*_tuned(networks), ""]
    if results["contrasts"]:
        lines += [*_contrasts(results["contrasts"], networks), ""]
    for network in networks:
        lines += [*_network(network), ""]
    return "\n".join(lines).rstrip() + "\n"


# -- what was run ---------------------------------------------------------------------------------


def _protocol(results: Found) -> Iterator[str]:
    yield f"Written on {results['date']} by the program, from these runs:"
    yield ""
    yield "| network | task | densities | seeds | cells finished | with |"
    yield "|---|---|---|---|--:|---|"
    for network in results["networks"]:
        for run in network["runs"]:
            yield (
                f"| {network['name']}{' (tuned)' if run.get('tuned') else ''} "
                f"| {network['title']}, {network['metric']['title']} "
                f"| {', '.join(network['densities'])} | {', '.join(map(str, network['seeds']))} "
                f"| {run['finished']} of {run['cells']} | `{run['command']}` |"
            )
    yield ""
    n = min(len(e["seeds"]) for e in _all_entries(results["networks"]))
    yield (
        "Rules are ranked among those that kept at most 5 % more edges than the density; the "
        "others "
        "have no rank. "
        + (
            "Its 95 % interval comes from resamples of the seeds (their deviations times "
            f"sqrt(n / (n - 1))); with {n} seeds it tends to be too narrow."
            if n > 1
            else "Ranks of rules with one seed have no interval: another seed may give another "
            "order."
        )
    )
    yield from _what_is_missing(results)


def _all_entries(networks: Sequence[Found]) -> Iterator[Found]:
    for network in networks:
        for entries in network["densities"].values():
            yield from entries


def _what_is_missing(results: Found) -> Iterator[str]:
    networks = results["networks"]
    lines = [f"{network['name']}: {text}" for network in networks for text in network["left_out"]]
    lines += [text for network in networks for text in _own_fields(network)]
    lines += [
        f"{network['name']}: {text}"
        for network in networks
        for run in network["runs"]
        for text in run["outdated"]
    ]
    if results["absent"]:
        absent = ", ".join(results["absent"])
        lines.append(f"rules of this version that are in none of the runs: {absent}")
    why = "; ".join(f"{name} ({reason})" for name, reason in UNRANKED.items())
    lines.append(f"never ranked: {why}")
    yield ""
    yield from (f"- {line}." for line in lines)


def _own_fields(network: Found) -> Iterator[str]:
    """Which labels have other fields than their rule's defaults."""
    changed = dict.fromkeys(e["label"] for e in _all_entries([network]) if e["fields"])
    if changed:
        yield f"{network['name']}: not at the defaults of their rule: {', '.join(changed)}"


# -- over networks --------------------------------------------------------------------------------


def _over_all(networks: Sequence[Found]) -> Iterator[str]:
    ranked = overall(networks)
    names = [network["name"] for network in networks]
    yield "## Over all networks"
    yield ""
    yield (
        f"Mean rank among the {len(ranked['rules'])} rules that are ranked at every density of "
        "every "
        "network: the mean over the densities of a network, then over the networks. The interval "
        "of "
        "the mean resamples networks and seeds, that of a network seeds (?: only one seed)."
    )
    yield ""
    yield f"| | rule | mean rank | {' | '.join(names)} |"
    yield f"|--:|---|--:|{'--:|' * len(names)}"
    for place, rule in enumerate(ranked["rules"], 1):
        cells = [_rank(rule["by_network"][name]) for name in names]
        mean = f"**{rule['mean']:.1f}** ({_interval(rule['interval'])})"
        yield f"| {place} | {rule['label']} | {mean} | {' | '.join(cells)} |"
    if ranked["left_out"]:
        yield ""
        yield f"Not ranked on every network: {', '.join(ranked['left_out'])}."


def _rank(place: Found) -> str:
    return f"{place['rank']:.3g} ({_interval(place['interval'])})"


def _interval(bounds: Sequence[float] | None) -> str:
    if bounds is None:
        return "?"
    low, high = (f"{x:.3g}" for x in bounds)
    return low if low == high else f"{low}–{high}"


def _moved(networks: Sequence[Found]) -> Iterator[str]:
    ranked = overall(networks)
    yield "## What changes rank between networks"
    yield ""
    for row in ranked["agreement"]:
        first, second = row["networks"]
        low, high = row["interval"]
        yield (f"- {first} and {second}: Spearman's correlation of the ranks is {row['rho']:.2f} "
               f"({low:.2f} to {high:.2f} over the seeds).")  # fmt: skip
    moved = changes(ranked)
    unknown = [n for n in networks if any(len(e["seeds"]) < 2 for e in _all_entries([n]))]
    yield ""
    if len(networks) - len(unknown) < 2:
        yield ("What changes cannot be said: "
               f"{', '.join(n['name'] for n in unknown)} has rules with one seed.")  # fmt: skip
        return
    if not moved:
        yield "No rule has ranks on two networks whose intervals do not overlap."
        return
    yield (
        f"{len(moved)} of {len(ranked['rules'])} rules have ranks on two networks whose "
        "intervals do "
        "not overlap" + (f"; the {MOVED} that move furthest:" if len(moved) > MOVED else ":")
    )
    yield ""
    for row in moved[:MOVED]:
        best, worst = row["best"], row["worst"]
        yield (f"- {row['label']}: {_rank(best)} on {best['network']}, {_rank(worst)} on "
               f"{worst['network']}.")  # fmt: skip


def _tuned(networks: Sequence[Found]) -> Iterator[str]:
    yield "## Default and tuned"
    yield ""
    yield "Ranks among the tuned rules only, with default fields and with tuned fields."
    yield ""
    columns = ("network", "density", "rule", "rank at defaults", "rank tuned", "gain", "fields",
               "trials, dense trainings spent", "changes")  # fmt: skip
    yield f"| {' | '.join(columns)} |"
    yield "|---|--:|---|--:|--:|--:|---|--:|---|"
    for network in networks:
        metric = _metric(network)
        for row in by_tuning(network):
            fields = ", ".join(_field(k, v) for k, v in row["after"].items()) or "the defaults"
            cost = f"{row['trials']}, {row['spent']:.3g}" if row["trials"] else "–"
            gain = f"{row['gain'] * metric.factor:+.2f}"
            yield (
                f"| {network['name']} | {row['density']} | {row['label']} "
                f"| {_rank(row['default'])} | {_rank(row['tuned'])} | {gain} | {fields} | {cost} "
                f"| {'yes' if row['changes'] else 'no'} |"
            )


def _field(name: str, value: Any) -> str:
    return f"{name} = {value:.3g}" if isinstance(value, float) else f"{name} = {value}"


def _contrasts(rows: Sequence[Found], networks: Sequence[Found]) -> Iterator[str]:
    metrics = {network["name"]: _metric(network) for network in networks}
    yield "## Contrasts"
    yield ""
    tested = [row for row in rows if row["p_holm"] is not None]
    yield (
        "The pairs of rules that the experiments name, paired by seed: the difference in units "
        "of the "
        "network's metric (percentage points for accuracies), positive if the first rule is "
        "better, "
        "and the number of seeds on which it is. "
        + (f"{len(tested)} pairs have the six differences that a test needs: by flipping signs "
           "over "
           f"all networks together, with Holm's correction for {len(tested)} tests." if tested else
           "None has the six differences that a test needs.")
    )  # fmt: skip
    yield ""
    yield f"| density | contrast | {' | '.join(metrics)} | p after Holm | verdict |"
    yield f"|--:|---|{'--:|' * len(metrics)}--:|---|"
    for row in rows:
        cells = []
        for name, metric in metrics.items():
            own = row["by_network"].get(name)
            cells.append(_difference(own, metric) if own else "–")
        p = "–" if row["p_holm"] is None else f"{row['p_holm']:.2g}"
        yield (f"| {row['density']} | {row['a']} over {row['b']} | {' | '.join(cells)} | {p} "
               f"| {_verdict(row)} |")  # fmt: skip


def _difference(own: Found, metric: Metric) -> str:
    return f"{own['mean'] * metric.factor:+.2f} ({own['better']}/{own['n']})"


def _verdict(row: Found) -> str:
    if row["p_holm"] is None:
        return "too few seeds"
    if not row["significant"]:
        return "no significant difference"
    signs = {own["mean"] > 0 for own in row["by_network"].values()}
    if len(signs) > 1:
        return "differs between networks"
    return f"{row['a'] if signs == {True} else row['b']} is better"


# -- one network ----------------------------------------------------------------------------------


def _metric(network: Found) -> Metric:
    return Metric(**network["metric"])


def _network(network: Found) -> Iterator[str]:
    metric = _metric(network)
    yield f"## {network['name']}: {network['title']}"
    yield ""
    which = "lowest" if metric.lower else "highest"
    yield (
        "The frontier: the results that no other rule, at any density, exceeds at the same or "
        "lower "
        f"cost ({which} test {metric.title} is best). In brackets: the density, and in how many of "
        "100 resamples of the seeds the result is on the frontier."
    )
    yield ""
    for cost in COSTS:
        listed = ", ".join(
            f"{p['label']} ({p['asked']}; {100 * p['share']:.0f}) {_value(metric, p['test'])}"
            for p in frontier(network, cost)
        )
        yield f"- Against {cost}, cheapest first: {listed}."
    for density, entries in network["densities"].items():
        yield ""
        yield from _table(network, density, entries)


def _value(metric: Metric, value: float) -> str:
    return f"{metric.factor * value:.{2 if metric.percent else 3}f}"


def _table(network: Found, density: str, entries: Sequence[Found]) -> Iterator[str]:
    metric, dense = _metric(network), network["dense"]
    unit = dense["train_flops"]["sparse"] if dense else 1.0
    title = f"test {metric.title}{', %' if metric.percent else ''}"
    yield (f"| | 95 % | rule, {density} asked for | {title} | seeds | density | training FLOPs "
           "| most edges held | CPU s |")  # fmt: skip
    yield "|--:|:-:|---|--:|--:|--:|--:|--:|--:|"
    for e in [*entries, *([{**dense, "rank": None, "interval": None}] if dense else [])]:
        shown = _value(metric, e["test"]["mean"])
        if e["test"]["sd"] is not None:
            shown += f" ± {_value(metric, e['test']['sd'])}"
        fields = ", ".join(_field(k, v) for k, v in e["fields"].items() if k != "when")
        label = e["label"] + (f" ({fields})" if fields and e["label"] == e["rule"] else "")
        yield (
            f"| {e['rank'] or '–'} | {_interval(e['interval']) if e['rank'] else '–'} "
            f"| {label} | {shown} | {len(e['seeds'])} | {e['density']:.3g} "
            f"| {e['train_flops']['sparse'] / unit:.2g} | {e['most_held']:.2g} "
            f"| {e['cpu_seconds']:.1f} |"
        )
