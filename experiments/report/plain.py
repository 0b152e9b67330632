"""The page of a run whose results are no accuracies: its rows as they are."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

from rewire.experiments import store

from .load import Loaded

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body{font:15px system-ui,sans-serif;margin:2rem}td,th{padding:.2rem .7rem;text-align:right}
td:first-child,th:first-child{text-align:left}</style></head><body>
<h1>{{ title }}</h1><p>{{ about }}</p>
{% if unfinished %}<p>{{ unfinished }} of {{ cells }} cells are not finished.</p>{% endif %}
<table><tr>{% for name in fields %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table><pre>{{ toml }}</pre></body></html>
"""


def render(run: Loaded) -> str:
    """A table of the run's rows, and the experiment."""
    fields = [f for f in store.SPIKING_ROW_FIELDS if f not in ("rule", *store.TIMES)]
    fields = ["label", *(f for f in fields if f != "label")]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(PAGE).render(
        title=str(run.experiment.get("title") or run.experiment.get("name") or run.out.name),
        about=str(run.experiment.get("about") or ""),
        unfinished=sum(cell.status != "finished" for cell in run.cells),
        cells=len(run.cells),
        fields=fields,
        rows=[[_text(row[field]) for field in fields] for row in run.rows],
        toml=run.toml,
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
