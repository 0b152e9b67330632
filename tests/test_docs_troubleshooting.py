"""docs/troubleshooting.md: its listings run, and the messages are those that it shows."""

import doctest
import re
from pathlib import Path

import pytest

from rewire.experiments import cli

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"


def test_the_messages_are_those_of_the_page() -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags)
    assert results.attempted > 15 and not results.failed


def answers() -> list[tuple[str, str]]:
    return re.findall(r"^\| `rewire (.+?)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("line, answer", answers())
def test_the_command_line_answers_as_the_page_says(
    line: str, answer: str, capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.replace("'", "").split()) != 0
    assert answer in " ".join(capsys.readouterr().err.split())
