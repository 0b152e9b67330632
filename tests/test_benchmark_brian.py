"""The spiking benchmark runs, and its names are stable."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("brian2")
sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import brian  # noqa: E402


def test_quick_prints_one_flat_object_with_every_bar(capsys):
    assert brian.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    assert out.keys() >= brian.BARS.keys() | {"plain_over_plain", "machine", "brian2", "date"}
    assert all(out[name] > 0 for name in brian.BARS)
    assert out["target"] == "numpy" and out["quick"] == 1
