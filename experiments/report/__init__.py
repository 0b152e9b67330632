"""One self-contained HTML file about a run: pictures first, then the numbers, then how it was made.

No network, no outside file: the page's own Content-Security-Policy forbids them. No script either,
but for the one that draws the animation of a spiking run, which that policy knows by its digest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import Loaded

__all__ = ["FIGURES", "SPIKING_FIGURES", "figure_svg", "write_report"]

FIGURES = ("accuracy", "cost")  # what `figure_svg` draws
SPIKING_FIGURES = ("map",)  # of a run of the spiking world


def write_report(out_dir: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of the run in ``out_dir``, finished or not, and return its path.

    ``path`` is OUT/report.html unless given. The same folder gives the same bytes. Raises
    StoreError where no run is, where a cell's records are damaged, or where the disk refuses.
    """
    from .. import store
    from .run import load
    from .spiking import page as spiking
    from .trainings import page

    target = Path(path) if path is not None else Path(out_dir) / "report.html"
    run = load(out_dir)
    store.write_atomic(target, (spiking if _spiking(run) else page).render(run))
    return target


def figure_svg(out_dir: str | Path, which: str = "accuracy") -> str:
    """One figure as an SVG document of its own, on white, with text as outlines.

    ``which``: "accuracy" (test accuracy against density) or "cost" (against training FLOPs); of a
    run of the spiking world "map" (sigma_aff over time). Raises ValueError for another name,
    StoreError as `write_report`.
    """
    from .run import load
    from .spiking import page as spiking
    from .trainings import page

    run = load(out_dir)
    figures = SPIKING_FIGURES if _spiking(run) else FIGURES
    if which not in figures:
        raise ValueError(f"there is no figure {which!r} of this run; one of {', '.join(figures)}.")
    return spiking.standalone(run) if _spiking(run) else page.standalone(run, which)


def _spiking(run: Loaded) -> bool:
    return run.config.get("world") == "brian"
