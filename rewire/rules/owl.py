"""Layer budgets by the outliers of activations (OWL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ..budget import apportion
from ..graph import Graph
from ..select.choose import ranked_numbers
from ..signals import Signals
from .shared.blocks import blocks_of
from .shared.layer_budget import LayerBudget

PAPER = r"""
@inproceedings{yin2024outlier,
  title = {Outlier Weighed Layerwise Sparsity ({OWL}): A Missing Secret Sauce for Pruning {LLMs} to
    High Sparsity},
  author = {Yin, Lu and Wu, You and Zhang, Zhenyu and Hsieh, Cheng-Yu and Wang, Yaqing and Jia,
    Yiling and Li, Gen and Jaiswal, Ajay and Pechenizkiy, Mykola and Liang, Yi and Bendersky,
    Michael and Wang, Zhangyang and Liu, Shiwei},
  booktitle = {International Conference on Machine Learning},
  eprint = {2310.05175},
  archiveprefix = {arXiv},
  year = {2024},
}
"""


@dataclass(frozen=True)
class OWL(LayerBudget):
    """Layer budgets by outliers (Yin et al. 2024, arXiv:2310.05175, section 3.2).

    With the scores |w| ||x|| of Wanda, D is the fraction of a block's scores above ``outlier``
    times their mean. The densities of the blocks lie around the one asked for, the differences
    between them in proportion to those of D, and ``2 * spread`` from the lowest to the highest.

    outlier: the paper's M, 5 (its best for LLaMA; 3 to 10 in its tables). spread: its lambda.
    per: "block", of the projections below one number in their names (``blocks.3.``), as in the
        authors' code; or "layer", each projection by itself.

    Deviations:
    - The total is the one asked for, exactly, whatever the sizes of the blocks (the authors' mean
      is over blocks, which are equally large in their models).

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> rule = rewire.Magnitude(scope="layer", layers=rewire.OWL(outlier=2.0))
    >>> net = rewire.attach(model, optimizer, rule, density=0.5, probe=probe)
    >>> net.edges
    115
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_norm"})
    source: ClassVar[str] = "Yin et al. 2024, arXiv:2310.05175"
    bibtex: ClassVar[str] = PAPER

    outlier: float = 5.0
    spread: float = 0.08
    per: Literal["block", "layer"] = "block"

    def __post_init__(self) -> None:
        if not self.outlier > 0 or not 0 <= self.spread < 1:
            raise ValueError(
                "OWL takes a multiple of the mean above 0 and a spread in [0, 1), got "
                f"outlier={self.outlier}, spread={self.spread}."
            )

    def assure(self, graph: Graph, total: int) -> None:
        density, blocks = total / max(len(graph), 1), len(self._parts(graph))
        # the furthest from the mean: one block alone at an end, all others at the other
        densities_of([0.0] + [1.0] * (blocks - 1), density, self.spread)
        densities_of([1.0] + [0.0] * (blocks - 1), density, self.spread)

    def _parts(self, graph: Graph) -> list[list[int]]:
        if self.per == "block":
            return blocks_of(graph.space)
        return [[i] for i in range(len(graph.projections))]

    def counts(self, graph: Graph, signals: Signals, total: int) -> list[int]:
        norm = signals.pair("input_norm", graph.keys)
        scores = graph["weight"].abs().to(norm) * norm
        ranked_numbers(scores.numpy(), "OWL's score")
        sizes, parts = graph.counts().tolist(), self._parts(graph)
        outliers = []
        for part in parts:
            block = torch.cat([scores[graph.rows(i)] for i in part])
            outliers.append(float((block > self.outlier * block.mean()).double().mean()))
        densities = densities_of(outliers, total / max(len(graph), 1), self.spread)
        shares = [0.0] * len(sizes)
        for part, density in zip(parts, densities, strict=True):
            for i in part:
                shares[i] = density * sizes[i]
        return apportion(shares, total, sizes)


def densities_of(outliers: list[float], density: float, spread: float) -> list[float]:
    """A density for each block, by its fraction of outliers; their mean is ``density``.

    Raises ValueError where one would not be above 0 or be above 1.

    >>> densities_of([0.01, 0.03, 0.02], density=0.5, spread=0.08)
    [0.42, 0.58, 0.5]
    """
    low, high = min(outliers), max(outliers)
    if low == high:  # blocks are alike
        return [density] * len(outliers)
    scaled = [(d - low) / (high - low) * 2 * spread for d in outliers]
    mean = sum(scaled) / len(scaled)
    out = [s - mean + density for s in scaled]
    if min(out) <= 0 or max(out) > 1:
        raise ValueError(
            f"OWL's densities around {density:g} would go from {min(out):.3g} to {max(out):.3g}, "
            f"and they have to lie in (0, 1]: choose a spread below {spread:g}."
        )
    return out
