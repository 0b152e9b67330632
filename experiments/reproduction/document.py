"""All records as one page of Markdown: docs/reproductions.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import words
from .paper import CERTAINTIES, PROTOCOLS, Paper, Protocol, load, names
from .record import judged, last

PATTERN = re.compile(r"\s+")
HEAD = """# Reproductions of published results

Which published claims hold when they are tested with `rewire`? Each section takes figures or
tables of a paper, runs the experiments (`rewire reproduce NAME`), and checks the claims row by row.
`rewire reproduce --document docs/reproductions.md` writes this page from the files in
`experiments/papers` and the records in `experiments/papers/results`. [Adding a
paper](adding-a-paper.md) explains the files.

- **Protocol.** *Short* protocols take CPU minutes, and their differences from the paper are
  listed; *full* protocols are those of the paper.
- **Measured**: the mean over seeds ± half of its 95 % interval (Student's t); in brackets the
  means that are compared.
- **Verdict**: whether the mean satisfies the condition "holds if". "Within the seeds' spread": the
  interval contains the bound, so other seeds could give the other verdict.
- **Effect**: Hedges' g of the paired differences, from three seeds on. **p** is given for a few
  rows that the paper's file marks as tested, from six seeds on: one-sided, by flipping signs,
  corrected over these rows (Holm).
- **Certainty** of the published value: """


def document() -> str:
    """The page, from the records that come with rewire."""
    papers = [load(name) for name in names()]
    kept = {paper.name: last(paper.name) for paper in papers}
    lines = [HEAD + "; ".join(f"*{k}*, {v}" for k, v in CERTAINTIES.items()) + ".", ""]
    lines += [_total(kept), "", *_overview(papers, kept), ""]
    for paper in papers:
        lines += [*_paper(paper, kept[paper.name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _total(kept: Mapping[str, Mapping[Protocol, Any]]) -> str:
    rows = [row for records in kept.values() for r in records.values() for row in judged(r)]
    by_verdict = {v: sum(row.verdict == v for row in rows) for v in ("holds", "fails")}
    minutes = (
        sum(r["cpu_seconds"] for k in kept.values() for p, r in k.items() if p == "short") / 60
    )
    return (
        f"{len(rows)} rows: {by_verdict['holds']} hold, {by_verdict['fails']} fail, "
        f"{len(rows) - sum(by_verdict.values())} not measured. All short protocols together: "
        f"{minutes:.0f} CPU minutes."
    )


def _overview(papers: list[Paper], kept: Mapping[str, Mapping[Protocol, Any]]) -> Iterator[str]:
    yield "| name | what | protocol | rows that hold | CPU minutes | date |"
    yield "|---|---|---|---|---|---|"
    for paper in papers:
        link = f"[{paper.name}](#{paper.name})"
        for protocol in PROTOCOLS:
            record = kept[paper.name].get(protocol)
            if record is None:
                if protocol == "short":
                    yield f"| {link} | {_cell(paper.title)} | short | not run | | |"
                continue
            rows = judged(record)
            holding = sum(row.verdict == "holds" for row in rows)
            yield (
                f"| {link} | {_cell(paper.title)} | {protocol} | "
                f"{holding} of {len(rows)} | {words.minutes(record)} | {record['date']} |"
            )


def _paper(paper: Paper, records: Mapping[Protocol, Any]) -> Iterator[str]:
    yield f"## {paper.name}"
    yield ""
    yield f"**{paper.title}.** {paper.source}."
    yield ""
    if paper.about:
        yield _text(paper.about)
        yield ""
    for protocol in PROTOCOLS:
        if protocol not in records:
            continue
        yield from _protocol(paper, protocol, records[protocol])
    if not records:
        yield "Not run yet. Its rows:"
        yield ""
        for row in paper.rows:
            yield f"- {_text(row.claim)} ({words.wanted(row, row.protocols[0])}, {row.certainty})"


def _protocol(paper: Paper, protocol: Protocol, record: Mapping[str, Any]) -> Iterator[str]:
    about = _text(getattr(paper, protocol).about).rstrip(".")
    yield (f"### {paper.name}: {protocol} protocol")
    yield ""
    yield (
        f"{about + '. ' if about else ''}{record['date']}, {record['machine']}, torch "
        f"{record['versions']['torch']}; {words.minutes(record)} CPU minutes, "
        f"{record['seeds']} seeds."
    )
    yield ""
    if record["digest"] != paper.digest(protocol):
        yield "The protocol has changed since these numbers were measured."
        yield ""
    changes = paper.shortened() if protocol == "short" else []
    if changes:
        yield "Differences from the full protocol: " + "; ".join(map(_text, changes)) + "."
        yield ""
    yield "| claim | published | holds if | measured | effect | verdict |"
    yield "|---|---|---|---|---|---|"
    by_name = {row.name: row for row in paper.rows}
    notes = []
    for one in judged(record):
        row = by_name.get(one.name)
        if row is None:
            continue
        cells = (
            row.claim,
            f"{words.published(row)} ({row.certainty})",
            words.wanted(row, protocol),
            words.measured(row, one),
            words.effect(one),
            words.verdict(one),
        )
        yield "| " + " | ".join(map(_cell, cells)) + " |"
        if row.note:
            notes.append(f"- {row.name}: {_text(row.note)}")
    if notes:
        yield ""
        yield from notes
    yield ""


def _text(text: str) -> str:
    return PATTERN.sub(" ", text).strip()


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
