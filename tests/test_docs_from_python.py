"""docs/from-python.md: its listings run, from top to bottom, on the run that it shows."""

import re
from pathlib import Path

import pytest

from rewire.experiments import cli

PAGE = (Path(__file__).parents[1] / "docs" / "from-python.md").read_text(encoding="utf-8")


def test_the_listings_run(tmp_path, monkeypatch) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    (experiment,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (tmp_path / "digits.toml").write_text(experiment)
    assert cli.main(["run", "digits.toml", "--workers", "1"]) == 0
    namespace: dict[str, object] = {}
    listings = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    for listing in listings:
        exec(compile(listing, "docs/from-python.md", "exec"), namespace)
    assert len(listings) == 8 and len(namespace["means"]) == 6  # type: ignore[arg-type]


def test_the_page_is_linked() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert "docs/from-python.md" in readme
