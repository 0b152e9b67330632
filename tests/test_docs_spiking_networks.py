"""docs/spiking-networks.md: its listings run from top to bottom, and its tables are whole."""

import re
from pathlib import Path

import pytest

from rewire import models
from rewire.experiments.data.spikes import SPIKES

PAGE = (Path(__file__).parents[1] / "docs/spiking-networks.md").read_text(encoding="utf-8")


def test_the_listings_run(tmp_path, monkeypatch):
    pytest.importorskip("brian2")
    pytest.importorskip("nir")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for listing in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(listing, namespace)
    assert namespace["net"].edges == round(0.2 * namespace["net"].graph.possible)
    x, logits = namespace["spikes"], namespace["trained"](namespace["spikes"].double())
    assert abs(namespace["run"].outputs - logits.detach().numpy()).max() < 1e-12
    assert (namespace["again"](x) - namespace["plain"](x)).abs().max() < 1e-6


def test_models_and_data_sets_are_all_there():
    reading = [name for name, info in models.available().items() if info.inputs == "events"]
    assert [name for name in reading if f"| `{name}` |" not in PAGE] == []
    assert [s.name for s in SPIKES if f"| `{s.name}` |" not in PAGE] == []
