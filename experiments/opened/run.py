"""A run's folder as a value: its tables, its cells, SQL over both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewire.names import did_you_mean, short

from .. import store
from ..errors import ConfigError, StoreError
from ..frames import frame
from .cell import OpenedCell

if TYPE_CHECKING:
    import pandas

Table = Literal["results", "evals", "cells"]
TABLES = ("results", "evals", "cells")
LISTED = 12  # cells that a message names


def open(run: str | Path) -> OpenedRun:
    """The run in a folder, for reading: it may be finished, unfinished or running.

    Raises StoreError (`rewire.experiments.errors`) where no run is, or where one is damaged.
    """
    return OpenedRun(run)


class OpenedRun:
    """A run's folder, read as it is now; make another one to see what was written since.

    experiment: what experiment.json holds. cells: every cell, begun or not, in its order.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        if self.path.name == "experiment.json":
            self.path = self.path.parent
        if (self.path / "cell.json").exists():
            raise StoreError(
                f"{self.path} is a cell, not a run: open {self.path.parent.parent}, and take "
                f"cell(cell={self.path.name!r}) of it"
            )
        if not self.path.is_dir():
            found = "is a file" if self.path.exists() else "is not there"
            raise StoreError(f"{self.path}: {found}, where the folder of a run was asked for")
        self._described = store.described_cells(self.path)
        listed = (self.path / "experiment.json").exists()
        self.experiment: dict[str, Any] = (
            store.read_json(self.path / "experiment.json") if listed else {}
        )

    # -- tables -----------------------------------------------------------------------------------

    @cached_property
    def _tables(self) -> dict[str, list[store.Row]]:
        return store.tables(self.path)

    def rows(self, table: Table = "results") -> list[dict[str, Any]]:
        """A table as plain rows: "results" (one a cell and level), "evals", or "cells"."""
        if table not in TABLES:
            raise ConfigError(
                f"there is no table {short(table)}{did_you_mean(str(table), TABLES)}; there are "
                f"{', '.join(TABLES)}"
            )
        return [dict(row) for row in self._tables[table]]

    def table(self, table: Table = "results") -> pandas.DataFrame:
        """The same as a DataFrame of pandas. Raises ConfigError where pandas is not installed."""
        return frame(self.rows(table))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows that a SELECT over the tables results, evals and cells gives.

        Raises ConfigError for SQL that is wrong, or does anything but read.
        """
        return store.query(self.path, sql)

    # -- cells ------------------------------------------------------------------------------------

    @cached_property
    def cells(self) -> list[OpenedCell]:
        return [OpenedCell(self.path, row) for row in self._described]

    @property
    def name(self) -> str:
        return str(self.experiment.get("name") or self.path.name)

    def find(
        self,
        rule: str | None = None,
        density: float | None = None,
        seed: int | None = None,
        **fields: Any,
    ) -> list[OpenedCell]:
        """Every cell that fits.

        rule: its label, else the name of its rule. density: the one asked for; a cell that visits
        several (IMP) then stands for its level at that density. fields: ``cell`` (the hash),
        ``status``, and whatever the cell's configuration or its rule holds, by name.
        Raises ConfigError for a field that no cell has.
        """
        cells = self.cells
        if rule is not None:
            labelled = [cell for cell in cells if cell.label == rule]
            cells = labelled or [cell for cell in cells if cell.rule == rule]
        if seed is not None:
            cells = [cell for cell in cells if cell.seed == seed]
        for name, value in fields.items():
            self._check_field(name)
            cells = [cell for cell in cells if cell.field(name) == value]
        if density is not None:
            at = [cell.at_density(density) for cell in cells]
            cells = [cell for cell in at if cell is not None]
        return cells

    def cell(
        self,
        rule: str | None = None,
        density: float | None = None,
        seed: int | None = None,
        **fields: Any,
    ) -> OpenedCell:
        """The one cell that fits, as :meth:`find` looks for it.

        Raises ConfigError where none fits, or several do, and says which cells there are.
        """
        cells = self.find(rule, density, seed, **fields)
        if len(cells) == 1:
            return cells[0]
        words = {"rule": rule, "density": density, "seed": seed, **fields}
        asked_for = ", ".join(f"{k}={v!r}" for k, v in words.items() if v is not None) or "no field"
        if cells:
            raise ConfigError(
                f"{len(cells)} cells of {self.path} fit {asked_for}: {_listed(cells)}. Say more, "
                "as density=, seed=, or cell= (the hash); find() gives all of them"
            )
        names = dict.fromkeys(n for c in self.cells for n in (c.label, c.rule) if n)
        hint = did_you_mean(rule, names) if rule is not None and rule not in names else ""
        raise ConfigError(
            f"no cell of {self.path} fits {asked_for}{hint}; there are {_listed(self.cells)}"
        )

    def measure(
        self,
        measures: str | Sequence[str] = (),
        *,
        null: str | None = None,
        draws: int = 100,
        null_seed: int = 0,
        rule: str | None = None,
        density: float | None = None,
        seed: int | None = None,
    ) -> pandas.DataFrame:
        """Measures of the finished cells that fit, as one long table of pandas.

        measures: names of `rewire.measures`; none: all of them. null, draws, null_seed: the null
        model that each number is held against, as for `rewire.measures.measure`, or "start". rule,
        density, seed: as for :meth:`find`. One row for each cell, density, measure and part.
        """
        from ..choice import Choice
        from .chosen import graphs_of_cells
        from .measured import check, measured

        names = [measures] if isinstance(measures, str) else list(measures)
        check(names, null, draws)
        cells = [c for c in self.find(rule, density, seed) if c.status == "finished"]
        graphs = list(graphs_of_cells(cells, Choice(rule, density, seed)))
        return frame(measured(graphs, names, null, draws, null_seed))

    def _check_field(self, name: str) -> None:
        known = dict.fromkeys(field for cell in self.cells for field in cell.fields)
        if name not in known:
            raise ConfigError(
                f"no cell of {self.path} has a field {name!r}{did_you_mean(name, known)}; there "
                f"are {', '.join(known)}"
            )

    def __iter__(self) -> Iterator[OpenedCell]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    # -- display ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.name}, {_ended(self.cells)})"

    def _repr_html_(self) -> str:
        heads = ("label", "densities", "seeds", "cells", "finished")
        body = ""
        for label in dict.fromkeys(cell.label for cell in self.cells):
            cells = [cell for cell in self.cells if cell.label == label]
            densities = sorted({d for c in cells for d in c.densities}, reverse=True)
            seeds = sorted({c.seed for c in cells if c.seed is not None})
            finished = sum(c.status == "finished" for c in cells)
            values = (
                str(label),
                ", ".join(f"{d:g}" for d in densities),
                ", ".join(map(str, seeds)),
                str(len(cells)),
                str(finished),
            )
            body += "<tr>" + "".join(f"<td>{escape(v)}</td>" for v in values) + "</tr>"
        head = "".join(f"<th>{name}</th>" for name in heads)
        title = escape(f"{self.experiment.get('title') or self.name}: {_ended(self.cells)}")
        return (
            f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def _ended(cells: Sequence[OpenedCell]) -> str:
    """How many cells there are, and how many of them are what.

    >>> _ended([])
    '0 cells'
    """
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell.status] = counts.get(cell.status, 0) + 1
    parts = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"{len(cells)} cells" + (f": {parts}" if parts else "")


def _listed(cells: Sequence[OpenedCell]) -> str:
    texts = [
        f"{c.label} (density {_densities(c)}, seed {c.seed}, cell {c.hash})" for c in cells[:LISTED]
    ]
    more = len(cells) - LISTED
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _densities(cell: OpenedCell) -> str:
    return "/".join(f"{d:g}" for d in cell.densities) or "none"
