"""The page of a run in the world of an installed package: a table of what the world measured."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from rewire.pictures.style import drawing

from ..store import OWN_WORLD_ROW_FIELDS
from . import frame
from .run import RunData
from .sections import Section

FIGURES: tuple[str, ...] = ()  # that `figure` draws
FIRST = ("seed", "level", "density", "edges", "step")
LAST = ("formed", "dropped", "seconds", "cpu_seconds", "peak_memory_mb")


def render(run: RunData) -> str:
    """The whole page."""
    name = str(run.config.get("world", ""))
    facts = [
        ("world", name),
        ("rules", str(len(run.planned))),
        ("steps", str(run.config.get("steps", ""))),
        ("seeds", str(len(run.seeds))),
        ("measures", ", ".join(_measures(run))),
        ("cells finished", frame.finished_cells(run)),
    ]
    headline = f"The {name} world under each rule, as it measures itself."
    with drawing():
        return frame.page(run, SECTIONS, headline=headline, qualifications=[], facts=facts)


def figure(run: RunData, which: str) -> Figure:
    """There is no figure to draw alone."""
    raise ValueError(f"there is no figure {which!r} of this run.")


def _measures(run: RunData) -> list[str]:
    names = dict.fromkeys(name for row in run.rows for name in row)
    return [name for name in names if name not in OWN_WORLD_ROW_FIELDS]


def _results(run: RunData) -> list[dict[str, Any]]:
    """One row for each cell and round; measures of installed packages last."""
    names = [*FIRST, *_measures(run), *LAST]
    return [
        {
            "rule": row["label"],
            **{name.replace("_", " "): row.get(name) for name in names},
            **{measure.title: run.measure(measure, row) for measure in run.measures},
        }
        for row in run.rows
    ]


SECTIONS = (
    Section(
        "results",
        "All results",
        _results,
        link="table",
        empty="No round has finished yet.",
    ),
    Section(
        "made",
        "Provenance",
        frame.provenance,
        link="provenance",
        template="provenance.html",
    ),
)
