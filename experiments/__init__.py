"""Experiments: rules compared on models and data, resumable, with one report.

From Python, with `rewire` alone imported:

- ``rewire.experiment(model=..., data=..., rules=[...], densities=..., seeds=...)``, or of a TOML
  file or a preset's name, gives a `Planned`: ``.run()``, ``.results()``, ``.report()``.
- ``rewire.open(RUN)`` reads a run's folder: tables, cells, graphs, models. ``rewire.runs()`` lists
  the runs there are, ``rewire.compare(RUN, RUN)`` puts two into one report.

From the command line: ``rewire run``, ``rewire runs``, ``rewire report``, ``rewire --help``.

Below it: `runner` trains an experiment (`run_experiment`), `kinds` reads, plans and shows each kind
of it, `store` is the layout of a run's folder, `report` its page, `compare` the statistics, `data`,
`tasks` and `engines` what experiments are made of, `tuning` the search for a rule's fields.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "experiment": "scripted", "Planned": "scripted",
    "run_experiment": "runner", "Finished": "runner",
    "open": "opened", "runs": "opened", "OpenedRun": "opened", "OpenedCell": "opened",
    "write_report": "report", "figure_svg": "report", "figure_bytes": "report",
    "export": "exporting", "watch": "watching",
    "ConfigError": "errors", "DataError": "errors", "StoreError": "errors",
}  # fmt: skip

__all__ = [name for name in _HOMES if name != "open"]  # noqa: PLE0604  # `*` hides no builtin


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise _no_attribute(name)


def _no_attribute(name: str) -> AttributeError:
    from rewire.names import no_attribute

    return no_attribute(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
