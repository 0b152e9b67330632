"""``rewire graph`` and ``rewire query``: connectivity measured, compared, drawn, handed on.

Only the command line's words are here; the work is imported when a command runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from .choice import Choice
from .errors import ConfigError
from .printing import console, new_table

graph_app = App(
    name="graph", help="Connectivity: measure, compare, draw, export and import graphs."
)


@Parameter(name="*")
@dataclass(frozen=True)
class Form:
    """How rows are written, a table by default."""

    csv: Annotated[bool, Parameter(help="As CSV.")] = False
    json: Annotated[bool, Parameter(help="As JSON, one row a line.")] = False
    parquet: Annotated[Path | None, Parameter(help="Write a Parquet file.")] = None


ANY, TABLE = Choice(), Form()


@graph_app.command
def measure(
    place: Path,
    /,
    *measures: str,
    choice: Choice = ANY,
    null: str | None = None,
    draws: int = 100,
    null_seed: int = 0,
    form: Form = TABLE,
) -> None:
    """Measure graphs, one row for each graph, measure and part, and compare with null models.

    Parameters
    ----------
    place
        The folder of a run (all its cells that are finished), RUN/cells/HASH, or a file of a graph.
    measures
        Names, e.g. LayerDensity RobinsAlexander; left out: all of them.
    null
        Hold each number against a null model: degrees, counts, distance or layers, or start: the
        graphs that cells of the same label and density began with.
    draws
        Graphs that the null model draws [default: 100].
    null_seed
        Seed of the draws [default: 0].
    """
    from .opened.measured import check, measured
    from .opened.places import graphs_at

    check(measures, null, draws)
    graphs = list(graphs_at(place, choice))
    _print(measured(graphs, measures, null, draws, null_seed), form)


@graph_app.command
def compare(
    places: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    choice: Choice = ANY,
    form: Form = TABLE,
) -> None:
    """Compare two graphs: the Jaccard index of each projection, and its value for random masks.

    Every pair of the graphs named is compared that joins the same units. By chance: edges drawn
    uniformly at the counts that the two have in each projection.

    Parameters
    ----------
    places
        Two or more of: the folder of a run (all its finished cells that fit), RUN/cells/HASH, a
        file of a graph. One run alone compares its cells with each other.
    """
    from .opened.compared import compared
    from .opened.places import graphs_at

    graphs = [one for place in places for one in graphs_at(place, choice)]
    _print(compared(graphs), form)


@graph_app.command
def export(
    place: Path,
    file: Path,
    /,
    *,
    choice: Choice = ANY,
    format: str | None = None,
    projection: str | None = None,
    weight: str | None = None,
) -> None:
    """Write one graph to a file for another program, and print what the format cannot store.

    Parameters
    ----------
    place
        RUN/cells/HASH, the folder of a run with options that choose one cell, or a file of a graph.
    file
        The file to write; its suffix says the format: .graphml .gexf .json .npz .net .csv ...
    format
        The format by name, for another suffix.
    projection
        The one to write, for .conn.
    weight
        What the attribute weight is in .graphml, .gexf, .json, .net and .csv: signed or abs.
    """
    from .opened.places import one_graph, write_file

    one = one_graph(place, choice)
    _tell_written(
        one.title,
        one.graph,
        file,
        write_file(one.graph, file, format, projection=projection, weight=weight),
    )


@graph_app.command
def draw(
    place: Path,
    file: Path,
    /,
    picture: str = "network",
    *,
    projection: str | None = None,
    choice: Choice = ANY,
) -> None:
    """Draw one graph to a .svg, .png or .pdf file.

    Parameters
    ----------
    place
        RUN/cells/HASH, the folder of a run with options that choose one cell, or a file of a graph.
    file
        The file to write.
    picture
        network (layers and bundles of edges) [default], adjacency, fields (receptive fields) or
        spectrum (singular values against the Ramanujan bound).
    projection
        Of adjacency, fields and spectrum [default: the first].
    """
    from .opened.drawn import draw as drawn
    from .opened.places import one_graph

    one = one_graph(place, choice)
    drawn(one.graph, file, picture, projection, one.short)
    console().print(f"{one.title}: {picture} in {file}", soft_wrap=True, highlight=False)


@graph_app.command(name="import")
def import_(
    source: Path,
    file: Path,
    /,
    *,
    format: str | None = None,
    to: str | None = None,
    rows: str | None = None,
    chain: bool | None = None,
) -> None:
    """Read a graph from another program's file, check it, and write it in another format.

    Parameters
    ----------
    source
        The file to read: .graphml .gexf .json .net .csv .npy ...
    file
        The file to write, e.g. mine.npz, which `rewire graph measure` and `rewire.files.read_graph`
        read with everything in it.
    format
        The format to read by name, for another suffix.
    to
        The format to write by name, for another suffix.
    rows
        Which side the rows of an adjacency matrix are of: pre (the default) or post.
    chain
        Weights by name feed each other in the order of the file; by default each stands alone.
    """
    from .opened.places import read_file, write_file

    graph = read_file(source, format, rows=rows, chain=chain)
    _tell_written(str(source), graph, file, write_file(graph, file, to))


def _tell_written(title: str, graph: Any, file: Path, lost: Iterable[str]) -> None:
    page = console()
    page.print(f"{title}: {graph!r} in {file}", soft_wrap=True, highlight=False, markup=False)
    for sentence in lost:
        page.print(f"  {sentence}", soft_wrap=True, highlight=False, markup=False)


def query(
    run: Path,
    sql: str,
    /,
    *,
    form: Form = TABLE,
) -> None:
    """Execute one SELECT over the tables of a run: results, evals and cells.

    Parameters
    ----------
    run
        The folder of the run.
    sql
        E.g. "SELECT label, AVG(test_accuracy) FROM results GROUP BY label". It reads, and nothing
        else.
    """
    from .store import query as answered

    _print(answered(run, sql), form)


def _print(rows: Iterable[Mapping[str, Any]], form: Form) -> None:
    """Rows in the form that was asked for."""
    rows = [dict(row) for row in rows]
    parquet = form.parquet
    if form.csv + form.json + (parquet is not None) > 1:
        raise ConfigError("--csv, --json and --parquet exclude each other")
    if parquet is not None:
        from .frames import write_parquet

        write_parquet(rows, parquet)
        console().print(f"{len(rows)} rows in {parquet}", soft_wrap=True, highlight=False)
    elif form.csv or form.json:
        from .store import to_csv, to_json

        finite = [{name: _finite(value) for name, value in row.items()} for row in rows]
        print(to_json(finite) if form.json else to_csv(finite), end="")
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        used = [n for n in names if any(row.get(n) not in (None, "") for row in rows)]
        table = new_table(*used)
        for row in rows:
            table.add_row(*(_text(row.get(name)) for name in used))
        console().print(table)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value


def _text(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
