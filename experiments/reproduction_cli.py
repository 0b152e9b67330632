"""``rewire reproduce``: published figures run again and checked, row by row.

Only the command line's words are here; the work is imported when the command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from .errors import ConfigError
from .printing import console, new_table, print_json, print_rows

COLUMNS = ("row", "published", "holds if", "measured", "effect", "verdict")


def reproduce(
    *papers: str,
    full: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    engine: str = "local",
    record: Path | None = None,
    document: Path | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run a published figure again and check its claims row by row.

    Exit code 0: all was measured, whatever the verdicts. Ctrl-C stops after a checkpoint, and the
    same command continues.

    Parameters
    ----------
    papers
        Names, as --list prints them, or files; all: every one.
    full
        The paper's own protocol, not the short one.
    list_
        Only list the papers: protocol, CPU minutes, last verdict.
    out
        The folder of the runs [default: runs/reproductions].
    workers
        Processes of one thread each [default: one per core]; 0 trains in this process.
    device
        auto takes a GPU where there is one, cpu or cuda [default: what the file says].
    engine
        Where the trainings run: local [default], or the name of an installed engine.
    record
        A folder to write NAME.json into, as experiments/papers/results.
    document
        Only write the page of all records that come with rewire, as docs/reproductions.md.
    json
        Rows as JSON, one a line.
    """
    from .reproduction import run

    out = out if out is not None else run.OUT
    if document is not None:
        _write_document(document)
        return 0
    if list_ or not papers:
        _list(out, json)
        return 0
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers is {workers}; it takes a number of processes, 0 or more")
    options = {"workers": workers, "device": device, "engine": engine, "keep": record}
    return _reproduce(_named(papers), "full" if full else "short", out, options, json)


def _named(papers: tuple[str, ...]) -> list[Any]:
    from .reproduction.paper import load, names

    if "all" in papers:
        if len(papers) > 1:
            raise ConfigError("'all' stands alone: it is every paper")
        return [load(name) for name in names()]
    return [load(name) for name in papers]


def _reproduce(
    papers: list[Any], protocol: Any, out: Path, options: dict[str, Any], json: bool
) -> int:
    from . import provenance
    from .reproduction.run import reproduce

    code = 0
    for paper in papers:
        ended = reproduce(
            paper,
            protocol,
            out,
            progress="json" if json else "auto",
            command=provenance.command_line(),
            warn=_warn,
            **options,
        )
        for failure in ended.failures:
            _warn(failure)
        _print(ended, json)
        code = code or ended.exit_code
    return code


def _print(ended: Any, json: bool) -> None:
    """The rows of a paper, and where the rest is."""
    from .reproduction import words
    from .reproduction.record import holding

    by_name = {row.name: row for row in ended.paper.rows}
    if json:
        for one in ended.rows:
            print_json({"event": "row", "paper": ended.paper.name, **one.as_table()})
        return
    table = new_table(*COLUMNS, left=True)
    for one in ended.rows:
        row = by_name[one.name]
        table.add_row(
            one.name,
            words.published(row),
            words.wanted(row, ended.protocol),
            words.measured(row, one),
            words.effect(one),
            words.verdict(one),
        )
    page = console()
    page.print(f"{ended.paper.title}: {ended.paper.source}", highlight=False)
    page.print(table)
    hold, n = holding(ended.record)
    page.print(
        f"{hold} of {n} rows hold. {words.minutes(ended.record)} CPU minutes.",
        highlight=False,
    )
    page.print(f"Page: {ended.out / 'report.html'}", soft_wrap=True, highlight=False)


def _list(out: Path, json: bool) -> None:
    from .reproduction import words
    from .reproduction.paper import PROTOCOLS, load, names
    from .reproduction.record import holding, last

    rows = []
    for name in names():
        paper, records = load(name), last(name, out)
        for protocol in PROTOCOLS:
            record = records.get(protocol)
            hold, n = holding(record) if record else (0, len(paper.rows))
            rows.append(
                {
                    "name": name,
                    "protocol": protocol,
                    "title": paper.title,
                    "source": paper.source,
                    "about": getattr(paper, protocol).about,
                    "minutes": words.minutes(record) if record else "",
                    "last verdict": f"{hold} of {n} hold, {record['date']}"
                    if record
                    else "not run",
                }
            )
    print_rows(rows, ("name", "protocol", "title", "minutes", "last verdict"), json)


def _write_document(file: Path) -> None:
    from .reproduction.document import document
    from .store.disk import write_atomic

    write_atomic(file, document())
    console().print(str(file), soft_wrap=True, highlight=False)


def _warn(text: str) -> None:
    print(f"rewire: {text}", file=sys.stderr)
