"""docs/command-line.md and docs/presets.md name every command, exit code and preset."""

import re
from pathlib import Path

from rewire.experiments import cli, errors
from rewire.experiments.config.presets import presets

DOCS = Path(__file__).parents[1] / "docs"
HIDDEN = {"cell"}  # what engines call


def test_every_command_and_exit_code_is_on_the_page() -> None:
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `rewire (\w+)", page, re.M))
    commands = {name for name in cli.app if not name.startswith("-")} - HIDDEN
    assert named == commands
    table = page.partition("## Exit codes")[2]
    codes = [int(n) for row in re.findall(r"^\| (\d[\d, ]*)", table, re.M) for n in row.split(",")]
    assert codes == sorted(errors.EXIT_CODES)


def test_every_preset_is_on_its_page() -> None:
    table = (DOCS / "presets.md").read_text(encoding="utf-8").partition("## Results")[0]
    rows = [line.split("|")[1] for line in table.split("\n") if line.startswith("| `")]
    assert sorted(re.findall("`([^`]+)`", " ".join(rows))) == sorted(presets())
