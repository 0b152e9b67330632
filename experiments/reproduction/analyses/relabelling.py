"""Trained networks on the same pictures with other labels, one task after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .analysis import Analysis

if TYPE_CHECKING:
    from torch import Tensor

    from rewire.graph import Graph
    from rewire.session import Session

    from ...opened import OpenedCell, OpenedRun


@dataclass(frozen=True, kw_only=True)
class Relabelling(Analysis):
    """Trained classifiers go on training, under their own rule, on tasks in which the classes have
    exchanged their labels (the transfer of Bellec et al. 2017, arXiv:1711.05136).

    Task 0 is the one that a network was trained for. In each of ``tasks`` more, of ``steps`` steps,
    the label of every class is that of a permutation that is drawn for the task; weights and
    synapses go on from where they are, in the cell's batches, by plain SGD at ``lr``.

    Columns: ``task``; ``test_accuracy`` at the task's end and ``early_accuracy`` after ``early``
    steps of it; ``kept_first`` and ``kept_last``, the share of the synapses of the first and the
    last projection at the task's beginning that are there at its end, less what chance would leave
    there: 1 where all are, 0 where as many as chance would leave. Task 0 has its accuracy alone.
    """

    tasks: int = 4
    steps: int = 1000
    early: int = 100
    lr: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.early <= self.steps or self.tasks < 1:
            raise ValueError(
                f"Relabelling has 1 task or more and looks within its steps: found tasks = "
                f"{self.tasks}, early = {self.early}, steps = {self.steps}."
            )

    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        rows = []
        for cell, density in self.cells(run):
            key = {"label": cell.label, "density": density, "seed": cell.seed}
            rows += [{**key, **row} for row in self._of_cell(cell)]
        return rows

    def _of_cell(self, cell: OpenedCell) -> Iterator[dict[str, Any]]:
        from rewire import rng_for

        from ...opened.evaluating import judge_of
        from ...trainings.batches import Batches
        from ...trainings.settings import settings

        judge, s, seed = judge_of(cell), settings(cell.config), int(cell.seed or 0)
        yield {"task": 0, "test_accuracy": judge.measure(cell.model())[1]}
        batches = Batches(judge.data.train, s.training.batch, seed)
        net, test = self._session(cell, s.rule, seed), judge.data.test
        for task in range(1, self.tasks + 1):
            labels = rng_for(seed, "relabelling", task).permutation(judge.data.classes)
            relabelled = replace(test, y=labels[test.y])
            begin, early = net.graph, 0.0
            for step in range(self.steps):
                x, y = batches(net.data_step)
                net.learn(x, labels[y])
                net.rewire()
                if step + 1 == self.early:
                    early = judge.task.measure(net.world, relabelled)[1]
            yield {
                "task": task,
                "early_accuracy": early,
                "test_accuracy": judge.task.measure(net.world, relabelled)[1],
                "kept_first": kept(begin, net.graph, 0),
                "kept_last": kept(begin, net.graph, -1),
            }

    def _session(self, cell: OpenedCell, rule: Any, seed: int) -> Session:
        """The cell's network under its rule, with its edges and weights."""
        import torch

        import rewire
        from rewire.torch_loop import masked_only

        model = cell.model()
        model.train()
        return rewire.attach(
            model,
            torch.optim.SGD(model.parameters(), lr=self.lr),
            rule,
            initial=cell.graph(),
            seed=seed,
            world="masked" if masked_only(rule) else "sparse",
            steps=self.tasks * self.steps,
        )


def kept(before: Graph, after: Graph, number: int) -> float:
    """How many of a projection's synapses are still there, 1 all of them, 0 as many as chance
    would leave."""
    old, new = (_keys(graph, number) for graph in (before, after))
    chance = len(new) / before.space.sizes[number]
    share = float(len(set(old.tolist()) & set(new.tolist()))) / max(len(old), 1)
    return (share - chance) / (1 - chance) if chance < 1 else 1.0


def _keys(graph: Graph, number: int) -> Tensor:
    lo, hi = graph.space.bounds[number:][:2] if number >= 0 else graph.space.bounds[-2:]
    return graph.keys[(graph.keys >= lo) & (graph.keys < hi)]
