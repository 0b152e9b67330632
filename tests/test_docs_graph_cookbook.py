"""docs/graph-cookbook.md: its recipes run, from top to bottom."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "graph-cookbook.md"


def test_the_recipes_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 50 and not results.failed
