"""AC/DC: alternating compressed and decompressed training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..graph import NOTHING, Edit, Graph
from ..rule import Budget, Rule, State
from ..rule_budget import Falling
from ..signals import Signals
from ..streams import Stream
from ..tunable import AnyScope, Period
from ..when import Clock, Every
from .shared.gradual import level
from .shared.magnitude import weakest

PAPER = """
@inproceedings{peste2021acdc,
  title = {{AC/DC}: Alternating Compressed/DeCompressed Training of Deep Neural Networks},
  author = {Peste, Alexandra and Iofinova, Eugenia and Vladu, Adrian and Alistarh, Dan},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2106.12379},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True)
class Alternating(Falling):
    """Falls at the first tick, goes back to every edge at the next, and ends at ``to``."""

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        when = rule.when
        if span is None and (when.stop is None or isinstance(when.stop, float)):
            return "it ends compressed, and the training's length is not known: pass steps="
        if span is not None and not when.last(span):
            return f"it would never compress in {span} steps: {when} is not due before its end"
        return None


@dataclass(frozen=True, kw_only=True)
class ACDC(Rule):
    """Alternating compressed / decompressed training (Peste et al. 2021, arXiv:2106.12379,
    Algorithm 1).

    Training starts dense. The first tick keeps the largest |w|, exactly ``to`` of all edges, the
    next adds every edge that was dropped, at weight 0, and so on; the last tick of ``when`` leaves
    the network compressed, for the rest of the training.

    to:    the final density; set by ``density`` of ``attach`` and ``train``.
    scope: "global" ranks all weights together, as the paper; "layer" gives every projection the
           same density; "lamp" ranks all by their LAMP score (`LAMP`).
    when:  a phase's length. The paper's, on ImageNet: 10 of 100 epochs dense, phases of 5, and the
           last 15 compressed: ``every(5 epochs, first=10 epochs, stop=.85)``.

    No edge is silent: dropped edges are 0 and have no moments, so that added ones start anew.

    Deviations:
    - The authors reset all moments at decompression; here only those of the added edges are 0.
    - Counts are exact, ties are broken by key.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.ACDC(when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [200, 20, 20, 200, 200, 20, 20, 20]
    """

    budget: ClassVar[Budget] = Alternating("cap")
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it wakes every synapse
    keeps_slots: ClassVar[bool] = False
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Peste et al. 2021, arXiv:2106.12379"
    bibtex: ClassVar[str] = PAPER

    to: float | None = None
    scope: AnyScope = "global"
    when: Period = Every(100, stop=0.85)

    def __post_init__(self) -> None:
        if self.to is not None and not 0 < self.to <= 1:
            raise ValueError(f"ACDC goes to a density in (0, 1], got {self.to}.")
        if not isinstance(self.when, Every):
            raise ValueError(
                f"ACDC has phases of one length: when must be every(n, first, stop), got "
                f"{self.when}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.to is None:
            raise ValueError("ACDC needs the density to end at: pass density=, or set to=.")
        counts, keep = graph.counts().tolist(), round(self.to * graph.possible)
        least = sum(map(bool, counts)) if self.scope == "layer" else 1
        if not least <= keep <= len(graph):
            raise ValueError(
                f"ACDC cannot end with {keep:,} edges (density {self.to:g} of {graph.possible:,} "
                f"possible): it keeps at least {least} of the {len(graph):,} there are."
            )
        # the state's name of the counts is "kept": checkpoints of old runs hold it
        counts = level(counts, keep, counts) if self.scope == "layer" else [keep]
        return Edit(), {"kept": counts, "compressed": False}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert isinstance(self.when, Every)
        compressed = state["compressed"]
        # the last phase is compressed: no decompression at the last tick
        if compressed and clock.step == self.when.last(clock.span):
            return NOTHING, state
        after = {**state, "compressed": not compressed}
        if compressed:  # decompression: every absent synapse, at weight 0
            asleep = np.ones(graph.possible, bool)
            asleep[graph.array] = False
            return Edit(add=torch.from_numpy(np.flatnonzero(asleep))), after
        # compression: the largest |w|, as many as the budget has
        have = graph.counts().tolist() if self.scope == "layer" else [len(graph)]
        drop = [n - k for n, k in zip(have, state["kept"], strict=True)]
        return Edit(drop=weakest(graph, drop, self.scope, self.name)), after
