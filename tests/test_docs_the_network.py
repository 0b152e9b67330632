"""The listings of the page on the network of a model run as they stand."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "the-network.md"


def test_listings_run_and_print_what_the_page_says():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 8 and not failed
