"""The mistakes of an experiment file that are known without torch, so that they are told at once.

What is found here is found by `kinds.load` too, in the same words; what is not, is left to it. The
names of rules, and of their fields, are read from the files that hold them, which are not run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import rewire
from rewire.calls import no_parameter
from rewire.names import unknown

from .checking import check
from .presets import locate
from .problems import Problems
from .schema import Experiment, available, named
from .toml import override, read

HOME = Path(rewire.__file__).parent
OF_ENTRIES = frozenset({"label", "train", "of"})  # keys of a rule's table that are no fields of it


def refuse_mistakes(source: str | Path, overrides: Sequence[str] = ()) -> None:
    """Raise ConfigError for what is wrong with an experiment, as far as that needs no torch."""
    problems = Problems()
    path = locate(source)
    tree = override({"name": path.stem, **read(path)}, overrides, problems)
    problems += mistakes(tree)
    problems.refuse(tree.get("name"))


def mistakes(tree: Mapping[str, Any]) -> Problems:
    """What is wrong with the tree of an experiment, as far as that needs no torch.

    >>> tree = {"name": "mine", "rules": [{"rule": "RigL", "fractoin": 0.3}, "DeepRR"]}
    >>> [where for where, _ in mistakes(tree) if where.startswith("rules")]
    ['rules.RigL', 'rules.DeepRR.rule']
    """
    problems = Problems()
    rules, world = tree.get("rules"), tree.get("world", tree.get("substrate", "masked"))
    trains = world in ("masked", "sparse", "auto")
    known_rules = names_of_rules() if isinstance(rules, list) else []
    for item in rules if isinstance(rules, list) else []:
        table = {"rule": item} if isinstance(item, str) else item
        problems += _of_rule(table, known_rules, with_fields=trains)
    if not trains:
        return problems  # a kind of experiment with tables of its own
    tables = {k: named(v) if k in ("model", "data", "optimizer") else v for k, v in tree.items()}
    tables = {k: v for k, v in tables.items() if k not in ("task", "limits", "substrate")}
    if isinstance(rules, list):
        tables["rules"] = rules[:1]
    _, wrong = check(Experiment, tables)
    problems += wrong
    for kind, what in (("model", "model"), ("data", "data set")):
        name = tables[kind].get("name") if isinstance(tables.get(kind), Mapping) else None
        if isinstance(name, str) and ":" not in name and name not in (known := available(kind)):
            problems.add(f"{kind}.name", unknown(what, name, known))
    return problems


def _of_rule(table: Any, known: Sequence[str], *, with_fields: bool) -> Iterator[tuple[str, str]]:
    name = table.get("rule") if isinstance(table, Mapping) else None
    if not isinstance(name, str):
        return
    label = table.get("label", name)
    if name not in known:
        yield f"rules.{label}.rule", unknown("rule", name, known)
        return
    fields = fields_of_rule(name) if with_fields else None
    if fields is None:
        return
    for key in table.keys() - OF_ENTRIES - {"rule"}:
        if key not in fields:
            yield f"rules.{label}", no_parameter(name, key, fields)


# --- the files of rules, read and not run ---


def names_of_rules() -> list[str]:
    """Rules and branches, built in and installed, in the order in which they are listed.

    >>> names_of_rules()[:3]
    ['Dense', 'Static', 'RandomRewiring']
    """
    built_in = [_built_in(HOME / package / "__init__.py") for package in ("rules", "branches")]
    installed = sorted(point.name for point in entry_points(group="rewire.rules"))
    return list(dict.fromkeys([*built_in[0], *installed, *built_in[1]]))


@cache
def _built_in(path: Path) -> tuple[str, ...]:
    """The names in the tuple BUILT_IN of a file."""
    for node in _tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == "BUILT_IN" for t in targets):
            value = getattr(node, "value", None)
            return tuple(e.id for e in getattr(value, "elts", ()) if isinstance(e, ast.Name))
    return ()


def fields_of_rule(name: str) -> list[str] | None:
    """The fields of a built-in rule or branch; None where its file does not say all of them.

    >>> fields_of_rule("RigL")
    ['when', 'fraction']
    """
    for package in ("rules", "branches"):
        home = HOME / package / "__init__.py"
        if name in _built_in(home):
            return _fields(home, name)
    return None


def _fields(path: Path, name: str) -> list[str] | None:
    """The fields of a dataclass that a file defines, or imports from another one of ours."""
    tree = _tree(path)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(path, node)
    source = _imported_from(path, tree, name)
    return None if source is None else _fields(source, name)


def _of_class(path: Path, node: ast.ClassDef) -> list[str] | None:
    fields: dict[str, None] = {}
    for base in reversed(node.bases):
        inherited = _fields(path, base.id) if isinstance(base, ast.Name) else None
        if inherited is None:
            return None
        fields |= dict.fromkeys(inherited)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return None
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if not ast.unparse(item.annotation).startswith("ClassVar"):
                fields[item.target.id] = None
    return list(fields)


def _imported_from(path: Path, tree: ast.Module, name: str) -> Path | None:
    """The file that a relative import takes a name from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            if any((alias.asname or alias.name) == name for alias in node.names):
                folder = path.parents[node.level - 1]
                target = folder.joinpath(*node.module.split("."))
                file = target.with_suffix(".py")
                return file if file.is_file() else target / "__init__.py"
    return None


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
