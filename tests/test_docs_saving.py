"""docs/saving.md: its listings run, from top to bottom, in both torch worlds."""

import re
import warnings
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "saving.md").read_text(encoding="utf-8")
LISTINGS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_the_listings_run(world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rewire

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        rewire, "attach", lambda *a, _of=rewire.attach, **k: _of(*a, world=world, **k)
    )
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for listing in LISTINGS:
            if world == "sparse" and "GradScaler" in listing:
                continue  # the sparse world runs in full precision
            exec(compile(listing, "docs/saving.md", "exec"), namespace)
    assert len(LISTINGS) == 11 and namespace["net"].world.name == world


def test_the_page_is_linked() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert "docs/saving.md" in readme
