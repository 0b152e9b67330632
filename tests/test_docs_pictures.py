"""docs/pictures.md: its listings run from top to bottom, and draw each picture of the page."""

import re
from pathlib import Path

from matplotlib.figure import Figure

from rewire.experiments import cli

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "pictures.md").read_text(encoding="utf-8")
SMALL = ("data=digits", "steps=40", "evaluate_every=20", "densities=[0.02]", "seeds=1",
         "contrasts=[]", "rules=[Dense,Static,DeepR,SET,RigL]", "rules.RigL.when.every=10",
         "rules.SET.when.every=10")  # fmt: skip


def drawn() -> dict[str, Figure]:
    """The page's figures by name, from the run in the folder that is worked in."""
    namespace: dict[str, object] = {}
    for listing in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(listing, "docs/pictures.md", "exec"), namespace)
    return {name: value for name, value in namespace.items() if isinstance(value, Figure)}


def test_the_listings_run_and_draw_the_pages_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--out", "runs/quickstart", "--workers", "0")
    assert cli.main(["run", "quickstart", *SMALL, *options]) == 0
    figures = drawn()
    shown = re.findall(r"\(pictures/(\w+)\.svg\)", PAGE)
    assert sorted(figures) == sorted(shown)
    for name in shown:
        assert (DOCS / "pictures" / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_the_page_is_linked():
    assert "docs/pictures.md" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
