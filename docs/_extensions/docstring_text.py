"""Docstrings as this project writes them (plain text) to reStructuredText, for autodoc.

Paragraphs, lists with hyphens, ``name:  text`` lines, indented formulas and doctests are told
apart by their layout. Characters that reStructuredText would take for markup are escaped, so that
|N(0, 1)| and alpha* need no care from whoever writes a docstring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

_CODE = re.compile(r"(:[\w:]+:`[^`]+`|``.+?``|`[^`]+`)", re.S)
_WORD = r"[\w*.()\[\]]+"
_TERM = re.compile(rf"(?P<term>{_WORD}(?:, {_WORD})*):(?:\s+(?P<text>\S.*))?$")


def converted(text: str) -> str:
    """A whole docstring (dedented) as reStructuredText.

    >>> print(converted("theta* of |w|:\\n\\n    w = theta |theta|\\n\\n- one\\n  line\\n- two"))
    theta\\* of \\|w\\|:
    <BLANKLINE>
    .. code-block:: text
    <BLANKLINE>
       w = theta |theta|
    <BLANKLINE>
    - one
      line
    - two
    """
    first, *others = _blocks(text)
    head = _converted(first) if first.startswith((" ", ">>>")) else _paragraph(first.split("\n"))
    return "\n\n".join([head, *map(_converted, others)])


def _blocks(text: str) -> Iterator[str]:
    """Parts between blank lines; an indented part keeps the blank lines inside it."""
    indented = list[str]()
    for part in re.split(r"\n\s*?\n(?:\s*?\n)*", text.expandtabs().strip("\n")):
        if part.startswith(" "):
            indented.append(part.rstrip())
            continue
        if indented:
            yield "\n\n".join(indented)
            indented = []
        if part.strip():
            yield part.rstrip()
    if indented:
        yield "\n\n".join(indented)


def _converted(block: str) -> str:
    lines = block.split("\n")
    if block.startswith(">>>"):
        return block
    if block.startswith(" "):
        return _literal(dedent(block))
    if lines[0].startswith("- "):
        return _list(lines)
    if lines[0].endswith("::"):
        return _paragraph([lines[0][:-1]])
    split = _opens_list(lines)
    if split:
        return f"{_heading(lines[:split])}\n\n{_list(lines[split:])}"
    if _is_definitions(lines):
        return _definitions(lines)
    formula = next((i for i, line in enumerate(lines) if line.startswith("    ")), 0)
    if formula:
        end = next(
            (i for i in range(formula, len(lines)) if not lines[i].startswith("    ")), len(lines)
        )
        after = _converted("\n".join(lines[end:])) if end < len(lines) else ""
        parts = [
            _paragraph(lines[:formula]),
            _literal(dedent("\n".join(lines[formula:end]))),
            after,
        ]
        return "\n\n".join(part for part in parts if part)
    return _paragraph(lines)


def _opens_list(lines: list[str]) -> int:
    """Where a list begins that follows its title without a blank line; 0 where none does."""
    return next((i for i, line in enumerate(lines) if i and line.startswith("- ")), 0)


def _heading(lines: list[str]) -> str:
    text = _paragraph(lines)
    return f"**{text.rstrip(':')}**" if len(lines) == 1 and text.endswith(":") else text


def _list(lines: list[str]) -> str:
    """Items with hyphens; what follows one is indented by two."""
    items = list[list[str]]()
    for line in lines:
        if line.startswith("- ") or not items:
            items.append([line.removeprefix("- ")])
        else:
            items[-1].append(line)
    return "\n".join(f"- {_paragraph(item, '  ')}" for item in items)


def _is_definitions(lines: list[str]) -> bool:
    heads = [line for line in lines if not line.startswith(" ")]
    return all(_TERM.fullmatch(line) for line in heads)


def _definitions(lines: list[str]) -> str:
    terms = list[tuple[str, list[str]]]()
    for line in lines:
        head = None if line.startswith(" ") else _TERM.fullmatch(line)
        if head:
            terms.append((head["term"], [head["text"]] if head["text"] else []))
        else:
            terms[-1][1].append(line)
    return "\n\n".join(
        f"**{escaped(term)}**\n    {_paragraph(text, '    ')}" if text else f"{escaped(term)}:"
        for term, text in terms
    )


def _literal(text: str) -> str:
    body = "\n".join(f"   {line}".rstrip() for line in text.split("\n"))
    return f".. code-block:: text\n\n{body}"


def _paragraph(lines: list[str], indent: str = "") -> str:
    text = escaped("\n".join(line.strip() for line in lines))
    return text.replace("\n", f"\n{indent}")


def escaped(text: str) -> str:
    """Prose without markup of reStructuredText, code in backticks left as it is.

    >>> escaped("`a_` of b_ and *c")
    '``a_`` of b\\\\_ and \\\\*c'
    """
    pieces = _CODE.split(text)
    prose = [re.sub(r"([*|\\`]|(?<=\w)_(?!\w)|^_|(?<=\s)_)", r"\\\1", p) for p in pieces[::2]]
    pieces[::2] = prose
    for i in range(1, len(pieces), 2):
        pieces[i] = pieces[i].replace("\n", " ")
        # code that touches a letter is no code without a space
        if pieces[i + 1][:1].isalnum() or pieces[i + 1][:1] in "_([{":
            pieces[i] += "\\ "
        if pieces[i - 1][-1:].isalnum():
            pieces[i] = "\\ " + pieces[i]
        if not pieces[i].startswith((":", "\\ :", "``", "\\ ``")):
            pieces[i] = re.sub("`", "``", pieces[i])
    return re.sub(r"^([-+•]|\d+[.)]|\(?\w[.)])(\s)", r"\\\1\2", "".join(pieces), flags=re.M)


def process(app: Any, kind: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """autodoc's event: the lines of a docstring are replaced by reStructuredText."""
    text = dedent("\n".join(lines))
    lines[:] = converted(text).split("\n") if text.strip() else []


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
