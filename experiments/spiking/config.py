"""From the tree of an experiment file with ``world = "brian"`` to a validated experiment."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rewire.models import ModelInfo, spiking
from rewire.models.spiking.brian import brian2
from rewire.names import did_you_mean, short, unknown

from ..config.checking import check as check_table
from ..config.problems import Problems
from ..config.rules import check_contrasts, read_rules
from ..config.schema import is_dense, named, with_choices
from ..errors import ConfigError
from .cells import cell_of, settings
from .schema import SpikingEntry, SpikingExperiment


def parse(tree: Mapping[str, Any], problems: Problems) -> SpikingExperiment | None:
    """A plain tree, checked; what is wrong, a missing Brian2 included, goes to ``problems``."""
    tables = {key: named(value) if key == "model" else value for key, value in tree.items()}
    listed = tables.get("rules")
    if isinstance(listed, list):
        tables["rules"] = listed[:1]  # each is checked below, against its own class
    experiment, wrong = check_table(SpikingExperiment, tables)
    problems += wrong
    model = _model(tables.get("model"), problems)
    options = _options(tables.get("model"))
    if model is not None:
        problems += _model_problems(model, options, "model")
    entries = _rules(listed, model, options, problems) if isinstance(listed, list) else []
    if experiment is not None:
        labels = [entry.label for entry in entries]
        problems += check_contrasts(experiment.contrasts, labels)
        experiment = experiment.model_copy(update={"rules": entries})
    return experiment


def schema() -> dict[str, Any]:
    """The JSON Schema of an experiment in Brian2."""
    tree = SpikingExperiment.model_json_schema()
    return with_choices(tree, "model", model=spiking.available())


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
            sentence = f"unknown option{did_you_mean(key, takes)}; {model.name} takes "
            problems.append((f"{path}.{key}", sentence + ", ".join(takes)))
            continue
        try:
            TypeAdapter(hints[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            sentence = error.errors()[0]["msg"].removeprefix("Input ").replace("valid ", "")
            problems.append((f"{path}.{key}", f"{sentence}, found {short(value)}"))
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
    entries: list[SpikingEntry] = []
    for item in read_rules(listed, problems, lambda cls: ("model",), _refused):
        over, path = item.own.get("model", {}), f"{item.path}.model"
        if not isinstance(over, Mapping):
            problems.add(path, f"should be a table, found {short(over)}")
            over = {}
        elif "name" in over:
            problems.add(f"{path}.name", "all rules share the experiment's model; give its "
                         "options only")  # fmt: skip
        elif model is not None and over:
            problems += _model_problems(model, over, path)
        if item.known:
            merged = {**options, **over}
            entries.append(SpikingEntry(item.rule, item.cls, item.label, merged, item.fields, over))
    return entries


def _refused(cls: Any) -> str | None:
    if is_dense(cls):
        return ("the slots of a spiking network bound its fan-in, so none is dense; Static keeps "
                "what it starts with")  # fmt: skip
    return None


def check(experiment: SpikingExperiment, problems: Problems) -> None:
    """What the network or a rule says when it is started, one sentence for each, is a problem.

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
    problems += [(path, sentence) for sentence, path in paths.items()]
