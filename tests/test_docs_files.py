"""docs/files.md: its listings run, and its table is the formats'."""

import doctest
import re
from pathlib import Path

from rewire.files import FORMATS

PAGE = Path(__file__).parents[1] / "docs" / "files.md"


def test_the_listings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert not failed and tried > 10


def test_the_table_has_every_format_and_suffix():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    table = {name: tuple(re.findall(r"`(\.\w+)`", suffixes)) for name, suffixes in rows}
    assert {name: table[name] for name in FORMATS} == {n: f.suffixes for n, f in FORMATS.items()}


def test_the_page_is_linked():
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "docs/files.md" in readme
