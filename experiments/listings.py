"""What there is to choose from, as rows: rules, worlds, measures, models, data, tasks, presets.

Built in and installed ones alike. Each function imports what its list needs, and no more.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from inspect import getdoc
from typing import Any

Row = dict[str, Any]


def rules() -> list[Row]:
    """Rules and branches: what each asks for, and the worlds that can offer it."""
    from rewire import branches
    from rewire.rules import available

    rows = [_rule(name, cls) for name, cls in available().items()]
    return rows + [_branch(name, cls) for name, cls in branches.available().items()]


def _rule(name: str, cls: Any) -> Row:
    from rewire.rule_budget import budget_of

    row = {"name": name, "kind": cls.kind, "budget": "", "needs": [], "worlds": [],
           "about": first_paragraph(cls.__doc__), "source": cls.source,
           "deviations": list(cls.deviations())}  # fmt: skip
    try:
        rule = cls()  # needs and budget may depend on fields: these are the defaults'
    except TypeError:  # a rule of somebody's that has fields without defaults
        return row
    kept, needs = budget_of(rule).kept, sorted(rule.needs)
    return {**row, "budget": kept, "needs": needs, "worlds": _worlds_of(rule)}


def _branch(name: str, cls: Any) -> Row:
    worlds = ["masked"] if cls.begins != "fresh" else ["masked", "sparse"]
    return {"name": name, "kind": cls.kind, "budget": cls.kept, "needs": [], "worlds": worlds,
            "about": first_paragraph(cls.__doc__), "source": cls.source,
            "deviations": list(cls.deviations())}  # fmt: skip


def page(row: Row) -> str:
    """What there is to know of a rule or a branch: its row, and its docstring without examples.

    >>> print(page(next(row for row in rules() if row["name"] == "ProsPr")))  # doctest: +ELLIPSIS
    ProsPr: at initialisation; budget exact; needs meta_gradient; worlds ...
    ...
    Deviations:
    - The authors' code treats the momentum after the first step as a constant; here the...
    """
    from rewire import branches
    from rewire.rules import available

    cls = {**branches.available(), **available()}[row["name"]]
    facts = [f"{row['name']}: {row['kind']}", f"budget {row['budget']}"]
    facts += [f"{name} {', '.join(row[name])}" for name in ("needs", "worlds") if row[name]]
    text = (getdoc(cls) or "").partition("\n>>>")[0].strip()
    return f"{'; '.join(facts)}\n{row['source']}\n\n{text}"


def _worlds_of(rule: Any) -> list[str]:
    """The worlds that can offer what the rule asks for."""
    from rewire.worlds.registry import available

    requirements = rule.needs, frozenset(rule.columns)
    return [name for name, world in available().items() if world.can_serve(*requirements)]


def worlds() -> list[Row]:
    """Worlds: where the weights may live, and the signals that each offers to rules."""
    import rewire.rules  # noqa: F401  (their files bring signals too)
    from rewire.signals import registered
    from rewire.worlds.registry import available

    return [
        {"name": name, "signals": sorted(registered(name)), "silent edges": cls.gains,
         "about": first_paragraph(cls.__doc__)}
        for name, cls in available().items()
    ]  # fmt: skip


def measures() -> list[Row]:
    """Measures of connectivity: of what, what each reads of weights, and what it needs."""
    from rewire.measures import known

    return [
        {"name": name, "kind": cls.kind, "weights": cls.weights, "needs": sorted(cls.needs),
         "bounds": list(cls.bounds), "fields": [field.name for field in fields(cls)],
         "about": first_paragraph(cls.__doc__), "source": cls.source}
        for name, cls in sorted(known().items())
    ]  # fmt: skip


def models() -> list[Row]:
    """Models of PyTorch and of Brian2."""
    from rewire.models import available, spiking

    return [
        {"name": info.name, "world": world, "about": info.summary, "source": info.source}
        for world, models in (("torch", available()), ("brian", spiking.available()))
        for info in models.values()
    ]


def datasets() -> list[Row]:
    """Data sets, and which of them are on this machine."""
    from .data import available
    from .tasks import table_of

    infos = available().values()
    rows = [asdict(info) | {"task": table_of(info.task)["name"]} for info in infos]
    for row in rows:
        row["here"] = (
            "yes" if row["present"]
            else "can be fetched" if row["fetchable"]
            else row["problem"] or "no"
        )  # fmt: skip
    return rows


def tasks() -> list[Row]:
    """What models can be trained for, and the metrics that results are judged by."""
    from .tasks import available

    return [
        {"name": name, "kind": cls.kind, "metrics": [metric.key for metric in cls.metrics],
         "about": first_paragraph(cls.__doc__)}
        for name, cls in available().items()
    ]  # fmt: skip


def presets() -> list[Row]:
    """The experiments that come with rewire."""
    from .config import presets as config

    return [
        {"name": p.name, "title": p.title, "time": p.time, "about": p.about.strip(),
         "source": p.source, "path": str(p.path)}
        for p in config.presets().values()
    ]  # fmt: skip


def first_paragraph(text: str | None) -> str:
    """Of a docstring, on one line.

    >>> first_paragraph("Deep Rewiring (Bellec et al.\\n2017).\\n\\nEach edge has a sign.")
    'Deep Rewiring (Bellec et al. 2017).'
    """
    return (text or "").strip().partition("\n\n")[0].replace("\n", " ")
