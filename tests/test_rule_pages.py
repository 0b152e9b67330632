"""Every figure of the pages on rules stands in a table, beside the call that gives it, and is that
of a committed file."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
import rewire  # noqa: E402
from benchmarks import rule_pages as pages  # noqa: E402
from rewire import rules  # noqa: E402

FIGURE = re.compile(r"\d ?%|\d ?ms\b|± ?\d|\d s\b|\d\.\d\d\b")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`|\([^()\s]+\.\w+\)", re.M | re.S)
RULES = [rule() for rule in rules.BUILT_IN if rule.__name__ not in ("On", "Combined")] + [
    rewire.GMP(scope="global", when=rewire.every(20, stop=0.75)),
    rewire.ACDC(when=rewire.every(50, first=100, stop=0.85)),
    rewire.Magnitude(scope="layer", layers=rewire.LAMP()),
    rewire.Wanda(layers=rewire.OWL(spread=0.05)),
    rewire.RigL(fraction=rewire.cosine(0.2)),
    rewire.SNIP(when=rewire.at_end, to=0.1),
]


@pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.stem)
def test_the_figures_of_a_page_are_those_of_the_file_beside_their_calls(path):
    text = path.read_text(encoding="utf-8")
    assert pages.filled(text, pages.figures()) == text


@pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.stem)
def test_a_page_has_no_figure_outside_of_its_measured_tables(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    for _, first, last in pages.measured(lines):
        lines[first:last] = [""] * (last - first)
    found = FIGURE.search(CODE.sub("", "\n".join(lines)))
    assert found is None, found and found[0]


def test_the_pages_have_figures_of_every_table_of_the_file():
    tables = json.loads(pages.FIGURES.read_text())["tables"]
    on_pages = [name for path in pages.PAGES for name, _, _ in pages.measured(
        path.read_text(encoding="utf-8").split("\n"))]  # fmt: skip
    assert set(tables) | {"perplexity"} == set(on_pages)
    for name in pages.EXPERIMENTS:
        for row in tables[name]["rows"]:
            own = row["figures"].values()
            assert own and all(f["seeds"] == 3 and 0 < f["mean"] <= 100 for f in own)


def test_the_recommended_calls_give_what_the_page_says():
    """GMP at its default scope is another rule than the one that was recommended by its figures."""
    rows = pages.figures()["recommended"]["rows"]
    at = {row["call"]: row["figures"]["0.01"]["mean"] for row in rows if "0.01" in row["figures"]}
    assert at['GMP(scope="global")'] > at["GMP()"] + 10


@pytest.mark.parametrize("rule", RULES, ids=pages.call_of)
def test_a_call_makes_the_rule_again(rule):
    assert pages.rule_of(pages.call_of(rule)) == rule


def test_a_call_without_figures_and_a_table_that_is_none_are_refused():
    tables = {"mine": {"unit": "edges", "rows": [
        {"call": "RigL()", "figures": {"0.1": {"mean": 7}}}]}}  # fmt: skip
    page = "<!-- measured: {} -->\n| rule | density .1 | note |\n|---|---|---|\n| `{}` | | x |\n"
    assert "| `RigL()` | 7 | x |" in pages.filled(page.format("mine", "RigL()"), tables)
    with pytest.raises(ValueError, match=r"'mine' has no figures of RigL\(fraction=0.2\)"):
        pages.filled(page.format("mine", "RigL(fraction=0.2)"), tables)
    with pytest.raises(ValueError, match="there is no table 'yours' among the figures: mine"):
        pages.filled(page.format("yours", "RigL()"), tables)


def test_the_experiments_of_the_pages_are_read(tmp_path):
    from rewire.experiments import kinds

    for source in pages.EXPERIMENTS.values():
        experiment = kinds.load(source, [])
        calls = [pages.call_of(entry.build(1)) for entry in experiment.rules]
        assert len(set(calls)) == len(calls) > 4
