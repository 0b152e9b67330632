"""The configuration of trainings: parsed, looked up, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rewire.names import did_you_mean, short, unknown

from .. import tasks
from ..building import empty_model, n_train, space_of
from ..config.checking import check as check_table
from ..config.problems import Problems
from ..config.rules import check_contrasts, read_rules
from ..config.schema import (
    Experiment,
    RuleEntry,
    Training,
    available,
    has_epochs,
    is_branch,
    is_cell,
    is_dense,
    named,
    prunes_at_start,
    steps_per_epoch,
    visits_densities,
    with_choices,
)
from .initial import initial_problems

if TYPE_CHECKING:
    from rewire.limits import Limit


def _overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``; a table that changes its kind replaces the old one whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if all(old.get(k) == value.get(k, old.get(k)) for k in ("name", "kind")):
                value = _overlay(old, value)
        merged[key] = value
    if "epochs" in over and "steps" not in over:
        merged.pop("steps", None)
    if "steps" in over and "epochs" not in over:
        merged.pop("epochs", None)
    return merged


def parse(tree: Mapping[str, Any], problems: Problems) -> Experiment | None:
    """A plain tree (what a TOML file holds), checked; what is wrong goes to ``problems``."""
    tables = {k: named(v) if k in ("model", "data", "optimizer") else v for k, v in tree.items()}
    if isinstance(tables.get("data"), Mapping):
        tables["data"] = _with_digest(tables["data"], problems)
    listed = tables.get("rules")
    if isinstance(listed, list):
        tables["rules"] = listed[:1]  # each is checked below, against its own class
    experiment, wrong = check_table(Experiment, tables)
    problems += wrong
    training = {key: tables[key] for key in Training.model_fields if key in tables}
    entries = _rules(listed, training, problems) if isinstance(listed, list) else []
    _look_up(tables, problems)
    problems += _across(entries, experiment)
    if experiment is not None and not problems:
        problems += _unfit_batches(experiment.model_copy(update={"rules": entries}))
    if experiment is not None and not problems:
        problems += _unfit_task(experiment)
    if experiment is None:
        return None
    return experiment.model_copy(update={"rules": entries})


def _with_digest(table: Mapping[str, Any], problems: Problems) -> Mapping[str, Any]:
    """The table of data in files of one's own, with the digest of what they hold now."""
    from ..data import info
    from ..data.own import FOLDER, absolute

    name, before = table.get("name"), table.get("digest")
    if not isinstance(name, str) or not name.startswith(FOLDER):
        if before is not None:
            problems.add("data.digest", f"is of data that a name {FOLDER}PATH stands for")
        return table
    name = absolute(name)
    digest = info(name).digest
    if before and digest and digest != before:
        problems.add("data", f"{name} holds other data (digest {digest}) than when this was "
                     f"written (digest {before}): bring those back, or leave out the digest "
                     "for a run of its own")  # fmt: skip
    return {**table, "name": name, "digest": digest} if digest else {**table, "name": name}


def check(experiment: Experiment, problems: Problems) -> None:
    """What rules, model and densities cannot be together goes to ``problems``."""
    if (lack := experiment.objective.lacks) is not None:
        problems.add("task", f"{tasks.table_of(experiment.objective)['name']} {lack}")
    problems += _unfeasible(experiment) + _no_passes(experiment)
    problems += _unclipped(experiment) + _no_last_rate(experiment)
    problems += initial_problems(experiment, can_draw=not problems)
    if not problems:
        problems += _beyond_limits(experiment)


def schema() -> dict[str, Any]:
    """The JSON Schema of an experiment that trains."""
    choices = {"model": available("model"), "data": available("data")}
    tree = with_choices(Experiment.model_json_schema(), "train", **choices)
    world = {**tree["properties"]["world"], "deprecated": True, "description": "now 'world'"}
    tree["properties"]["substrate"] = world
    return tree


def _rules(listed: list[Any], training: dict[str, Any], problems: Problems) -> list[RuleEntry]:
    """The experiment's rules; what is wrong with them goes to ``problems``.

    A rule that is known is returned even if something is wrong with it, so that others can be
    checked against it; its `training` may then be None.
    """
    base_problems = set(check_table(Training, training)[1])
    entries: list[RuleEntry] = []
    for item in read_rules(listed, problems, lambda c: ("train", "of")[: 1 + is_branch(c)]):
        train, of = item.own.get("train", {}), item.own.get("of")
        own: Training | None = None
        if not isinstance(train, Mapping):
            problems.add(f"{item.path}.train", f"should be a table, found {short(train)}")
        else:
            train = {k: named(v) if k == "optimizer" else v for k, v in train.items()}
            own, wrong = check_table(Training, _overlay(training, train))
            for where, sentence in wrong:
                if (where, sentence) not in base_problems:
                    problems.add(f"{item.path}.train.{where}".rstrip("."), sentence)
        if not (of is None or isinstance(of, str)):
            problems.add(f"{item.path}.of", f"should be the label of a rule, found {short(of)}")
        if item.known:
            entry = RuleEntry(item.rule, item.cls, item.label, own, item.fields, train, of)  # type: ignore[arg-type]
            entries.append(entry)
    return entries


def _look_up(tables: Mapping[str, Any], problems: Problems) -> None:
    """Do the model and the data set exist, and does the model take its options?"""
    from rewire.models import info as model_info

    from ..data import info as data_info
    from ..data import is_free
    from ..data.changes import Changes

    infos = {}
    for kind, what in (("model", "model"), ("data", "data set")):
        table = tables.get(kind)
        name = table.get("name") if isinstance(table, Mapping) else None
        if not isinstance(name, str):
            continue
        known = available(kind)
        if name in known:
            infos[kind] = known[name]
        elif ":" in name and (kind == "model" or is_free(name)):
            infos[kind] = model_info(name) if kind == "model" else data_info(name)
        else:
            problems.append((f"{kind}.name", unknown(what, name, known)))
    info = infos.get("data")
    if info is not None and info.problem:
        problems.append(("data", info.problem))
    elif (
        info is not None
        and not info.endless
        and type(size := tables["data"].get("validation")) is int
    ):
        most = info.train + info.validation - 1
        if size > most:
            problems.append(("data.validation", f"{info.name} has no {size:,} to hold out; "
                             f"1 to {most:,}, {info.validation:,} by default"))  # fmt: skip
    if info is not None and not info.problem:
        changes = Changes.of(tables["data"])
        wrong = list(changes.problems(info, tables["data"].get("augment")))
        problems += Problems((f"data.{key}", sentence) for key, sentence in wrong)
        info = info if wrong else changes.seen(info)
    if "model" in infos:
        options = {key: value for key, value in tables["model"].items() if key != "name"}
        problems += _model_problems(infos["model"], options, info)


def _model_problems(model: Any, options: dict[str, Any], data: Any) -> Problems:
    """What the model says of its options; it is built once where nothing else tells."""
    problems = Problems()
    try:
        takes = model.options()
    except ValueError as error:
        problems.add("model", str(error))
        return problems
    for key in options:
        if key not in takes:
            names = ", ".join(takes)
            hint = did_you_mean(key, takes)
            problems.add(f"model.{key}", f"unknown option{hint}; {model.name} takes {names}")
    if problems or data is None or data.problem:
        return problems
    try:
        empty_model(model.name, options, data)
    except (ValueError, TypeError, RuntimeError) as error:
        problems.add("model", f"{model.name} on {data.name} cannot be built: {error}")
    return problems


def _unfit_task(experiment: Experiment) -> Problems:
    """A task for other targets than the data set has, and a model that computes other outputs."""
    task, info = experiment.objective, experiment.data.info
    if task.targets != info.task.targets:
        fitting = [name for name, cls in tasks.available().items()
                   if cls.targets == info.task.targets]  # fmt: skip
        points = "; whole numbers are classes, numbers with a point (5.0) are not"
        return Problems([("task", f"is for {task.kind}, and {info.name} is for {info.task.kind}: "
                          f"leave it out, or choose one of {', '.join(fitting)}"
                          + (points if info.digest else ""))])  # fmt: skip
    return _other_outputs(experiment, task, info)


def _unfit_batches(experiment: Experiment) -> Problems:
    """Batches that the task cannot have, and epochs of what has none."""
    problems = Problems()
    tables: list[tuple[str, Training | None, Any]] = [("", experiment, {})]
    tables += [(f"rules.{entry.label}.", entry.training, entry.fields)
               for entry in experiment.rules]  # fmt: skip
    for path, training, fields in tables:
        if training is None:
            continue
        if (why := experiment.objective.unfit(training.batch)) is not None:
            problems.add(f"{path}batch", why)
        if not experiment.data.info.endless:
            continue
        if training.evaluate_train:
            problems.add(f"{path}evaluate_train", f"{experiment.data.name} has no training set: "
                         "rows have the mean return of the training as they are")  # fmt: skip
        if has_epochs(training, fields):
            problems.add(f"{path}epochs", f"{experiment.data.name} has no epochs, its examples are "
                         "made while a model trains: give numbers of steps")  # fmt: skip
    return problems


def _other_outputs(experiment: Experiment, task: tasks.Task, info: Any) -> Problems:
    """What keeps the model from computing what the task asks for, by a pass without numbers."""
    import torch

    name, expected = experiment.model.name, (2, *task.output_shape(info.shape, info.classes))
    x, _ = task.example(info, 2, torch.Generator())
    try:
        with torch.no_grad():
            outputs = empty_model(name, experiment.model.options, info).eval()(x.to("meta"))
    except Exception as error:  # a model of somebody's may fail in any way
        reason = f"{type(error).__name__}: {error}"
        return Problems([("model", f"{name} cannot read {info.name}, whose inputs are "
                          f"{info.inputs} of shape {info.shape}: {reason}")])  # fmt: skip
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape == expected:
        return Problems()
    return Problems([("model", f"{name} computes {shape} of two examples of {info.name}, where "
                      f"{expected} belongs: {task.kind}, {info.classes} outputs")])  # fmt: skip


def _unfeasible(experiment: Experiment) -> Problems:
    """Patterns and densities that fit no layer of the model."""
    from rewire.budget import counts_for

    try:
        space = space_of(experiment)
    except ValueError as error:
        return Problems([("include" if experiment.include else "exclude", str(error))])
    spread = experiment.distribution
    if isinstance(spread, dict):
        keys: list[tuple[str, float | None]] = [("distribution", None)]
    else:
        keys = [("densities", density) for density in experiment.densities]
    problems = Problems()
    for path, density in keys:
        try:
            counts_for(space, density, "erk" if spread == "imp" else spread)
        except ValueError as error:
            problems.add(path, str(error))
    if not problems:
        problems += _unreachable(experiment, space)
        for entry in experiment.rules:
            if not is_branch(entry.cls):
                problems += _refused(experiment, entry)
    return problems


def _no_last_rate(experiment: Experiment) -> Problems:
    """Rules and branches that train on at a rate that their schedule does not leave."""
    from rewire.compatibility import no_last_rate

    problems, n = Problems(), n_train(experiment.data)
    for entry in experiment.rules:
        training = entry.training.resolved(n)
        if training.schedule is None:
            continue
        rule, steps = entry.build(steps_per_epoch(n, training.batch)), int(training.steps or 0)
        why = no_last_rate(rule, partial(training.schedule.at, steps=steps), steps)
        if why is not None:
            problems.add(f"rules.{entry.label}", why)
    return problems


def _beyond_limits(experiment: Experiment) -> Problems:
    """Limits that bind nothing, and rules and densities that cannot live under them."""
    from rewire.budget import counts_for, random_graph
    from rewire.graph import Graph
    from rewire.limits import from_tables, limited
    from rewire.rule_budget import budget_of
    from rewire.streams import rng_for

    limits = from_tables(experiment.limits)
    if not limits:
        return Problems()
    try:
        space = limited(space_of(experiment), limits)
    except ValueError as error:
        return Problems([("limits", str(error))])
    problems: dict[tuple[str, str], None] = {}
    spread = "erk" if experiment.distribution == "imp" else experiment.distribution
    for entry in experiment.rules:
        rule, path = entry.build(1), f"rules.{entry.label}"
        if is_dense(rule) or is_branch(rule):
            continue
        if visits_densities(rule):
            problems[path, f"{entry.rule} begins as the dense network, which has no limits"] = None
            continue
        problems |= dict.fromkeys(_refused(experiment, entry, limits))
        budget = budget_of(rule)
        densities: Sequence[float | None] = experiment.densities or [None]
        for density in densities:
            start = None if density is None else budget.starts_at(density)
            try:
                if budget.at_start:
                    Graph.full(space).check_limits()
                else:
                    random_graph(space, counts_for(space, start, spread), rng_for(0, "try"))
            except ValueError as error:
                where = "" if start is None else f" at density {start:g}"
                problems[path, f"{entry.rule} cannot start{where}: {error}"] = None
    return Problems(problems)


def _no_passes(experiment: Experiment) -> Problems:
    """Ways to make training passes that the world, or the model, does not have."""
    problems = Problems()
    if experiment.world == "sparse" and experiment.device == "cuda":
        problems.add("device", "lists of edges are kept on the CPU: set world = 'masked', or leave "
                     "the device out")  # fmt: skip
    if experiment.world != "masked":
        for key in experiment.passes:
            problems.add(key, f"is of dense weights under masks: leave it out with world = "
                         f"{experiment.world!r}, or set world = 'masked'")  # fmt: skip
    elif experiment.memory_format == "channels_last":
        model = empty_model(experiment.model.name, experiment.model.options, experiment.data.info)
        if not any(p.dim() in (4, 5) for p in model.parameters()):
            problems.add("memory_format", f"{experiment.model.name} has no convolution whose "
                         "channels could come last: leave it out")  # fmt: skip
    return problems


def _unclipped(experiment: Experiment) -> Problems:
    """Rules whose edges are not all moved by their gradients, which then have no joint norm."""
    from rewire.rule import Rule, silences

    problems = Problems()
    for entry in experiment.rules:
        rule = entry.build(1)
        if entry.training.clip is not None and isinstance(rule, Rule) and silences(rule):
            problems.add(f"rules.{entry.label}", f"{entry.rule} keeps silent edges, over which no "
                         "norm of gradients is defined: leave out clip")  # fmt: skip
    return problems


def _unreachable(experiment: Experiment, space: Any) -> Problems:
    """Densities that a rule cannot have, or which cuts its way down and cannot reach."""
    from rewire.compatibility import unreachable

    names, problems = [p.name for p in space.projections], Problems()
    for entry in experiment.rules:
        if not is_branch(entry.cls):
            rule = entry.build(1)
            if (why := unreachable(rule, experiment.densities, space.sizes, names)) is not None:
                problems.add(f"rules.{entry.label}", why)
    return problems


def _refused(experiment: Experiment, entry: RuleEntry, limits: Sequence[Limit] = ()) -> Problems:
    """What a session in the experiment's world would refuse a rule for."""
    from rewire.compatibility import problems
    from rewire.offer import OfKind
    from rewire.torch_loop import masked_only
    from rewire.worlds.registry import get

    n = n_train(experiment.data)
    training = entry.training.resolved(n)
    rule = entry.build(steps_per_epoch(n, training.batch))
    world = experiment.world
    if world == "auto":
        world = "masked" if masked_only(rule) else "sparse"
    reasons = problems([rule], OfKind(get(world)), limits, span=training.steps, rewinds=True)
    return Problems((f"rules.{entry.label}", reason.text) for reason in reasons)


def _across(entries: Sequence[RuleEntry], experiment: Experiment | None) -> Problems:
    """What can only be wrong between two keys. The entries may have problems of their own."""
    problems = Problems()
    labels = [entry.label for entry in entries]
    visiting = [entry for entry in entries if visits_densities(entry.cls)]
    trained = [entry for entry in entries if not is_branch(entry.cls)]
    grown = [entry for entry in trained if not is_dense(entry.cls)]
    for entry in entries:
        if not is_branch(entry.cls):
            continue
        of, other = entry.of, entry.fields.get("other")
        if of is None and not visiting:
            problems.append((
                f"rules.{entry.label}",
                f"{entry.rule} branches off another rule's tickets: it needs a rule such as IMP "
                "in the same experiment, or the label of another rule as of",
            ))  # fmt: skip
        names = [one.label for one in (trained if entry.cls.copies else grown)]
        if of is not None and not is_cell(of) and of not in names:
            problems.append((f"rules.{entry.label}.of", unknown("ticket rule", of, names)))
        if other and other not in (names := [v.label for v in visiting]):
            problems.append((f"rules.{entry.label}.other", unknown("ticket rule", other, names)))
    if experiment is None:
        return problems
    problems += [
        (f"rules.{entry.label}.to", "the experiment says it: give 'densities' instead")
        for entry in entries
        if prunes_at_start(entry.cls) and "to" in entry.fields
    ]
    problems += check_contrasts(experiment.contrasts, labels)
    spread = experiment.distribution
    dense = {entry.label for entry in entries if is_dense(entry.cls)}
    sparse = [entry for entry in entries if entry.label not in dense and entry.of not in dense]
    if isinstance(spread, dict):
        if experiment.densities:
            problems.append(("densities", "follow from the table 'distribution'; give only one"))
        problems += [
            (f"rules.{entry.label}", f"{entry.rule} cuts its way to given densities, and the table "
             "'distribution' names none; use a named distribution and 'densities'")
            for entry in visiting
        ]  # fmt: skip
    elif sparse and not experiment.densities:
        problems.append(("densities", f"is missing: which fractions of the edges does "
                         f"{sparse[0].label} keep? E.g. densities = [0.2, 0.05]"))  # fmt: skip
    if spread == "imp" and not visiting:
        problems.append(("distribution", "'imp' spreads edges as IMP found: add IMP to rules"))
    return problems
