"""From the tree of a file whose world is an installed package's to a checked experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.checking import check as check_table
from ..config.problems import Problems
from ..config.rules import check_contrasts, read_rules
from ..config.schema import is_branch, with_choices
from ..errors import ConfigError
from .cells import plan, settings
from .run import start
from .schema import OwnEntry, OwnExperiment


def parse(tree: Mapping[str, Any], problems: Problems) -> OwnExperiment | None:
    """A plain tree, checked; what is wrong goes to ``problems``."""
    listed = tree.get("rules")
    rules: list[Any] = listed if isinstance(listed, list) else []
    # the rules are checked below, each against its own class
    experiment, wrong = check_table(OwnExperiment, {**tree, "rules": rules[:1]} if rules else tree)
    problems += wrong
    entries = [
        OwnEntry(item.rule, item.cls, item.label, item.fields)
        for item in read_rules(rules, problems, lambda cls: (), _refused)
        if item.known
    ]
    if experiment is None:
        return None
    problems += check_contrasts(experiment.contrasts, [entry.label for entry in entries])
    return experiment.model_copy(update={"rules": entries})


def schema() -> dict[str, Any]:
    """The JSON Schema of an experiment in an installed world."""
    return with_choices(OwnExperiment.model_json_schema())


def _refused(cls: Any) -> str | None:
    if is_branch(cls):
        return f"{cls.__name__} begins with the weights of a finished training of a PyTorch model"
    return None


def check(experiment: OwnExperiment, problems: Problems) -> None:
    """What the world or a rule says when it is started, one sentence for each, is a problem.

    Each rule is started once, so that what cannot live there is refused before anything is
    trained.
    """
    reasons: dict[tuple[str, str], None] = {}
    cells = plan(experiment.model_copy(update={"seeds": experiment.seeds[:1]}))
    for cell in cells:
        try:
            s = settings(cell.config)
            world = s.build()
            world.snapshot()  # a cell that could not be saved could not be resumed
        except (ValueError, TypeError, ConfigError) as error:
            reasons["world", str(error)] = None
            continue
        try:
            start(s, world)
        except ValueError as error:
            reasons[f"rules.{cell.label}", str(error)] = None
    problems += reasons
