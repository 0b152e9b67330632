"""Figures of the pages on rules: ``python -m benchmarks.rule_pages measure [--out FOLDER] [-j N]``
and ``python -m benchmarks.rule_pages write``.

``measure`` runs the experiments in ``benchmarks/pages`` and two presets, by the ordinary runner: it
may be stopped, and the same command goes on. It writes ``benchmarks/results/rule-pages.json``.
``write`` puts the figures of that file, and those of the newest ``*-perplexity.json``, into the
pages. In a page a table with figures stands under a comment,

    <!-- measured: silent-edges -->
    | rule | density .1 | .02 |
    |---|---|---|
    | `GMP(scope="global")` | 96.4 ± 0.2 | 95.3 ± 0.5 |

The first code span of a row that is a call of a rule is the call that gives its figures; columns
whose title is a density, or one of `COLUMNS`, hold them. All else in a table is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

import rewire
from benchmarks.suite import provenance
from rewire.rules import available

HOME = Path(__file__).parent
DOCS, RESULTS = HOME.parent / "docs", HOME / "results"
FIGURES = RESULTS / "rule-pages.json"
PAGES = tuple(sorted(DOCS.glob("rules*.md")))
EXPERIMENTS = {
    "recommended": HOME / "pages" / "recommended.toml",
    "pruning-at-init": "pruning-at-init",
    "silent-edges": HOME / "pages" / "silent-edges.toml",
    "two-of-four": "two-of-four",
    "curvature": HOME / "pages" / "curvature.toml",
}
# Titles of columns that hold figures and are no densities.
COLUMNS = {
    "CPU s at .5": "seconds",
    "fewest edges of a layer": "least",
    "layers without an edge": "empty",
}
FUNNEL = (784, 200, 20, 100, 20, 50, 10)  # the layers between which edges may all be lost
Table = dict[str, Any]  # {"unit": ..., "rows": [{"call": ..., "figures": {column: {...}}}]}

_MARK = re.compile(r"<!-- measured: ([\w-]+) -->")
_DENSITY = re.compile(r"(?:density )?(0?\.\d+|1)")


# -- calls -----------------------------------------------------------------------------------------


def call_of(rule: rewire.Rule) -> str:
    """The call that makes a rule.

    >>> call_of(rewire.GMP(scope="global", when=rewire.every(20, stop=0.75)))
    'GMP(scope="global", when=every(20, stop=0.75))'
    """
    fields = (f"{name}={_text(getattr(rule, name))}" for name in rule.to_table())
    return f"{type(rule).__name__}({', '.join(sorted(fields))})"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, rewire.when.When | rewire.when.Schedule):
        table = rewire.when.to_table(value)
        if isinstance(table, str):
            return table
        first, *rest = table.items()
        more = "".join(f", {k}={v!r}" for k, v in rest)
        return f"{first[0]}({first[1]!r}{more})"
    if hasattr(value, "to_table"):
        fields = {k: v for k, v in value.to_table().items() if k != "kind"}
        own = type(value)()
        changed = {k: v for k, v in fields.items() if getattr(own, k) != v}
        return f"{type(value).__name__}({', '.join(f'{k}={_text(v)}' for k, v in changed.items())})"
    return repr(value)


def rule_of(call: str) -> rewire.Rule | None:
    """The rule that a call makes, None for a text that is no call of a rule.

    >>> rule_of('RigL(when=every(50))').when
    Every(n=50, first=None, stop=None)
    >>> rule_of("net.graph") is None
    True
    """
    name = re.match(r"(\w+)(?:\.\w+)?\(", call)
    if name is None or name[1] not in available():
        return None
    words = {w: getattr(rewire, w) for w in ("every", "cosine", "linear", "at_end", "never")}
    budgets = {"LAMP": rewire.LAMP, "OWL": rewire.OWL}
    names = {**available(), **budgets, **words, "last": rewire.when.Last}
    rule = eval(call, {"__builtins__": {}}, names)  # texts of this repository
    return rule if isinstance(rule, rewire.Rule) else None


# -- measuring -------------------------------------------------------------------------------------


def measure(out: Path, workers: int | None, only: Sequence[str] = ()) -> None:
    """Train what is not trained yet, and write the file of figures. only: these tables alone; the
    others stay as they are in the file."""
    from rewire.experiments.runner import run_experiment

    before = json.loads(FIGURES.read_text())["tables"] if only and FIGURES.exists() else {}
    tables = dict[str, Table](before)
    for name in only or ("emptied", *EXPERIMENTS):
        if name == "emptied":
            tables[name] = emptied()
            continue
        source = EXPERIMENTS[name]
        run_experiment(source, out=out / name, workers=workers, progress="auto")
        tables[name] = of_run(source, out / name)
    found = {**provenance(), "command": "python -m benchmarks.rule_pages measure", "tables": tables}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")


def of_run(source: str | Path, folder: Path) -> Table:
    """The table of a run: a row for each rule, as the experiment writes it."""
    from rewire.experiments import kinds, store

    experiment = kinds.load(source, [])
    rows, results = [], store.results(folder)
    for entry in experiment.rules:
        rule, figures = entry.build(1), dict[str, Any]()  # no period here is an epoch
        own = [row for row in results if row["label"] == entry.label]
        for density in sorted({row["requested_density"] for row in own} - {None}, reverse=True):
            at = [row for row in own if row["requested_density"] == density]
            accuracy = [100 * row["test_accuracy"] for row in at]
            figures[f"{density:g}"] = {
                "mean": mean(accuracy), "sd": stdev(accuracy), "seeds": len(accuracy),
                "density": mean(row["density"] for row in at),
            }  # fmt: skip
        rows.append({"call": call_of(rule), "figures": figures})
    name = source if isinstance(source, str) else str(source.relative_to(HOME.parent))
    return {"command": f"rewire run {name}", "unit": "% of the test set", "rows": rows}


def emptied() -> Table:
    """How few edges rules that cut before training leave in a layer of a funnel at density .001."""
    rules = [
        rewire.SynFlow(), rewire.SynFlow.one_shot(), rewire.SNIP(rounds=100), rewire.SNIP(),
        rewire.Magnitude(),
    ]  # fmt: skip
    rows = []
    for rule in rules:
        counts = [_left(rule, seed) for seed in range(3)]
        figures = {"least": {"mean": min(map(min, counts))},
                   "empty": {"mean": max(c.count(0) for c in counts)}}  # fmt: skip
        rows.append({"call": call_of(rule), "figures": figures})
    return {"command": "benchmarks.rule_pages.emptied()", "unit": "edges", "rows": rows}


def _left(rule: rewire.Rule, seed: int) -> list[int]:
    """The edges of each layer of the funnel, without biases, 1e-3 of them in all."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i, o in zip(FUNNEL, FUNNEL[1:], strict=False):
        layers += [nn.Linear(i, o, bias=False), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    y = torch.arange(100) % FUNNEL[-1]
    x = torch.randn(FUNNEL[-1], FUNNEL[0])[y] + torch.randn(100, FUNNEL[0])
    probe = rewire.Probe([(x, y)], lambda model, b: nn.functional.cross_entropy(model(b[0]), b[1]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule, density=1e-3, probe=probe).counts


# -- the figures -----------------------------------------------------------------------------------


def figures() -> dict[str, Table]:
    """Every table by name: those of `FIGURES`, and the newest perplexities."""
    return {**json.loads(FIGURES.read_text())["tables"], **perplexities()}


def perplexities() -> dict[str, Table]:
    """The newest file of ``benchmarks.perplexity`` as tables."""
    from benchmarks.perplexity import RULES, TWO_OF_FOUR

    path = max(RESULTS.glob("*-perplexity.json"))
    measured = {k.removeprefix("perplexity."): v for k, v in json.loads(path.read_text()).items()}
    rows = [{"call": "Dense()", "figures": {"1": {"mean": measured["dense"]}}}]
    for name, rule in RULES.items():
        own = {k.removeprefix(f"{name}."): {"mean": v} for k, v in measured.items()
               if k.startswith(f"{name}.")}  # fmt: skip
        if own:
            rows.append({"call": call_of(rule), "figures": own})
    rows += [
        {"call": call_of(rule), "figures": {"0.5": {"mean": measured[name]}}}
        for name, rule in TWO_OF_FOUR.items()
    ]
    command = "python -m benchmarks.perplexity"
    return {"perplexity": {"command": command, "unit": "perplexity", "rows": rows}}


def text_of(column: str, figure: Mapping[str, Any], unit: str) -> str:
    """A figure as the pages print it.

    >>> text_of("0.1", {"mean": 95.31, "sd": 0.2, "density": 0.1}, "% of the test set")
    '95.3 ± 0.2'
    >>> text_of("0.1", {"mean": 95.31, "sd": 0.2, "density": 0.046}, "% of the test set")
    '95.3 ± 0.2 at .046'
    """
    if column == "seconds":
        return f"{figure['mean']:.1f}"
    if unit == "edges":
        return str(figure["mean"])
    if unit == "perplexity":
        return f"{figure['mean']:.2f}"
    text = f"{figure['mean']:.1f} ± {figure['sd']:.1f}"
    if abs(figure["density"] - float(column)) <= 2e-3 * float(column):
        return text
    return f"{text} at {figure['density']:.2g}".replace(" at 0.", " at .")


# -- the pages -------------------------------------------------------------------------------------


def filled(page: str, tables: Mapping[str, Table]) -> str:
    """The page with the figures of its measured tables. Raises ValueError, naming the call, for a
    row of which there is no figure."""
    lines = page.split("\n")
    for name, first, last in measured(lines):
        if name not in tables:
            raise ValueError(f"there is no table {name!r} among the figures: {', '.join(tables)}.")
        rows = [(rule_of(row["call"]), row["figures"]) for row in tables[name]["rows"]]
        columns = [_column(cell) for cell in _cells(lines[first])]
        for i in range(first + 2, last):
            cells = _cells(lines[i])
            rule = next(filter(None, map(rule_of, re.findall(r"`([^`]+)`", lines[i]))), None)
            if rule is None:
                continue
            own = next((figures for other, figures in rows if other == rule), None)
            if own is None:
                raise ValueError(f"the table {name!r} has no figures of {call_of(rule)}.")
            for at, column in enumerate(columns):
                if column is not None:
                    figure, unit = own.get(column), tables[name]["unit"]
                    cells[at] = "" if figure is None else text_of(column, figure, unit)
            lines[i] = "| " + " | ".join(cells) + " |"
    return "\n".join(lines)


def measured(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Name, first line and end of each table under a mark."""
    for i, line in enumerate(lines):
        if mark := _MARK.fullmatch(line.strip()):
            last = next((j for j in range(i + 1, len(lines)) if not lines[j].startswith("|")),
                        len(lines))  # fmt: skip
            yield mark[1], i + 1, last


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _column(title: str) -> str | None:
    """The key of the figures that a column holds; None where it holds none."""
    if (density := _DENSITY.fullmatch(title)) is not None:
        return f"{float(density[1]):g}"
    return COLUMNS.get(title)


def write() -> None:
    tables = figures()
    for path in PAGES:
        path.write_text(filled(path.read_text(), tables))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rule_pages", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", choices=["measure", "write"])
    parser.add_argument("--out", type=Path, default=Path("runs/rule-pages"), metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=["emptied", *EXPERIMENTS], default=[])
    parser.add_argument("-j", type=int, default=None, metavar="N", dest="workers")
    given = parser.parse_args(arguments)
    try:
        if given.what == "measure":
            measure(given.out, given.workers, given.only)
        else:
            write()
    except ValueError as error:
        print(f"benchmarks.rule_pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
