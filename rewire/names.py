"""Names that users type, and the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing where no name is near.

    The first name that begins with the word comes before the most similar one.

    >>> did_you_mean("fractoin", ["fraction", "rewind"])
    " (did you mean 'fraction'?)"
    >>> did_you_mean("lenet", ["lstm", "lenet-300-100"])
    " (did you mean 'lenet-300-100'?)"
    """
    folded = {name.lower().replace("_", "-"): name for name in names}
    typed = str(word).lower().replace("_", "-")
    begun = [name for name in folded if typed and name.startswith(typed)]
    near = begun or difflib.get_close_matches(typed, folded, 1, 0.5)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def short(value: Any) -> str:
    """What was found, for a message: 60 characters of it at most."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # a bottomless table, or an integer too long to print
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def unknown(kind: str, name: Any, names: Iterable[str]) -> str:
    names = list(names)
    return f"there is no {kind} {short(name)}{did_you_mean(name, names)}; one of {', '.join(names)}"
