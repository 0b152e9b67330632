"""How much noise the trained weights of a network bear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .analysis import Analysis

if TYPE_CHECKING:
    from torch import Tensor

    from rewire.graph import Graph

    from ...opened import OpenedCell, OpenedRun


@dataclass(frozen=True, kw_only=True)
class WeightNoise(Analysis):
    """Trained networks on their test set with Gaussian noise added to the weights of their edges.

    Nothing is trained on; biases stay as they are, and absent edges stay absent. Columns, for
    accuracy: ``times``, ``test_loss``, ``test_accuracy``, and ``lost``, what the metric is
    without noise minus what it is with it. The branch of the same name adds noise to a ticket's
    initial weights instead, and trains it.

    times: standard deviations of the noise; 0 is the network as it is.
    sigma: what they are multiples of: "layer", the standard deviation of the layer's trained
        weights; "one", 1: the same noise for all networks.
    draws: of the noise, for each network and size; a row is their mean.
    densities: of which networks; none: of all that were asked for.
    """

    times: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    sigma: Literal["layer", "one"] = "layer"
    draws: int = 3
    densities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"WeightNoise.draws is 1 or more, got {self.draws}.")
        if not self.times or min(self.times) < 0:
            raise ValueError(f"WeightNoise.times are numbers from 0 up, got {list(self.times)}.")

    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        rows = []
        for cell, density in self.cells(run):
            if not self.densities or density in self.densities:
                identity = {"label": cell.label, "density": density, "seed": cell.seed}
                rows += [identity | row for row in self._of(cell)]
        return rows

    def _of(self, cell: OpenedCell) -> Iterator[dict[str, Any]]:
        """The rows of one network, whose model is built once: each draw sets all weights anew."""
        from ...opened.evaluating import judge_of

        judge, model, graph = judge_of(cell), cell.model(), cell.graph()
        parameters = dict(model.named_parameters())
        _, clean = judge.measure(model)
        for times in self.times:
            draws = self.draws if times else 1
            measured = []
            for draw in range(draws):
                _set_weights(parameters, graph, self._noisy(cell, graph, times, draw))
                measured.append(judge.measure(model))
            loss, value = (sum(column) / draws for column in zip(*measured, strict=True))
            metric = judge.task.judged_by.test
            yield {"times": times, "test_loss": loss, metric: value, "lost": clean - value}

    def _noisy(self, cell: OpenedCell, graph: Graph, times: float, draw: int) -> Tensor:
        """The weights of the edges under one draw of the noise."""
        import torch

        from rewire import rng_for
        from rewire.branches.operations import noisy, spread_of

        weight = graph["weight"]
        unit = spread_of(graph, weight) if self.sigma == "layer" else torch.ones_like(weight)
        rng = rng_for(cell.seed or 0, f"analysis/noise/{cell.label}/{draw}", len(graph))
        return noisy(weight, times * unit, rng)


def _set_weights(parameters: dict[str, Any], graph: Graph, weight: Tensor) -> None:
    """Write the weights of a graph's edges into the parameters of its projections."""
    import torch

    with torch.no_grad():
        for i, projection in enumerate(graph.projections):
            rows = graph.rows(i)
            local = graph.keys[rows] - graph.space.bounds[i]
            parameters[projection.name].view(-1)[local] = weight[rows]
