"""The house: imports run down its floors, in no circle, late and type-only ones counted.

A late import (inside a function) keeps the command line quick, a type-only one (under
TYPE_CHECKING) costs nothing at run time; both still tie two files together for the reader.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import networkx as nx

from rewire import rules

ROOT = Path(__file__).parents[1]
BUILT_IN = {rule.__name__ for rule in rules.BUILT_IN}
TOPS = {"rewire": "rewire", "models": "rewire.models", "experiments": "rewire.experiments"}

# From the lowest floor to the highest: a module may import from its own floor and those below.
# A name is a module or a package with all that it holds; the longest name that fits counts.
FLOORS: list[tuple[str, ...]] = [
    (
        "rewire.native",
        "rewire.kernels",
        "rewire.coverage",
        "rewire.names",
        "rewire.calls",
        "rewire.arguments",
        "rewire.fields",
        "rewire.plugins",
        "rewire.atomic",
        "rewire.streams",
    ),
    ("rewire.when", "rewire.norms", "rewire.rates", "rewire.trackers"),
    ("rewire.strategy", "rewire.rule_budget", "rewire.tunable"),
    ("rewire.graph",),
    (
        "rewire.select",
        "rewire.budget",
        "rewire.edit_log",
        "rewire.checkpoint",
        "rewire.starts",
        "rewire.files",
        "rewire.networkx_backend",
    ),
    ("rewire.signals",),
    (
        "rewire.compiled",
        "rewire.rule",
        "rewire.world",
        "rewire.offer",
        "rewire.limits",
        "rewire.analysis",
        "rewire.nulls",
    ),
    ("rewire.measures", "rewire.hardware"),
    ("rewire.pictures",),
    ("rewire.branches",),
    ("rewire.compatibility", "rewire.starting_graph", "rewire.caveats"),
    ("rewire.rules", "rewire.worlds"),
    (
        "rewire.averaging",
        "rewire.saving",
        "rewire.session",
        "rewire.rewinding",
        "rewire.listening",
        "rewire.citations",
    ),
    ("rewire.loop_checks",),
    ("rewire.torch_loop", "rewire.graph_of"),
    ("rewire.loading", "rewire.integrations"),
    ("rewire", "rewire.substrates"),
    ("rewire.models",),
    ("rewire.experiments",),
    ("rewire.__main__",),
]
# The floors inside `experiments`, by the same rule.
_WITHIN: list[tuple[str, ...]] = [
    ("",),
    ("choice", "errors", "threads", "cells", "summary", "statistics", "presets"),
    ("metric", "installed", "frames"),
    ("tasks",),
    ("data", "store"),
    ("engines",),
    (
        "config",
        "machine",
        "cell_run",
        "tally",
        "event_text",
        "compare",
        "printing",
        "doctor",
        "versions",
    ),
    ("building", "progress", "from_python"),
    ("tracking",),
    ("trainings", "spiking"),
    ("conversion", "own_world"),
    (
        "report.rounding",
        "report.style",
        "report.tables",
        "report.graphs",
        "report.measures",
        "report.packing",
        "report.downloads",
        "report.crowd",
    ),
    ("report.axes", "report.run", "report.sections"),
    ("report.frame", "report.lives"),
    ("report.trainings", "report.spiking", "report.own_world"),
    ("kind",),
    ("trainings.kind", "spiking.kind", "conversion.kind", "own_world.kind"),
    ("kinds",),
    ("report", "provenance", "caveats"),
    ("runner", "worker", "opened"),
    ("exporting", "watching"),
    ("papers", "reproduction", "interpolation", "tuning", "demo"),
    ("scripted",),
    (
        "dry_run",
        "runs_cli",
        "new_cli",
        "barrier_cli",
        "listings",
        "graph_cli",
        "fit_cli",
        "reproduction_cli",
        "tune_cli",
        "demo_cli",
    ),
    ("cli", "__main__"),
]
EXPERIMENTS = [
    tuple(f"rewire.experiments.{name}".rstrip(".") for name in names) for names in _WITHIN
]


def module_of(path: Path) -> str:
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    names = [TOPS[top], *rest]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


@cache
def modules() -> dict[str, Path]:
    paths = (p for top in TOPS for p in (ROOT / top).rglob("*.py"))
    return {module_of(path): path for path in paths}


def imports_of(module: str, path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, at any depth of its code."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            target = f"{source}.{alias.name}"
            if target in known:
                yield target
            elif source in known:
                yield source


@cache
def arrows() -> nx.DiGraph:
    """An arrow from each module to each that it imports; from a package's face to its own too."""
    graph = nx.DiGraph()
    graph.add_nodes_from(modules())
    for module, path in modules().items():
        graph.add_edges_from((module, target) for target in imports_of(module, path))
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    return graph


def floor(module: str, floors: list[tuple[str, ...]]) -> int:
    fits = [
        (len(name), height)
        for height, names in enumerate(floors)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    assert fits, f"{module} is on no floor: add it to FLOORS in {Path(__file__).name}"
    return max(fits)[1]


def upward(floors: list[tuple[str, ...]], within: str) -> list[str]:
    return sorted(
        f"{source} -> {target}"
        for source, target in arrows().edges
        if all(end == within or end.startswith(within + ".") for end in (source, target))
        and floor(target, floors) > floor(source, floors)
    )


def test_no_modules_import_each_other_in_a_circle():
    circles = [sorted(c) for c in nx.strongly_connected_components(arrows()) if len(c) > 1]
    assert circles == []


def test_no_import_runs_up_a_floor():
    assert upward(FLOORS, "rewire") == []


def test_the_page_on_the_architecture_names_modules_on_their_floors():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (`.*?`) \|", page, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    for (_, cell), modules in zip(rows, FLOORS, strict=False):
        named = {f"rewire.{name}" for name in re.findall("`([a-z_]+)`", cell)}
        assert named and named <= set(modules), cell


def test_no_import_within_experiments_runs_up_a_floor():
    assert upward(EXPERIMENTS, "rewire.experiments") == []


def test_models_and_the_library_know_nothing_of_each_other():
    crossing = [
        f"{source} -> {target}"
        for source, target in arrows().edges
        if source.startswith("rewire.models") != target.startswith("rewire.models")
        and not source.startswith("rewire.experiments")
        and target != "rewire.names"  # the words of messages: what is the nearest name?
    ]
    assert crossing == []


def test_rules_and_worlds_know_nothing_of_each_other():
    crossing = [
        f"{source} -> {target}"
        for source, target in arrows().edges
        for one, other in (("rewire.rules", "rewire.worlds"), ("rewire.worlds", "rewire.rules"))
        if source.startswith(one) and target.startswith(other)
    ]
    assert crossing == []


# Beside the home of the two forms: worlds that hold compiled objects or addresses of their own.
COMPILED = {
    "rewire.worlds.brian.padding",
    "rewire.worlds.brian.queues",
    "rewire.worlds.brian.world",
    "rewire.worlds.brian.wiring",
    "rewire.worlds.masked.memory",
}


def test_compiled_or_numpy_is_chosen_in_one_place():
    users = {
        module
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("native")
        and any(alias.name == "kernels" for alias in node.names)
    }  # fmt: skip
    outside = {module for module in users if not module.startswith("rewire.kernels.")}
    assert outside == COMPILED and len(users) > len(outside)


def lines_of_code(node: ast.AST, source: list[str]) -> int:
    """Lines of a definition that are neither empty, nor comments, nor its docstrings."""
    documented = [
        part.body[0]
        for part in ast.walk(node)
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part)
    ]
    texts = {n for text in documented for n in range(text.lineno, text.end_lineno + 1)}
    lines = range(node.lineno, node.end_lineno + 1)
    return sum(
        n not in texts and bool(line := source[n - 1].strip()) and not line.startswith("#")
        for n in lines
    )


def test_the_median_rule_is_under_35_lines():
    lengths = {}
    for path in (ROOT / "rewire/rules").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name in BUILT_IN:
                lengths[node.name] = lines_of_code(node, text.split("\n"))
    assert len(lengths) > 35 and median(lengths.values()) < 35


# Names that say what happened to a value instead of what it is.
EMPTY_NAMES = {
    "asked", "done", "found", "given", "gone", "got", "held", "here", "kept", "made", "mine",
    "said", "seen", "shown", "taken", "theirs", "there", "told", "wanted",
}  # fmt: skip


def local_names(tree: ast.AST) -> Iterator[str]:
    """Each name that a function assigns, once for each function."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            stores = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
            yield from {n.id for n in stores if isinstance(n.ctx, ast.Store)}


def test_locals_say_what_they_hold():
    names = [
        name
        for path in modules().values()
        for name in local_names(ast.parse(path.read_text(encoding="utf-8")))
    ]
    empty = [name for name in names if name in EMPTY_NAMES]
    assert len(empty) < 0.01 * len(names)


def test_files_say_one_thing():
    lengths = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in modules().items()
    }
    assert [module for module, n in lengths.items() if n > 500] == []
