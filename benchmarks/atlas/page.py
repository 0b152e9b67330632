"""The page and its figures, every number of them from the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewire import pictures
from rewire.experiments import kinds
from rewire.experiments.errors import RewireError
from rewire.pictures.style import drawing, to_svg

from .measuring import AGAINST

FAR = 5.0  # |z| that the page names
LOOKED_AT, CLUSTERING = "0.05", "RobinsAlexander, fc1.weight"  # of a first look at these networks
QUIET = ("Static", "IMP", "DeepR", "StructuralPlasticity", "SET")
GROUPS = {
    "clustering": ("RobinsAlexander", "DegreeAssortativity", "NODF"),
    "paths": ("SpectralGap", "Diamonds", "PathCount", "EdgesOnPath"),
    "degrees": ("DegreeGini", "KCore", "PercolationByDegree"),
}

Found = Mapping[str, Any]


# -- figures --------------------------------------------------------------------------------------


def pictures_of(networks: Sequence[Found]) -> dict[str, str]:
    """File name -> SVG: for each network, at its first density, z of each group of measures."""
    files = {}
    for network in networks:
        z = _first_density(network)
        for group, measures in GROUPS.items():
            rows = {label: _of(row, measures) for label, row in z.items()}
            with drawing(standalone=True):
                files[_file(network, group)] = to_svg(pictures.measures_by_rule(_upright(rows)))
    return files


def _file(network: Found, group: str) -> str:
    return f"{network['experiment']}-{group}.svg"


def _first_density(network: Found) -> dict[str, dict[str, float]]:
    at = next(iter(network["densities"].values()))
    return {label: rule["z"] for label, rule in at["rules"].items() if rule["z"]}


def _of(z: Mapping[str, float], measures: Sequence[str]) -> dict[str, float]:
    """The parts of these measures, by short names."""
    return {_short(name): value for name, value in z.items() if name.split(", ")[0] in measures}


def _short(name: str) -> str:
    return name.replace(".weight", "")


def _upright(z: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    """The longer side downwards: rules beside each other where they are fewer than the measures."""
    parts = list(dict.fromkeys(part for row in z.values() for part in row))
    if len(z) >= len(parts):
        return z
    return {part: {label: row[part] for label, row in z.items() if part in row} for part in parts}


# -- the page -------------------------------------------------------------------------------------


def markdown(networks: Sequence[Found]) -> str:
    lines = [
        "# Atlas: the structure that each rule leaves",
        "",
        "For network scientists: does the connectivity that a rule leaves differ from chance? "
        "Measures of the networks that every rule trained, compared with random networks. This "
        "page is written by",
        "",
        "```sh",
        *(network["command"] for network in networks),
        f"python -m benchmarks.atlas {_runs(networks)} > results.json",
        "python -m benchmarks.atlas results.json --markdown --pictures docs > docs/atlas.md",
        "```",
        "",
        "z is the distance of a network from the mean of random networks, in their standard "
        "deviations. The random networks keep both degree sequences of every layer (`degrees`) or, "
        f"for the measures of degrees themselves ({', '.join(AGAINST['counts'])}), the number of "
        "edges of every layer (`counts`). A z within ±2 is compatible with chance. Numbers are "
        "means "
        "over the seeds.",
        "",
    ]
    if len(networks) > 1:
        lines += _on_all(networks)
    for network in networks:
        lines += _network(network)
    return "\n".join(lines).rstrip() + "\n"


def _runs(networks: Sequence[Found]) -> str:
    return " ".join(f"runs/{network['experiment']}" for network in networks)


def _network(network: Found) -> Iterator[str]:
    seeds, cells = len(network["seeds"]), network["cells"]
    yield from (f"## {network['experiment']}", "")
    yield (
        f"Measured on {network['date']}: {seeds} seeds, {network['draws']} draws of each null "
        "model."
        + (f" {network['unfinished']} of the run's {cells} cells had not finished: their rules or "
           "seeds are missing below." if network["unfinished"] else "")
    )  # fmt: skip
    yield ""
    if changed := _of_other_versions(network):
        yield (
            f"Trained by another version of their rule than the current one: {', '.join(changed)}. "
            "Their numbers are those of that version."
        )
        yield ""
    first = next(iter(network["densities"]))
    for group, measures in GROUPS.items():
        alt = f"{network['experiment']}, density {first}: z of {', '.join(measures)} by rule"
        yield from (f"![{alt}]({_file(network, group)})", "")
    for density, at in network["densities"].items():
        yield from _density_page(density, at)
        if density == LOOKED_AT:
            yield from _first_look(at)


def _of_other_versions(network: Found) -> list[str]:
    """Labels whose rule, in the preset of this name, has another version today."""
    try:
        entries = kinds.load(network["experiment"]).rules
    except RewireError:
        return []  # an experiment of somebody's own
    today = {entry.label: entry.build(1).versions for entry in entries}
    then = {label: rule.get("versions", {}) for at in network["densities"].values()
            for label, rule in at["rules"].items()}  # fmt: skip
    return [label for label, versions in then.items() if today.get(label, versions) != versions]


def _density_page(density: str, at: Found) -> Iterator[str]:
    yield from (f"### Density {density}", "")
    measures = [name for names in AGAINST.values() for name in names]
    rules = sorted(at["rules"].items(), key=lambda item: -item[1]["test_accuracy"])
    yield "For each measure the most extreme z of all layers, and the layer:"
    yield ""
    yield "| rule | test accuracy, % | density | " + " | ".join(measures) + " |"
    yield "|---|--:|--:|" + "--:|" * len(measures)
    for label, rule in rules:
        cells = [_furthest(rule["z"], name) for name in measures]
        yield (f"| {label} | {100 * rule['test_accuracy']:.2f} | {rule['kept']:.3g} | "
               + " | ".join(cells) + " |")  # fmt: skip
    yield ""
    yield from _far_from_chance(at, measures)
    yield from predictors(at)


def _furthest_part(z: Mapping[str, float], measure: str) -> str | None:
    parts = [name for name in z if name.split(", ")[0] == measure]
    return max(parts, key=lambda name: abs(z[name]), default=None)


def _where(part: str) -> str:
    """In which layer, or between which, short; "" of the whole network."""
    return _short(part.partition(", ")[2])


def _furthest(z: Mapping[str, float], measure: str) -> str:
    part = _furthest_part(z, measure)
    if part is None:
        return "–"
    where = _where(part)
    return f"{z[part]:.1f}" + (f" {where}" if where else "")


def _far_from_chance(at: Found, measures: Sequence[str]) -> Iterator[str]:
    for measure in measures:
        far = []
        for label, rule in at["rules"].items():
            part = _furthest_part(rule["z"], measure)
            if part is not None and abs(rule["z"][part]) >= FAR:
                where = _where(part)
                far.append((abs(rule["z"][part]), f"{label}{f' {where}' if where else ''} "
                            f"{rule['z'][part]:.0f} ({rule['least'][part]:.0f} to "
                            f"{rule['most'][part]:.0f})"))  # fmt: skip
        if far:
            listed = ", ".join(text for _, text in sorted(far, reverse=True))
            yield f"- {measure}: rules with |mean z| >= {FAR:g} (range over seeds): {listed}."
    yield ""


def _first_look(at: Found) -> Iterator[str]:
    """Whether what was found before, with other settings, is found again."""
    found = {r: at["rules"][r]["z"].get(CLUSTERING) for r in QUIET if r in at["rules"]}
    found = {r: z for r, z in found.items() if z is not None}
    if CLUSTERING not in at["rules"].get("RigL", {}).get("z", {}) or not found:
        return
    rigl, least = (at["rules"]["RigL"][k][CLUSTERING] for k in ("z", "least"))
    loud = {r: z for r, z in found.items() if abs(z) > 2.5}
    quiet = ", ".join(f"{r} {z:.1f}" for r, z in found.items() if r not in loud)
    yield (
        f"A pilot study with other settings found z = 66 of {CLUSTERING} under RigL, and "
        f"|z| <= 2.5 under {', '.join(QUIET)}. Here RigL has {rigl:.0f} "
        f"({'confirmed' if least > 5 else 'refuted'}: {least:.0f} at least); confirmed for {quiet}"
        + (f"; refuted for {', '.join(f'{r} {z:.0f}' for r, z in loud.items())}." if loud else ".")
    )
    yield ""


def predictors(at: Found) -> Iterator[str]:
    """Which measure goes with accuracy, said of one density."""
    rows = at["correlations"]
    if not rows:
        yield from ("Too few rules for correlations with accuracy.", "")
        return
    sure = [row for row in rows if row["p_any"] < 0.05]
    yield (
        f"Across {rows[0]['rules']} rules, {len(rows)} pairs of a measure and a step were "
        "correlated "
        "with the final accuracy. "
        + (f"{len(sure)} of them are significant (p < 0.05 for the largest of all correlations, "
           "accuracies permuted among rules)." if sure
           else "None is significant (p < 0.05 for the largest of all correlations, accuracies "
           "permuted among rules): no measure predicts which rule is accurate.")
    )  # fmt: skip
    yield from ("", "| measure | step | rules | rank correlation across rules | 95 % interval | "
                "p of the largest | within rules | p (uncorrected) |",
                "|---|--:|--:|--:|--:|--:|--:|--:|")  # fmt: skip
    for row in rows[:12]:
        low, high = row["interval"]
        step = "end" if row["step"] < 0 else str(row["step"])
        yield (
            f"| {_short(row['measure'])} | {step} | {row['rules']} | {row['rho']:.2f} | "
            f"{low:.2f} to {high:.2f} | {row['p_any']:.3f} | {row['within']:.2f} | "
            f"{row['within_p']:.2g} |"
        )
    yield ""
    for step, fit in at["left_out"].items():
        when = "the end" if int(step) < 0 else f"step {step}"
        yield (
            f"- All {fit['measures']} measures at {when}, ridge regression, each of "
            f"{fit['rules']} rules predicted from the others: Q² = {fit['q2']:.2f}"
            + (" (worse than the others' mean)." if fit["q2"] < 0 else ".")
        )
    if at["over"]:
        yield (
            "- Excluded from the correlations, because they kept over 5 % more "
            f"edges: {', '.join(at['over'])}."
        )
    yield ""


# -- several networks -----------------------------------------------------------------------------


def _on_all(networks: Sequence[Found]) -> Iterator[str]:
    names = [network["experiment"] for network in networks]
    by_network = [_first_density(network) for network in networks]
    common = [label for label in by_network[0] if all(label in z for z in by_network[1:])]
    at = ", ".join(f"{n['experiment']} at {next(iter(n['densities']))}" for n in networks)
    yield from ("## On every network", "")
    yield (
        f"Rules that were trained on all networks ({', '.join(common)}), at the first density of "
        f"each network ({at}). For each measure the list names the rules whose most extreme z is "
        f"beyond ±{FAR:g} on every network on the same side, on opposite sides, or on some "
        "networks only."
    )
    yield ""
    for measure in (name for names_of in AGAINST.values() for name in names_of):
        said = _agreement({label: [_furthest_value(z[label], measure) for z in by_network]
                           for label in common}, names)  # fmt: skip
        yield f"- {measure}: {said}."
    yield ""


def _furthest_value(z: Mapping[str, float], measure: str) -> float:
    part = _furthest_part(z, measure)
    return 0.0 if part is None else z[part]


def _agreement(by_label: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    kinds_of: dict[str, list[str]] = {}
    for label, values in by_label.items():
        far = [(name, z) for name, z in zip(names, values, strict=True) if abs(z) >= FAR]
        signs = {z > 0 for _, z in far}
        if not far:
            kind = ""
        elif len(far) == len(names):
            above = "above chance" if signs == {True} else "below chance"
            kind = f"{above} on every network" if len(signs) == 1 else "on opposite sides"
        else:
            kind = f"on {', '.join(name for name, _ in far)} only"
        if kind:
            kinds_of.setdefault(kind, []).append(label)
    return "; ".join(f"{kind} {', '.join(labels)}" for kind, labels in kinds_of.items()) or (
        "no rule on any network"
    )
