"""Pages written from the code when the site is built: every rule, measure, world and public module.

They go to ``docs/generated``, which git ignores. A page is written only where its text changed, so
that a second build reads what the first one left.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import drawn_pages
from docstring_text import converted, escaped

import rewire
from rewire.experiments import listings

KINDS = ("rules", "measures", "worlds", "api")  # folders that are written here
MODULES_OF_EXPERIMENTS = ("experiments.opened", "experiments.errors")


def pages(drawn: Mapping[str, Collection[str]] | None = None) -> dict[str, str]:
    """Every generated page: its path below the folder, without ending, and its text.

    drawn: names of the rules and measures of which there is a picture, by kind.
    """
    out, drawn = dict[str, str](), drawn or {}
    for kind, write in (("rules", _rules), ("measures", _measures), ("worlds", _worlds)):
        for name, text in write():
            picture = _picture(kind, name) if name in drawn.get(kind, ()) else ""
            out[f"{kind}/{name}"] = f"{text}\n{picture}"
    return out | {f"api/{name}": text for name, text in _api()}


# -- rules, measures, worlds ----------------------------------------------------------------------


def _rules() -> Iterator[tuple[str, str]]:
    from rewire import branches
    from rewire.rules import available
    from rewire.tunable import tunables

    classes = {**available(), **branches.available()}
    rows = listings.rules()
    yield (
        "index",
        _index(
            "Every rule",
            "Written from the code: ``rewire rules NAME`` prints the same on the command line. "
            ":doc:`/rules` says which one to begin with.",
            ("rule", "when it acts", "budget", "source"),
            [(r["name"], r["kind"], r["budget"], r["source"]) for r in rows],
        ),
    )
    for row in rows:
        cls = classes[row["name"]]
        home = "branches" if issubclass(cls, branches.Branch) else "rules"
        tried = {} if home == "branches" else tunables(cls)
        facts = {
            "when it acts": row["kind"],
            "number of edges": row["budget"],
            "signals that it reads": ", ".join(f"``{n}``" for n in row["needs"]) or "none",
            "worlds": ", ".join(f":doc:`/generated/worlds/{n}`" for n in row["worlds"]),
            "source": escaped(row["source"]),
            "version": str(cls.version),
        }
        yield row["name"], "\n".join([
            _title(row["name"]), _facts(facts),
            f".. autoclass:: rewire.{home}.{row['name']}{_called(cls)}", "",
            *_fields(cls, tried), *_bibtex(cls),
        ])  # fmt: skip


def _measures() -> Iterator[tuple[str, str]]:
    from rewire.measures import known

    classes, rows = known(), listings.measures()
    yield (
        "index",
        _index(
            "Every measure",
            "Written from the code. :doc:`/measures` is the overview, :doc:`/chance` says how a "
            "number is held against chance.",
            ("measure", "of", "weights", "about"),
            [(r["name"], r["kind"], r["weights"], r["about"]) for r in rows],
        ),
    )
    for row in rows:
        cls = classes[row["name"]]
        low, high = ("no bound" if bound is None else f"{bound:g}" for bound in row["bounds"])
        facts = {
            "a number for": {"layers": "each projection, and more where it says so"}.get(
                row["kind"], row["kind"]
            ),
            "reads of weights": row["weights"],
            "needs": ", ".join(row["needs"]) or "nothing but edges",
            "least and largest value": f"{low}, {high}",
            "unit": "none: a pure number, unless the formula says otherwise",
            "source": escaped(row["source"]),
        }
        yield row["name"], "\n".join([
            _title(row["name"]), _facts(facts),
            f".. autoclass:: rewire.measures.{row['name']}{_called(cls)}", "",
            *_fields(cls, {}), *_bibtex(cls),
        ])  # fmt: skip


def _worlds() -> Iterator[tuple[str, str]]:
    from rewire.worlds.registry import available

    rows = listings.worlds()
    yield (
        "index",
        _index(
            "Every world",
            "Where the weights live, and what of them a rule may see: ``rewire worlds``.",
            ("world", "silent edges", "about"),
            [(r["name"], "yes" if r["silent edges"] else "no", r["about"]) for r in rows],
        ),
    )
    for row in rows:
        cls = available()[row["name"]]
        facts = {
            "name in ``world=``": f"``{row['name']}``",
            "silent edges": "yes" if row["silent edges"] else "no",
            "signals": ", ".join(f"``{name}``" for name in row["signals"]) or "those it is given",
        }
        yield row["name"], "\n".join([
            _title(row["name"]), _facts(facts),
            f".. autoclass:: {cls.__module__}.{cls.__qualname__}", "   :members:", "",
        ])  # fmt: skip


def _index(title: str, text: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    linked = [
        (f":doc:`{name} <{name}>`", *(escaped(cell) for cell in cells)) for name, *cells in rows
    ]
    names = "\n".join(f"   {row[0]}" for row in rows)
    toctree = f".. toctree::\n   :hidden:\n   :maxdepth: 1\n\n{names}\n"
    return "\n".join([_title(title), text, "", _table(heads, linked), toctree])


def _called(cls: type) -> str:
    """The fields by name: what autodoc finds is the `__new__` that refuses unknown ones."""
    names = [f"{field.name}=..." for field in fields(cls) if not field.name.startswith("_")]
    return f"({', '.join(['*', *names])})" if names else "()"


def _picture(kind: str, name: str) -> str:
    about = drawn_pages.RULE if kind == "rules" else drawn_pages.MEASURE
    return (
        f"{_section('Picture')}\n.. figure:: /generated/pictures/{kind}/{name}.svg\n"
        f"   :alt: {name}, drawn by its definition\n\n   {about}\n"
    )


def _fields(cls: type, tried: Mapping[str, Any]) -> list[str]:
    rows = []
    for field in fields(cls):
        if field.name.startswith("_"):
            continue
        default = "" if field.default is MISSING else f"``{field.default!r}``"
        if field.default_factory is not MISSING:
            default = f"``{field.default_factory()!r}``"
        span = tried.get(field.name)
        values = "" if span is None else _span(span)
        hint = str(field.type).replace("ClassVar", "").partition(", Tunable(")[0]
        hint = hint.removeprefix("Annotated[").removesuffix("]") if span else hint
        rows.append((f"``{field.name}``", f"``{hint}``", default, escaped(values)))
    heads = ("field", "type", "default", "what ``rewire tune`` tries")
    return [_section("Fields"), _table(heads, rows)] if rows else []


def _span(span: Any) -> str:
    if span.choices:
        return ", ".join(map(str, span.choices))
    return f"{span.low:g} to {span.high:g}{', evenly in logarithm' if span.log else ''}"


def _bibtex(cls: Any) -> list[str]:
    text = (getattr(cls, "bibtex", "") or "").strip()
    return [_section("Cite"), f".. code-block:: bibtex\n\n{_indented(text)}\n"] if text else []


# -- modules --------------------------------------------------------------------------------------


def _api() -> Iterator[tuple[str, str]]:
    top = sorted(name for name in rewire._HOMES if not _has_a_page(getattr(rewire, name)))
    objects = {id(getattr(rewire, name)): f"rewire.{name}" for name in top}
    modules = [*sorted(rewire._MODULES), *MODULES_OF_EXPERIMENTS]
    yield "index", "\n".join([
        _title("API reference"),
        "Public names only, with what their docstrings say. ``import rewire`` brings all of them; "
        "every rule, measure and world has a page of its own.\n",
        ".. toctree::\n   :maxdepth: 1\n\n   rewire",
        *(f"   {name}" for name in modules), "",
    ])  # fmt: skip
    yield "rewire", "\n".join([
        _title("rewire"), converted(inspect.getdoc(rewire) or ""), "", *map(_entry, map(
            lambda name: (f"rewire.{name}", getattr(rewire, name)), top)),
    ])  # fmt: skip
    for name in modules:
        module = importlib.import_module(f"rewire.{name}")
        yield name, _module(module, objects)


def _module(module: ModuleType, objects: dict[int, str]) -> str:
    entries, elsewhere = list[str](), list[str]()
    for name, item in sorted(_public(module)):
        if _has_a_page(item):
            continue
        if id(item) in objects:
            elsewhere.append(f"- :py:obj:`{objects[id(item)]}`")
            continue
        objects[id(item)] = f"{module.__name__}.{name}"
        entries.append(_entry((f"{module.__name__}.{name}", item)))
    listed = ["Documented elsewhere:\n", *elsewhere, ""] if elsewhere else []
    # names in signatures are the module's own where another module has the same
    head = [_title(module.__name__), f".. py:currentmodule:: {module.__name__}", ""]
    return "\n".join([*head, converted(inspect.getdoc(module) or ""), "", *entries, *listed])


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Names of functions and classes that a module defines, or a package brings together."""
    package = hasattr(module, "__path__")
    for name in dict.fromkeys([*vars(module), *getattr(module, "__all__", ())]):
        item = getattr(module, name)
        if name.startswith("_") or not (inspect.isclass(item) or inspect.isfunction(item)):
            continue
        home = item.__module__
        if home == module.__name__ or (package and home.startswith(f"{module.__name__}.")):
            yield name, item


def _entry(named: tuple[str, Any]) -> str:
    name, item = named
    if inspect.isclass(item):
        return f".. autoclass:: {name}\n   :members:\n"
    kind = "autofunction" if inspect.isfunction(item) else "autodata"
    return f".. {kind}:: {name}\n"


def _has_a_page(item: Any) -> bool:
    from rewire import branches, measures, rules

    built_in = {*rules.BUILT_IN, *branches.BUILT_IN, *measures.BUILT_IN, *_world_classes()}
    return inspect.isclass(item) and item in built_in


def _world_classes() -> Iterable[type]:
    from rewire.worlds.registry import available

    return available().values()


# -- parts of a page ------------------------------------------------------------------------------


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _section(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n"


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.split("\n"))


def _facts(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"   * - {name}\n     - {text or 'none'}" for name, text in facts.items())
    return f".. list-table::\n   :widths: 25 75\n   :stub-columns: 1\n\n{rows}\n"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = "\n".join(
        f"   {'* -' if i == 0 else '  -'} {cell}" for row in (heads, *rows)
        for i, cell in enumerate(row)
    )  # fmt: skip
    return f".. list-table::\n   :header-rows: 1\n\n{lines}\n"


def write(app: Any) -> None:
    """Sphinx's event before it reads: the pages as files, and none of what is gone."""
    from rewire import measures, rules

    folder = Path(app.srcdir) / "generated"
    drawn = {"rules": rules.available(), "measures": measures.known()}
    if not app.config.page_pictures:
        drawn = {}
    pictures = {
        kind: set(drawn_pages.drawn(folder / "pictures" / kind, kind, names))
        for kind, names in drawn.items()
    }
    texts = {folder / f"{name}.rst": text for name, text in pages(pictures).items()}
    for path in folder.glob("*/*.rst"):
        if path.parent.name in KINDS and path not in texts:
            path.unlink()
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("page_pictures", True, "env", bool)
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
