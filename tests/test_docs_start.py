"""docs/start: the ten-minute pages run literally, from a clean folder.

CI runs each page once by itself (tests/start_pages.py), from what its own words install; here they
are slow.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from rewire.experiments import cli

_SPEC = importlib.util.spec_from_file_location(
    "start_pages", Path(__file__).parent / "start_pages.py"
)
start = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(start)
COMPILED = {"neuroscience"}  # Brian2 compiles for a minute
PEOPLE = {"pruning", "neuroscience", "networks", "language", "teaching", "rule-author"}


def here(line: str) -> None:
    """A command of `rewire` in this process: the same words, without a start of Python."""
    program, *arguments = shlex.split(line)
    assert program == "rewire", f"a test has to know how to run {line!r}"
    assert cli.main(arguments) == 0, line


def test_there_is_a_page_for_each_of_the_six() -> None:
    assert set(start.pages()) == PEOPLE


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(PEOPLE - COMPILED))
def test_a_page_runs_and_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    start.run_page(page, tmp_path, here)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(COMPILED))
def test_a_page_runs_by_its_own_commands(page: str, tmp_path: Path) -> None:
    pytest.importorskip("brian2")
    start.run_page(page, tmp_path)


@pytest.mark.parametrize("page", sorted(PEOPLE))
def test_a_page_begins_with_an_install_of_this_clone(page: str) -> None:
    (first, *_) = (block for language, block in start.blocks_of(page) if language == "sh")
    assert "python3 -m venv" in first and re.search(r'-c constraints.txt "\.\[data', first)


def test_other_words_than_the_pages_are_noticed() -> None:
    start.compare("x", "12 edges, accuracy 0.95", "13 edges, accuracy 0.97")
    with pytest.raises(AssertionError, match="and prints"):
        start.compare("x", "12 edges, accuracy 0.95", "12 edges, loss 0.95")
