"""The sections of a page, one entry each; packages add theirs under ``rewire.sections``.

An entry point of that group is a `Section`, or a function ``section(run)`` that returns what the
section shows; ``run`` is a `report.run.RunData`. One that raises is named on the page instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rewire.plugins import installed_functions

GROUP = "rewire.sections"


def always(run: Any) -> bool:
    return True


@dataclass(frozen=True)
class Section:
    """One section of a page.

    name:     its anchor, and the name of its template.
    title:    its heading. link: its word in the list of contents, the heading where empty.
    show:     what it shows of a run: a matplotlib Figure, Markup, a sentence, a list of mappings
              with the same keys (a table), or a list of these. With a template: a mapping of the
              template's values. None, or nothing in a list: there is nothing to show.
    empty:    the sentence that says so; without one the section is left out then.
    needs:    whether the section applies to a run (what kind it is of, which columns it has).
    template: a file of this folder that extends ``section.html``.
    """

    name: str
    title: str
    show: Callable[[Any], Any]
    link: str = ""
    empty: str = ""
    needs: Callable[[Any], bool] = always
    template: str = "section.html"
    installed: bool = False


def installed_sections() -> list[Section]:
    """The sections of installed packages, by name of their entry points."""
    return [_section(name, loaded) for name, loaded in installed_functions(GROUP).items()]


def _section(name: str, loaded: Any) -> Section:
    if isinstance(loaded, Section):
        return replace(loaded, name=f"installed-{loaded.name}", installed=True)
    words = name.replace("_", " ")
    title = words[:1].upper() + words[1:]
    return Section(f"installed-{name}", title, loaded, link=words, installed=True)
