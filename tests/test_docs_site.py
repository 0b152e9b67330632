"""The documentation site: its sources are whole, and (slow) it builds without one warning."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] != "generated"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def links_of(page: str) -> list[str]:
    return LINK.findall(CODE.sub("", text_of(page)))


def anchors(text: str) -> set[str]:
    """Anchors that a forge and the site give to the headings of a page."""
    titles = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def listed() -> set[str]:
    """Pages in the tables of contents."""
    folders = {page: (DOCS / page).parent for page in PAGES}
    named = set[str]()
    for page, folder in folders.items():
        for body in re.findall(r"```\{toctree\}\n(.*?)```", text_of(page), re.S):
            entries = [line for line in body.split("\n") if line and not line.startswith(":")]
            named |= {(folder / entry).relative_to(DOCS).as_posix() for entry in entries}
    return named


def test_every_page_is_in_a_table_of_contents() -> None:
    pages = {page.removesuffix(".md") for page in PAGES} - {"index"}
    notebooks = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.ipynb")}
    notebooks = {name for name in notebooks if not name.startswith("generated")}
    entries = {name for name in listed() if not name.startswith("generated/")}
    assert entries == pages | notebooks


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_lead_somewhere(page: str) -> None:
    for link in links_of(page):
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        target = (DOCS / page).parent / path if path else DOCS / page
        generated = "generated/" in target.as_posix()
        assert generated or target.exists(), f"{page}: {link}"
        if anchor and not generated:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_external_links_are_addresses(page: str) -> None:
    for link in links_of(page):
        if scheme := urlsplit(link).scheme:
            assert scheme == "https" and "." in urlsplit(link).netloc, f"{page}: {link}"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports an extension of the site, a module of its folder, by name."""
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    return importlib.import_module


@pytest.mark.parametrize("name", ["docstring_text", "repository_links"])
def test_examples_of_the_extensions_run(name: str, extension: Callable[[str], Any]) -> None:
    results = doctest.testmod(extension(name))
    assert results.attempted and not results.failed


def test_docstrings_become_markup_that_docutils_takes(extension: Callable[[str], Any]) -> None:
    """Formulas, lists of fields and examples of every rule and measure, without one warning."""
    core = pytest.importorskip("docutils.core")
    from rewire import measures, rules

    converted = extension("docstring_text").converted
    strict = {"report_level": 2, "halt_level": 2, "default_role": "literal"}
    for item in (*rules.BUILT_IN, *measures.BUILT_IN):
        text = converted(inspect.getdoc(item))
        core.publish_doctree(re.sub(r":\w+:`", "`", text), settings_overrides=strict)


def test_every_rule_measure_and_world_has_a_page(extension: Callable[[str], Any]) -> None:
    from rewire import branches, measures, rules
    from rewire.worlds import registry

    pages = extension("generated_pages").pages()
    named = {"rules": {**rules.available(), **branches.available()},
             "measures": measures.known(), "worlds": registry.available()}  # fmt: skip
    for kind, items in named.items():
        for name, cls in items.items():
            page = pages[f"{kind}/{name}"]
            assert f".{cls.__name__}" in page, name
            assert name in pages[f"{kind}/index"]
    assert "Bellec et al. 2017, arXiv:1711.05136" in pages["rules/DeepR"]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """With the gallery and the notebooks executed; and no page asks for anything elsewhere."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_nb")
    pytest.importorskip("sphinx_gallery")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d"]
    out = tmp_path / "site"
    done = subprocess.run(
        [*command, str(tmp_path / "trees"), str(DOCS), str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loads = re.compile(r"<(?:script|img|iframe|source)[^>]* src=\"(https?:)?//|<link[^>]*"
                       r"(?:stylesheet|preload|icon)[^>]*href=\"(https?:)?//")  # fmt: skip
    for path in out.rglob("*.html"):
        assert not loads.search(path.read_text(encoding="utf-8")), path
