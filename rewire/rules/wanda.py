"""Wanda: pruning by weights and activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..select.choose import smallest
from ..select.rows import matrix_of, place_of
from ..signals import Signals
from .shared.by_inputs import ByInputs, edges_in
from .shared.n_of_m import largest_of_m
from .shared.prune_at_start import Scope, even

PAPER = """
@inproceedings{sun2024simple,
  title = {A Simple and Effective Pruning Approach for Large Language Models},
  author = {Sun, Mingjie and Liu, Zhuang and Bair, Anna and Kolter, J. Zico},
  booktitle = {International Conference on Learning Representations},
  eprint = {2306.11695},
  archiveprefix = {arXiv},
  year = {2024},
}
"""


@dataclass(frozen=True, kw_only=True)
class Wanda(ByInputs):
    """Keep the weights of largest |w_ij| ||x_j|| in each row (Sun et al. 2023, arXiv:2306.11695,
    equation 1), ||x_j|| the norm of the weight's input over all tokens of the probe's batches.

    For a trained model: when `attach` returns, it is pruned, and the kept weights are unchanged.
    The rule needs no gradient, only forward passes, one over the batches for each block of layers
    (:func:`rewire.rules.shared.blocks.block_of`): the inputs of a block are computed with the
    earlier blocks pruned, as in the authors' code.

    scope: "row" compares the weights of one output, as in the paper; "layer" those of the layer.
    sequential, layers, n, m: as in the base classes. The paper has one density in every layer: pass
        ``distribution="uniform"``.

    For convolutions, which the paper does not prune, rows are output channels, and inputs are pairs
    of a channel and a kernel position; recurrent layers have a row for each gate of a unit.
    Embeddings are refused.

    Deviations:
    - The count of a layer is divided evenly among its rows; a remainder goes to the first rows (the
      authors round every row down).
    - Layers whose inputs are no multiple of m are refused, or left dense; in the authors' code the
      last, shorter group keeps n.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))  # trained
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> probe = rewire.Probe([torch.randn(8, 20)], lambda model, x: model(x).sum())
    >>> net = rewire.attach(model, optimizer, rewire.Wanda(), density=0.5, probe=probe,
    ...                     distribution="uniform")
    >>> net.edges, net.masks()["0.weight"].sum(1).unique().tolist()  # ten of each row
    (115, [10])
    """

    source: ClassVar[str] = "Sun et al. 2023, arXiv:2306.11695"
    bibtex: ClassVar[str] = PAPER

    scope: Scope = "row"

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return super().needs | {"input_norm"}

    def pruned(
        self, graph: Graph, signals: Signals, block: Sequence[int], counts: Sequence[int] | None
    ) -> Edit:
        edges = edges_in(graph, block)
        norm = signals.pair("input_norm", graph.keys[edges])
        scores = torch.zeros(len(graph), dtype=norm.dtype)
        scores[edges] = graph["weight"][edges].abs().to(norm) * norm
        drop = [self._dropped(graph, i, scores[graph.rows(i)], counts) for i in block]
        return Edit(drop=torch.cat(drop).sort().values)

    def _dropped(
        self, graph: Graph, i: int, scores: Tensor, counts: Sequence[int] | None
    ) -> Tensor:
        """Rows of the graph that projection i loses, by the scores of its edges."""
        what, first = "Wanda's score", graph.bounds[i]
        if counts is None:
            assert self.n is not None and self.m is not None
            stays = largest_of_m(graph, i, scores, self.n, self.m, what)
            return (~stays).nonzero().squeeze(1) + first
        if self.scope == "layer":
            return smallest(scores, len(scores) - counts[i], what=what) + first
        p = graph.projections[i]
        row, _ = place_of(p, graph.local(i))
        have = torch.bincount(row, minlength=matrix_of(p).rows).tolist()
        keep = even(counts[i], have)
        excess = [h - k for h, k in zip(have, keep, strict=True)]
        return smallest(scores, excess, row, what=what) + first
