"""``rewire runs``, ``watch``, ``compare``, ``export``, ``report``: commands on run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .errors import ConfigError
from .printing import console, new_table, print_json

Out = Annotated[Path | None, Parameter(["--out", "-o"])]
AsJson = Annotated[bool, Parameter(name="--json")]


def runs(folder: Path = Path("runs"), /, *, json: AsJson = False) -> None:
    """List the runs in a folder and its subfolders, the latest first.

    Parameters
    ----------
    folder
        Where to look.
    json
        As JSON.
    """
    from .opened import runs as found

    rows = found(folder).rows()
    if json:
        print_json(rows, indent=1)
        return
    if not rows:
        console().print(f"There is no run in {folder}. Make one with: rewire run quickstart",
                        highlight=False, soft_wrap=True)  # fmt: skip
        return
    from rich.markup import escape

    table = new_table("run", "state", "cells", "failed", "rules", "title")
    for row in rows:
        counts = f"{row['finished']}/{row['cells']}"
        texts = (row["run"], row["state"], counts, row["failed"], row["rules"], row["title"])
        table.add_row(*(escape(str(text)) for text in texts))
    console().print(table)


def watch(run: Path, /, *, once: bool = False, every: float = 1.0) -> None:
    """Watch a run from another terminal, until it ends or Ctrl-C; the run itself is not touched.

    Parameters
    ----------
    run
        The folder of the run.
    once
        Say how far it is, and return.
    every
        Seconds between two looks.
    """
    from .watching import watch as watched

    if not every > 0:
        raise ConfigError(f"--every is {every:g}; it takes seconds above 0, as --every 2")
    watched(run, once=once, every=every)


def compare(first: Path, second: Path, /, *, out: Out = None) -> None:
    """Put two runs into one folder and one report.

    Parameters
    ----------
    first
        The folder of a run.
    second
        The folder of the other.
    out
        The folder to make [default: FIRST-and-SECOND beside the first]. Its cells are links.
    """
    from .opened import compare as compared
    from .opened.compared_runs import differences

    joint = compared(first, second, out)
    page = console()
    from .opened import OpenedRun

    for text in differences([OpenedRun(first), OpenedRun(second)], [first.name, second.name]):
        page.print(f"They differ in {text}", soft_wrap=True, highlight=False, markup=False)
    page.print(f"Report:  {joint.path / 'report.html'}", soft_wrap=True, highlight=False)
    page.print(f"Numbers: rewire results {joint.path}", soft_wrap=True, highlight=False)


def report(
    directory: Path,
    /,
    *,
    out: Out = None,
    open: Annotated[bool, Parameter(name="--open")] = False,
) -> None:
    """Write the report of a run, finished or not, as one HTML file.

    Parameters
    ----------
    directory
        The folder of the run.
    out
        The file to write [default: DIRECTORY/report.html].
    open
        Open it in the browser.
    """
    from .report import write_report

    page = write_report(directory, out)
    console().print(str(page), soft_wrap=True, highlight=False)
    if open:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            raise ConfigError(f"no browser can be opened here: open {page} yourself")


def export(
    run: Path,
    /,
    *,
    figures: Literal["svg", "pdf", "png"] | None = None,
    data: Literal["csv", "parquet"] | None = None,
    out: Out = None,
) -> None:
    """Write the figures of a run as image files, and its tables as data files.

    Parameters
    ----------
    run
        The folder of the run.
    figures
        svg, pdf or png [default: svg, where data is not asked for alone].
    data
        csv or parquet: the tables results, evals and cells [default: csv, as above].
    out
        The folder to write to [default: RUN/export].
    """
    from .exporting import export as written

    if figures is None and data is None:
        figures, data = "svg", "csv"
    for path in written(run, out or run / "export", figures=figures, data=data):
        console().print(str(path), soft_wrap=True, highlight=False)
