"""The spiking benchmark runs, and its names are stable."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("brian2")
sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import brian  # noqa: E402


def quickly(capsys, part):
    assert brian.main(["--json", "--quick", "--only", part]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    assert out.keys() >= brian.BARS.keys() | {"machine", "brian2", "date"}
    assert out["target"] == "numpy" and out["quick"] == 1
    assert all(value > 0 for name, value in out.items() if name.endswith("_cpu_per_second"))
    return {name for name, value in out.items() if value is not None}


def test_quick_measures_what_runs_in_this_process(capsys):
    measured = quickly(capsys, "runtime") & brian.BARS.keys()
    assert measured == {name for name in brian.BARS if not name.startswith("standalone")}


def test_quick_measures_larger_sheets(capsys):
    assert {f"rewiring_over_static_{p}_25" for p in ("1ms", "10ms")} <= quickly(capsys, "sizes")


@pytest.mark.slow
def test_quick_measures_programs(capsys):
    measured = quickly(capsys, "standalone")
    assert {"standalone_gain_1ms", "standalone_over_static_1ms_16"} <= measured


@pytest.mark.slow
def test_quick_measures_compiled_rules(capsys):
    measured = quickly(capsys, "rules")
    assert {f"{rule}_gain_16" for rule in brian.RULES} <= measured
