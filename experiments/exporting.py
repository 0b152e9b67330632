"""A run's figures and tables as files: ``rewire export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from . import store
from .frames import write_parquet
from .report import figure_bytes, figure_numbers, figures_of


def export(
    run: str | Path,
    out: str | Path,
    *,
    figures: Literal["svg", "pdf", "png"] | None = None,
    data: Literal["csv", "parquet"] | None = None,
) -> list[Path]:
    """Write the figures of a run, or its tables, or both, and return the files.

    figures: the form of figures, a file each by its name (accuracy.svg). data: the form of the
    tables results, evals and cells (results.csv), and of the numbers that each figure is drawn of
    (accuracy.csv). Raises StoreError where no run is, ConfigError
    for Parquet without pyarrow.
    """
    tables = store.tables(run)
    drawn = figures_of(run) if tables["results"] else ()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in drawn if figures is not None else ():
        path = folder / f"{name}.{figures}"
        path.write_bytes(figure_bytes(run, name, figures or "svg"))
        paths.append(path)
    if data is not None:
        tables |= {name: figure_numbers(run, name) for name in drawn}
    for name, rows in tables.items() if data is not None else ():
        path = folder / f"{name}.{data}"
        if data == "parquet":
            write_parquet(rows, path)
        else:
            path.write_text(store.to_csv(rows), encoding="utf-8")
        paths.append(path)
    return paths
