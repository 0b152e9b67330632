"""The listings of the page on neuromorphic hardware run as they stand; its table is true."""

import doctest
import re
from pathlib import Path

from rewire.hardware import Target, known

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "fits-the-hardware.md"


def test_listings_run_and_print_what_the_page_says():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 10 and not failed


def test_the_table_has_every_target_and_its_cores():
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]*).*? \| (\d*)", PAGE.read_text("utf-8"), re.M)
    for name, neurons, cores in rows[:-1]:
        target = known()[name]
        assert (target.neurons_per_core, target.cores_per_chip) == (
            int(neurons.replace(",", "")), int(cores),
        )  # fmt: skip
    assert [name for name, *_ in rows] == list(known())


def test_limits_of_the_page_are_fields_and_the_page_is_linked():
    keys = re.findall(r'"(\w+)": \d', PAGE.read_text("utf-8"))
    assert len(keys) > 5 and set(keys) <= Target.__dataclass_fields__.keys()
    assert "docs/fits-the-hardware.md" in (DOCS.parent / "README.md").read_text("utf-8")
