"""Runs the ten-minute pages as a reader does: ``python tests/start_pages.py [PAGE ...]``.

Each page's commands and listings run in their order, in a clean folder, as they stand on the page;
commands that make an environment are left to whoever calls this. What a listing prints is compared
with the block of text below it, numbers aside.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "start"
INSTALLS = re.compile(r"python3 -m venv |.*pip install |source ")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def blocks_of(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code of a page, in their order."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)


def commands_of(block: str) -> list[str]:
    lines = (line.strip() for line in block.splitlines())
    return [line for line in lines if line and not INSTALLS.match(line)]


def run_command(line: str) -> None:
    """One line of a shell, with the `rewire` beside this Python first in its path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], env=os.environ | {"PATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def run_page(page: str, folder: Path, run=run_command) -> None:
    """All of a page in a folder. Raises AssertionError where a command fails or other words are
    printed than the page shows."""
    printed, namespace = "", {"__name__": "__main__"}
    with chdir(folder):
        for language, block in blocks_of(page):
            if language == "sh":
                for line in commands_of(block):
                    run(line)
            elif language == "python":
                with redirect_stdout(StringIO()) as out:
                    exec(compile(block, f"docs/start/{page}.md", "exec"), namespace)
                printed = out.getvalue()
            elif language == "text":
                compare(page, block, printed)


def compare(page: str, shown: str, printed: str) -> None:
    if words(shown) != words(printed):
        raise AssertionError(f"docs/start/{page}.md shows\n{shown}\nand prints\n{printed}")


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def pages() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")


def main(names: list[str]) -> None:
    for page in names or pages():
        began = time.monotonic(), time.process_time(), os.times()
        with tempfile.TemporaryDirectory() as folder:
            run_page(page, Path(folder))
        wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
        children = os.times().children_user - began[2].children_user
        print(f"{page}: {wall:.0f} s by the clock, {cpu + children:.0f} s of one core", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
