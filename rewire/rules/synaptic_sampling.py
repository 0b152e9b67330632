"""Synaptic sampling: rewiring as Bayesian inference over network configurations."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ..fields import NonNegative
from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..select.capacity import Room
from ..select.pairs import pair_sign
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock, Every, When
from .shared.signs import first_signs, waking_signs

PAPER = """
@article{kappel2015network,
  title = {Network plasticity as {Bayesian} inference},
  author = {Kappel, David and Habenschuss, Stefan and Legenstein, Robert and Maass, Wolfgang},
  journal = {PLoS Computational Biology},
  volume = {11},
  number = {11},
  pages = {e1004485},
  doi = {10.1371/journal.pcbi.1004485},
  year = {2015},
}
"""
SAMPLED = "it starts there, and goes where prior (mu, sigma) and loss lead"


@dataclass(frozen=True, kw_only=True)
class SynapticSampling(Rule):
    """Synaptic sampling (Kappel, Habenschuss, Legenstein & Maass 2015, PLoS Comput Biol
    11:e1004485).

    Every possible synapse has a parameter theta, which follows the stochastic differential equation
    (their equation 5, divided by the number of examples)

        d theta = eta (prior (mu - theta) / sigma^2 - dL/d theta) dt + sqrt(2 eta prior T) dW,

    so that the network visits configurations in proportion to the posterior p(theta) exp(-L /
    prior) at temperature T = 1. With theta > 0 there is a synapse, of the weight sign exp(theta -
    theta_0) (their equation 10); with theta <= 0 there is none, and theta follows prior and noise
    only until it is above 0 again. The number of synapses is not fixed: without a loss it converges
    to Phi(mu / sigma) of all pairs, 69 % with the paper's prior.

    mu, sigma: of the prior, normal, 0.5 and 1 in the paper.
    theta_0: 3 in the paper: a new synapse has the weight exp(-3), 0.05.
    prior: weight of the prior against the mean loss of an example: 1 / examples.
    temperature: T.
    eta: learning rate b; None takes the world's, after its schedule.

    Turn weight decay off: the prior replaces it. State: theta of every possible synapse,
    O(possible).

    Deviations:
    - The world's own step changes weights; this change dw is taken as -eta dL/dw, from which d
      theta = w dw. For plain SGD that is the equation; with momentum, Adam or STDP it is an
      approximation.
    - The sign of a synapse never changes: it is that of its initial weight, or for a synapse
      without one that of a hash of (seed, synapse). In a spiking world it is +1.
    - An initial weight below exp(-theta_0) is treated as exp(-theta_0).
    - In a world whose weights have an upper bound (w_max of a spiking one) a weight is in units of
      it, and theta is held at theta_0 or below, where the weight is the bound.

    >>> round(SynapticSampling(mu=0.5, sigma=1.0).settles_at(), 2)
    0.69
    """

    budget: ClassVar[Budget] = Budget("reported", outcome=SAMPLED)
    columns: ClassVar[dict[str, Any]] = {"sign": pair_sign}
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Kappel et al. 2015, doi:10.1371/journal.pcbi.1004485"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # whoever crosses 0 wakes
    _writes_weights: ClassVar[bool] = True

    mu: float = 0.5
    sigma: float = 1.0
    theta_0: float = 3.0
    prior: Annotated[float, Tunable(1e-6, 1e-2, log=True)] = 1e-4
    temperature: Annotated[float, Tunable(0.01, 10.0, log=True)] = 1.0
    eta: NonNegative | None = None
    when: When = Every(1)

    def __post_init__(self) -> None:
        for name in ("sigma", "prior"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SynapticSampling.{name} is above 0, got {getattr(self, name)}.")
        if self.temperature < 0:
            raise ValueError(f"a temperature is 0 or more, got {self.temperature}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.eta is None and signals.lr(graph.keys) is None:
            raise ValueError("SynapticSampling needs a learning rate here: set its field eta.")
        if (graph.keys.diff() == 0).any():
            raise ValueError(
                "SynapticSampling has one theta for each pair of units, and some pairs of the "
                "starting graph hold several synapses: start from one without multapses."
            )
        weight, prior = graph["weight"], torch.distributions.Normal(self.mu, self.sigma)
        sign, turned = first_signs(graph)
        # absent synapses: the prior where it is below 0
        below = prior.cdf(torch.tensor(0.0, dtype=torch.float64))
        u = torch.from_numpy(rng.doubles(graph.possible)).clamp(min=1e-12)
        theta = prior.icdf(u * below).clamp(max=0.0).to(weight.dtype)
        theta[graph.keys] = self._theta(weight.abs(), signals)
        weight = sign * self._strength(theta[graph.keys], signals)
        edit = Edit(set={"sign": sign, "weight": weight})
        return edit, {"theta": theta, "turned": turned}

    def _theta(self, strength: Tensor, signals: Signals) -> Tensor:
        """theta of a synapse of this |weight|, 0 or more."""
        return ((strength / _unit(signals)).log() + self.theta_0).clamp(min=0.0)

    def _strength(self, theta: Tensor, signals: Signals) -> Tensor:
        """|weight| of a synapse with this theta."""
        return _unit(signals) * (theta - self.theta_0).exp()

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        keys, sign, space = graph.keys, graph["sign"], graph.space
        every = torch.arange(space.possible)
        eta = signals.lr(every) if self.eta is None else self.eta
        assert eta is not None
        n = self.when.n if isinstance(self.when, Every) else 1
        rate = eta * n * self.prior
        theta = state["theta"].clone()
        active = theta[keys]
        stray = active <= 0  # synapses that another rule has formed
        active[stray] = self._theta(graph["weight"][stray].abs(), signals)
        # -eta dL/dtheta = w dw: w as it was after the last tick, dw what the world's step added
        before = (active - self.theta_0).exp()
        moved = active + before * (sign * graph["weight"] / _unit(signals) - before)
        theta[theta > 0] = 0.0  # none but the synapses there are is above 0
        # eta prior (mu - theta) / sigma^2, of absent synapses and of those there are
        theta += rate * (self.mu - theta) / self.sigma**2
        moved += (rate if isinstance(rate, float) else rate[keys]) * (
            self.mu - active
        ) / self.sigma**2  # fmt: skip
        theta[keys] = moved
        # sqrt(2 eta prior T) dW
        spread = (2 * self.temperature * rate) ** 0.5
        theta += spread * rng.normal(space.possible).to(theta.dtype)
        if signals.w_max is not None:
            theta.clamp_(max=self.theta_0)
        # a synapse is there where theta > 0
        exists = torch.zeros(space.possible, dtype=torch.bool)
        exists[keys] = True
        drop = (theta[keys] <= 0).nonzero().squeeze(1)
        add = ((theta > 0) & ~exists).nonzero().squeeze(1)
        if space.capped:  # those without a free slot wait at 0
            free = torch.from_numpy(Room(graph, drop).take(add.numpy(), len(add)))
            theta[add[~torch.isin(add, free)]] = 0.0
            add = free.sort().values
        signs = torch.from_numpy(waking_signs(graph, add.numpy(), state["turned"]))
        edit = Edit(
            set={"weight": sign * self._strength(theta[keys], signals)},
            drop=drop,
            add=add,
            birth={"sign": signs, "weight": signs * self._strength(theta[add], signals)},
        )
        return edit, {**state, "theta": theta}

    def settles_at(self) -> float:
        """The fraction of all pairs that are synapses where there is no loss: Phi(mu / sigma)."""
        spread = self.sigma * sqrt(self.temperature)
        normal = torch.distributions.Normal(0.0, 1.0)
        return float(normal.cdf(torch.tensor(self.mu / spread, dtype=torch.float64)))


def _unit(signals: Signals) -> float:
    """The weight at theta = theta_0: the world's largest, 1 where there is none."""
    return 1.0 if signals.w_max is None else signals.w_max
