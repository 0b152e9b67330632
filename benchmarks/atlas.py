"""What each rule leaves behind: ``python -m benchmarks.atlas RUN_DIR > results.json``.

RUN_DIR is a run of the preset ``atlas`` (or of another experiment with trained networks): its
finished cells are measured. With ``--markdown`` the page ``docs/atlas.md`` in the place of JSON,
with ``--picture FILE`` its figure as SVG.

Every network at a density asked for is measured at its end, against draws of a null model that
keeps the degrees of both sides of every layer (or, for measures of the degrees themselves, the
number of edges of every layer). Topologies at the start, at every ``--every`` steps and at the end
are measured without one. What is measured is kept in ``RUN_DIR/atlas.jsonl``, a line for each cell,
and read back by the next call.

Which measure goes with accuracy: across rules, Spearman's rank correlation of means over seeds,
with a bootstrap interval over rules, and the probability that any of all the measures and steps
comes as far by chance (accuracies permuted among the rules); within rules, of deviations from the
rule's means; and a ridge regression that predicts each rule's accuracy from the others' (leave one
out).
Rules that kept over 5 % more edges than were asked for are measured, and left out of correlations.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.ranking import command_of
from benchmarks.timing import machine
from rewire import pictures
from rewire.experiments import store
from rewire.experiments.errors import RewireError
from rewire.experiments.opened import OpenedRun
from rewire.graph import Graph
from rewire.measures import measure
from rewire.pictures.style import drawing, to_svg

# measure -> end of the part's name that is shown, "" for parts without a detail
AGAINST = {
    "degrees": {
        "RobinsAlexander": "", "DegreeAssortativity": "", "NODF": "", "SpectralGap": "",
        "Diamonds": "", "PathCount": "", "EdgesOnPath": "",
    },
    "counts": {"DegreeGini": ": post", "KCore": "", "PercolationByDegree": ""},
}  # fmt: skip
DRAWS = 20
EVERY = 500  # steps between topologies
TOLERANCE = 1.05  # edges kept / edges asked for, up to which a rule counts as at its density
RESAMPLES = 2000
FILE = "atlas.jsonl"
FAR = 5.0  # |z| that the page names

LOOKED_AT, CLUSTERING = "0.05", "RobinsAlexander, fc1.weight"  # of a first look at these networks
QUIET = ("Static", "IMP", "DeepR", "StructuralPlasticity", "SET")

Entry = dict[str, Any]


# -- measuring -------------------------------------------------------------------------------------


def entries_of(out: Path, *, draws: int, every: int, workers: int) -> list[Entry]:
    """One entry for each finished network: those of earlier calls, and the rest measured."""
    run = OpenedRun(out)
    wanted = [
        (row["cell"], row["label"], row["requested_density"], row["seed"], row["level"])
        for row in run.rows()
        if row["requested_density"] is not None and row["requested_density"] < 1
    ]
    accuracies = {(r["cell"], r["level"]): r["test_accuracy"] for r in run.rows()}
    settings = {"draws": draws, "every": every}
    kept = {entry["key"]: entry for entry in _kept(out) if entry["settings"] == settings}
    left = [w for w in wanted if _key(*w[:1], w[4]) not in kept]
    work = partial(_entry, out, settings)
    with ExitStack() as stack:
        lines = stack.enter_context((out / FILE).open("a"))
        entries: Iterable[Entry] = map(work, left)
        if workers > 1:  # a fork of a process with torch's threads would wait for ever
            pool = ProcessPoolExecutor(workers, get_context("spawn"))
            entries = stack.enter_context(pool).map(work, left)
        for entry in entries:
            entry["test_accuracy"] = accuracies[entry["cell"], entry["level"]]
            kept[entry["key"]] = entry
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            print(f"{entry['label']}, density {entry['density']:g}, seed {entry['seed']}",
                  file=sys.stderr)  # fmt: skip
    return [kept[_key(w[0], w[4])] for w in wanted]


def _kept(out: Path) -> list[Entry]:
    """The whole lines of earlier calls; one that was cut off is taken away, and measured again."""
    path = out / FILE
    text = path.read_text() if path.exists() else ""
    lines = [line for line in text.splitlines() if _is_whole(line)]
    if "".join(line + "\n" for line in lines) != text:
        store.write_atomic(path, "".join(line + "\n" for line in lines))
    return [json.loads(line) for line in lines]


def _is_whole(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "key" in entry


def _key(cell: str, level: int) -> str:
    return f"{cell} {level}"


def _entry(out: Path, settings: Mapping[str, int], wanted: tuple[Any, ...]) -> Entry:
    cell, label, density, seed, level = wanted
    found = OpenedRun(out).cell(density=density, cell=cell)
    graph = found.graph()
    topology = Graph(graph.space, graph.keys)
    return {
        "key": _key(cell, level),
        "settings": dict(settings),
        "cell": cell,
        "label": label,
        "density": density,
        "seed": seed,
        "level": level,
        "kept": topology.density,
        "z": list(_against_chance(topology, settings["draws"])),
        "course": list(_course(found, topology, settings["every"])),
    }


def _against_chance(graph: Graph, draws: int) -> Iterator[Entry]:
    for null, names in AGAINST.items():
        for row in measure(graph, list(names), null=null, draws=draws):
            if _is_shown(row.part, names[row.measure]):
                yield {
                    "measure": row.measure, "part": row.part, "null": null, "value": row.value,
                    "mean": row.mean, "sd": row.sd, "z": row.z, "note": row.note,
                }  # fmt: skip


def _is_shown(part: str, detail: str) -> bool:
    return part.endswith(detail) if detail else ": " not in part


def _course(found: Any, end: Graph, every: int) -> Iterator[Entry]:
    """Measures without a null model at the start, every so many steps, and at the end."""
    names = {name: detail for by_null in AGAINST.values() for name, detail in by_null.items()}
    try:
        graphs = list(found.graphs(every=every))
    except (RewireError, ValueError):
        graphs = []  # a ladder of several starts, or a rule whose log does not say what computes
    for step, graph in [*graphs[:-1], (-1, end)]:
        for row in measure(Graph(graph.space, graph.keys), list(names)):
            if _is_shown(row.part, names[row.measure]) and row.value is not None:
                yield {"step": step, "name": _name(row.measure, row.part), "value": row.value}


def _name(measure_name: str, part: str) -> str:
    return f"{measure_name}, {part.split(': ')[0]}" if part else measure_name


# -- what goes with accuracy -----------------------------------------------------------------------


def summary(out: Path, *, draws: int, every: int, workers: int) -> dict[str, Any]:
    """What the run's networks are like, as one JSON object. Raises StoreError for a damaged run."""
    entries = entries_of(out, draws=draws, every=every, workers=workers)
    experiment = store.read_json(out / "experiment.json")
    cells = experiment["cells"]
    unfinished = [c["label"] for c in cells if not store.Run(out).cell(c["hash"]).finished]
    densities = sorted({e["density"] for e in entries}, reverse=True)
    return {
        "date": date.today().isoformat(),
        "experiment": experiment["name"],
        "command": command_of(experiment["command"]),
        "machine": machine(),
        "versions": experiment["versions"],
        "draws": draws,
        "every": every,
        "cells": len(cells),
        "unfinished": len(unfinished),
        "seeds": sorted({e["seed"] for e in entries}),
        "densities": {f"{d:g}": _at(d, [e for e in entries if e["density"] == d])
                      for d in densities},
    }  # fmt: skip


def _at(density: float, entries: Sequence[Entry]) -> dict[str, Any]:
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
                scores.setdefault(_name(row["measure"], row["part"]), []).append(row["z"])
    return {
        "seeds": len(entries),
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


# -- the page --------------------------------------------------------------------------------------


def picture(results: Mapping[str, Any]) -> str:
    """Rules x measures at the first density, coloured by z, as SVG."""
    density = next(iter(results["densities"].values()))
    z = {label: rule["z"] for label, rule in density["rules"].items() if rule["z"]}
    with drawing(standalone=True):
        return to_svg(pictures.measures_by_rule(z))


def markdown(results: Mapping[str, Any]) -> str:
    """The page, every number of it from the results."""
    seeds = len(results["seeds"])
    lines = [
        "# Atlas: what each rule leaves behind",
        "",
        f"The networks of the preset `{results['experiment']}`, measured on {results['date']}: "
        f"{seeds} seeds, {results['draws']} draws of each null model. Written by the program:",
        "",
        "```sh",
        results["command"],
        f"python -m benchmarks.atlas runs/{results['experiment']} > results.json",
        f"python -m benchmarks.atlas runs/{results['experiment']} --markdown --picture "
        "docs/atlas.svg > docs/atlas.md",
        "```",
        "",
    ]
    if results["unfinished"]:
        lines += [
            f"{results['unfinished']} of the run's {results['cells']} cells had not finished: "
            "their rules or seeds are missing below.", "",
        ]  # fmt: skip
    lines += [
        "A z says how many standard deviations a network lies from the mean of random networks "
        "that keep both degree sequences of every layer (`degrees`), or, for the measures of "
        f"degrees themselves ({', '.join(AGAINST['counts'])}), the number of edges of every layer "
        "(`counts`). Within ±2 is what chance gives. Numbers are means over the seeds.",
        "",
        "![z of every measure under every rule](atlas.svg)",
        "",
    ]
    for density, at in results["densities"].items():
        lines += _density_page(density, at)
        if density == LOOKED_AT:
            lines += _first_look(at)
    return "\n".join(lines).rstrip() + "\n"


def _density_page(density: str, at: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## Density {density}", "")
    names = list(dict.fromkeys(n for rule in at["rules"].values() for n in rule["z"]))
    rules = sorted(at["rules"].items(), key=lambda item: -item[1]["test_accuracy"])
    yield "| rule | test accuracy, % | density | " + " | ".join(names) + " |"
    yield "|---|--:|--:|" + "--:|" * len(names)
    for label, rule in rules:
        cells = [f"{rule['z'][n]:.1f}" if n in rule["z"] else "–" for n in names]
        yield (f"| {label} | {100 * rule['test_accuracy']:.2f} | {rule['kept']:.3g} | "
               + " | ".join(cells) + " |")  # fmt: skip
    yield ""
    yield from _far_from_chance(at, names)
    yield from _predictors(at)


def _first_look(at: Mapping[str, Any]) -> Iterator[str]:
    """Whether what was found before, with other settings, is found again."""
    found = {r: at["rules"][r]["z"][CLUSTERING] for r in QUIET if r in at["rules"]}
    if "RigL" not in at["rules"] or not found:
        return
    rigl, least = (at["rules"]["RigL"][k][CLUSTERING] for k in ("z", "least"))
    loud = {r: z for r, z in found.items() if abs(z) > 2.5}
    quiet = ", ".join(f"{r} {z:.1f}" for r, z in found.items() if r not in loud)
    yield (
        f"A first look, with other settings, had found {CLUSTERING} at z = 66 under RigL and "
        f"|z| <= 2.5 under {', '.join(QUIET)}. Here RigL has {rigl:.0f} "
        f"({'confirmed' if least > 5 else 'refuted'}: {least:.0f} at least); confirmed of {quiet}"
        + (f"; refuted of {', '.join(f'{r} {z:.0f}' for r, z in loud.items())}." if loud else ".")
    )
    yield ""


def _far_from_chance(at: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        far = {
            label: rule
            for label, rule in at["rules"].items()
            if name in rule["z"] and abs(rule["z"][name]) >= FAR
        }
        if far:
            listed = ", ".join(
                f"{label} {rule['z'][name]:.0f} ({rule['least'][name]:.0f} to "
                f"{rule['most'][name]:.0f})"
                for label, rule in sorted(far.items(), key=lambda item: -abs(item[1]["z"][name]))
            )
            yield f"- {name}: mean z (its range over seeds) of 5 or more under {listed}."
    yield ""


def _predictors(at: Mapping[str, Any]) -> Iterator[str]:
    rows = at["correlations"]
    if not rows:
        yield from ("Too few rules for correlations with accuracy.", "")
        return
    sure = [row for row in rows if row["p_any"] < 0.05]
    yield (
        f"Across {rows[0]['rules']} rules, {len(rows)} pairs of a measure and a step were held "
        "against the final accuracy. "
        + (f"{len(sure)} of them come further than the furthest of all would by chance "
           "(p < 0.05, accuracies permuted among rules)." if sure
           else "None comes further than the furthest of all would by chance (p < 0.05, "
           "accuracies permuted among rules): no measure predicts which rule is accurate.")
    )  # fmt: skip
    yield from ("", "| measure | step | rules | rank correlation across rules | 95 % interval | "
                "p of the furthest | within rules | p (uncorrected) |",
                "|---|--:|--:|--:|--:|--:|--:|--:|")  # fmt: skip
    for row in rows[:12]:
        low, high = row["interval"]
        step = "end" if row["step"] < 0 else str(row["step"])
        yield (
            f"| {row['measure']} | {step} | {row['rules']} | {row['rho']:.2f} | {low:.2f} to "
            f"{high:.2f} | {row['p_any']:.3f} | {row['within']:.2f} | {row['within_p']:.2g} |"
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
        yield f"- Left out of the correlations, with over 5 % more edges: {', '.join(at['over'])}."
    yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.atlas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args(arguments)
    results = summary(asked.run, draws=asked.draws, every=asked.every, workers=asked.workers)
    if asked.picture is not None:
        asked.picture.write_text(picture(results))
    print(markdown(results) if asked.markdown else json.dumps(results), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
