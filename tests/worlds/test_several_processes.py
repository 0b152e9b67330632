"""Two real processes under gloo: one topology, or an error that names what drove them apart."""

from datetime import timedelta

import pytest
import torch
from torch import nn

import rewire

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)
RULES = {
    "RigL": lambda: rewire.RigL(fraction=0.3, when=rewire.every(2)),
    "SNFS": lambda: rewire.SNFS(when=rewire.every(2)),
    "SET": lambda: rewire.SET(fraction=0.3, when=rewire.every(2)),
    "DeepR": lambda: rewire.DeepR(),
    "GMP": lambda: rewire.GMP(to=0.1, when=rewire.every(2)),
}
DENSITY = {"GMP": None}


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4)).double()


def batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(32, 20, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (32,), generator=generator)


def train(rule, rank=0, ranks=1, world="masked", density=0.3):
    """Eight steps on this rank's part of each batch."""
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(model, optimizer, rule, density=density, steps=8, seed=1, world=world)
    trained = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    for step in range(8):
        x, y = (part[rank::ranks] for part in batch(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(x), y).backward()
        optimizer.step()
    return net.graph


def one_rank(rank, folder, case):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/group", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    out = {}
    if case == "rules":
        for name, rule in RULES.items():
            graph = train(rule(), rank, 2, density=DENSITY.get(name, 0.3))
            out[name] = graph.keys, graph["weight"]
    elif case == "activity":
        rule = rewire.StructuralPlasticity(attempts=0.5, p_form=0.9, p_elim_dep=0.9)
        out["error"] = error_of(lambda: train(rule, rank, 2))
    elif case == "sparse":
        out["error"] = error_of(lambda: train(RULES["GMP"](), rank, 2, "sparse", None))
    elif case == "sharded":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard, distribute_tensor

        model, mesh = model_of(), init_device_mesh("cpu", (2,))
        whole = model[0].weight.detach()
        model[0].weight = nn.Parameter(distribute_tensor(whole, mesh, [Shard(0)]))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for world in ("masked", "sparse"):
            out[world] = error_of(
                lambda world=world: rewire.attach(
                    model, optimizer, rewire.Static(), density=0.3, world=world
                )
            )
    torch.save(out, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def error_of(call):
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def on_two_ranks(folder, case):
    torch.multiprocessing.spawn(one_rank, (str(folder), case), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_ranks_are_one_network_and_that_of_one_process(tmp_path):
    first, second = on_two_ranks(tmp_path, "rules")
    for name, rule in RULES.items():
        keys, weight = first[name]
        assert torch.equal(keys, second[name][0]), name
        graph = train(rule(), density=DENSITY.get(name, 0.3))
        assert torch.equal(keys, graph.keys), name
        torch.testing.assert_close(weight, graph["weight"], rtol=0, atol=1e-6)


def test_ranks_that_drift_apart_are_stopped_by_name(tmp_path):
    for out in on_two_ranks(tmp_path, "activity"):
        assert "hold other edges after step" in out["error"], out
        assert "(StructuralPlasticity)" in out["error"] and "rank 1:" in out["error"]


def test_lists_of_edges_are_refused_under_ddp(tmp_path):
    for out in on_two_ranks(tmp_path, "sparse"):
        assert "attach with world='masked'" in out["error"], out


def test_sharded_weights_are_refused_by_name(tmp_path):
    for out in on_two_ranks(tmp_path, "sharded"):
        for world in ("masked", "sparse"):
            assert "'0.weight' is sharded over processes (DTensor" in out[world], out
