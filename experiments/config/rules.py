"""The list ``rules`` of an experiment file, which all kinds of experiments read alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.names import did_you_mean, short, unknown

from .problems import Problems
from .schema import available, in_steps

LONGEST = 80  # letters of a label


@dataclass(frozen=True)
class Listed:
    """One rule of the list: its class, None where the name is unknown, and what is said of it.

    fields: the rule's own. own: tables that the kind of experiment adds. path: as an override
    would write it.
    """

    rule: str
    cls: Any
    label: str
    path: str
    fields: Mapping[str, Any]
    own: Mapping[str, Any]

    @property
    def known(self) -> bool:
        """Whether others can be checked against it, even if something is wrong with it."""
        return self.cls is not None and isinstance(self.label, str)


def read_rules(
    listed: Sequence[Any],
    problems: Problems,
    own: Callable[[Any], Sequence[str]],
    refused: Callable[[Any], str | None] = lambda cls: None,
) -> Iterator[Listed]:
    """The rules of an experiment; what is wrong with them goes to ``problems``.

    own: keys of a rule (by its class, or None) that are the kind's and no fields of the rule.
    refused: why a rule cannot be in such an experiment at all.
    """
    classes, labels = available("rule"), set[str]()
    for i, item in enumerate(listed):
        table = {"rule": item} if isinstance(item, str) else item
        if not isinstance(table, Mapping):
            problems.add(f"rules[{i}]", f"should be a table, found {short(item)}")
            continue
        fields = dict(table)
        rule = fields.pop("rule", None)
        cls = classes.get(rule) if isinstance(rule, str) else None
        kept = {key: fields.pop(key) for key in own(cls) if key in fields}
        label = fields.pop("label", rule)
        path = f"rules.{label}" if isinstance(label, str) else f"rules[{i}]"
        if rule is None:
            hint = did_you_mean("rule", fields) or ": the name of a rule, e.g. rule = 'DeepR'"
            problems.add(path, f"'rule' is missing{hint}")
        elif cls is None:
            problems.add(f"{path}.rule", unknown("rule", rule, classes))
        elif why := refused(cls):
            problems.add(path, why)
        else:
            problems += _of_fields(cls, fields, path)
        if not (isinstance(label, str) and label.strip() and len(label) <= LONGEST):
            if rule is not None:
                problems.add(f"{path}.label", f"should be a short text, found {short(label)}")
        elif label in labels:
            problems.add(path, "two rules have this label; give one of them another 'label'")
        one = Listed(rule, cls, label, path, fields, kept)  # type: ignore[arg-type]
        if one.known:
            labels.add(label)
        yield one


def _of_fields(cls: Any, fields: dict[str, Any], path: str) -> Problems:
    from rewire.rules import of_class

    try:
        of_class(cls, in_steps(fields, 100))  # how long an epoch is matters to no check
    except (ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        return Problems((path, line) for line in lines if line)
    return Problems()


def check_contrasts(contrasts: Sequence[Sequence[str]], labels: Sequence[str]) -> Problems:
    """Pairs to compare whose labels no rule has."""
    return Problems(
        (f"contrasts[{i}]", unknown("rule with the label", label, labels))
        for i, pair in enumerate(contrasts)
        for label in pair
        if label not in labels
    )
