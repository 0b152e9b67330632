"""docs/trainers.md: its listings run on real digits, in order."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import rewire

PAGE = (Path(__file__).parents[1] / "docs" / "trainers.md").read_text(encoding="utf-8")


def listing(heading: str) -> str:
    """The Python of a section; "" for what stands before the first one."""
    sections = re.split(r"^## ", PAGE, flags=re.M)
    (text,) = [s for s in sections if s.startswith(heading)] if heading else sections[:1]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return code


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("heading, package, name, steps", [
    ("Lightning", "lightning", "rewiring", 16),
    ("Hugging Face", "transformers", "rewiring", 8),
    ("accelerate", "accelerate", "net", 4),
    ("Any other", "stable_baselines3", "net", 8),
    ("Trackers", "sklearn", "net", 8),
])  # fmt: skip
def test_a_listing_trains_a_session(
    heading: str, package: str, name: str, steps: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("sklearn")
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    namespace: dict[str, object] = {"rewire": rewire}
    for code in (listing(""), listing(heading)):
        exec(compile(code, f"docs/trainers.md: {heading}", "exec"), namespace)
    trained = namespace[name]
    net = getattr(trained, "session", trained)
    assert isinstance(net, rewire.Session) and net.clock.step == steps
    assert net.density == pytest.approx(0.2, abs=1e-3)
    assert net.history.formed > 0
    net.check()
    if heading == "Trackers":
        rows = [json.loads(line) for line in open("run.jsonl", encoding="utf-8")]
        assert [row["step"] for row in rows] == [4, 8]
        assert all(row["rewire/edges"] == net.edges for row in rows)
