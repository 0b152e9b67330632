"""What deleting weights of a trained network costs, by each of several scores."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .analysis import Analysis

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rewire.graph import Space

    from ...opened import OpenedCell, OpenedRun

SCORES = ("OBD", "magnitude", "random")


@dataclass(frozen=True, kw_only=True)
class Deletion(Analysis):
    """Trained networks without their lowest scores, at a list of densities: the figure of LeCun,
    Denker & Solla 1990.

    scores: "OBD", the saliency h w^2 / 2, h the diagonal of the Gauss-Newton matrix by the paper's
        recursion over ``probed`` training examples; "magnitude", |w|; "random".
    examples: training examples that loss and error are measured on.
    retrain: steps of plain SGD after the deletion, at ``lr`` in batches of ``batch``.

    Columns: score, density, ``predicted`` (what OBD says that the loss gains), ``train_loss``,
    ``gained`` (that less the whole network's), and the metric of training and test examples.
    """

    scores: tuple[str, ...] = ("OBD", "magnitude")
    densities: tuple[float, ...] = (0.8, 0.6, 0.4, 0.2, 0.1)
    probed: int = 10_000
    examples: int = 10_000
    retrain: int = 0
    lr: float = 0.1
    batch: int = 100

    def __post_init__(self) -> None:
        for score in self.scores:
            if score not in SCORES:
                raise ValueError(f"Deletion has no score {score!r}; there are {', '.join(SCORES)}.")
        for density in self.densities:
            if not 0 < density <= 1:
                raise ValueError(f"Deletion leaves densities in (0, 1], not {density}.")

    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        return [row for cell, _ in self.cells(run) for row in self._of_cell(cell)]

    def _of_cell(self, cell: OpenedCell) -> Iterator[dict[str, Any]]:
        network = _Trained(cell, self)
        whole = network.measured(network.model)["train_loss"]
        for score in self.scores:
            for density in self.densities:
                row = network.deleted(score, density)
                yield {
                    "label": cell.label,
                    "score": score,
                    "density": density,
                    "seed": cell.seed,
                    **row,
                    "gained": row["train_loss"] - whole,
                }


class _Trained:
    """A cell's model, and what is asked of it."""

    def __init__(self, cell: OpenedCell, of: Deletion):
        import torch

        import rewire

        from ...opened.evaluating import judge_of

        self.judge, self.model, self.of = judge_of(cell), cell.model(), of
        self.seed = int(cell.seed or 0)
        self.space = rewire.Graph.of(self.model).space
        parameters = dict(self.model.named_parameters())
        self.weight = torch.cat(
            [parameters[p.name].detach().reshape(-1) for p in self.space.projections]
        )

    @cached_property
    def saliency(self) -> Tensor:
        """h w^2 / 2 of every weight, (possible,)."""
        import torch

        import rewire

        x, y = self.judge.data.train.part(slice(self.of.probed))
        batches = list(zip(x.split(self.of.batch), y.split(self.of.batch), strict=True))
        model = copy.deepcopy(self.model)
        optimizer = torch.optim.SGD(model.parameters(), lr=self.of.lr)
        net = rewire.attach(
            model, optimizer, rewire.Static(), probe=rewire.Probe(batches, self._loss)
        )
        h = net.world.signals(net.graph).pair("hessian_diag", net.graph.keys, recursion=True)
        return h * self.weight.to(h).square() / 2

    def _loss(self, model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.judge.task.loss(model(batch[0]), batch[1])

    def _scores(self, name: str) -> Tensor:
        """Of every weight, (possible,)."""
        from rewire import rng_for

        if name == "OBD":
            return self.saliency
        if name == "random":
            return rng_for(self.seed, "deletion").uniform(len(self.weight))
        return self.weight.abs()

    def deleted(self, score: str, density: float) -> dict[str, float]:
        """The network without its lowest scores, as a row of numbers."""
        from rewire.select import smallest

        k = len(self.weight) - round(density * len(self.weight))
        keys = smallest(self._scores(score), k, what=f"the score {score!r}")
        model = copy.deepcopy(self.model)
        _zero(model, self.space, keys)
        if self.of.retrain and k:
            self._retrain(model)
        return {"predicted": float(self.saliency[keys].sum()), **self.measured(model)}

    def _retrain(self, model: nn.Module) -> None:
        import torch

        import rewire

        from ...trainings.batches import Batches

        optimizer = torch.optim.SGD(model.parameters(), lr=self.of.lr)
        batches = Batches(self.judge.data.train, self.of.batch, self.seed)
        rewire.train(
            model,
            optimizer,
            rewire.Static(),
            loss=self._loss,
            data=batches,
            steps=self.of.retrain,
            initial="nonzero",
        )
        model.eval()

    def measured(self, model: nn.Module) -> dict[str, float]:
        key = self.judge.task.judged_by.key
        loss, value = self.judge.measure(model, "train", self.of.examples)
        _, at_test = self.judge.measure(model, "test")
        return {"train_loss": loss, f"train_{key}": value, f"test_{key}": at_test}


def _zero(model: nn.Module, space: Space, keys: Tensor) -> None:
    """Set the weights at these keys to 0."""
    import torch

    parameters, bounds = dict(model.named_parameters()), space.bounds
    with torch.no_grad():
        for p, lo, hi in zip(space.projections, bounds[:-1], bounds[1:], strict=True):
            parameters[p.name].view(-1)[keys[(keys >= lo) & (keys < hi)] - lo] = 0.0
