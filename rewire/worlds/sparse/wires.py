"""The edges of one weight, as the layers that compute with them hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Pass(NamedTuple):
    """One use of a weight in a training pass: what went in, and the gradient of what came out."""

    x: Tensor
    dy: Tensor


@dataclass
class Wires:
    """The edges of one weight, as CSR by row of the weight as it is stored, kernels flattened.

    indptr: (rows + 1,) int64; index: (E,) int32, rising within a row.
    passes: of the backward passes since the last step, where ``keeping``; ``over``: that step was
    made, and the next pass begins anew. mark: how many of them earlier backward passes noted.
    product: the dense gradient of rows [first, end) that a pass makes, (end - first, width).
    gone: whether the weight has other edges since.
    """

    shape: tuple[int, ...]
    indptr: Tensor
    index: Tensor
    keeping: bool = False
    over: bool = False
    passes: list[Pass] = field(default_factory=list)
    mark: int = 0
    product: Callable[[Pass, int, int], Tensor] | None = None
    gone: bool = False

    def check(self) -> None:
        """Raise RuntimeError where the weight was given other edges: what remembers these (a
        traced module, a loss computed before the edit) would compute with unrelated numbers."""
        if self.gone:
            raise RuntimeError(
                "this computation is of edges that were rewired since: trace the model again after "
                "an edit (torch.jit.trace), and derive a loss before the step that follows it."
            )

    def __getstate__(self) -> dict[str, Any]:
        """A copy keeps nothing: nobody would take it, but for a world that is copied as well."""
        return {**vars(self), "keeping": False, "over": False, "passes": [], "mark": 0,
                "product": None}  # fmt: skip

    def note(self, x: Tensor, dy: Tensor) -> None:
        """A backward pass was made."""
        if self.over:
            self.passes.clear()
            self.over, self.mark = False, 0
        if self.keeping:
            self.passes.append(Pass(x.detach(), dy.detach()))

    def begin(self) -> None:
        """The pass that ends now is the first: gradients of those before were zeroed."""
        del self.passes[: self.mark]

    @property
    def width(self) -> int:
        return int(np.prod(self.shape[1:]))

    def keys(self) -> Tensor:
        """Flat indices of the edges in the dense weight, rising, (E,); int32 where those fit."""
        small = self.shape[0] * self.width < 2**31
        row = torch.arange(self.shape[0]).repeat_interleave(self.indptr.diff())
        return (row * self.width + self.index).to(torch.int32 if small else torch.int64)

    def rows(self, first: int, end: int) -> Wires:
        """Some rows, as wires of their own."""
        lo, hi = int(self.indptr[first]), int(self.indptr[end])
        return Wires((end - first, *self.shape[1:]), self.indptr[first : end + 1] - lo,
                     self.index[lo:hi])  # fmt: skip

    def part(self, first: int, end: int) -> Part:
        """Some rows, by which a pass computes; what it makes is noted of the whole."""
        rows = self.rows(first, end)
        return Part(rows.shape, rows.indptr, rows.index, whole=self, first=first)

    def dense(self, value: Tensor) -> Tensor:
        """The weight as a dense tensor, 0 where there is no edge."""
        out = torch.zeros(self.shape[0], self.width, dtype=value.dtype)
        row = torch.arange(self.shape[0]).repeat_interleave(self.indptr.diff())
        return out.index_put((row, self.index.long()), value).view(self.shape)


@dataclass
class Part(Wires):
    """Rows of a weight from ``first`` on, which are computed with by themselves."""

    whole: Wires | None = None
    first: int = 0

    def check(self) -> None:
        assert self.whole is not None
        self.whole.check()

    def note(self, x: Tensor, dy: Tensor) -> None:
        whole = self.whole
        assert whole is not None
        if whole.keeping:
            rows = dy.new_zeros(len(dy), whole.shape[0])
            rows[:, self.first : self.first + self.shape[0]] = dy
            dy = rows
        whole.note(x, dy)


@contextmanager
def unheard(lists: Sequence[Wires]) -> Iterator[None]:
    """Within it these keep what they noted in the last training pass, and note nothing more."""
    noted = [(wires.keeping, wires.over, wires.passes, wires.mark) for wires in lists]
    for wires in lists:
        wires.keeping, wires.over, wires.passes, wires.mark = False, False, [], 0
    try:
        yield
    finally:
        for wires, (keeping, over, passes, mark) in zip(lists, noted, strict=True):
            wires.keeping, wires.over, wires.passes, wires.mark = keeping, over, passes, mark
