"""What a kind of experiment is: how its file is read, its cells planned, trained and shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .cells import Cell, Estimate
from .config.problems import Problems
from .engines.outcome import Work
from .summary import Summary

if TYPE_CHECKING:
    from .report.run import RunData


class Experiment(Protocol):
    """What all experiments have, whatever their kind."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def seeds(self) -> list[int]: ...
    @property
    def rules(self) -> list[Any]: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds whose cells it has: its own first, then those that add to it."""

    def as_tree(self) -> dict[str, Any]:
        """A plain tree that reads back as an equal experiment; defaults are left out."""


class Page(Protocol):
    """What draws the report of a kind of runs."""

    FIGURES: tuple[str, ...]

    def render(self, run: RunData) -> str:
        """The whole page, as HTML."""

    def standalone(self, run: RunData, which: str) -> str:
        """A figure of `FIGURES` as an SVG document."""


class Kind:
    """One kind of experiment; `kinds` lists them all and is alone in asking which one it is.

    Torch and Brian2 are imported inside the methods: a command that needs neither is quick.
    """

    worlds: Collection[str] = ()  # values of ``world`` whose files are read here
    cells: tuple[str, ...] = ()  # values of ``config["kind"]`` in its cells
    mark = ""  # a column that only its rows have
    packages: tuple[str, ...] = ()  # distributions that its results depend on, besides the usual

    def parse(self, tree: Mapping[str, Any], problems: Problems) -> Experiment | None:
        """A file's tree, each table checked by itself; what is wrong goes to ``problems``."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its files, with the names that exist."""
        raise NotImplementedError

    def check(self, experiment: Any, problems: Problems) -> None:
        """What only the experiment as a whole can show to be wrong."""

    def plan(self, experiment: Any, cells: Sequence[Cell]) -> list[Cell]:
        """Its cells, parents first. ``cells``: those of the experiment's kinds before this one."""
        raise NotImplementedError

    def work(self, experiment: Any) -> Work:
        """What trains a cell. What all workers share is loaded in this call, before they fork."""
        raise NotImplementedError

    def estimate(self, experiment: Any, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
        """Time and disk of each of its cells, by hash."""
        raise NotImplementedError

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """The columns of its rows that `rewire results` shows in a terminal."""
        raise NotImplementedError

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> Summary | None:
        """What a run ends with on the command line; None where another kind's says it."""
        return None

    @property
    def page(self) -> Page:
        """The module that draws the report of its runs."""
        raise NotImplementedError
