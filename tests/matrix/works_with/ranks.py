"""Two processes under DistributedDataParallel, compared with one at the same global batch."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

import rewire

from .cells import RULES, WORLDS, Cell, Outcome
from .families import FAMILIES, Batch, loss_of
from .optimizers import OPTIMIZERS
from .trainers import STEPS

TRAINER = "DistributedDataParallel"
RANKED = [Cell("MLP", TRAINER, world, rule) for world in WORLDS for rule in RULES]
Ends = dict[str, Any]


def _end(cell: Cell, rank: int = 0, ranks: int = 1) -> Any:
    """Keys and weights after the training, or the words of a refusal."""
    family = FAMILIES[cell.family]._replace(double=True)
    rule, density = RULES[cell.rule]
    model = family.model()
    optimizer = OPTIMIZERS[cell.optimizer].make(list(model.parameters()))
    net = rewire.attach(
        model, optimizer, rule(), density=density, steps=STEPS, seed=3, world=cell.world
    )
    trained = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    for batch in family.batches(STEPS):
        part: Batch = {k: v[rank::ranks] for k, v in batch.items()}
        optimizer.zero_grad()
        try:
            loss_of(trained, part).backward()
            optimizer.step()
        except RuntimeError as e:
            if net.clock.total > 1:
                raise
            return str(e)
    graph = net.graph
    return graph.keys.clone(), graph["weight"].clone()


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/group", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    ends: Ends = {" | ".join(cell): _end(cell, rank, 2) for cell in RANKED}
    torch.save(ends, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def run_ranks() -> dict[Cell, Outcome]:
    """The outcomes of all cells, of one pair of processes."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, (folder,), nprocs=2)
        first, second = (torch.load(Path(folder) / f"{rank}.pt") for rank in range(2))
    return {
        cell: _compared(first[" | ".join(cell)], second[" | ".join(cell)], _end(cell))
        for cell in RANKED
    }


def _compared(first: Any, second: Any, alone: Any) -> Outcome:
    if isinstance(first, str):
        return Outcome("refused", first) if first == second else Outcome("fault", "one rank ended")
    if not torch.equal(first[0], second[0]) or not torch.equal(first[1], second[1]):
        return Outcome("fault", "the ranks are two networks")
    if not torch.equal(first[0], alone[0]):
        return Outcome("fault", "other edges than one process has")
    apart = float((first[1] - alone[1]).abs().max())
    if apart > 1e-6:
        return Outcome("fault", f"weights differ from one process's by {apart:.1e}")
    return Outcome("exact", "", apart)
