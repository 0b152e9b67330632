"""The page of the topographic map says what the results say."""

import copy
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import map_page  # noqa: E402


def test_the_pages_tables_are_those_of_the_newest_results():
    page = map_page.PAGE.read_text(encoding="utf-8")
    assert map_page.written(page) == page, "write it again: python -m benchmarks.map_page"


def test_a_table_follows_its_results():
    results = map_page.newest("bogdan-2018")
    other = copy.deepcopy(results)
    other["cases"]["case 2"]["rate_hz"]["mean"] += 1
    assert map_page.cases(other) != map_page.cases(results)


def test_a_page_without_the_place_of_a_table_is_refused():
    with pytest.raises(ValueError, match="0 places for the table 'cases'"):
        map_page.written("# A page")


def test_digit_columns_learn_with_stdp_at_a_setting_that_allows_it():
    cases = map_page.newest("columns")["cases"]
    best = max(row["columns"] for name, row in cases.items() if name.endswith(", STDP"))
    assert best >= 0.5
    assert cases["32 slots, lateral, STDP"]["columns"] < 0.2
