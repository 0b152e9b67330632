"""The frame of every report: one self-contained page of a header, sections and provenance."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from ..versions import outdated
from . import downloads, rounding
from .axes import MOST_SEEDS
from .run import RunData
from .sections import Section, installed_sections
from .style import Look, inline, swatch, theme_css
from .tables import of_mappings

PIXELS = 100  # of a page at its full width, for an inch of a figure
SCRIPTS = ("sorting.js", "downloads.js", "choosing.js")  # of every page
STATUS = {"waiting": "not begun", "running": "not finished", "failed": "failed"}


def page(
    run: RunData,
    sections: Sequence[Section],
    *,
    headline: str,
    qualifications: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page of a run: its kind's sections, and before the last those of installed packages.

    ``sections`` end with the one on definitions and provenance.
    """
    frame = _Frame(run)
    bodies = {
        section: body
        for section in (*sections[:-1], *installed_sections(), sections[-1])
        if section.needs(run) and (body := frame.section(section)) is not None
    }
    # files are read on the way: what could not be read is known only now
    failures = run.measurements.problems + frame.failures
    return document(
        frame.environment.get_template("page.html"),
        scripts=frame.scripts,
        run=run,
        about=" ".join(str(run.experiment.get("about") or "").split()),
        headline=headline,
        qualifications=[*qualifications, *_of_other_versions(run)],
        facts=[(name, value) for name, value in facts if value],
        missing=missing(run) + failures,
        unfinished=sum(cell.status != "finished" for cell in run.cells),
        sections=bodies,
    )


def environment(package: str) -> Environment:
    """The templates of a package's folder, and after them those of this one."""
    folders = [resources.files(package), resources.files(__package__)]

    def load(name: str) -> str | None:
        files = (folder / name for folder in folders)
        return next((file.read_text() for file in files if file.is_file()), None)

    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(load),
    )  # fmt: skip
    made.filters |= {
        "percent": rounding.percent,
        "grouped": rounding.grouped,
        "breakable": breakable,
        "files": downloads.attributes,
    }
    return made


def document(template: Template, *, scripts: Sequence[str] = (), **values: Any) -> str:
    """A page that extends ``frame.html``: it has our style and script, and a policy that allows
    no other script than that and those of its sections (``scripts``).
    """
    files = resources.files(__package__)
    script = "".join((files / name).read_text() for name in SCRIPTS)
    digests = (hashlib.sha256(one.encode()).digest() for one in (*scripts, script))
    return template.render(
        style=Markup(theme_css() + (files / "style.css").read_text()),
        script=Markup(script),
        script_source=Markup(
            " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
        ),
        **values,
    )


class _Frame:
    """Renders the templates of one page; remembers the scripts that its policy has to allow."""

    def __init__(self, run: RunData) -> None:
        self.run = run
        self.shared = {
            "run": run,
            "legend": legend(run.looks, run.points),
            "seeds_drawn": _seeds_drawn(len(run.seeds), "are means over seeds",
                                        "bands are the range of the seeds, darker its middle half"),
            "pooled_drawn": _seeds_drawn(len(run.seeds), "pool the seeds"),
        }  # fmt: skip
        self.scripts: list[str] = []
        self.failures: list[str] = []  # of installed sections
        self.environment = environment(__package__)

    def fill(self, template: str, **values: Any) -> Markup:
        return Markup(self.environment.get_template(template).render(self.shared | values))

    def section(self, section: Section) -> Markup | None:
        """The section's part of the page; None where it has nothing to show and does not say so."""
        try:
            values = self._values(section)
        except Exception as error:
            if not section.installed:
                raise
            reason = f"{type(error).__name__}: {error}"
            self.failures.append(f"the section {section.title!r} failed: {reason}")
            return None
        if values is None and not section.empty:
            return None
        if script := (values or {}).get("script"):
            self.scripts.append(script)
        empty = section.empty if values is None else ""
        return self.fill(section.template, section=section, empty=empty, **(values or {}))

    def _values(self, section: Section) -> Mapping[str, Any] | None:
        """What the section's template is filled with; None where there is nothing to show."""
        content = section.show(self.run)
        if content is None or isinstance(content, Sequence) and not len(content):
            return None
        if section.template == "section.html":
            return {"blocks": [self._block(part, section, i) for i, part in _parts(content)]}
        return content

    def _block(self, part: Any, section: Section, i: int) -> Markup:
        """A piece of an installed section's content as HTML."""
        if isinstance(part, Figure):
            svg = inline(part, f"{section.name}-{i}", section.title)
            width = round(PIXELS * part.get_size_inches()[0])
            files = downloads.attributes(svg, f"{section.name}-{i}")
            return Markup('<figure{} style="max-width:{}px">{}</figure>').format(files, width, svg)
        if isinstance(part, Markup):
            return part
        if isinstance(part, str):
            return Markup("<p>{}</p>").format(part)
        return self.fill("table.html", table=of_mappings(part, section.title))


def _seeds_drawn(n: int, lines: str, of_many: str = "") -> str:
    """What stands for the seeds of a rule in a figure of lines; "" for a single seed.

    >>> _seeds_drawn(3, "pool the seeds"), _seeds_drawn(50, "pool the seeds")
    ('thick lines pool the seeds, thin lines are single seeds', 'lines pool the seeds')
    """
    if n < 2:
        return ""
    if n <= MOST_SEEDS:
        return f"thick lines {lines}, thin lines are single seeds"
    return f"lines {lines}, {of_many}" if of_many else f"lines {lines}"


def _parts(content: Any) -> Iterable[tuple[int, Any]]:
    """The pieces that a section shows one below the other: one, unless it returned a list."""
    rows = isinstance(content, Sequence) and all(isinstance(row, Mapping) for row in content)
    single = isinstance(content, Figure | str) or rows
    return enumerate([content] if single else content)


def _of_other_versions(run: RunData) -> list[str]:
    with run.reading("the versions of its rules"):
        return [f"{sentence}." for sentence in outdated(run.out)]
    return []


def missing(run: RunData) -> list[str]:
    """A line for each rule with unfinished cells, each failed cell and each unreadable file."""
    unfinished = [c for c in run.cells if c.status != "finished"]
    lines = []
    for (label, status), n in Counter((c.label, c.status) for c in unfinished).items():
        cells = [c for c in unfinished if (c.label, c.status) == (label, status)]
        seeds = sorted({c.seed for c in cells if c.seed is not None})
        suffix = f" (seed {', '.join(map(str, seeds))})" if seeds else ""
        lines.append(f"{label}: {n} {'cell' if n == 1 else 'cells'} {STATUS[status]}{suffix}")
    lines += [f"{c.label}, seed {c.seed}, failed: {c.error}" for c in unfinished if c.error]
    return lines + run.problems


def finished_cells(run: RunData) -> str:
    """How many of the cells that the experiment lists are finished; "" where it lists none."""
    finished = sum(c.status == "finished" for c in run.cells)
    return f"{finished} of {len(run.cells)}" if run.cells else ""


def breakable(label: str) -> Markup:
    """A label that may be broken before its capitals.

    >>> breakable("StructuralPlasticity")
    Markup('Structural<wbr>Plasticity')
    """
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z])", label))


def legend(looks: Mapping[str, Look], labels: Iterable[str]) -> list[dict[str, Any]]:
    """The labels with their lines, for the legends of a page."""
    return [
        {"label": label, "swatch": _repeatable(swatch(looks[label], f"PLACE-{i}"))}
        for i, label in enumerate(labels)
    ]


def _repeatable(svg: str) -> Callable[[str], Markup]:
    """A picture for several places of a page, with other ids in each."""
    return lambda place: Markup(svg.replace("PLACE-", f"{place}-"))


def evenly(values: Sequence[float], most: int) -> list[float]:
    """At most ``most`` of the values, evenly spread, both ends among them.

    >>> evenly([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def provenance(run: RunData) -> dict[str, Any]:
    """The command, the versions and the experiment that a run was made with."""
    command = run.experiment.get("command", "")
    versions = run.experiment.get("versions")
    return {
        "command": command if isinstance(command, str) else shlex.join(map(str, command)),
        "versions": versions if isinstance(versions, Mapping) else {},
        "created": str(run.experiment.get("created", "")),
        "config": run.toml.strip() or json.dumps(run.config, indent=1),
    }
