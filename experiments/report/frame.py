"""The frame of every report: one self-contained page, filters, provenance."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from . import axes, rounding
from .run import Loaded
from .style import Look, swatch, theme_css


def fill(template: str, context: Mapping[str, Any]) -> str:
    """A page from one of our templates."""
    files = resources.files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(lambda name: (files / name).read_text()),
    )  # fmt: skip
    environment.filters |= {
        "percent": rounding.percent,
        "times": rounding.times,
        "signed": rounding.signed,
        "plain": rounding.plain,
        "power": axes.power_of_ten,
        "number": number,
        "breakable": breakable,
    }
    return environment.get_template(template).render(
        style=Markup(theme_css() + (files / "style.css").read_text()), **context
    )


def number(value: float) -> str:
    """12 345 with thin spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def breakable(label: str) -> Markup:
    """A label that may be broken before its capitals: Structural|Plasticity."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z])", label))


def legend(look: Mapping[str, Look], labels: Iterable[str]) -> list[dict[str, Any]]:
    """What a list of labels with their lines is made from."""
    return [
        {"label": label, "swatch": _placed(swatch(look[label], f"PLACE-{i}"))}
        for i, label in enumerate(labels)
    ]


def _placed(svg: str) -> Callable[[str], Markup]:
    """A picture that stands in several places of a page, its ids different in each."""
    return lambda place: Markup(svg.replace("PLACE-", f"{place}-"))


def evenly(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, both ends among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def provenance(run: Loaded) -> dict[str, Any]:
    """How the run was made."""
    experiment = run.experiment
    command = experiment.get("command", "")
    versions = experiment.get("versions")
    return {
        "command": command if isinstance(command, str) else shlex.join(map(str, command)),
        "versions": versions if isinstance(versions, Mapping) else {},
        "created": str(experiment.get("created", "")),
        "config": run.toml.strip() or json.dumps(run.config, indent=1),
    }
