"""Trainings of PyTorch models: the kind of experiment that names no world, or one of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..config.problems import Problems
from ..early_stopping import LEAST, OWN, STEPS
from ..engines.outcome import Work
from ..kind import Costs, Kind, Page, Plan, Rows
from ..summary import Summary
from ..tasks import metric_of
from .synops import COLUMNS as EVENTS


class Trainings(Kind):
    worlds = ("masked", "sparse", "auto")
    cells = ("rule", "branch")
    mark = "early_stop_step"

    @property
    def parse(self) -> Callable[[Mapping[str, Any], Problems], Any]:
        from .config import parse

        return parse

    @property
    def schema(self) -> Callable[[], dict[str, Any]]:
        from .config import schema

        return schema

    @property
    def check(self) -> Callable[[Any, Problems], None]:
        from .config import check

        return check

    @property
    def plan(self) -> Plan:
        from .plan import cells_of

        return cells_of

    @property
    def work(self) -> Callable[[Any], Work]:
        from .trainer import work

        return work

    @property
    def estimate(self) -> Costs:
        from .estimate import estimate

        return estimate

    def columns(self, rows: Rows) -> Sequence[str]:
        metrics = dict.fromkeys(map(metric_of, rows or [{}]))
        judged = [name for m in metrics for name in (m.test, m.at_early_stop)]
        steps = (OWN, STEPS) if any(row.get(LEAST) is not None for row in rows) else (OWN,)
        asked = ("requested_density",) if any(map(_elsewhere, rows)) else ()
        events = EVENTS if any(row.get(EVENTS[0]) is not None for row in rows) else ()
        return ("label", "seed", "level", *asked, "density", "edges", "step", *judged, *steps,
                *events, "val_loss", "updates", "seconds")  # fmt: skip

    def summary(self, rows: Rows) -> Summary:
        from .summary import summary

        return summary(rows)

    @property
    def page(self) -> Page:
        from ..report.trainings import page

        return page


def _elsewhere(row: Mapping[str, Any]) -> bool:
    """Whether a row has another density than was asked for, by more than counts are rounded."""
    asked, reached = row.get("requested_density"), row.get("density")
    return asked is not None and reached is not None and abs(reached - asked) > 0.01 * asked
