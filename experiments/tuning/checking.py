"""Why a search may not be made of an experiment: said before the first training."""

from __future__ import annotations

from typing import Any

from rewire.names import unknown

from ..config.schema import Experiment, is_branch
from ..config.tune import Tune
from ..errors import ConfigError
from .space import rule_spaces


def check(experiment: Any, search: Tune) -> None:
    """Raise ConfigError for an experiment that cannot be tuned so."""
    if not isinstance(experiment, Experiment):
        raise ConfigError(
            f"world = {experiment.world!r} has no validation data to tune its rules by: tune "
            "experiments of PyTorch models"
        )
    if experiment.distribution == "imp":
        raise ConfigError(
            "distribution = 'imp' takes the counts of IMP's tickets, and trials of other rules "
            "have none: tune with another distribution"
        )
    labels = [entry.label for entry in experiment.rules]
    for label in search.rules:
        if label not in labels:
            raise ConfigError(f"tune.rules: {unknown('rule with the label', label, labels)}")
    branches = [e.label for e in experiment.rules if is_branch(e.cls) and e.label in search.rules]
    if branches:
        raise ConfigError(f"tune.rules: {branches[0]} branches off another rule's tickets and has "
                          "no trials of its own: it trains as that rule is tuned")  # fmt: skip
    if both := sorted({*search.seeds} & {*experiment.seeds}):
        raise ConfigError(
            f"tune.seeds: {', '.join(map(str, both))} {'is' if len(both) == 1 else 'are'} among "
            "the experiment's own seeds: choose by trainings that the final runs do not repeat"
        )
    if isinstance(experiment.distribution, dict) and search.densities:
        raise ConfigError("tune.densities: the table 'distribution' gives densities by layer")
    for entry in experiment.rules:
        for name in search.optimizer:
            if not hasattr(entry.training.optimizer, name):
                raise ConfigError(f"tune.optimizer: {entry.training.optimizer.name} of "
                                  f"{entry.label} has no {name}")  # fmt: skip
    if not any(one.fields for one in rule_spaces(experiment, search)):
        raise ConfigError(
            "no rule of the experiment has a field to tune: name fields of the optimizer, "
            'tune = { optimizer = ["lr"] }, or rules that have some'
        )


def described(experiment: Experiment, search: Tune) -> dict[str, Any]:
    """What a search is a function of, as plain values: the same for the same search."""
    tree = {k: v for k, v in experiment.as_tree().items() if k not in ("tune", "device", "threads")}
    return {**tree, "tune": search.model_dump()}
