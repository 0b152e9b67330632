"""Iterative magnitude pruning: lottery tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch

from ..budget import apportion, match
from ..fields import Count, Steps
from ..graph import PARTS, Edit, Graph, Rewind
from ..names import did_you_mean
from ..rule import Budget, Rule, State
from ..rule_budget import Ladder
from ..select.choose import smallest
from ..signals import Signals
from ..streams import Stream
from ..tunable import AnyScope, Tunable
from ..when import Clock, When, at_end
from .shared.magnitude import lamp_of, weakest

PAPER = """
@inproceedings{frankle2019lottery,
  title = {The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks},
  author = {Frankle, Jonathan and Carbin, Michael},
  booktitle = {International Conference on Learning Representations},
  eprint = {1803.03635},
  archiveprefix = {arXiv},
  year = {2019},
}
"""
RESTORED: Mapping[str, frozenset[str]] = {
    "weights": PARTS,
    "learning_rate": frozenset({"schedule", "data"}),
    "nothing": frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class IMP(Rule):
    """Iterative magnitude pruning with rewinding (Frankle & Carbin 2019, arXiv:1803.03635).

    At the end of each round the weights of smallest magnitude are dropped; the remaining ones are
    rewound to their values at step ``rewind`` and trained again. Optimiser state, learning-rate
    schedule, data order, biases and normalisation buffers are rewound too.

    fraction: of the remaining weights that is dropped in a round.
    rates:    other fractions for some projections, by name or pattern ({"fc3": 0.1}); 0 prunes
              nothing of a projection. Scopes "global" and "lamp" rank all projections together, and
              take no rates but 0.
    scope:    "layer" ranks within each projection, as the paper does for LeNet and Conv-2/4/6;
              "global" over all, as for ResNet-18 and VGG-19; "lamp" over all by the LAMP score
              (`LAMP`), which keeps the largest weight of every projection.
    rounds:   number of prunings; by default 5, or as many as ``to`` needs. With ``to`` they must
              reach its densities.
    to:       densities to visit: a pruning that would go below one of them stops exactly at it
              (under "layer", all rates are scaled by the same factor).
    rewind:   the step to rewind to, before the end of the round: 0 is the initialisation, k > 0 is
              late rewinding (Frankle et al. 2020, arXiv:1912.05671).
    restore:  what is rewound: "weights" (and all other state); only the "learning_rate", while the
              weights are trained further (Renda et al. 2020, arXiv:2003.02389); or "nothing", which
              is fine-tuning at the learning rate of the round's last step. A schedule that ends at
              0 (a cosine) is then refused before step 0.
    optimiser: its moments after the weights are rewound: "rewound" to those of step ``rewind``, or
              "fresh", without moments as at step 0 and in open_lth.

    Deviations:
    - The paper's code draws a new data order for each level; here rewinding restores the order, so
      that levels differ in their masks only.
    - Counts are exact: a round drops round(fraction n) of n weights, a half to the even number. The
      authors' code rounds in the same way and open_lth up; both drop one more weight, and all
      weights that are equal to it.
    - open_lth begins each level with an optimiser without moments: ``optimiser="fresh"``.

    ``IMP.one_shot(density)`` prunes once. If ``rates`` differ, its counts by layer are not those of
    pruning in rounds, and a layer with a low rate keeps more: of two layers with 8,000 and 1,000
    edges and rates .2 and .1, at density .2, rounds leave 1,366 and 434, one pruning 895 and 905.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> x, edges = torch.randn(8, 20), []
    >>> net = rewire.train(
    ...     layer, optimizer, rewire.IMP(fraction=0.2, rounds=3),
    ...     loss=lambda model, batch: model(batch).square().mean(), data=lambda step: x, steps=2,
    ...     on_round=lambda net: edges.append(net.edges),
    ... )
    >>> edges
    [200, 160, 128, 102]
    """

    budget: ClassVar[Budget] = Ladder()
    kind: ClassVar[str] = "after training"
    source: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635"
    bibtex: ClassVar[str] = PAPER

    fraction: Annotated[float, Tunable(0.1, 0.5)] = 0.2
    rates: Mapping[str, float] = field(default_factory=dict, hash=False)
    scope: AnyScope = "global"
    rounds: Count | None = None
    to: tuple[float, ...] = ()
    rewind: Steps = 0
    restore: Literal["weights", "learning_rate", "nothing"] = "weights"
    optimiser: Literal["rewound", "fresh"] = "rewound"
    when: When = at_end

    def __post_init__(self) -> None:
        rates = [self.fraction, *self.rates.values()]
        if not all(0 <= r < 1 for r in rates) or self.fraction == 0:
            raise ValueError(f"IMP drops a fraction in (0, 1) of the weights, got {rates}.")
        if not all(0 < d <= 1 for d in self.to):
            raise ValueError(f"IMP goes to densities in (0, 1], got {list(self.to)}.")
        if self.scope != "layer" and any(self.rates.values()):
            raise ValueError(
                f"IMP with scope {self.scope!r} ranks all projections together: rates may only be "
                "0 (keep a projection whole). Use scope='layer' for rates of their own."
            )

    @classmethod
    def one_shot(cls, density: float, **fields: object) -> IMP:
        """Prune once, straight to ``density``."""
        return cls(to=(density,), rounds=1, fraction=1 - density / 2, **fields)  # type: ignore[arg-type]

    @property
    def saves(self) -> frozenset[int]:  # type: ignore[override]
        if self.restore != "weights":
            return frozenset()
        return frozenset({self.rewind, 0} if self.optimiser == "fresh" else {self.rewind})

    def ladder(self, counts: Sequence[int], names: Sequence[str]) -> list[list[int]]:
        """Edges dropped in each round, from these counts on: per projection under scope "layer",
        one number in all under the others.

        Raises ValueError for a density in ``to`` that is below the smallest graph: one edge in
        each projection (one in all under the others), and all edges of projections at rate 0; for
        one that ``rounds`` do not reach; and for a pattern in ``rates`` that fits no name ("*"
        stands for names not known).
        """
        self._check_names(names)
        rates = [self.fraction if (r := match(n, self.rates)) is None else r for n in names]
        fixed = 0  # edges of projections at rate 0, which a global ranking leaves out
        if self.scope != "layer":
            fixed = sum(n for n, r in zip(counts, rates, strict=True) if not r)
            counts, rates = [sum(counts) - fixed], [self.fraction]
        possible = sum(counts) + fixed
        targets = sorted({round(d * possible) - fixed for d in self.to}, reverse=True)
        least = sum(min(n, 1) if r else n for n, r in zip(counts, rates, strict=True))
        if targets and targets[-1] < least:
            raise ValueError(
                f"IMP cannot reach density {min(self.to):g}, {targets[-1] + fixed:,} of "
                f"{possible:,} edges: with scope {self.scope!r} it keeps at least one edge "
                f"{'of each projection' if self.scope == 'layer' else 'in all'}, and every edge "
                f"of projections at rate 0. Ask for a density of {(least + fixed) / possible:.3g} "
                f"({least + fixed:,} edges) or more."
            )
        # rounds of the rates, each cut short where it would pass the next density asked for
        most = self.rounds or (None if targets else 5)
        have, out = list(counts), list[list[int]]()
        while most is None or len(out) < most:
            targets = [t for t in targets if t < sum(have)]
            if self.to and not targets:
                break
            drop = self._cut(have, rates, targets[0] if targets else 0)
            if not any(drop):
                break
            out.append(drop)
            have = [n - d for n, d in zip(have, drop, strict=True)]
        if any(t < sum(have) for t in targets):
            self._refuse_few_rounds(sum(have) + fixed, possible, names)
        return out

    def _refuse_few_rounds(self, edges: int, possible: int, names: Sequence[str]) -> None:
        if list(names) != ["*"]:  # a guess at projections that are not known
            raise ValueError(
                f"IMP cannot reach density {min(self.to):g} in {self.rounds} rounds: they end at "
                f"{edges:,} of {possible:,} edges, {edges / possible:.3g}. Leave rounds out, or "
                "drop a larger fraction (IMP.one_shot(density) prunes once)."
            )

    def _check_names(self, names: Sequence[str]) -> None:
        for pattern in self.rates:
            if not any(n == "*" or match(n, {pattern: 0.0}) is not None for n in names):
                raise ValueError(
                    f"IMP.rates names {pattern!r}, and no projection here is called so"
                    f"{did_you_mean(pattern, names)}; there are {', '.join(names)}."
                )

    @staticmethod
    def _cut(have: Sequence[int], rates: Sequence[float], floor: int) -> list[int]:
        """What one round drops: the rates' share, or less so that ``floor`` edges stay in all; or
        one edge more of some projections, where rounding would leave them above that."""
        # at least one edge goes from each projection that is cut at all, and one stays
        drop = [max(0, min(max(1, round(r * n)) if r else 0, n - 1))
                for n, r in zip(have, rates, strict=True)]  # fmt: skip
        excess, cut = sum(have) - floor, [i for i, d in enumerate(drop) if d]
        if (above := excess - sum(drop)) >= 0:
            if above <= min(len(cut), floor // 100):  # no round of its own for what was rounded
                for i in sorted(cut, key=lambda i: drop[i] - have[i])[:above]:
                    drop[i] += 1
            return drop
        n, r = [have[i] for i in cut], [rates[i] for i in cut]
        room = sum(n) - excess  # what those projections keep
        # a part of a round, in which each projection shrinks by its own rate's share
        left = apportion(_shrunk(n, r, _exponent(n, r, room)), room, n)
        for i, k in zip(cut, left, strict=True):
            drop[i] = have[i] - k
        return drop

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        counts = graph.counts().tolist()
        names = [p.name for p in graph.projections]
        return Edit(), {"ladder": self.ladder(counts, names), "level": 0}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        level = state["level"]
        if level == len(state["ladder"]):
            return Edit(), state
        # prune the smallest |w|, then go back to theta_k with the survivors, and train on
        drop = self._smallest(graph, state["ladder"][level])
        step = self.rewind if self.restore != "nothing" else 0
        fresh = 0 if self.optimiser == "fresh" and self.saves else None
        edit = Edit(rewind=Rewind(step, RESTORED[self.restore], optimiser=fresh), drop=drop)
        return edit, {**state, "level": level + 1}

    def _smallest(self, graph: Graph, k: Sequence[int]) -> torch.Tensor:
        whole = [i for i, p in enumerate(graph.projections) if match(p.name, self.rates) == 0]
        if self.scope == "layer" or not whole:
            return weakest(graph, k, self.scope, "IMP")
        scores = lamp_of(graph) if self.scope == "lamp" else graph["weight"].abs()
        for i in whole:  # left out of the ranking
            scores[graph.rows(i)] = torch.inf
        return smallest(scores, k[0], what="IMP's |weight|")


def _shrunk(have: Sequence[int], rates: Sequence[float], exponent: float) -> list[float]:
    return [n * (1 - r) ** exponent for n, r in zip(have, rates, strict=True)]


def _exponent(have: Sequence[int], rates: Sequence[float], floor: int) -> float:
    """x in (0, 1] such that n (1 - rate)^x adds up to ``floor``: a part of a whole round."""
    # by bisection: the sum falls as x rises
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if sum(_shrunk(have, rates, x)) > floor else (low, x)
    return high
