"""Lightning's DDP strategy over two real processes: the network of one, or a refusal by name."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")
sys.path.append(str(Path(__file__).parent))  # the processes import it by name as well
ranks = import_module("lightning_ranks")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed"),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return ranks.several.on_ranks(folder, ranks.fitted_every_way, str(folder))


@pytest.mark.parametrize("way", ranks.WAYS, ids=" ".join)
def test_ranks_are_one_network_or_refused(both, way, tmp_path, monkeypatch):
    first, second = (outcomes[way] for outcomes in both)
    if way == ("sparse", "callback"):
        assert first == second and "under Lightning: the whole module, in its setup()" in first
        return
    monkeypatch.chdir(tmp_path)
    keys, weight = ranks.fitted(0, 1, **ranks.WAYS[way])
    for outcome in (first, second):
        assert torch.equal(outcome[0], keys)
        torch.testing.assert_close(outcome[1], weight, rtol=0, atol=1e-6)
