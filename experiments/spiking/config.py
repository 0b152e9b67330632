"""From the tree of an experiment file with ``world = "brian"`` to a validated experiment."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rewire.models import ModelInfo, spiking
from rewire.models.spiking.brian import brian2
from rewire.names import did_you_mean, short, unknown

from ..config.checking import check, rule_problems
from ..config.problems import Problems
from ..config.schema import available, is_dense, named
from ..errors import ConfigError
from .cells import cell_of, settings
from .schema import SpikingEntry, SpikingExperiment


def parse(tree: Mapping[str, Any], problems: Problems) -> SpikingExperiment | None:
    """A plain tree, checked; what is wrong, a missing Brian2 included, goes to ``problems``."""
    given = {**tree, "model": named(tree.get("model"))} if "model" in tree else {**tree}
    listed = given.get("rules")
    if isinstance(listed, list):
        given["rules"] = listed[:1]  # each is checked below, against its own class
    experiment, wrong = check(SpikingExperiment, given)
    problems += wrong
    model = _model(given.get("model"), problems)
    options = _options(given.get("model"))
    if model is not None:
        problems += _model_problems(model, options, "model")
    entries = _rules(listed, model, options, problems) if isinstance(listed, list) else []
    if experiment is not None:
        labels = [entry.label for entry in entries]
        problems += [
            (f"contrasts[{i}]", unknown("rule with the label", label, labels))
            for i, pair in enumerate(experiment.contrasts)
            for label in pair
            if label not in labels
        ]
        experiment = experiment.model_copy(update={"rules": entries})
    return experiment


def _options(table: Any) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k != "name"} if isinstance(table, Mapping) else {}


def _model(table: Any, problems: Problems) -> ModelInfo | None:
    """The model that is named; None where there is none, or no Brian2 to build it with."""
    known = spiking.available()
    name = table.get("name") if isinstance(table, Mapping) else None
    if isinstance(name, str) and name not in known:
        problems.append(("model.name", unknown("spiking model", name, known)))
    try:
        brian2()
    except ImportError as error:
        problems.append(("world", str(error)))
        return None
    return known.get(name) if isinstance(name, str) else None


def _model_problems(model: ModelInfo, options: Mapping[str, Any], path: str) -> Problems:
    """Unknown options, values of a wrong type, and what the model itself refuses."""
    takes, hints = model.options(), typing.get_type_hints(model.builder())
    problems = Problems()
    for key, value in options.items():
        if key not in takes:
            said = f"unknown option{did_you_mean(key, takes)}; {model.name} takes "
            problems.append((f"{path}.{key}", said + ", ".join(takes)))
            continue
        try:
            TypeAdapter(hints[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Input ").replace("valid ", "")
            problems.append((f"{path}.{key}", f"{said}, found {short(value)}"))
    if problems:
        return problems
    try:
        model.builder()(**options)
    except (ValueError, ZeroDivisionError) as error:
        return Problems([(path, str(error))])
    return Problems()


def _rules(
    listed: Sequence[Any], model: ModelInfo | None, options: dict[str, Any], problems: Problems
) -> list[SpikingEntry]:
    """The experiment's rules; what is wrong with them goes to ``problems``."""
    classes, entries = available("rule"), list[SpikingEntry]()
    for i, item in enumerate(listed):
        table = {"rule": item} if isinstance(item, str) else item
        if not isinstance(table, Mapping):
            problems.append((f"rules[{i}]", f"should be a table, found {short(item)}"))
            continue
        fields = dict(table)
        rule, over = fields.pop("rule", None), fields.pop("model", {})
        label = fields.pop("label", rule)
        path = f"rules.{label}" if isinstance(label, str) else f"rules[{i}]"
        cls = classes.get(rule) if isinstance(rule, str) else None
        if rule is None:
            hint = did_you_mean("rule", fields) or ": the name of a rule, e.g. rule = 'DeepR'"
            problems.append((path, f"'rule' is missing{hint}"))
        elif cls is None:
            problems.append((f"{path}.rule", unknown("rule", rule, classes)))
        elif is_dense(cls):
            problems.append((path, "the slots of a spiking network bound its fan-in, so none is "
                             "dense; Static keeps what it starts with"))  # fmt: skip
        else:
            problems += rule_problems(cls, fields, path)
        if rule is not None and not (isinstance(label, str) and 0 < len(label.strip()) <= 80):
            problems.append((f"{path}.label", f"should be a short text, found {short(label)}"))
        elif label in [entry.label for entry in entries]:
            problems.append((path, "two rules have this label; give one of them another 'label'"))
        if not isinstance(over, Mapping):
            problems.append((f"{path}.model", f"should be a table, found {short(over)}"))
            over = {}
        elif "name" in over:
            problems.append((f"{path}.model.name", "all rules share the experiment's model; give "
                             "its options only"))  # fmt: skip
        elif model is not None and over:
            problems += _model_problems(model, over, f"{path}.model")
        if cls is not None and isinstance(label, str):
            entries.append(SpikingEntry(str(rule), cls, label, {**options, **over}, fields, over))
    return entries


def unable(experiment: SpikingExperiment) -> Problems:
    """What the network or a rule says when it is started: one sentence for each.

    Each rule is started once on its network, so that what cannot live there is refused before
    anything is simulated.
    """
    from .simulation import Simulation

    # no mistake of the user's: networks that are looked at and never run
    brian2().BrianLogger.suppress_name("unused_brian_object")
    paths: dict[str, str] = {}
    for entry in experiment.rules:
        try:
            Simulation(settings(cell_of(experiment, entry, experiment.seeds[0]).config))
        except (ValueError, ImportError, ConfigError) as error:
            paths.setdefault(str(error), f"rules.{entry.label}")
    return Problems((path, sentence) for sentence, path in paths.items())
