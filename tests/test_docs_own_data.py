"""The listing of docs/own-data.md runs and does what the page says."""

import re
from pathlib import Path

from rewire.experiments import store

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")


def test_the_listing_trains_a_model_on_data_given_from_python(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (listing,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(listing, "docs/own-data.md", "exec"), {"__name__": "page"})
    rows = {(r["label"], r["density"]): r for r in store.results(tmp_path / "runs" / "products")}
    assert len(rows) == 5
    assert rows["Dense", 1.0]["test_accuracy"] > 0.7
