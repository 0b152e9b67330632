"""Sparse evolutionary training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..compiled import Ahead, Compiled, normals
from ..graph import Edit, Graph, Space
from ..rule import Rule, State
from ..select.choose import groups, largest, ranked_numbers, smallest
from ..select.grow import replace_at_random
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Clock, Cosine, Every, value

PAPER = """
@article{mocanu2018scalable,
  title = {Scalable training of artificial neural networks with adaptive sparse connectivity
    inspired by network science},
  author = {Mocanu, Decebal Constantin and Mocanu, Elena and Stone, Peter and Nguyen, Phuong H.
    and Gibescu, Madeleine and Liotta, Antonio},
  journal = {Nature Communications},
  volume = {9},
  pages = {2383},
  doi = {10.1038/s41467-018-04316-3},
  year = {2018},
}
"""

By = Literal["signed", "magnitude"]


@dataclass(frozen=True, kw_only=True)
class SET(Rule):
    """Sparse evolutionary training (Mocanu et al. 2018, Nature Communications 9:2383).

    At each tick, in each projection, a fraction of the weakest synapses is dropped and as many
    are grown at absent positions, uniformly. Counts are exact.

    drop: "signed", the authors' way: ``fraction`` of the smallest positive weights and of the
          largest (closest to 0) negative ones, counted for each sign by itself; a weight of exactly
          0 counts as positive. "magnitude": ``fraction`` of the smallest |w|, which most later work
          calls SET.
    birth: standard deviation of a new weight, N(0, birth^2): 0 in the authors' Keras code, 0.1 in
          their scipy code.
    when: the authors' period is an epoch (not after the last).

    Counts are floor(fraction * n), as in the authors' code, and at most the number of absent
    positions of a projection: a full one keeps its weights.

    Deviations:
    - In the authors' code a synapse that was just dropped may be drawn again, as a new one; here it
      may not.
    - New synapses have moments 0 and the others keep theirs; the authors' Keras code builds the
      model anew at each epoch, which resets all of them.
    - The output layer is rewired like the others; theirs is dense (use ``exclude=``).

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SET(fraction=0.25, drop="magnitude", when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed  # two ticks, 10 synapses each
    (40, 20)
    """

    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Mocanu et al. 2018, doi:10.1038/s41467-018-04316-3"
    bibtex: ClassVar[str] = PAPER

    fraction: Replaced = 0.3
    drop: Annotated[By, Tunable(choices=("signed", "magnitude"))] = "signed"
    birth: float = 0.0
    when: Period = Every(100)

    @classmethod
    def itop(cls, **fields: Any) -> SET:
        """The settings of in-time over-parameterisation (Liu et al. 2021, arXiv:2102.02887).

        On CIFAR with batches of 128: 0.5 of the synapses of smallest |w| replaced every 1,500
        steps, falling as a cosine over the whole training; with ERK, ``distribution``'s default.
        How much of the network was explored: ``rewire.analysis.exploration``. Counts are exact (the
        authors' growth is Bernoulli), by magnitude (their code for signs keeps the most negative
        weights), and the cosine ends at 0, not 0.005. `rewire cite ITOP`.
        """
        chosen = {"fraction": Cosine(0.5), "drop": "magnitude", "when": Every(1500)}
        return cls(**{**chosen, **fields})

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # remove the fraction zeta of the weakest synapses of each layer
        fraction = value(self.fraction, clock)
        weakest = _by_sign if self.drop == "signed" else _by_magnitude
        rows = [weakest(graph["weight"][lo:hi], fraction) + lo for lo, hi in groups(graph, "layer")]
        # add as many at random
        edit = replace_at_random(graph, torch.cat(rows), rng, graph["weight"].abs())
        birth = {"weight": rng.normal(edit.n_add) * self.birth} if self.birth else {}
        return Edit(drop=edit.drop, add=edit.add, birth=birth), state

    def compiled(self, space: Space) -> Compiled:
        return Compiled(partial(_settings, self))


def _by_magnitude(weight: Tensor, fraction: float) -> Tensor:
    k = int(fraction * len(weight))
    return smallest(weight, k, magnitude=True, what="SET's |weight|")


def _by_sign(weight: Tensor, fraction: float) -> Tensor:
    ranked_numbers(weight.numpy(), "SET's weight")  # NaN has no sign: refuse it by name
    positive = (weight >= 0).nonzero().squeeze(1)
    negative = (weight < 0).nonzero().squeeze(1)
    up = smallest(weight[positive], int(fraction * len(positive)), what="SET's weight")
    down = largest(weight[negative], int(fraction * len(negative)), what="SET's weight")
    return torch.cat([positive[up], negative[down]]).sort().values


def _settings(rule: SET, ahead: Ahead) -> list[Any]:
    fractions = [float(value(rule.fraction, clock)) for clock in ahead.clocks]
    return [
        [rule.drop == "signed"], np.array(fractions), np.array(ahead.newborn(0.0)),
        np.array([rule.birth], float), ahead.keys, normals(bool(rule.birth)),
    ]  # fmt: skip
