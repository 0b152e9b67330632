"""Networks that live in Brian2: the kind of experiment with ``world = "brian"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..config.problems import Problems
from ..engines.outcome import Work
from ..kind import Costs, Kind, Page, Plan, Rows
from ..summary import Summary, of_columns


class Spiking(Kind):
    worlds = ("brian",)
    cells = ("spiking",)
    mark = "simulated_seconds"
    packages = ("brian2",)

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
        from .cells import plan

        return plan

    @property
    def work(self) -> Callable[[Any], Work]:
        from .trainer import work

        return work

    @property
    def estimate(self) -> Costs:
        from .estimate import estimate

        return estimate

    def columns(self, rows: Rows) -> Sequence[str]:
        return ("label", "seed", "simulated_seconds", "sigma_aff_conn", "sigma_aff_weight",
                "ad_conn", "ad_weight", "rate_hz", "ff_synapses", "lateral_synapses",
                "events_per_s", "seconds")  # fmt: skip

    def summary(self, rows: Rows) -> Summary:
        ends = [row for row in rows if row["level"] > 0]
        names = ("sigma_aff_conn", "ad_conn", "rate_hz", "ff_synapses", "events_per_s")
        return of_columns("The map at the end", ends, names, 3)

    @property
    def page(self) -> Page:
        from ..report.spiking import page

        return page
