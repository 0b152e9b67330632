"""One self-contained HTML file about a run: figures first, then tables, then provenance.

The page needs no network and no other file: its own Content-Security-Policy forbids them. The only
script is the one that draws the animation of a spiking run; that policy knows it by its digest.

Each kind of experiment has a page (`trainings.page`, `spiking.page`), which its entry in `kinds`
names: a list of sections over one frame.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["figure_svg", "write_report"]


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
    from .. import kinds
    from .run import load

    run = load(out_dir)
    page = kinds.of_tree(run.config).page
    if which not in page.FIGURES:
        figures = ", ".join(page.FIGURES)
        raise ValueError(f"there is no figure {which!r} of this run; one of {figures}.")
    return page.standalone(run, which)
