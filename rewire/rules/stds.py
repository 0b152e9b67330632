"""STDS: state transition of dendritic spines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, pi, sin
from typing import Annotated, Any, ClassVar, Literal

import torch

from ..fields import Positive
from ..graph import Edit, Graph
from ..rule import Budget, State
from ..rule_budget import Scheduled
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual
from .shared.silencing import foremost, soft_gain

PAPER = """
@inproceedings{chen2022state,
  title = {State Transition of Dendritic Spines Improves Learning of Sparse Spiking Neural
    Networks},
  author = {Chen, Yanqi and Yu, Zhaofei and Fang, Wei and Ma, Zhengyu and Huang, Tiejun and Tian,
    Yonghong},
  booktitle = {International Conference on Machine Learning},
  series = {Proceedings of Machine Learning Research},
  volume = {162},
  pages = {3701--3715},
  url = {https://proceedings.mlr.press/v162/chen22ac.html},
  year = {2022},
}
"""

Wave = Literal["sine", "linear"]
GIVEN = "its `threshold` decides, and `to` holds it from below alone"


@dataclass(frozen=True, kw_only=True)
class STDS(Gradual):
    """State transition of dendritic spines (Chen et al. 2022, PMLR 162:3701): spines whose size
    theta lies within a threshold d of 0 are filopodia, which carry nothing.

    The network computes with w = sign(theta) relu(|theta| - d), and the step changes every theta by
    dL/dw, also those of filopodia (straight-through): by their gradient filopodia become spines,
    and spines filopodia. d rises from 0 to its final value along half a period of a sine, d_t = D
    (1 + sin(pi (t/n - 1/2))) / 2, set after each step; n is the last tick not after ``until``.

    threshold: D, the authors' one number for all layers; the density is then a result. None
        computes at each tick the D under which exactly ``to`` of the synapses would be spines, so
        that the final density is exact.
    schedule:  "sine", or "linear", d_t = D t/n; the authors have both.
    to:        with a threshold, a lower bound of the density: d rises only as far as it allows.
    until:     afterwards the threshold is constant; in the paper it rises until the end of
        training.

    In the graph ``weight`` is theta, ``gain`` 0 marks a filopodium.

    Deviations:
    - By default D follows from the density asked for.
    - The lower bound of the density.
    - A theta of exactly 0 changes too.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> net = rewire.attach(layer, optimizer, rewire.STDS(until=None), density=0.1, steps=5)
    >>> edges = []
    >>> for _ in range(5):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges[0] > edges[2] > edges[4], edges[4]
    (True, 20)
    """

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0}
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Chen et al. 2022, https://proceedings.mlr.press/v162/chen22ac.html"
    bibtex: ClassVar[str] = PAPER

    threshold: Positive | None = None
    schedule: Annotated[Wave, Tunable(choices=("sine", "linear"))] = "sine"
    when: When = Every(1)
    until: Bound | None = 0.75

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        if self.threshold is None:
            return Scheduled("cap")
        return Scheduled("reported", outcome=GIVEN)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.to is None and self.threshold is not None:
            return Edit(), {"start": graph.counts().tolist(), "end": 0}
        return super().start(graph, signals, rng)

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert isinstance(self.when, Every)
        size, keep = graph["weight"].abs(), min(state["end"], len(graph))
        fewest = foremost(graph, size, [keep], "global", "STDS's |theta|")
        # the threshold under which no more than these are spines
        most = float((size * (1 - fewest)).max()) if keep else inf
        part = self._risen(min(clock.step / self.when.last(clock.span, self.until), 1.0))
        d = min(most, part * (most if self.threshold is None else self.threshold))
        live = torch.maximum(fewest, (size > d).float())
        return Edit(set={"gain": soft_gain(graph["weight"], d, live)}), state

    def _risen(self, t: float) -> float:
        """Which part of its end the threshold has reached at ``t`` of its way."""
        return t if self.schedule == "linear" else (1 + sin(pi * (t - 0.5))) / 2
