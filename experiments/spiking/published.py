"""What was published of the simulations that the preset ``bogdan_2018_cases`` repeats."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

PRESET = "bogdan_2018_cases"
CASES = ("case 1", "case 2", "case 3")  # labels of the preset's rules
SEEDS = 10  # of each case
SOURCE = "Bogdan, Rowley, Rhodes & Furber 2018, doi:10.3389/fnins.2018.00434"
# Their notebook's numbers at the end of 300 s, printed or read off its figures.
PUBLISHED = {
    "sigma_aff_conn": (1.61, 2.36, 1.90),
    "sigma_aff_weight": (1.47, 1.91, 1.59),
    "ad_conn": (0.770, 0.82, 0.93),
    "ad_weight": (0.82, 0.83, 1.10),
    "rate_hz": (21.14, 20.08, 9.38),
    "ff_synapses": (15.80, 16.0, 11.90),
    "mean_weight_proportion": (0.828, 0.709, 0.608),
}
# Of all 30 published runs, which start from one file of Bamford's: sigma_aff and AD by count.
FIRST = {"sigma_aff_conn": 2.36, "ad_conn": 0.82}
# Starts of the model that are drawn by, or are a draw of, the published formation rule.
STARTS = ("kernel", "matched", "bamford")


def published(config: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By label, the published end of each rule of an experiment that is a published case.

    ``config``: the tree of the experiment. Only the same network, rule and simulated time count as
    the same case, whatever the experiment is called, however many seeds it has, and from whichever
    draw of the formation rule it starts.
    """
    files = resources.files("rewire.experiments.presets")
    preset = tomllib.loads((files / f"{PRESET}.toml").read_text())
    if any(config.get(key) != preset.get(key) for key in ("world", "seconds", "period")):
        return {}
    if _but_for_start(config.get("model", {})) != _but_for_start(preset["model"]):
        return {}

    def asked(rule: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in rule.items() if key != "label"}

    cases = {rule["label"]: asked(rule) for rule in preset["rules"]}
    by_label = {}
    for rule in config.get("rules", ()):
        for i, case in enumerate(CASES):
            if asked(rule) == cases[case]:
                label = str(rule.get("label", rule.get("rule")))
                by_label[label] = {name: values[i] for name, values in PUBLISHED.items()}
    return by_label


def _but_for_start(model: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model without its start, where that is a draw of the formation rule."""
    if not isinstance(model, Mapping) or model.get("start", "kernel") not in STARTS:
        return {"start": model}
    return {key: value for key, value in model.items() if not key.startswith("start")}
