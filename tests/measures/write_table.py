"""The table of docs/measures.md, from the classes: `python tests/measures/write_table.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from rewire.measures import BUILT_IN

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"
BEGIN, END = "<!-- table: python tests/measures/write_table.py -->\n", "<!-- end of table -->"


def row(cls: type) -> str:
    text = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    text = re.sub(r" \([^()]*(?:\d{4}|definition)[^()]*\)", "", text)  # a source in parentheses
    what = re.split(r"\.(?: |$)", text, maxsplit=1)[0]
    what = what.replace("|", r"\|")  # else it would end the cell
    needs = ", ".join(sorted(cls.needs)) or "-"
    return f"| `{cls.__name__}` | {what} | {cls.kind} | {cls.weights} | {needs} | {cls.source} |"


def table() -> str:
    rows = [row(cls) for cls in sorted(BUILT_IN, key=lambda cls: (cls.kind, cls.__name__))]
    head = ["| measure | what | of | weights | needs | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def written(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
