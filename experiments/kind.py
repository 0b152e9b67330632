"""What a kind of experiment is: how its file is read, its cells planned, trained and shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .cells import Cell, Estimate
from .config.problems import Problems
from .engines.outcome import Work
from .summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    def figure(self, run: RunData, which: str) -> Figure:
        """A figure of `FIGURES`, to be a document of its own."""


Rows = Sequence[Mapping[str, Any]]
Plan = Callable[[Any, Sequence[Cell]], list[Cell]]
Costs = Callable[[Any, Sequence[Cell]], Mapping[str, Estimate]]


class Kind:
    """One kind of experiment; `kinds` lists them all and is alone in asking which one it is.

    Each property is a door: it imports a module of the kind's folder and hands its function on, so
    that a command which needs neither torch nor Brian2 is quick.
    """

    worlds: Collection[str] = ()  # values of ``world`` whose files are read here
    cells: tuple[str, ...] = ()  # values of ``config["kind"]`` in its cells
    mark = ""  # a column that only its rows have
    packages: tuple[str, ...] = ()  # distributions that its results depend on, besides the usual

    @property
    def parse(self) -> Callable[[Mapping[str, Any], Problems], Any]:
        """(tree, problems): the experiment of a file, each table checked by itself.

        What is wrong goes to ``problems``; None where there is then no experiment.
        """
        raise NotImplementedError

    @property
    def schema(self) -> Callable[[], dict[str, Any]]:
        """The JSON Schema of its files, with the names that exist."""
        raise NotImplementedError

    @property
    def check(self) -> Callable[[Any, Problems], None]:
        """(experiment, problems): what only the experiment as a whole can show to be wrong."""
        raise NotImplementedError

    @property
    def plan(self) -> Plan:
        """(experiment, cells): its cells, parents first; ``cells`` are those of the experiment's
        kinds before this one."""
        raise NotImplementedError

    @property
    def work(self) -> Callable[[Any], Work]:
        """(experiment): what trains a cell. What all workers share is loaded in this call, before
        they fork."""
        raise NotImplementedError

    @property
    def estimate(self) -> Costs:
        """(experiment, cells): time and disk of each of its cells, by hash."""
        raise NotImplementedError

    def columns(self, rows: Rows) -> Sequence[str]:
        """The columns of its rows that `rewire results` shows in a terminal."""
        raise NotImplementedError

    def summary(self, rows: Rows) -> Summary | None:
        """What a run ends with on the command line; None where another kind's says it."""
        return None

    @property
    def page(self) -> Page:
        """The module that draws the report of its runs."""
        raise NotImplementedError
