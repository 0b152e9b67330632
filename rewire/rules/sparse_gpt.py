"""SparseGPT: one sweep of Optimal Brain Surgeon over the columns of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ..graph import Edit, Graph, Projection
from ..select.choose import smallest
from ..select.rows import local_of, matrix_of, place_of
from ..signals import Signals
from ..tunable import Tunable
from .shared.by_inputs import ByInputs
from .shared.n_of_m import first_largest
from .shared.prune_at_start import Scope, even

PAPER = """
@inproceedings{frantar2023sparsegpt,
  title = {{SparseGPT}: Massive Language Models Can be Accurately Pruned in One-Shot},
  author = {Frantar, Elias and Alistarh, Dan},
  booktitle = {International Conference on Machine Learning},
  eprint = {2301.00774},
  archiveprefix = {arXiv},
  year = {2023},
}
"""


@dataclass(frozen=True, kw_only=True)
class SparseGPT(ByInputs):
    """SparseGPT (Frantar & Alistarh 2023, arXiv:2301.00774, Algorithm 1): prune each layer in one
    sweep over its columns, and change the kept weights so that the layer's outputs on the probe's
    inputs change little.

    For a trained model, layer by layer, with H = X X^T + damp mean(diag(X X^T)) I of the layer's
    inputs X and U the upper Cholesky factor of H^-1: in each block of columns the weights of
    smallest w_ij^2 / U_jj^2 are dropped; then, column by column, a dropped weight changes the
    columns to its right in its row by -(w_ij / U_jj) U_j: (Optimal Brain Surgeon with the columns
    to the left fixed). Inputs are computed with the earlier blocks of layers pruned, as for
    `Wanda`.

    block: number of columns among which the dropped weights are chosen together (the paper's B_s,
    128).
    damp: of the mean of the diagonal (the authors' percdamp, .01).
    scope: "layer" compares all weights of a block of columns, as in the paper; "row" drops the same
        share of each row in every block.
    sequential, layers: as in the base classes. The paper has one density in every layer: pass
        ``distribution="uniform"``.
    n, m: n of every m columns in sequence, chosen as the sweep reaches them; ``block`` is a
        multiple of m. (Of a convolution: of its channels and kernel positions in a row, as in the
        authors' code; `NM` counts channels.)

    Columns whose input is always 0 lose their weights first, and kept weights of such columns
    become 0, as in the authors' code. Embeddings are refused.

    Deviations:
    - Counts are exact: a layer's is spread evenly over its blocks.
    - In float64; the authors compute in float32.
    - Layers whose inputs are no multiple of m are refused, or left dense.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))  # trained
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> probe = rewire.Probe([torch.randn(50, 20)], lambda model, x: model(x).sum())
    >>> net = rewire.attach(model, optimizer, rewire.SparseGPT(), density=0.5, probe=probe,
    ...                     distribution="uniform")
    >>> net.edges, net.counts
    (115, [100, 15])
    """

    source: ClassVar[str] = "Frantar & Alistarh 2023, arXiv:2301.00774"
    bibtex: ClassVar[str] = PAPER

    scope: Scope = "layer"
    block: int = 128
    damp: Annotated[float, Tunable(1e-3, 0.1, log=True)] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 1:
            raise ValueError(f"SparseGPT's block has one column or more, got {self.block}.")
        if not self.damp > 0:
            raise ValueError(f"SparseGPT's damp must be above 0, got {self.damp}.")
        if self.m is not None and self.block % self.m:
            raise ValueError(
                f"SparseGPT's blocks hold whole groups of m: block={self.block} is no multiple of "
                f"m={self.m}."
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return super().needs | {"input_moments"}

    def pruned(
        self, graph: Graph, signals: Signals, block: Sequence[int], counts: Sequence[int] | None
    ) -> Edit:
        if graph.space.multapses:
            raise ValueError("SparseGPT solves for weights of pairs, and a projection here allows "
                             "multapses.")  # fmt: skip
        moments = _moments(graph, signals, block)
        weight, drop = graph["weight"].clone(), []
        for i in block:
            p, rows = graph.projections[i], graph.rows(i)
            row, column = place_of(p, graph.local(i))
            matrix, stays = self._swept(
                p, _matrix(p, row, column, weight[rows].double()),
                _matrix(p, row, column, torch.ones(len(row), dtype=torch.bool)),
                moments[i], None if counts is None else counts[i],
            )  # fmt: skip
            weight[rows] = matrix[row, column].to(weight)
            drop.append((~stays[row, column]).nonzero().squeeze(1) + graph.bounds[i])
        return Edit(set={"weight": weight}, drop=torch.cat(drop).sort().values)

    def _swept(
        self, p: Projection, weight: Tensor, present: Tensor, moments: Tensor, count: int | None
    ) -> tuple[Tensor, Tensor]:
        """A projection's matrix after the sweep, and which of its weights are kept. moments:
        (parts, columns, columns)."""
        have = present.sum(1).tolist()
        parts = len(moments)
        height = len(weight) // parts
        losses: list[list[int]] | None = None
        if count is not None and self.scope == "row":
            losses = [[h - k] for h, k in zip(have, even(count, have), strict=True)]
            losses = [sum(losses[b * height : (b + 1) * height], []) for b in range(parts)]
        elif count is not None:
            sizes = [sum(have[b * height : (b + 1) * height]) for b in range(parts)]
            losses = [[h - k] for h, k in zip(sizes, even(count, sizes), strict=True)]
        pieces = []
        for b in range(parts):
            rows = slice(b * height, (b + 1) * height)
            factor, dead = inverse_factor(moments[b], self.damp, p.name)
            w = weight[rows].masked_fill(dead, 0.0)
            if losses is None:
                assert self.n is not None and self.m is not None
                choose: Choose = Pattern(present[rows], self.n, self.m, self.block)
            else:
                choose = Shares(present[rows], losses[b], self.block)
            pieces.append(sweep(w, factor, choose))
        return torch.cat([w for w, _ in pieces]), torch.cat([stays for _, stays in pieces])


def _matrix(p: Projection, row: Tensor, column: Tensor, values: Tensor) -> Tensor:
    shape = matrix_of(p)
    out = torch.zeros(shape.rows, shape.columns, dtype=values.dtype)
    out[row, column] = values
    return out


def _moments(graph: Graph, signals: Signals, block: Sequence[int]) -> dict[int, Tensor]:
    """X X^T of the inputs of each projection of a block, (parts, columns, columns)."""
    keys = []
    for i in block:
        p = graph.projections[i]
        rows, columns, parts = matrix_of(p)
        first = torch.arange(0, rows, rows // parts).repeat_interleave(columns)
        keys.append(local_of(p, first, torch.arange(columns).repeat(parts)) + graph.space.bounds[i])
    rows_of_moments = signals.pair("input_moments", torch.cat(keys)).double()
    out = {}
    for i, moments in zip(block, rows_of_moments.split([len(k) for k in keys]), strict=True):
        _, columns, parts = matrix_of(graph.projections[i])
        out[i] = moments[:, :columns].view(parts, columns, columns)
    return out


def inverse_factor(moments: Tensor, damp: float, name: str) -> tuple[Tensor, Tensor]:
    """U with U^T U = (X X^T + damp mean(diag) I)^-1, upper, and which columns no input reaches,
    whose place on the diagonal is 1 before the damping.

    Raises ValueError for inputs that are not finite.
    """
    if not moments.isfinite().all():
        raise ValueError(
            f"the inputs of {name!r} are not finite, and its weights cannot be solved for. "
            "Training has diverged."
        )
    hessian, dead = moments.clone(), moments.diagonal() == 0
    diagonal = hessian.diagonal()
    diagonal[dead] = 1.0
    diagonal += damp * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True), dead


class Choose:
    """Which weights are kept, asked at each column of the sweep from left to right."""

    block: int
    period: int  # the columns at which the next ones are chosen are multiples of it

    def __init__(self, present: Tensor, block: int, period: int):
        self.present, self.block, self.period = present, block, period

    def __call__(self, weight: Tensor, diagonal: Tensor, lo: int, hi: int) -> Tensor:
        """Whether the weights of columns lo to hi are kept, as they are now, (rows, hi - lo)."""
        raise NotImplementedError


class Shares(Choose):
    """Each block of columns loses its share of ``losses``: of all rows together where there is one
    number, else of each row."""

    def __init__(self, present: Tensor, losses: Sequence[int], block: int):
        super().__init__(present, block, block)
        upto = present.sum(0).cumsum(0)[None] if len(losses) == 1 else present.cumsum(1)
        self.upto = torch.cat([upto.new_zeros(len(upto), 1), upto], 1)  # edges left of each column
        self.losses = torch.tensor(losses)

    def __call__(self, weight: Tensor, diagonal: Tensor, lo: int, hi: int) -> Tensor:
        whole = self.upto[:, -1].clamp(min=1)
        ends = [self.losses * self.upto[:, at] // whole for at in (lo, hi)]
        losses = (ends[1] - ends[0]).tolist()
        present = self.present[:, lo:hi]
        row, column = present.nonzero(as_tuple=True)
        scores = (weight.square() / diagonal.square())[row, column]
        within = torch.zeros_like(row) if len(losses) == 1 else row
        stays = present.clone()
        out = smallest(scores, losses, within, what="SparseGPT's error")
        stays[row[out], column[out]] = False
        return stays


class Pattern(Choose):
    """n of every m columns in sequence are kept."""

    def __init__(self, present: Tensor, n: int, m: int, block: int):
        super().__init__(present, block, m)
        self.n = n

    def __call__(self, weight: Tensor, diagonal: Tensor, lo: int, hi: int) -> Tensor:
        present = self.present[:, lo:hi]
        scores = (weight.square() / diagonal.square()).masked_fill(~present, -1.0)
        if scores.isnan().any():
            raise ValueError("SparseGPT's error is NaN, and weights cannot be ranked by it.")
        return first_largest(scores, min(self.n, hi - lo)) & present


def sweep(weight: Tensor, factor: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
    """The matrix after the sweep, its lost weights 0, and which weights are kept, (rows, columns)
    each (Algorithm 1). factor: U, upper."""
    w, stays = weight.clone(), torch.zeros_like(weight, dtype=torch.bool)
    columns = w.shape[1]
    for lo in range(0, columns, choose.block):
        hi = min(lo + choose.block, columns)
        errors = torch.zeros_like(w[:, lo:hi])
        for j in range(lo, hi):
            if (j - lo) % choose.period == 0:
                end = min(j + choose.period, hi)
                stays[:, j:end] = choose(w[:, j:end], factor.diagonal()[j:end], j, end)
            lost = w[:, j].masked_fill(stays[:, j], 0.0)
            errors[:, j - lo] = lost / factor[j, j]
            w[:, j:hi] -= errors[:, j - lo, None] * factor[j, j:hi]
            w[~stays[:, j], j] = 0.0
        w[:, hi:] -= errors @ factor[lo:hi, hi:]  # the columns beyond the block, all at once
    return w, stays
