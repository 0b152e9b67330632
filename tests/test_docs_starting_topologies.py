"""docs/starting-topologies.md: its listings run, and its table has every name."""

import re
from pathlib import Path

from rewire.starts import BUILT_IN

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "starting-topologies.md").read_text(encoding="utf-8")


def test_the_listings_run() -> None:
    namespace: dict[str, object] = {}
    listings = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    for listing in listings:
        exec(compile(listing, "docs/starting-topologies.md", "exec"), namespace)
    assert len(listings) == 2 and "again" in namespace


def test_every_topology_is_in_the_table_and_the_page_is_linked() -> None:
    assert [name for name in BUILT_IN if f'| `"{name}"` |' not in PAGE] == []
    assert "docs/starting-topologies.md" in (ROOT / "README.md").read_text(encoding="utf-8")
