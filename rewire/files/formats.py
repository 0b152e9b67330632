"""Formats of graph files by name and suffix, and the two doors: read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from ..graph import Graph
from ..names import unknown
from .errors import GraphFileError, reading


@dataclass(frozen=True)
class Format:
    """A format of files that hold graphs.

    keeps:  what comes back of "space" (populations, projections, isolated units, and which synapse
            each edge is), "columns" (other than ``weight``), "positions", "wiring", "labels".
    needs:  packages beside ours.
    also:   what no file of this format holds, a sentence each.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    what: str
    keeps: frozenset[str] = frozenset()
    needs: str = ""
    also: tuple[str, ...] = ()

    def lost(self, graph: Graph) -> tuple[str, ...]:
        """What of this graph a file of this format does not hold, a sentence each."""
        has = {name: text(graph) for name, text in _PARTS.items() if name not in self.keeps}
        return (*(text for text in has.values() if text), *self.also)


def _columns(graph: Graph) -> str:
    names = [name for name in graph.columns if name != "weight"]
    return f"the columns {', '.join(names)} are left out" if names else ""


_PARTS: Mapping[str, Callable[[Graph], str]] = {
    "space": lambda g: "what reads it does not know populations, projections and isolated units",
    "columns": _columns,
    "positions": lambda g: (
        "positions of units are left out"
        if any(p.positions is not None for p in g.populations)
        else ""
    ),
    "labels": lambda g: (
        "labels of units are left out" if any(p.labels is not None for p in g.populations) else ""
    ),
    "wiring": lambda g: (
        "links without weights, which join populations, are left out"
        if g.space.wiring is not None and g.space.wiring.links
        else ""
    ),
    "limits": lambda g: "limits of the space are left out" if g.space.limits else "",
}

_ALL = frozenset({"space", "columns", "positions", "wiring", "labels"})

_DENSE = ("a synapse of weight 0 is absent, and parallel ones are one",)

_ONE = ("one projection is written, the others are left out",)

_BUILT_IN = (
    Format("npz", (".npz",), "arrays", "ours, and a matrix for scipy.sparse.load_npz", _ALL),
    Format("graphml", (".graphml",), "graphml", "GraphML (igraph, Gephi, networkx)", _ALL),
    Format("gexf", (".gexf",), "gexf", "GEXF (Gephi, networkx)", _ALL),
    Format("node-link", (".json",), "node_link", "node-link JSON (networkx, d3)", _ALL),
    Format(
        "pajek", (".net",), "pajek", "Pajek (igraph, networkx)",
        frozenset({"positions", "labels"}),
    ),
    Format(
        "edges", (".csv", ".tsv"), "tables", "a table of edges", frozenset({"columns", "labels"})
    ),
    Format("matrix", (".npy",), "matrices", "an adjacency matrix, rows presynaptic", also=_DENSE),
    Format(
        "state", (".safetensors", ".pt", ".pth"), "states", "a dense state, zeros absent",
        also=_DENSE,
    ),
    Format("pynn", (".conn",), "pynn", "a connection list of PyNN", also=_ONE),
    Format("sonata", (".h5", ".sonata"), "sonata", "SONATA (libsonata, BMTK, NEST)", _ALL, "h5py"),
    Format("nir", (".nir",), "nir_file", "NIR (snnTorch, Norse)", frozenset(), "nir h5py", _DENSE),
)  # fmt: skip
FORMATS: dict[str, Format] = {f.name: f for f in _BUILT_IN}


def format_of(path: Path, name: str | None = None) -> Format:
    """The format of that name, or of the path's suffix.

    >>> format_of(Path("net.graphml")).name, format_of(Path("net.txt"), "pajek").name
    ('graphml', 'pajek')

    Raises ValueError where there is none.
    """
    if name is not None:
        if name not in FORMATS:
            raise ValueError(unknown("format", name, FORMATS))
        return FORMATS[name]
    for each in FORMATS.values():
        if path.suffix.lower() in each.suffixes:
            return each
    suffixes = ", ".join(s for f in FORMATS.values() for s in f.suffixes)
    if path.suffix.lower() == ".onnx":
        raise ValueError(
            "ONNX holds a model's computation, which a graph does not know: write "
            "torch.onnx.export(net.to_dense(), ...), and read the model (Graph.of)."
        )
    raise ValueError(
        f"no format has the suffix {path.suffix!r} ({path}); there are {suffixes}. Another name "
        f"needs format=, one of {', '.join(FORMATS)}."
    )


def read_graph(path: str | Path, format: str | None = None, **options: Any) -> Graph:
    """The graph of a file, of ours or of another program.

    format: its name, see `rewire.files.FORMATS`; by default the suffix says it. options: of the
    format, as its ``read`` says.

    >>> from rewire.analysis.examples import two_layers
    >>> write_graph(two_layers(), "layers.graphml")
    ()
    >>> read_graph("layers.graphml")
    Graph(7 of 18 synapses, density 0.3889, columns [])

    Raises GraphFileError for a file that is no such graph.
    """
    path = Path(path)
    form = format_of(path, format)
    with open(path, "rb"):  # the system's answer where there is none
        read = _of(form, "read")
    _check(form, read, options)
    with reading(path, form.name):
        return read(path, **options)


def write_graph(
    graph: Graph, path: str | Path, format: str | None = None, **options: Any
) -> tuple[str, ...]:
    """Write a graph to a file; returns what of it the file does not hold, a sentence each.

    format, options: as for :func:`read_graph`, of the format's ``write``.
    """
    path = Path(path)
    form = format_of(path, format)
    write = _of(form, "write")
    _check(form, write, options)
    write(graph, path, **options)
    return form.lost(graph)


def _check(form: Format, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that a format does not have."""
    known = [name for name in signature(function).parameters if name not in ("graph", "path")]
    for name in options:
        if name not in known:
            what = ", ".join(f"{k}=" for k in known) or "none"
            raise ValueError(f"{form.name} files have no option {name}=; they have {what}.")


def _of(form: Format, function: str) -> Callable[..., Any]:
    try:
        return getattr(import_module(f".{form.module}", __package__), function)
    except ModuleNotFoundError as error:
        if not form.needs or error.name not in form.needs.split():
            raise
        raise ModuleNotFoundError(
            f"{form.name} files need the package {form.needs}: pip install 'neurorewire[files]'.",
            name=error.name,
        ) from None


__all__ = ["FORMATS", "Format", "GraphFileError", "format_of", "read_graph", "write_graph"]
