"""The examples of the docstrings run, and there are enough of them."""

from __future__ import annotations

import ast
import doctest
import importlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = {"rewire": "rewire", "models": "rewire.models", "experiments": "rewire.experiments"}
NEEDS = {  # beginnings of modules whose examples run with a package of an extra
    "rewire.worlds.brian": "brian2",
    "rewire.models.spiking": "brian2",
    "rewire.models.spiking.nir_graphs": "nir",
    "rewire.experiments.data.pairs": "tokenizers",
    "rewire.experiments.tasks.translation": "sacrebleu",
}


@cache
def examples() -> dict[str, list[str]]:
    """Of each module with runnable examples, the definitions that carry one."""
    named: dict[str, list[str]] = {}
    for top, package in TOPS.items():
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / top).with_suffix("").parts]
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            owners = [owner for owner, text in docstrings(path) if runnable(text)]
            if owners:
                named[module] = owners
    return named


def docstrings(path: Path) -> list[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "name", "module"), ast.get_docstring(node) or "") for node in nodes]


def runnable(text: str) -> bool:
    found = doctest.DocTestParser().get_examples(text)
    return any(not example.options.get(doctest.SKIP) for example in found)


@pytest.mark.parametrize("module", sorted(examples()))
def test_the_examples_of_a_module_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for beginning, package in NEEDS.items():
        if module.startswith(beginning):
            pytest.importorskip(package)
    loaded = importlib.import_module(module)
    monkeypatch.chdir(tmp_path)  # an example may write files
    failed, tried = doctest.testmod(
        loaded, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert tried and not failed


def test_a_hundred_definitions_have_an_example() -> None:
    assert sum(map(len, examples().values())) >= 100
