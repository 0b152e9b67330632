"""What is searched of each rule of an experiment: its own fields, and fields of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewire.tunable import Tunable, Value, is_whole, number_of, tunables, with_values
from rewire.when import Every

from ..building import n_train
from ..config.schema import Experiment, RuleEntry, is_branch, steps_per_epoch
from ..config.tune import Tune

OPTIMIZER = "optimizer."  # before the names of its fields
DECAY = Tunable(1e-6, 1e-2, log=True)
MOMENTUM = Tunable(0.5, 0.99)
SPREAD = 10.0  # of a learning rate, up and down


@dataclass(frozen=True)
class RuleSpace:
    """One rule of an experiment, and what is tried of it.

    fields: what is tried, by name of a field; those of the optimizer first, after ``optimizer.``.
    before: what the experiment itself says of these fields. steps: of a level.
    """

    entry: RuleEntry
    rule: Any
    fields: Mapping[str, Tunable]
    before: Mapping[str, Value]
    steps: int

    @property
    def label(self) -> str:
        return self.entry.label

    def whole(self, name: str) -> bool:
        """Whether what is varied of a field is a whole number."""
        return not name.startswith(OPTIMIZER) and is_whole(getattr(self.rule, name))

    def table(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The rule's table of an experiment file with these values of its fields.

        Without values it is the experiment's own. Raises ValueError for what the rule refuses, and
        for a period that ends after the training: the rule would not act.
        """
        if not values:
            return self.entry.as_table()
        own = {k: v for k, v in values.items() if not k.startswith(OPTIMIZER)}
        shared = {k.removeprefix(OPTIMIZER): v for k, v in values.items() if k not in own}
        table: dict[str, Any] = {"rule": self.entry.rule, "label": self.entry.label}
        rule = with_values(self.rule, own)
        for name in own:
            when = getattr(rule, name)
            if isinstance(when, Every) and not when.last(self.steps):
                raise ValueError(f"{name} = {when} is never due in {self.steps} steps")
        table |= rule.to_table()
        train = dict(self.entry.train)
        if shared:
            train["optimizer"] = {**self._optimizer, **shared}
        return table | ({"train": train} if train else {})

    @property
    def _optimizer(self) -> dict[str, Any]:
        return self.entry.training.optimizer.model_dump(exclude_defaults=True)


def rule_spaces(experiment: Experiment, search: Tune) -> list[RuleSpace]:
    """The rules that a search is made for, in the experiment's order."""
    examples = n_train(experiment.data)
    return [
        _of_entry(entry, search, examples)
        for entry in experiment.rules
        if not is_branch(entry.cls) and (not search.rules or entry.label in search.rules)
    ]


def _of_entry(entry: RuleEntry, search: Tune, examples: int) -> RuleSpace:
    rule = entry.build(steps_per_epoch(examples, entry.training.batch))
    before = {name: getattr(rule, name) for name in tunables(type(rule))}
    own = {name: space for name, space in tunables(type(rule)).items() if before[name] is not None}
    shared = _of_optimizer(entry.training.optimizer, search)
    values = {f"{OPTIMIZER}{name}": getattr(entry.training.optimizer, name) for name in shared}
    values |= {name: number_of(before[name]) for name in own}
    spaces = {f"{OPTIMIZER}{name}": space for name, space in shared.items()} | own
    return RuleSpace(entry, rule, spaces, values, entry.training.resolved(examples).steps or 0)


def _of_optimizer(optimizer: Any, search: Tune) -> dict[str, Tunable]:
    """The same for every rule that trains alike: around its learning rate, or as usual."""
    rate = optimizer.lr
    spaces = {
        "lr": Tunable(rate / SPREAD, rate * SPREAD, log=True),
        "weight_decay": DECAY,
        "momentum": MOMENTUM,
    }
    return {name: spaces[name] for name in search.optimizer}
