"""The map beside the numbers expected: ``python -m benchmarks.bogdan RUN_DIR > results.json``.

RUN_DIR is a run of the preset ``bogdan_2018_cases``, ``map-from-nothing`` or ``map-sensitivity``,
as far as it has come. For each of its rules the mean and the standard deviation over seeds of what
its simulations ended with, beside the number expected, and whether each of these holds.

``bogdan_2018_cases``, beside what Bogdan et al. (2018) published for ten seeds:

============================== ======================================================
``sigma_aff_conn_within``      sigma_aff by count within 10 % of theirs, all cases
``order_of_sigma``             case 1 < case 3 < case 2
``ad_conn_of_3_above_1``       AD by count is larger in case 3 than in case 1
``rate_within``                mean target rates within 25 %, all cases
``ff_synapses_within``         feed-forward synapses a neuron within 10 %, all cases
``events_within``              40 to 140 formations and eliminations a second, cases 1, 3
============================== ======================================================

``map-from-nothing``, beside what an independent program gave for one or two seeds:

============================== ======================================================
``sigma_aff_conn_within``      sigma_aff by count within 10 %, with STDP
``ad_conn_within``             AD by count within 15 %, with STDP
``sharper_than_formation``     with STDP, sigma below 90 % of what the formation rule draws
                               with as many synapses, every seed
``controls_are_not``           without STDP, above 97 %, every seed
============================== ======================================================

``map-sensitivity`` has no such numbers: each case under an order of events, and how much its rate
differs from that of the case as it is, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rewire.experiments import store
from rewire.experiments.spiking.published import CASES, PUBLISHED

from .timing import machine

EXPERIMENTS = ("bogdan_2018_cases", "map-from-nothing")
VARIANTS = "map-sensitivity"
# Of a numba program written apart from this one, V_th -50 mV, a step of 1 ms.
INDEPENDENT = {
    "sigma_aff_conn": (1.87, 1.68),
    "ad_conn": (1.12, 0.69),
    "ff_synapses": (None, 19.5),
    "lateral_synapses": (None, 10.3),
}
FORMING = ("from random", "from nothing")
CONTROLS = (
    "without STDP, from random",
    "without STDP, from kernel",
    "neutral, from random",
    "neutral, from nothing",
    "neutral, from kernel",
)
TOLERANCE = {"sigma_aff_conn": 0.10, "ad_conn": 0.15, "rate_hz": 0.25, "ff_synapses": 0.10}
EVENTS = (40.0, 140.0)  # a second
MEASURED = (*PUBLISHED, "weight_proportion", "lateral_synapses", "events_per_s", "cpu_seconds")
FORMATION = ("control_sigma_aff_conn", "control_ad_conn")  # as many synapses, drawn by the rule
TESTED = ("p_sigma_aff_conn", "p_ad_conn", "p_sigma_aff_weight", "p_ad_weight")
LEVEL = 0.05

Case = dict[str, Any]


def summary(out: Path) -> dict[str, Any]:
    """What the run in ``out`` found, as one JSON object.

    Raises ValueError for another experiment, or where a rule of it has no finished simulation.
    """
    experiment = store.read_json(out / "experiment.json")
    if experiment["name"] == VARIANTS:
        return _about(experiment, _ends(out)) | {"cases": _variants(_ends(out))}
    if experiment["name"] not in EXPERIMENTS:
        raise ValueError(
            f"{out} is a run of {experiment['name']!r}; expected numbers are known of "
            f"{' and '.join(EXPERIMENTS)}."
        )
    published = experiment["name"] == EXPERIMENTS[0]
    names = CASES if published else FORMING + CONTROLS
    ends = _ends(out)
    rows = {case: [row for row in ends if row["label"] == case] for case in names}
    if empty := [case for case in names if not rows[case]]:
        raise ValueError(f"{out} has no finished simulation of {', '.join(empty)}.")
    cases = {case: _case(i, rows[case], published) for i, case in enumerate(names)}
    holds = _holds(cases) if published else _refines(cases)
    return _about(experiment, ends) | {"cases": cases, "holds": holds}


def _ends(out: Path) -> list[dict[str, Any]]:
    return [row for row in store.results(out, listed=True) if row["level"] == 1]


def _about(experiment: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    model = dict(experiment.get("config", {}).get("model") or {})
    if "start_file" in model:  # wherever the user's copy is
        model["start_file"] = Path(model["start_file"]).name
    return {
        "date": date.today().isoformat(),
        "processor": machine(),
        "experiment": experiment["name"],
        "model": model,
        "simulated_seconds": sorted({row["simulated_seconds"] for row in ends}),
        "versions": experiment["versions"],
    }


def _variants(ends: Sequence[Mapping[str, Any]]) -> dict[str, Case]:
    """By label, means over seeds, and the rate's difference from that of the plain case."""
    rates = {(row["label"], row["seed"]): row["rate_hz"] for row in ends}
    cases: dict[str, Case] = {}
    for label in dict.fromkeys(row["label"] for row in ends):
        rows = [row for row in ends if row["label"] == label]
        plain, _, variant = label.partition(", ")
        cases[label] = _case(-1, rows, published=False)
        if variant:
            apart = [row["rate_hz"] - rates[plain, row["seed"]] for row in rows]
            cases[label]["rate_hz"]["minus_plain"] = mean(apart)
    return cases


def _case(i: int, rows: Sequence[Mapping[str, Any]], published: bool) -> Case:
    case: Case = {"seeds": sorted(row["seed"] for row in rows)}
    word, expected = ("published", PUBLISHED) if published else ("expected", INDEPENDENT)
    for name in MEASURED if published else MEASURED + FORMATION:
        values = [row[name] for row in rows]
        if None in values:  # no such number, as of a share of no weight
            continue
        case[name] = {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}
        number = expected[name][i] if 0 <= i < len(expected.get(name, ())) else None
        if number is not None:
            case[name] |= {word: number, "ratio": case[name]["mean"] / number}
    if published:
        for name in TESTED:
            case[f"{name}_below_{LEVEL}"] = mean(row[name] < LEVEL for row in rows)
    else:
        case["sigma_aff_conn_over_formation"] = [
            row["sigma_aff_conn"] / row["control_sigma_aff_conn"] for row in rows
        ]
    return case


def _within(name: str, cases: Sequence[Case]) -> bool:
    return all(abs(case[name]["ratio"] - 1) <= TOLERANCE[name] for case in cases)


def _holds(cases: Mapping[str, Case]) -> dict[str, bool]:
    one, two, three = every = [cases[case] for case in CASES]

    def of(case: Case, name: str) -> float:
        return case[name]["mean"]

    sigma = [of(case, "sigma_aff_conn") for case in (one, three, two)]
    return {
        "sigma_aff_conn_within": _within("sigma_aff_conn", every),
        "order_of_sigma": sigma == sorted(set(sigma)),
        "ad_conn_of_3_above_1": of(three, "ad_conn") > of(one, "ad_conn"),
        "rate_within": _within("rate_hz", every),
        "ff_synapses_within": _within("ff_synapses", every),
        "events_within": all(
            EVENTS[0] <= of(case, "events_per_s") <= EVENTS[1] for case in (one, three)
        ),
    }


def _refines(cases: Mapping[str, Case]) -> dict[str, bool]:
    forming = [cases[case] for case in FORMING]

    def over(names: Sequence[str]) -> list[float]:
        return [x for case in names for x in cases[case]["sigma_aff_conn_over_formation"]]

    return {
        "sigma_aff_conn_within": _within("sigma_aff_conn", forming),
        "ad_conn_within": _within("ad_conn", forming),
        "sharper_than_formation": max(over(FORMING)) < 0.90,
        "controls_are_not": min(over(CONTROLS)) > 0.97,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bogdan", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("run", type=Path, help="folder of a run of one of them")
    print(json.dumps(summary(parser.parse_args(arguments).run), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
