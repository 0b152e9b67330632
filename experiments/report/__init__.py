"""One self-contained HTML file about a run: pictures first, then the numbers, then how it was made.

No script, no network, no outside file: the page's own Content-Security-Policy forbids them.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FIGURES", "figure_svg", "write_report"]

FIGURES = ("accuracy", "cost")  # what `figure_svg` draws


def write_report(out_dir: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of the run in ``out_dir``, finished or not, and return its path.

    ``path`` is OUT/report.html unless given. The same folder gives the same bytes. Raises
    StoreError where no run is, where a cell's records are damaged, or where the disk refuses.
    """
    from rewire.experiments import store

    from . import page, plain
    from .load import load

    target = Path(path) if path is not None else Path(out_dir) / "report.html"
    run = load(out_dir)
    render = plain.render if run.config.get("world") == "brian" else page.render
    store.write_atomic(target, render(run))
    return target


def figure_svg(out_dir: str | Path, which: str = "accuracy") -> str:
    """One figure as an SVG document of its own, on white, with text as outlines.

    ``which``: "accuracy" (test accuracy against density) or "cost" (against training FLOPs).
    Raises ValueError for another name, StoreError as `write_report`.
    """
    if which not in FIGURES:
        raise ValueError(f"there is no figure {which!r}; one of {', '.join(FIGURES)}.")
    from .load import load
    from .page import standalone

    return standalone(load(out_dir), which)
