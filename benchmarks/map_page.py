"""Tables of docs/the-topographic-map.md: ``python -m benchmarks.map_page`` writes them.

From the newest ``*-bogdan-2018.json``, ``*-map-from-file.json``, ``*-map-order-of-events.json``,
``*-map-sensitivity.json`` and ``*-columns.json`` of benchmarks/results, which ``benchmarks.bogdan``
and ``benchmarks.columns`` print. In the page a
table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; the text is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent
PAGE = HOME.parent / "docs" / "the-topographic-map.md"
MEASURES = {  # of the table of cases: its words, and digits after the point
    "sigma_aff_conn": ("σ by count, cells", 2),
    "sigma_aff_weight": ("σ by weight", 2),
    "ad_conn": ("AD by count, cells", 2),
    "ad_weight": ("AD by weight", 2),
    "rate_hz": ("target rate, Hz", 1),
    "ff_synapses": ("feed-forward synapses a target", 1),
    "mean_weight_proportion": ("mean feed-forward weight, of the start's", 3),
    "weight_proportion": ("sum of feed-forward weights, of the start's", 3),
}
VARIANTS = {
    "": "as it is",
    "lag 0": "pairs at lag 0 do nothing (`lag_0 = false`)",
    "deferred": "deferred update, clipped once (`deferred = true`)",
    "dead tick": "dead first tick of each stimulus (`dead_tick = true`)",
    "early": "input acts a step sooner (`early_input = true`)",
    "all": "all four",
}
Json = Mapping[str, Any]


def newest(kind: str) -> Json:
    """The newest results of a kind, such as "bogdan-2018"."""
    path = max((HOME / "results").glob(f"*-{kind}.json"))
    return json.loads(path.read_text(encoding="utf-8"))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _made(results: Json) -> str:
    seconds = results.get("simulated_seconds")
    span = f", {seconds[0]:.0f} simulated seconds" if seconds else ""
    return f"\n\n{results['date']}, {results['processor']}{span}."


def cases(results: Json) -> str:
    """Each case: mean ± standard deviation over seeds, and the published number."""
    every: Mapping[str, Json] = results["cases"]
    titles = ["at the end"]
    for label, case in every.items():
        titles += [f"{label}, {len(case['seeds'])} seeds", "published", "ratio"]
    rows = []
    for name, (words, digits) in MEASURES.items():
        row = [words]
        for case in every.values():
            number = case[name]
            row.append(f"{number['mean']:.{digits}f} ± {number['sd']:.{digits}f}")
            if "published" in number:
                row += [f"{number['published']:.{digits}f}", f"{number['ratio']:.2f}"]
            else:
                row += ["–", "–"]
        rows.append(row)
    return _table(titles, rows) + _made(results)


def readings(matched: Json) -> str:
    """The cases from the published file, and with the machine's order of events, beside those of
    the table of cases."""
    runs = {"as above": matched, "from the published file": newest("map-from-file"),
            "all four options": newest("map-order-of-events")}  # fmt: skip
    rows = []
    for label, case in matched["cases"].items():
        for name in ("sigma_aff_conn", "ad_conn", "rate_hz", "mean_weight_proportion"):
            words, digits = MEASURES[name]
            numbers = [results["cases"][label][name] for results in runs.values()]
            row = [f"{n['mean']:.{digits}f} ± {n['sd']:.{digits}f}" for n in numbers]
            rows.append([label, words, f"{case[name]['published']:.{digits}f}", *row])
    seeds = {name: len(r["cases"]["case 1"]["seeds"]) for name, r in runs.items()}
    titles = ["", "at the end", "published", *(f"{n}, {many} seeds" for n, many in seeds.items())]
    return _table(titles, rows) + _made(runs["all four options"])


def sensitivity(results: Json) -> str:
    """Rates under each order of events, and their difference from the plain ones."""
    every: Mapping[str, Json] = results["cases"]
    plain = [label for label in every if ", " not in label]
    rows = []
    for variant, words in VARIANTS.items():
        row = [words]
        for label in plain:
            case = every.get(f"{label}, {variant}" if variant else label)
            if case is None:
                row += ["no such source", "–"]
                continue
            rate, sigma = case["rate_hz"], case["sigma_aff_conn"]["mean"]
            apart = f" ({rate['minus_plain']:+.1f})" if variant else ""
            row += [f"{rate['mean']:.1f}{apart}", f"{sigma:.2f}"]
        rows.append(row)
    titles = ["order of events"]
    for label in plain:
        titles += [f"{label}, Hz", "σ by count"]
    seeds = len(every[plain[0]]["seeds"])
    return _table(titles, rows) + _made(results)[:-1] + f", {seeds} seed{'s' * (seeds > 1)}."


def columns(results: Json) -> str:
    """What ten columns give at each setting."""
    rows = []
    for label, case in results["cases"].items():
        if ", " not in label:
            continue
        setting, lateral, stdp = label.split(", ")
        rows.append([
            setting, lateral, stdp, f"{100 * case['columns']:.0f} %",
            f"{case['test_rate_hz']:.1f}", f"{sum(case['synapses_per_target']):.1f}",
            f"{case['simulated_seconds']}", case.get("date", results["date"]),
        ])  # fmt: skip
    titles = ["setting", "synapses", "STDP", "right", "test rate, Hz", "synapses a target",
              "simulated s", "date"]  # fmt: skip
    about = f"{results['test_images']} test images, one seed; chance is 10 %."
    return f"{_table(titles, rows)}\n\n{about} {results['processor']}."


TABLES: dict[str, tuple[str, Callable[[Json], str]]] = {
    "cases": ("bogdan-2018", cases),
    "readings": ("bogdan-2018", readings),
    "sensitivity": ("map-sensitivity", sensitivity),
    "columns": ("columns", columns),
}


def written(page: str) -> str:
    """The page with its tables as the results say.

    Raises:
        ValueError: it lacks the place of a table.
    """
    for name, (kind, table) in TABLES.items():
        places = re.findall(rf"<!-- table: {name} -->\n.*?<!-- end -->", page, re.S)
        if len(places) != 1:
            raise ValueError(
                f"the page has {len(places)} places for the table {name!r}; it takes one."
            )
        text = f"<!-- table: {name} -->\n{table(newest(kind))}\n<!-- end -->"
        page = page.replace(places[0], text)
    return page


def main() -> int:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
