"""One cell of an opened run: its numbers, its graphs at any step, its model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..errors import StoreError

if TYPE_CHECKING:
    from torch import nn

    from rewire.edit_log import History
    from rewire.graph import Graph

    from .replay import Recorded


@dataclass(frozen=True, eq=False)
class OpenedCell:
    """A training of a run, or a ladder of trainings at falling densities.

    run: the run's folder. described: its row of the table ``cells``. level: the level that
    :meth:`graph` and :meth:`model` take unless told otherwise; None: the last one.
    """

    run: Path
    described: Mapping[str, Any]
    level: int | None = None

    # -- what it is -------------------------------------------------------------------------------

    @property
    def hash(self) -> str:
        return self.described["cell"]

    @property
    def label(self) -> str | None:
        return self.described["label"]

    @property
    def rule(self) -> str | None:
        """The name of its rule; None before it has begun."""
        return self.described["rule"]

    @property
    def seed(self) -> int | None:
        return self.described["seed"]

    @property
    def status(self) -> str:
        """finished, failed, running (or interrupted), or waiting."""
        return self.described["status"]

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that decides its result; empty before it has begun."""
        return json.loads(self.described["config"] or "{}")

    @cached_property
    def densities(self) -> tuple[float, ...]:
        """The densities it was asked for, from dense to sparse."""
        if self.described["density"] is not None:
            return (self.described["density"],)
        return tuple(sorted(self.config.get("densities", ()), reverse=True))

    @property
    def fields(self) -> tuple[str, ...]:
        """What `OpenedRun.find` can ask of it by name."""
        rule = self.config.get("rule")
        own = tuple(rule) if isinstance(rule, dict) else ()
        return tuple(dict.fromkeys(("cell", "label", "status", "error", *own, *self.config)))

    def field(self, name: str) -> Any:
        """A field's value; None where this cell has none of that name."""
        if name in ("cell", "label", "status", "error"):
            return self.described[name]
        rule = self.config.get("rule")
        return (rule if isinstance(rule, dict) else {}).get(name, self.config.get(name))

    def at_density(self, density: float) -> OpenedCell | None:
        """The same cell at its level of this density; None where it was never asked for it."""
        if density not in self.densities:
            return None
        if len(self.densities) == 1:
            return self
        levels = [r["level"] for r in self.results if r.get("requested_density") == density]
        if not levels:
            raise StoreError(
                f"{self.path}: density {density:g} was asked for, and no level has it yet "
                f"(the cell is {self.status}): run its experiment to the end"
            )
        return OpenedCell(self.run, self.described, levels[0])

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.run / "cells" / self.hash

    # -- its numbers ------------------------------------------------------------------------------

    @property
    def store(self) -> store.CellStore:
        """Its files. Raises StoreError where it has not begun."""
        if self.status == "waiting" and not (self.path / "cell.json").exists():
            raise StoreError(
                f"{self.path}: this cell ({self.label}, seed {self.seed}) has not begun: run its "
                "experiment first"
            )
        return store.CellStore(self.path)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Every event that it wrote down, in order. Raises StoreError for a damaged file."""
        return list(self.store.events())

    @property
    def results(self) -> list[dict[str, Any]]:
        """Its row of the table ``results`` for each level."""
        if self.status == "waiting":
            return []
        return [{"cell": self.hash, **e} for e in self.metrics if e["event"] == "level"]

    @property
    def evals(self) -> list[dict[str, Any]]:
        """Its learning curve: one row for each evaluation."""
        return [{"cell": self.hash, **e} for e in self.metrics if e["event"] == "eval"]

    # -- its graphs -------------------------------------------------------------------------------

    @cached_property
    def _recorded(self) -> Recorded:
        from .replay import Recorded

        return Recorded(repr(self), self.store, self.status, self.config, self.metrics)

    @property
    def levels(self) -> dict[int, int]:
        """The levels whose graph was saved with weights: level -> steps in all at its end."""
        from .replay import level_ends

        return level_ends(self._recorded)

    @property
    def start(self) -> Graph:
        """The topology before the first step, without weights."""
        from .replay import start_of

        return start_of(self._recorded, self.level)

    @property
    def history(self) -> History:
        """Every edit of its rules, from the topology that it starts with.

        Raises StoreError for a cell that is not finished, or whose log is damaged.
        """
        from .replay import history_of

        return history_of(self._recorded)

    def graph(self, step: int | None = None, level: int | None = None) -> Graph:
        """The connectivity that computed step ``step``, or at the end of a level.

        step: steps in all, over the rounds of a ladder: the edits of earlier steps are in, those
        at its own end are not (of a spiking network they are: rules act while it runs); 0 is the
        start. level: a number of :attr:`levels`. Neither: the end
        of the cell, or of the level at the density that the cell was looked for with.

        The graph has the column "weight" at the end of a level (:attr:`levels`), where weights
        are kept; at any other step it is the topology alone, replayed from the edit log.
        Raises ConfigError for a step or level that is not there, StoreError for an unfinished
        cell or a damaged file.
        """
        from .replay import graph_at

        usual = self.level if step is None else None
        return graph_at(self._recorded, step, usual if level is None else level)

    def graphs(self, every: int = 1) -> Iterator[tuple[int, Graph]]:
        """(step, topology) at the start, every ``every`` steps, and at the end of the cell (or of
        the level that it was looked for with): one pass through the edit log.

        Topologies alone, without weights. Raises as :meth:`graph`.
        """
        from .replay import graphs_of

        return graphs_of(self._recorded, every, self.level)

    def model(self, level: int | None = None) -> nn.Module:
        """The model as it was trained: built as the experiment says, the weights at the end of a
        level loaded, 0 where there is no edge; in evaluation mode, on the CPU.

        Raises ConfigError for a cell without a torch model, or a level whose weights were not kept.
        """
        from .rebuilt import model_of

        return model_of(self._recorded, self.level if level is None else level)

    # -- display ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        at = "" if self.level is None else f", level {self.level}"
        densities = "/".join(f"{d:g}" for d in self.densities)
        density = f", density {densities}" if densities else ""
        return f"Cell({self.label}{density}, seed {self.seed}{at}: {self.status}, {self.hash})"

    def _repr_html_(self) -> str:
        values = {
            "cell": self.hash,
            "rule": self.rule,
            "density": ", ".join(f"{d:g}" for d in self.densities),
            "seed": self.seed,
            "status": self.status,
            "error": self.described["error"],
            "level": self.level,
            **{k: v for k, v in self.config.items() if k not in ("seed", "density", "densities")},
        }
        body = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(_text(value))}</td></tr>"
            for name, value in values.items()
            if value is not None
        )
        return f"<table><caption>{escape(str(self.label))}</caption><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
