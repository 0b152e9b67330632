"""A picture of one graph as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewire.names import did_you_mean, unknown

from ..errors import ConfigError, StoreError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rewire.graph import Graph

PICTURES = ("network", "adjacency", "fields", "spectrum")
SUFFIXES = (".svg", ".png", ".pdf")


def draw(graph: Graph, file: Path, picture: str, projection: str | None, title: str) -> None:
    """Draw one of `PICTURES` into a file of one of `SUFFIXES`.

    projection: for pictures of one; the first unless given. Raises ConfigError for names that are
    not there and for what cannot be drawn, StoreError where the file cannot be written.
    """
    from rewire.pictures.style import drawing

    if picture not in PICTURES:
        raise ConfigError(unknown("picture", picture, PICTURES))
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{file}: a picture is a file {', '.join(SUFFIXES)}")
    if not file.parent.is_dir():
        raise StoreError(f"{file}: there is no folder {file.parent} to write to")
    try:
        figure = _figure(graph, picture, _named(graph, projection), title)
    except ValueError as error:
        raise ConfigError(f"{picture}: {error}") from None
    with drawing(standalone=True):
        metadata: dict[str, Any] = {"Date": None} if file.suffix.lower() == ".svg" else {}
        figure.savefig(file, metadata=metadata, dpi=200)


def _named(graph: Graph, projection: str | None) -> str:
    names = [p.name for p in graph.projections]
    if projection is None:
        return names[0]
    if projection in names:
        return projection
    if f"{projection}.weight" in names:
        return f"{projection}.weight"
    hint = did_you_mean(projection, names)
    raise ConfigError(f"there is no projection {projection!r}{hint}; one of {', '.join(names)}")


def _figure(graph: Graph, picture: str, projection: str, title: str) -> Figure:
    from rewire import pictures

    if picture == "network":
        return pictures.network(graph, title=title)
    if picture == "adjacency":
        return pictures.sorted_adjacency(graph, projection, titles=[f"{title}: {projection}"])
    if picture == "fields":
        return pictures.receptive_fields(graph, projection)
    return pictures.singular_values({title: graph}, projection)
