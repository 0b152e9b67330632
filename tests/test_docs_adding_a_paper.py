"""The listings of docs/adding-a-paper.md are a paper that runs, and an analysis of it."""

import re
from pathlib import Path

import rewire
from rewire.experiments.reproduction.paper import load
from rewire.experiments.reproduction.run import reproduce

PAGE = (Path(__file__).parents[1] / "docs" / "adding-a-paper.md").read_text(encoding="utf-8")


def test_the_paper_of_the_page_runs_and_its_analysis_measures(tmp_path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "digits.toml"
    file.write_text(text.replace("steps = 300\nseeds = 3", "steps = 20\nseeds = 1"))
    ended = reproduce(load(str(file)), "short", tmp_path, workers=0, progress="quiet")
    (row,) = ended.rows
    assert row.n == 1 and row.mean is not None
    (listing,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict = {"__name__": "page"}
    exec(compile(listing, "docs/adding-a-paper.md", "exec"), names)
    run = rewire.open(ended.out / "digits")
    rows = names["LargestWeight"](labels=("IMP",)).rows(run)
    assert [r["density"] for r in rows] == [0.211] and rows[0]["largest"] > 0
