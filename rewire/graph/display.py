"""A graph as a small HTML table: what a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .space import Space

MOST_ROWS = 24  # projections that a table lists


def to_html(
    space: Space, counts: Sequence[int], columns: Iterable[str], caption: str = "Graph"
) -> str:
    """Projections, their live edges and densities, and all of them together.

    >>> from rewire.analysis.examples import two_layers
    >>> graph = two_layers()
    >>> html = to_html(graph.space, graph.live_counts(), [])
    >>> "<td>fc2</td><td>hidden</td><td>output</td><td>3</td><td>6</td><td>0.5</td>" in html
    True
    """
    names = ("projection", "from", "to", "edges", "possible", "density")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = [
        _row(p.name, p.source, p.target, edges, p.size)
        for p, edges in zip(space.projections[:MOST_ROWS], counts, strict=False)
    ]
    more = len(space.projections) - MOST_ROWS
    if more > 0:
        rows.append(f'<tr><td colspan="6">and {more} projections more</td></tr>')
    rows.append(_row("all", "", "", sum(counts), space.possible))
    listed = ", ".join(sorted(columns)) or "none"
    return (
        f"<table><caption>{escape(caption)}, columns: {escape(listed)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _row(name: str, source: str, target: str, edges: int, possible: int) -> str:
    density = f"{edges / possible:.4g}" if possible else ""
    values = (name, source, target, f"{edges:,}", f"{possible:,}", density)
    return "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"
