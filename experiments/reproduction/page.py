"""The page of a paper: its rows, and its figures redrawn beside the published numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewire.pictures.style import drawing

from ..report.frame import document, environment
from ..report.style import Inline, inline
from ..store.disk import write_atomic
from . import words
from .figures import draw
from .paper import CERTAINTIES, Paper, Protocol
from .record import holding, judged


def write_page(paper: Paper, protocol: Protocol, record: Mapping[str, Any], file: Path) -> None:
    """Write the page of a record, one HTML file that asks for no other."""
    write_atomic(file, render(paper, protocol, record))


def render(paper: Paper, protocol: Protocol, record: Mapping[str, Any]) -> str:
    hold, n = holding(record)
    return document(
        environment(__package__).get_template("page.html"),
        paper=paper,
        protocol=protocol,
        about=" ".join(paper.about.split()),
        protocol_about=getattr(paper, protocol).about,
        record=record,
        minutes=words.minutes(record),
        headline=f"{hold} of {n} rows hold.",
        rows=list(_rows(paper, protocol, record)),
        notes=[(row.name, row.note) for row in paper.rows if row.note],
        changes=paper.shortened() if protocol == "short" else [],
        certainties=CERTAINTIES,
        figures=list(_figures(paper, record)),
        runs=list(paper.trees(protocol)),
    )


def _rows(paper: Paper, protocol: Protocol, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    by_name = {row.name: row for row in paper.rows}
    for one in judged(record):
        if one.name not in by_name:
            continue
        row = by_name[one.name]
        yield {
            "name": one.name,
            "claim": row.claim,
            "published": words.published(row),
            "certainty": row.certainty,
            "wanted": words.wanted(row, protocol),
            "measured": words.measured(row, one),
            "effect": words.effect(one),
            "verdict": words.verdict(one),
            "state": one.verdict.replace(" ", "-"),
        }


def _figures(paper: Paper, record: Mapping[str, Any]) -> Iterator[tuple[str, Inline]]:
    by_title = {figure.title: figure for figure in paper.figures}
    with drawing():
        for i, curve in enumerate(record["figures"]):
            figure = by_title.get(curve["title"])
            if figure is not None and curve["lines"]:
                yield figure.title, inline(draw(figure, curve), f"figure-{i}", figure.title)
