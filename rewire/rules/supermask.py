"""Supermasks: untrained weights under the mask that training found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..graph import NOTHING, Edit, Graph, Rewind
from ..rule import Budget, State
from ..rule_budget import Falling
from ..select.choose import groups, smallest
from ..signals import Signals
from ..streams import Stream
from ..when import Clock, Last, When
from .shared.silencing import Silencing

PAPER = """
@inproceedings{zhou2019deconstructing,
  title = {Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask},
  author = {Zhou, Hattie and Lan, Janice and Liu, Rosanne and Yosinski, Jason},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {1905.01067},
  archiveprefix = {arXiv},
  year = {2019},
}
"""

# What is kept is what is largest in this: of initial and final weights, (E,) each.
CRITERIA: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "large_final": lambda first, last: last.abs(),
    "large_final_same_sign": lambda first, last: last * torch.sign(first),
    "magnitude_increase": lambda first, last: last.abs() - first.abs(),
    "movement": lambda first, last: (last - first).abs(),
}


@dataclass(frozen=True, kw_only=True)
class Supermask(Silencing):
    """A mask found by training, applied to the initial weights (Zhou et al. 2019,
    arXiv:1905.01067).

    The network trains dense. Then exactly ``to`` of the edges are kept, those of the largest
    ``criterion``, and their weights return to their initial values: the accuracy is that of
    untrained weights under a mask.

    criterion: "large_final" |w_f| (the lottery ticket's), "large_final_same_sign" w_f sign(w_i)
        (the paper's best supermask), "magnitude_increase" |w_f| - |w_i|, "movement" |w_f - w_i|.
    weights: the weights of kept edges: "initial", w_i; "signed", sign(w_i) times the standard
        deviation of the layer's initial weights (the paper's signed constant).
    restore: "model" also restores biases and norms, as in the paper; "weights" restores the sparse
        weights only, which is possible in any loop. Random initial biases, torch's default, cost
        accuracy: LeNet on mnist5k at density .2, after 300 steps, has 85 % without biases and 71 %
        with them.
    when: the last two steps. The first of them prunes, and both skip the optimiser's step, so that
        the network after the last step is the supermask.

    The graph contains the kept edges only; no edge is silent.

    Deviations:
    - The default weights are the initial ones; the paper's best masks have the signed constant
      (``weights="signed"``).

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.Supermask(restore="weights")
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=4)
    >>> edges = []
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [200, 200, 20, 20]
    """

    columns: ClassVar[Mapping[str, Any]] = {"initial": 0.0}
    budget: ClassVar[Budget] = Falling("cap")
    skips_step: ClassVar[bool] = True
    kind: ClassVar[str] = "supermask"
    _writes_weights: ClassVar[bool] = True
    source: ClassVar[str] = "Zhou et al. 2019, arXiv:1905.01067"
    bibtex: ClassVar[str] = PAPER

    criterion: Literal["large_final", "large_final_same_sign", "magnitude_increase", "movement"] = (
        "large_final_same_sign"
    )
    weights: Literal["initial", "signed"] = "initial"
    restore: Literal["model", "weights"] = "model"
    when: When = Last(2)

    @property
    def saves(self) -> frozenset[int]:  # type: ignore[override]
        return frozenset({0}) if self.restore == "model" else frozenset()

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        keep = self.budget_of(graph, self.to)
        # of each layer, for the signed constant
        first = graph["weight"].float()
        deviation = [
            float(part.std(correction=0)) if len(part) else 0.0
            for part in (first[graph.rows(i)] for i in range(len(graph.projections)))
        ]
        return Edit(set={"initial": first}), {"keep": keep, "deviation": deviation, "cut": False}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        if state["cut"]:
            return NOTHING, state
        # the mask: the edges of the largest criterion
        first, last = graph["initial"], graph["weight"]
        ranges = groups(graph, self.scope)
        have = [hi - lo for lo, hi in ranges]  # fewer than are kept, where a rule beside it drops
        drop = [max(n - k, 0) for n, k in zip(have, state["keep"], strict=True)]
        score = CRITERIA[self.criterion](first, last.float())
        rows = smallest(score, drop, ranges, what=f"Supermask's {self.criterion}")
        # the weights: those of the start, or a constant of their sign
        if self.weights == "signed":
            first = torch.sign(first) * torch.tensor(state["deviation"])[graph.locate()[0]]
        # biases and norms go back with the model; the clock does not
        back = Rewind(0, frozenset({"model"}), again=False) if self.saves else None
        edit = Edit(rewind=back, set={"weight": first.to(last)}, drop=rows)
        return edit, {**state, "cut": True}
