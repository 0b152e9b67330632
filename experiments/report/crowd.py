"""Many rules on one page: families of a few, each drawn over the range of all rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from .style import RULES, Inline, Look, inline

MOST = 7  # rules that one panel tells apart by colour
COLOURS = ("vermillion", "blue", "green", "purple", "orange", "brown", "sky")
MARKERS = ("o", "^", "D", "P", "v", "X", "s")

Families = Mapping[str, Sequence[str]]  # labels by the title of their panel


@dataclass(frozen=True)
class Panel:
    """What the rules of one family show, and their labels, for its legend."""

    svg: Inline
    labels: Sequence[str]


def families(rules: Mapping[str, str]) -> dict[str, list[str]]:
    """Labels by the kind of their rules, `MOST` of them together, given each label's rule.

    >>> families({"a": "SET", "b": "RigL", "c": "mine"})
    {'during training, constant budget': ['a', 'b'], 'others': ['c']}
    """
    from rewire import branches
    from rewire.rules import available

    kinds = {name: cls.kind for name, cls in (branches.available() | available()).items()}
    by_kind: dict[str, list[str]] = {}
    for label, rule in rules.items():
        by_kind.setdefault(kinds.get(rule, "others"), []).append(label)
    parts = {}
    for kind, labels in by_kind.items():
        n = math.ceil(len(labels) / MOST)
        size = math.ceil(len(labels) / n)
        for i in range(n):
            title = f"{kind} ({i + 1} of {n})" if n > 1 else kind
            parts[title] = labels[i * size : (i + 1) * size]
    return parts


def looks(rules: Mapping[str, str]) -> dict[str, Look]:
    """A look for every label: no two of a family share one, and the dense network is ink."""
    return {
        label: RULES["dense"] if rules[label] == "Dense" else Look(COLOURS[i], MARKERS[i])
        for labels in families(rules).values()
        for i, label in enumerate(labels)
    }


def panels(
    of: Families, draw: Callable[[str, Sequence[str]], Figure], prefix: str, alt: str
) -> list[Panel]:
    """A panel for each family; ``draw`` is given its title and labels."""
    drawn = []
    for i, (title, labels) in enumerate(of.items()):
        svg = inline(draw(title, labels), f"{prefix}{i}", f"{alt} for {', '.join(labels)}.")
        drawn.append(Panel(svg, labels))
    return drawn
