"""What both kinds of runs show of the lives of edges: how many turn over, how long each lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from . import crowd, rounding
from .axes import Looks, survival_panel, turnover_panel
from .crowd import Families
from .style import Inline, inline

if TYPE_CHECKING:
    from rewire.analysis.lifetimes import Lifetimes

# by seed: the ends of n stretches of time, (n + 1,), and formed and dropped per unit of time, (n,)
Rates = Mapping[int, tuple[np.ndarray, ...]]


def rates_of(table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The ends of stretches of time, and the rates in them, of how many were formed and dropped by
    each end, (n + 1, 3): time, formed, dropped.

    >>> ends, formed, dropped = rates_of(np.array([[0.0, 0, 0], [10.0, 5, 2], [20.0, 5, 2]]))
    >>> ends.tolist(), formed.tolist(), dropped.tolist()
    ([0.0, 10.0, 20.0], [0.5, 0.0], [0.2, 0.0])
    """
    between = np.diff(table, axis=0)
    return table[:, 0], *(between[:, 1:] / between[:, :1]).T


def turnover(
    rates: Mapping[str, Rates],
    looks: Looks,
    xlabel: str,
    alt: Callable[[str, Rates], str],
    *,
    small: bool = False,
) -> list[Inline]:
    """A panel for each label that formed or dropped an edge, all on one scale."""
    active = {k: v for k, v in rates.items() if any((f + d).any() for _, f, d in v.values())}
    most = max((max(f.max(), d.max()) for v in active.values() for _, f, d in v.values()),
               default=0)  # fmt: skip
    return [
        inline(turnover_panel(v, label, looks[label], most, xlabel, small), f"e{i}", alt(label, v))
        for i, (label, v) in enumerate(active.items())
    ]


def survival(
    lives: Mapping[str, Sequence[Lifetimes]],
    looks: Looks,
    what: str,
    unit: str,
    least: float = 1,
    families: Families | None = None,
) -> dict[str, Any] | None:
    """Survival of the edges of the start and of those formed later, of labels that dropped any.

    what: "edges" or "synapses". unit: of their ages. least: the shortest age on the log scale.
    families: of many rules, a panel for each.
    """
    active = {k: v for k, v in lives.items() if not all(one.alive.all() for one in v)}
    panels: list[Inline] = []
    parts: list[dict[str, Any]] = []
    for i, (title, since) in enumerate(
        ((f"{what} of the start", "since the start"), (f"{what} formed later", "since formation"))
    ):
        part = {k: [one.where((one.born > 0) == bool(i)) for one in v] for k, v in active.items()}
        part = {k: v for k, v in part.items() if all(len(one.key) for one in v)}
        if part and families is not None:
            members = {k: [x for x in v if x in part] for k, v in families.items()}

            def draw(
                family: str, only: Sequence[str], part: Any = part, xlabel: str = f"{unit} {since}"
            ) -> Figure:
                return survival_panel(part, family, looks, f"{xlabel}, log scale", least, only)

            drawn = crowd.panels({k: v for k, v in members.items() if v}, draw, f"s{i}-",
                                 f"Survival of {title}")  # fmt: skip
            parts.append({"title": title, "panels": drawn})
        elif part:
            alive = ", ".join(f"{k} {rounding.percent(_alive(v))}" for k, v in part.items())
            panel = survival_panel(part, title, looks, f"{unit} {since}, log scale", least)
            panels.append(inline(panel, f"s{i}", f"Survival of {title}; at the end: {alive}."))
    shown = {"panels": panels, "labels": list(active), "parts": parts}
    return shown if panels or parts else None


def _alive(seeds: Sequence[Lifetimes]) -> float:
    """Fraction of the edges that were alive at the end."""
    return float(np.concatenate([one.alive for one in seeds]).mean())
