"""What a path on the command line stands for: the graphs of a run, of a cell, or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choice import Choice
from ..errors import ConfigError, DataError, StoreError
from .chosen import Found, graphs_of_cells
from .run import OpenedRun

if TYPE_CHECKING:
    from rewire.graph import Graph


def graphs_at(place: Path, choice: Choice) -> Iterator[Found]:
    """The graphs of a run's finished cells that fit, of one cell, or in one file.

    Raises ConfigError where nothing fits, StoreError and DataError for what cannot be read.
    """
    if (place / "cell.json").exists():
        cell = OpenedRun(place.parent.parent).cell(cell=place.name)
        if choice.density is not None:
            at_density = cell.at_density(choice.density)
            if at_density is None:
                densities = ", ".join(f"{d:g}" for d in cell.densities) or "none"
                raise ConfigError(f"{cell!r} has no density {choice.density:g}; it has {densities}")
            cell = at_density
        yield from graphs_of_cells([cell], choice)
    elif place.is_dir():
        cells = OpenedRun(place).find(choice.rule, choice.density, choice.seed)
        finished = [cell for cell in cells if cell.status == "finished"]
        if not finished:
            fitting = f"{len(cells)} cells that fit, none of them finished" if cells else "no cell"
            raise ConfigError(f"{place} has {fitting} for {choice}")
        yield from graphs_of_cells(finished, choice)
    else:
        if choice.words:
            options = ", ".join(f"--{word}" for word in choice.words)
            raise ConfigError(f"{place} is no folder: {options} choose among the cells of a run")
        yield Found({"file": str(place)}, read_file(place))


def read_file(path: Path, format: str | None = None, **options: Any) -> Graph:
    """The graph in a file; options of its format, but for those that are None.

    Raises ConfigError where no format has its name, GraphFileError (exit 3) where the file is not
    what its name says.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no run, no cell and no file of a graph")
    from rewire.files import GraphFileError, read_graph

    try:
        return read_graph(path, format, **_stated(options))
    except GraphFileError:
        raise
    except (ValueError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from None


def write_file(
    graph: Graph, path: Path, format: str | None = None, **options: Any
) -> Sequence[str]:
    """Write a graph to a file; returns what the file does not hold of it, a sentence each.

    Raises ConfigError where no format has its name, or where it cannot hold the graph.
    """
    from rewire.files import write_graph

    if not path.parent.is_dir():
        raise StoreError(f"{path}: there is no folder {path.parent} to write to")
    try:
        return write_graph(graph, path, format, **_stated(options))
    except (ValueError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from None


def _stated(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def one_graph(place: Path, choice: Choice) -> Found:
    """The one graph that a place stands for. Raises ConfigError where there are several."""
    graphs = list(graphs_at(place, choice))
    if len(graphs) > 1:
        titles = "; ".join(one.title for one in graphs[:8])
        raise ConfigError(
            f"one graph is asked for, and {place} has {len(graphs)}: {titles}. Choose "
            "with --rule, --density, --seed and --level, or give RUN/cells/HASH"
        )
    return graphs[0]
