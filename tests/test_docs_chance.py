"""The listings of the page on chance run as they stand, and it knows every null model."""

import doctest
from pathlib import Path

from rewire import nulls

PAGE = Path(__file__).parents[1] / "docs" / "chance.md"


def test_listings_run_and_print_what_the_page_says():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 15 and not failed


def test_every_null_model_is_there():
    page = PAGE.read_text(encoding="utf-8")
    for name in nulls.known():
        assert f'"{name}"' in page or f"`{name.capitalize()}(" in page
