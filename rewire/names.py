"""Names that users type, and the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

# What papers call rules whose names here are too far from it to be found by likeness.
ALSO_CALLED: Mapping[str, str] = {
    "lotteryticket": "IMP", "lotterytickets": "IMP", "lth": "IMP",
    "iterativemagnitudepruning": "IMP", "deeprewiring": "DeepR",
    "sparseevolutionarytraining": "SET",
    "magnitudepruning": "Magnitude", "gradualmagnitudepruning": "GMP", "randompruning": "Static",
    "lottery": "IMP", "synapticflow": "SynFlow",
}  # fmt: skip


def did_you_mean(word: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """`` (did you mean 'x'?)``, or nothing where no name is near.

    The first name that begins with the word comes before the most similar one, whose similarity
    (of difflib) is at least ``cutoff``.

    >>> did_you_mean("fractoin", ["fraction", "rewind"])
    " (did you mean 'fraction'?)"
    >>> did_you_mean("lenet", ["lstm", "lenet-300-100"])
    " (did you mean 'lenet-300-100'?)"
    >>> did_you_mean("lenett", ["resnet-8", "lenet-300-100"])
    " (did you mean 'lenet-300-100'?)"
    """
    folded = {name.lower().replace("_", "-"): name for name in names}
    typed = str(word).lower().replace("_", "-")
    begun = [name for name in folded if typed and name.startswith(typed)]
    beginnings = {name[: len(typed)]: name for name in reversed(folded)}
    near = (
        begun
        or difflib.get_close_matches(typed, folded, 1, max(cutoff, 0.8))
        or [beginnings[b] for b in difflib.get_close_matches(typed, beginnings, 1, 0.8)]
        or difflib.get_close_matches(typed, folded, 1, cutoff)
    )
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


def no_attribute(module: str, name: str, names: Iterable[str]) -> AttributeError:
    """The error of a name that a module does not have.

    >>> print(no_attribute("rewire", "Rigl", ["RigL", "SET"]))
    module 'rewire' has no attribute 'Rigl' (did you mean 'RigL'?)
    """
    meant = ALSO_CALLED.get(name.lower().replace("_", ""))
    if meant in (names := list(names)):
        return AttributeError(f"module {module!r} has no attribute {name!r}: it is called {meant}")
    hint = "" if name.startswith("__") else did_you_mean(name, names, 0.6)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")
