"""docs/measures.md has the table of the classes that there are, and its listing runs."""

import doctest

from write_table import PAGE, written


def test_the_page_lists_every_measure_as_its_class_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "write it anew: python tests/measures/write_table.py"


def test_the_listing_of_the_page_runs() -> None:
    tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried.attempted and not tried.failed
