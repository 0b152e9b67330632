"""The benchmark of stacked replicates: it checks before it measures, its names are stable."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import gpu  # noqa: E402

CPU = torch.device("cpu")


def test_quick_on_a_cpu_checks_and_leaves_what_needs_a_gpu_null(capsys):
    assert gpu.main(["--json", "--quick", "--device", "cpu"]) == 0
    out = json.loads(capsys.readouterr().out)
    for net in gpu.NETS:
        assert 0 <= out[f"{net}_gradients_differ_by"] <= gpu.TOLERANCE
        for n in (1, 8):
            names = [f"{name}_per_s" for name in ("serial", "stacked", "graphs")]
            assert [out[f"{net}_{n}_{name}"] for name in names] == [None] * 3
            assert out[f"{net}_{n}_graphs_over_serial"] is None
    assert out.keys() >= {"device", "torch", "date", "threads"}


def test_rates_are_measured_with_null_for_graphs_on_a_cpu():
    out = gpu.rates("lenet", 2, CPU, seconds=0.05)
    assert out["lenet_2_serial_per_s"] > 0 and out["lenet_2_stacked_per_s"] > 0
    ratio = out["lenet_2_stacked_per_s"] / out["lenet_2_serial_per_s"]
    assert out["lenet_2_stacked_over_serial"] == pytest.approx(ratio)
    assert out["lenet_2_graphs_per_s"] is None and out["lenet_2_graphs_over_serial"] is None


def test_a_stack_that_computes_something_else_is_found(monkeypatch):
    step = gpu.one_step
    monkeypatch.setattr(gpu, "one_step", lambda net, batch: step(net, (batch[0] * 1.01, batch[1])))
    with pytest.raises(AssertionError, match="not those of its own run"):
        gpu.disagreement("lenet", CPU)
