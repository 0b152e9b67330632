"""One self-contained HTML file about a run: figures first, then tables, then provenance.

The page needs no network and no other file: its own Content-Security-Policy forbids them. Its
scripts sort tables, draw animations and save figures and numbers as files; that policy knows them
by their digests.

Each kind of experiment has a page (`trainings.page`, `spiking.page`), which its entry in `kinds`
names: a list of sections over one frame.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_bytes", "figure_numbers", "figure_svg", "figures_of", "write_report"]


def write_report(out_dir: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of the run in ``out_dir``, finished or not, and return its path.

    ``path`` is OUT/report.html unless given. The same folder gives the same bytes. Raises
    StoreError where no run is, where a cell's records are damaged, or where the disk refuses.
    """
    from .. import kinds, store
    from .run import load

    target = Path(path) if path is not None else Path(out_dir) / "report.html"
    run = load(out_dir)
    store.write_atomic(target, kinds.of_tree(run.config).page.render(run))
    return target


def figure_svg(out_dir: str | Path, which: str = "accuracy") -> str:
    """One figure as an SVG document of its own, on white, with text as outlines.

    ``which``: "accuracy" (test accuracy against density) or "cost" (against training FLOPs); of a
    run of the spiking world "map" (sigma_aff over time). Raises ValueError for another name,
    StoreError as `write_report`.
    """
    return figure_bytes(out_dir, which, "svg").decode()


def figures_of(out_dir: str | Path) -> tuple[str, ...]:
    """The names of the figures of a run that `figure_bytes` draws; raises as `write_report`."""
    from .. import kinds
    from .run import load

    return kinds.of_tree(load(out_dir).config).page.FIGURES


def figure_bytes(out_dir: str | Path, which: str, form: Literal["svg", "pdf", "png"]) -> bytes:
    """One figure as a file of its own, on white: SVG or PDF with text as outlines, or PNG at 200
    dots an inch. The same run gives the same bytes. Raises as `figure_svg`.
    """
    from rewire.pictures.style import drawing, to_svg

    with drawing(standalone=True):
        figure = _figure(out_dir, which)
        if form == "svg":
            return to_svg(figure).encode()
        file = io.BytesIO()
        dated = {"CreationDate": None} if form == "pdf" else {}  # the same bytes at any time
        figure.savefig(file, format=form, dpi=200, metadata=dated)
        return file.getvalue()


def figure_numbers(out_dir: str | Path, which: str) -> list[dict[str, Any]]:
    """The numbers that a figure is drawn of, which its page offers as CSV. Raises as `figure_svg`.

    Rows are named as those of the tables; fractions have seven significant digits.
    """
    from rewire.pictures.style import drawing

    from .downloads import plain
    from .style import numbers_of

    with drawing():
        return plain(numbers_of(_figure(out_dir, which)))


def _figure(out_dir: str | Path, which: str) -> Figure:
    from .. import kinds
    from .run import load

    run = load(out_dir)
    page = kinds.of_tree(run.config).page
    if which not in page.FIGURES:
        figures = ", ".join(page.FIGURES) or "none"
        raise ValueError(f"there is no figure {which!r} of this run; one of {figures}.")
    return page.figure(run, which)
