"""XML read as a stream, without a document type: no entities, so no bombs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from .errors import GraphFileError

DEEPEST = 64  # elements inside each other; graphs need eight


def parse(
    path: Path, start: Callable[[str, Mapping[str, str]], None], end: Callable[[str, str], None]
) -> None:
    """Call ``start(tag, attributes)`` and ``end(tag, text)`` of each element, names without spaces.

    Raises GraphFileError for a document type or a nesting that no graph has.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    texts: list[list[str]] = []

    def refuse(*_: Any) -> None:
        raise GraphFileError(
            f"{path} has a document type, which may declare entities: such XML is not read."
        )

    def began(tag: str, attributes: Mapping[str, str]) -> None:
        if len(texts) >= DEEPEST:
            raise GraphFileError(f"{path} nests more than {DEEPEST} elements: no graph does.")
        texts.append([])
        start(tag.rpartition(" ")[2], attributes)

    def ended(tag: str) -> None:
        end(tag.rpartition(" ")[2], "".join(texts.pop()))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = began
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    with open(path, "rb") as file:
        parser.ParseFile(file)


def value_of(text: str, kind: str) -> Any:
    """A value of GraphML's or GEXF's types from its text.

    >>> value_of("true", "boolean"), value_of("3", "long"), value_of("0.5", "float")
    (True, 3, 0.5)
    """
    if kind == "boolean":
        if text.strip().lower() not in ("true", "false", "1", "0"):
            raise GraphFileError(f"{text!r} is no boolean.")
        return text.strip().lower() in ("true", "1")
    if kind in ("int", "integer", "long", "short", "byte"):
        return int(text)
    return float(text) if kind in ("float", "double") else text


def kind_of(values: Any, words: Mapping[type, str]) -> str:
    """The word for the type of the first value that is there."""
    first = next((v for v in values if v is not None), "")
    return words.get(type(first), words[str])


def quoted(value: Any) -> str:
    """A value as an attribute of XML. Raises ValueError for what no XML can hold."""
    return quoteattr(plain(value))


def plain(value: Any) -> str:
    """A value as text of XML; the characters that none can hold are refused."""
    if value is True or value is False:
        return str(value).lower()
    text = str(value)
    if any(ord(c) < 32 and c not in "\t\n\r" for c in text):
        raise ValueError(f"XML cannot hold the name {text!r}.")
    return text
