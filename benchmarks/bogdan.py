"""The map beside the published one: ``python -m benchmarks.bogdan RUN_DIR > results.json``.

RUN_DIR is a run of the preset ``bogdan_2018_cases``, as far as it has come. For each case the mean
and the standard deviation over seeds of what its simulations ended with, beside the number that
Bogdan et al. (2018) published for ten seeds, and whether each of these holds:

============================== ======================================================
``sigma_aff_conn_within``      sigma_aff by count within 10 % of theirs, all cases
``order_of_sigma``             case 1 < case 3 < case 2
``ad_conn_of_3_above_1``       AD by count is larger in case 3 than in case 1
``rate_within``                mean target rates within 25 %, all cases
``ff_synapses_within``         feed-forward synapses a neuron within 10 %, all cases
``events_within``              40 to 140 formations and eliminations a second, cases 1, 3
============================== ======================================================
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

TOLERANCE = {"sigma_aff_conn": 0.10, "rate_hz": 0.25, "ff_synapses": 0.10}
EVENTS = (40.0, 140.0)  # a second
MEASURED = (*PUBLISHED, "lateral_synapses", "events_per_s", "cpu_seconds")
TESTED = ("p_sigma_aff_conn", "p_ad_conn", "p_sigma_aff_weight", "p_ad_weight")
LEVEL = 0.05

Case = dict[str, Any]


def summary(out: Path) -> dict[str, Any]:
    """What the run in ``out`` found, as one JSON object.

    Raises ValueError where one of the three cases has no finished simulation.
    """
    experiment = store.read_json(out / "experiment.json")
    ends = [row for row in store.results(out, listed=True) if row["level"] == 1]
    rows = {case: [row for row in ends if row["label"] == case] for case in CASES}
    if empty := [case for case in CASES if not rows[case]]:
        raise ValueError(f"{out} has no finished simulation of {', '.join(empty)}.")
    cases = {case: _case(i, rows[case]) for i, case in enumerate(CASES)}
    return {
        "date": date.today().isoformat(),
        "experiment": experiment["name"],
        "simulated_seconds": sorted({row["simulated_seconds"] for row in ends}),
        "versions": experiment["versions"],
        "cases": cases,
        "holds": _holds(cases),
    }


def _case(i: int, rows: Sequence[Mapping[str, Any]]) -> Case:
    found: Case = {"seeds": sorted(row["seed"] for row in rows)}
    for name in MEASURED:
        values = [row[name] for row in rows]
        found[name] = {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}
        if name in PUBLISHED:
            found[name] |= {"published": PUBLISHED[name][i],
                            "ratio": found[name]["mean"] / PUBLISHED[name][i]}  # fmt: skip
    for name in TESTED:
        found[f"{name}_below_{LEVEL}"] = mean(row[name] < LEVEL for row in rows)
    return found


def _holds(cases: Mapping[str, Case]) -> dict[str, bool]:
    one, two, three = (cases[case] for case in CASES)

    def within(name: str) -> bool:
        return all(abs(case[name]["ratio"] - 1) <= TOLERANCE[name] for case in cases.values())

    def of(case: Case, name: str) -> float:
        return case[name]["mean"]

    sigma = [of(case, "sigma_aff_conn") for case in (one, three, two)]
    return {
        "sigma_aff_conn_within": within("sigma_aff_conn"),
        "order_of_sigma": sigma == sorted(set(sigma)),
        "ad_conn_of_3_above_1": of(three, "ad_conn") > of(one, "ad_conn"),
        "rate_within": within("rate_hz"),
        "ff_synapses_within": within("ff_synapses"),
        "events_within": all(
            EVENTS[0] <= of(case, "events_per_s") <= EVENTS[1] for case in (one, three)
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bogdan", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("run", type=Path, help="folder of a run of bogdan_2018_cases")
    print(json.dumps(summary(parser.parse_args(arguments).run), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
