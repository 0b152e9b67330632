"""Deep Rewiring: stochastic rewiring at every step, under a fixed number of synapses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..compiled import Ahead, Compiled, normals
from ..fields import NonNegative
from ..graph import Edit, Graph, Space
from ..kernels.walk import Walked, walk, walk_and_draw
from ..rule import Budget, Rule, State
from ..select.choose import counts_by, groups
from ..select.grow import sample_absent
from ..select.pairs import pair_sign, salt
from ..signals import Signals
from ..streams import Stream
from ..tunable import Scoped, Tunable
from ..when import Clock, Every, When
from .shared.signs import first_signs, waking_signs

PAPER = """
@inproceedings{bellec2018deep,
  title = {Deep Rewiring: Training very sparse deep networks},
  author = {Bellec, Guillaume and Kappel, David and Maass, Wolfgang and Legenstein, Robert},
  booktitle = {International Conference on Learning Representations},
  eprint = {1711.05136},
  archiveprefix = {arXiv},
  year = {2018},
}
"""
FLOATING = "it starts there, which bounds the expected density from below alone"


@dataclass(frozen=True, kw_only=True)
class _Walk(Rule):
    """What DEEP R and its soft form share: a signed, noisy walk of theta = sign * weight.

    l1:          drift alpha of every active theta towards 0, -eta * alpha a step.
    temperature: T of the noise sqrt(2 eta T) * N(0, 1); None leaves it to ``noise``.
    noise:       the authors' ``gdnoise``: the increment is eta * noise * N(0, 1), that is
                 T = eta * noise^2 / 2.
    eta:         learning rate; None takes the world's, after its schedule.
    birth:       |weight| of a woken synapse; 0 leaves it to the world, which starts new synapses
                 at 0 unless it says otherwise (a spiking one does).
    """

    columns: ClassVar[dict[str, Any]] = {"sign": pair_sign}
    kind: ClassVar[str] = "during training, constant budget"
    _writes_weights: ClassVar[bool] = True

    l1: Annotated[NonNegative, Tunable(1e-7, 1e-3, log=True)] = 1e-5
    temperature: NonNegative | None = None
    noise: Annotated[NonNegative, Tunable(1e-7, 1e-3, log=True)] = 1e-5
    eta: NonNegative | None = None
    birth: NonNegative = 0.0
    when: When = Every(1)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.eta is None and signals.lr(graph.keys) is None:
            raise ValueError(f"{self.name} needs a learning rate here: set its field eta.")
        # signs that the hash does not give: those of synapses with a weight of their own
        sign, turned = first_signs(graph)
        return Edit(set={"sign": sign}), {"turned": turned}

    def _rate(self, graph: Graph, signals: Signals) -> float | Tensor:
        eta = signals.lr() if self.eta is None else self.eta
        assert eta is not None
        return eta

    @property
    def _noisy(self) -> bool:
        return (self.noise if self.temperature is None else self.temperature) != 0

    def _scales(self, eta: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Drift and noise of one tick; a tick that stands for n steps scales by n and sqrt(n)."""
        when = self.when  # a sum of n equal drifts, and of n independent normal numbers
        n = when.n if isinstance(when, Every) else 1
        if self.temperature is None:
            spread: float | Tensor = eta * self.noise
        else:
            spread = (2 * self.temperature * eta) ** 0.5
        return n * self.l1 * eta, sqrt(n) * spread


@dataclass(frozen=True, kw_only=True)
class DeepR(_Walk):
    """Deep Rewiring (Bellec, Kappel, Maass & Legenstein 2017, arXiv:1711.05136, Algorithm 1).

    Each synapse has a fixed sign and a strength theta = sign * weight >= 0. After the world's own
    step (SGD, Adam, STDP) every active theta takes the drift -eta * l1 and noise; a synapse whose
    theta becomes negative becomes dormant, and as many dormant ones, drawn uniformly, become active
    at ``birth``, so that the number K of active ones is constant.

    Order: gradient step, drift, noise, dropping, activation. An activated synapse has theta 0 and
    moves by its own gradient in the next step (there is no ReLU that would cancel it). A synapse
    that was just dropped may be drawn again, at ``birth``, as in the paper. The sign of a synapse
    never changes: it is that of its initial weight, or for a synapse without one that of a hash of
    (seed, synapse). Turn weight decay off.

    scope: "layer" keeps K in each projection (the authors' MNIST script); "global" over all.
    draw:  under scope "global", how activated synapses are drawn: "synapse", uniformly among all
           dormant ones (Algorithm 1); "layer", first a projection that has dormant synapses, in
           proportion to its edges at the start (the authors' script with a global constraint), then
           one of its dormant synapses. With "synapse" most activated synapses are in the largest
           projection, and a small projection that started dense becomes sparse.
    signs: of an activated synapse: "fixed", always the same (the paper, the authors' TensorFlow
           scripts); "drawn" anew at each activation (their C program).

    Deviations:
    - None, up to rounding, with SGD if it acts at every step. Ticks every n steps scale drift by n
      and noise by sqrt(n). Under other optimisers drift and noise bypass momentum.
    - The network begins with the weights and the edges that it is given; the authors draw |N(0, 1)|
      / sqrt(n_in) at positions drawn with replacement, so that there are fewer than K until the
      first activation.
    - A new synapse has moments 0. The authors' script for sequential MNIST, with Adam, guards
      dormant entries instead, whose moments take their dense gradients.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.DeepR(temperature=0.1)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed == net.history.dropped > 0
    (40, True)
    """

    source: ClassVar[str] = "Bellec et al. 2017, arXiv:1711.05136"
    bibtex: ClassVar[str] = PAPER

    scope: Scoped = "layer"
    draw: Literal["synapse", "layer"] = "synapse"
    signs: Literal["fixed", "drawn"] = "fixed"

    def __post_init__(self) -> None:
        if self.draw == "layer" and self.scope != "global":
            raise ValueError(
                "DeepR draws a layer first where K is that of all layers: draw='layer' goes with "
                "scope='global'."
            )

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        """Where the layer is drawn first, that one may have no room under a cap."""
        return frozenset() if self.draw == "layer" else Rule.lives_under

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit, state = super().start(graph, signals, rng)
        if self.signs == "drawn" and not callable(graph.births["sign"]):
            raise ValueError(
                "DeepR.signs = 'drawn' draws the sign of a woken synapse, and here all have one."
            )
        if self.draw == "layer":
            state = {**state, "shares": graph.counts().tolist()}
        if signals.lr(graph.keys) is None:  # no gradient lifts a newborn in its first step
            birth, drift = self.birth or graph.births["weight"], self._scales(self.eta or 0.0)[0]
            if not birth > drift:  # type: ignore[operator]
                raise ValueError(
                    f"DeepR's drift, {drift:.3g} a tick, would end every woken synapse, born at "
                    f"{birth:.3g}, at its next tick: raise birth, or lower l1 or eta."
                )
        return edit, state

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        drift, spread = self._scales(self._rate(graph, signals))
        # Algorithm 1, an iteration, of which the world's own step was - eta dE/dtheta_k:
        # for all active k:
        #     theta_k <- theta_k - eta alpha + sqrt(2 eta T) nu_k
        #     if theta_k < 0 then set k dormant
        walked = _walk(
            graph, drift, spread, rng, noisy=self._noisy, turned=state["turned"],
            scope=self.scope if self.draw == "synapse" else None,
        )  # fmt: skip
        weight, dormant = {"weight": walked.weight}, walked.dormant
        if not len(dormant):
            return Edit(set=weight), state
        # while the number of active k is below K:
        #     select a dormant k' with uniform probability and activate it
        woken, sign = self._woken(graph, walked, state, rng)
        if self.signs == "drawn":
            sign = np.where(rng.doubles(len(woken)) < 0.5, -1, 1).astype(np.int8)
        #     theta_k' <- 0, or ``birth``
        birth = {"sign": sign}
        if self.birth:
            birth["weight"] = sign * np.float32(self.birth)
        return Edit(set=weight, drop=dormant, add=woken, birth=birth), state

    def compiled(self, space: Space) -> Compiled:
        others = []
        if self.draw == "layer":
            others.append("DeepR's draw='layer' is not compiled, draw='synapse' is")

        def settings(ahead: Ahead) -> list[Any]:
            newborn = ahead.newborn(float(np.float32(self.birth)))
            drift, spread = self._scales(self.eta)  # type: ignore[arg-type]
            return [
                [self.scope == "global"], np.array([drift, spread], float), np.array(newborn),
                ahead.keys, normals(self._noisy),
            ]  # fmt: skip

        return Compiled(settings, not_compiled=others)

    def _woken(
        self, graph: Graph, walked: Walked, state: State, rng: Stream
    ) -> tuple[np.ndarray, np.ndarray]:
        """As many absent synapses as went dormant, those among them: keys, ascending, and signs."""
        if walked.woken is not None and walked.signs is not None:
            return walked.woken, walked.signs
        dormant = torch.from_numpy(walked.dormant)
        k: int | list[int] = counts_by(dormant, groups(graph, self.scope))
        if self.draw == "layer":
            k = _layers_of(graph, dormant, state["shares"], rng)
        elif self.scope == "global":
            k = len(dormant)
        woken = sample_absent(graph, k, rng, without=dormant).numpy()
        return woken, waking_signs(graph, woken, state["turned"])


def _layers_of(graph: Graph, dormant: Tensor, shares: Sequence[int], rng: Stream) -> list[int]:
    """How many synapses wake in each projection: each draws one in proportion to ``shares`` among
    those that have a dormant synapse left."""
    have, lost = graph.counts().tolist(), counts_by(dormant, groups(graph, "layer"))
    room = np.array(graph.space.sizes) - have + lost
    chance = np.array(shares, float)
    woken = np.zeros(len(room), np.int64)
    while left := len(dormant) - int(woken.sum()):
        open_ = chance * (woken < room)
        if not open_.any():  # only projections that started empty have any
            open_ = (woken < room).astype(float)
        woken += rng.numpy.multinomial(left, open_ / open_.sum())
        woken = np.minimum(woken, room)
    return woken.tolist()


def _walk(
    graph: Graph,
    drift: float | Tensor,
    spread: float | Tensor,
    rng: Stream,
    *,
    noisy: bool,
    scope: str | None,
    turned: Tensor,
) -> Walked:
    """theta - drift + spread * N(0, 1) of every edge, and the rows whose theta falls below 0.

    With their successors, where those can be drawn in the same pass (None: another way than by
    ``scope``): at a few thousand edges a call of its own for each would cost as much as the walk.
    """
    space, seed = graph.space, _hash_seed(graph)
    weight, sign = graph.numbers("weight"), graph.numbers("sign")
    counter = rng.skip_normals(len(weight)) if noisy else None
    if isinstance(drift, Tensor) or isinstance(spread, Tensor) or seed is None or scope is None:
        return walk(weight, sign, drift, spread, counter)
    if space.capped or space.multapses:  # successors are drawn one by one, or from a list
        return walk(weight, sign, drift, spread, counter)
    if scope == "layer":
        ends, bounds = space.bounds, graph.bounds
    else:
        ends, bounds = [0, space.possible], [0, len(weight)]
    return walk_and_draw(
        weight, sign, drift, spread, counter, graph.array, ends, bounds, rng.sequence(),
        salt(seed), turned.numpy(),
    )  # fmt: skip


def _hash_seed(graph: Graph) -> int | None:
    """The seed of the hash that gives newborns their sign; None where the world has one for all."""
    birth = graph.births["sign"]
    if isinstance(birth, partial) and birth.func is pair_sign:
        return birth.keywords["seed"]
    return None


def _where(condition: np.ndarray) -> Tensor:
    """Positions where it holds, ascending; numpy finds a few among many faster than torch."""
    return torch.from_numpy(condition.nonzero()[0])


@dataclass(frozen=True, kw_only=True)
class SoftDeepR(_Walk):
    """soft-DEEP R (Bellec et al. 2017, arXiv:1711.05136, Algorithm 2).

    Every possible synapse carries a theta. Active ones (theta >= 0) move as in DEEP R; dormant ones
    take noise only, no gradient and no drift, and become active when they cross 0; no theta falls
    below

        theta_min = -T (1 - p_min) / (l1 p_min)

    which makes p_min a lower bound of the expected density; there is no upper bound, so the number
    of synapses varies and is reported. p_min of a projection is its density at the start, T = eta *
    noise^2 / 2 at its own learning rate now: if a schedule changes the rate, the floor and the
    dormant thetas above it are scaled too. A rate of 0 at the start (a warm-up) is refused; later a
    rate of 0 changes nothing.

    State: theta of every possible synapse: O(possible), as in the paper.

    Deviations:
    - The authors start each theta with probability p at N(0, 1) / sqrt(n_in), so that half of those
      start dormant; here the synapses of the starting graph are all active, so that all rules of an
      experiment start from one topology. The others start uniform in (theta_min, 0), as theirs do.
    - The floor follows a schedule of the learning rate; theirs is set once, and the rate constant.

    theta_min: the same bound for all projections, instead of the formula's.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SoftDeepR(temperature=0.1, theta_min=-0.5)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.history.formed != net.history.dropped  # nothing holds the number of synapses
    True
    """

    budget: ClassVar[Budget] = Budget("reported", outcome=FLOATING)
    lives_under: ClassVar[frozenset[str]] = frozenset()  # whoever crosses 0 wakes
    keeps_slots: ClassVar[bool] = False
    source: ClassVar[str] = "Bellec et al. 2017, arXiv:1711.05136"
    bibtex: ClassVar[str] = PAPER

    theta_min: float | None = None

    def __post_init__(self) -> None:
        if self.birth:
            raise ValueError("SoftDeepR wakes synapses at their own theta: it takes no birth.")
        if self.theta_min is not None and self.theta_min >= 0:
            raise ValueError(f"SoftDeepR.theta_min must be below 0, got {self.theta_min}.")
        no_noise = self.temperature == 0 or (self.temperature is None and not self.noise)
        if self.theta_min is None and (self.l1 <= 0 or no_noise):
            raise ValueError(
                "SoftDeepR's theta_min = -T (1 - p) / (l1 p) needs l1 > 0 and noise; or set "
                "theta_min."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit, state = super().start(graph, signals, rng)
        rates = self._rates(graph, signals)
        # dormant thetas start uniform in (theta_min, 0)
        theta = rng.uniform(graph.possible).to(graph["weight"].dtype)
        floor = []
        for i, (lo, hi) in enumerate(zip(graph.space.bounds[:-1], graph.space.bounds[1:],
                                         strict=True)):  # fmt: skip
            p = (graph.bounds[i + 1] - graph.bounds[i]) / (hi - lo)
            if not p and self.theta_min is None:
                raise ValueError(
                    f"SoftDeepR's theta_min = -T (1 - p) / (l1 p) needs synapses at the start: "
                    f"{graph.projections[i].name!r} has none. Give it some, or set theta_min."
                )
            low = self.theta_min or self._floor(graph, i, rates[i], p) or -1e-30
            floor.append(low)
            theta[lo:hi] *= low
        follows = {"rates": rates} if self._follows else {}
        return edit, {**state, "theta": theta, "floor": floor, **follows}

    @property
    def _follows(self) -> bool:
        """Whether the floor follows the learning rate."""
        return self.theta_min is None and self.temperature is None

    def _rates(self, graph: Graph, signals: Signals) -> list[float]:
        """The learning rate of each projection now."""
        first = torch.tensor(graph.space.bounds[:-1])
        eta = signals.lr(first) if self.eta is None else self.eta
        return eta.tolist() if isinstance(eta, Tensor) else [float(eta or 0.0)] * len(first)

    def _floor(self, graph: Graph, i: int, rate: float, p: float) -> float:
        if self._follows and not rate:
            raise ValueError(
                "SoftDeepR's theta_min follows the learning rate, and that of "
                f"{graph.projections[i].name!r} is 0 at the start (a warm-up begins so): begin at "
                "a rate above 0, or set theta_min, temperature or eta."
            )
        temperature = rate * self.noise**2 / 2 if self.temperature is None else self.temperature
        return -temperature * (1 - p) / (self.l1 * p)

    def _moved(self, graph: Graph, signals: Signals, state: State) -> State:
        """The state with the floors, and all that is dormant above them, at today's rates."""
        before = state.get("rates")
        if before is None:  # the floor stands; or a checkpoint of an earlier version
            return state
        now = [new or old for new, old in zip(self._rates(graph, signals), before, strict=True)]
        if now == before:
            return state
        theta, floor, bounds = state["theta"].clone(), list(state["floor"]), graph.space.bounds
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            theta[bounds[i] : bounds[i + 1]] *= new / old
            floor[i] *= new / old
        return {**state, "theta": theta, "floor": floor, "rates": now}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        sign, space = graph["sign"], graph.space
        state = self._moved(graph, signals, state)
        drift, spread = self._scales(self._rate(graph, signals))
        if isinstance(spread, Tensor):  # of the edges: dormant synapses have rates as well
            spread = self._scales(signals.lr(torch.arange(space.possible)))[1]  # type: ignore[arg-type]
        # for all k: sqrt(2 eta T) nu_k
        noise = rng.normal(space.possible).to(graph["weight"].dtype)
        noise *= spread
        # for all active k: theta_k <- theta_k - eta alpha + noise, after the world's own step
        at = graph.array
        active = (sign * graph["weight"]).sub_(drift).add_(torch.from_numpy(noise.numpy()[at]))
        # for all dormant k: theta_k <- theta_k + noise (of the active ones this is not looked at)
        theta = noise.add_(state["theta"])
        theta.numpy()[at] = active.numpy()
        # theta_k <- max(theta_k, theta_min)
        for low, lo, hi in zip(state["floor"], space.bounds[:-1], space.bounds[1:], strict=True):
            theta[lo:hi].clamp_(min=low)
        # if theta_k < 0 then set k dormant; if a dormant theta_k >= 0 then activate k
        drop = _where(active.numpy() < 0)
        woken = theta.numpy() >= 0
        woken[at] = False
        add = _where(woken)
        signs = torch.from_numpy(waking_signs(graph, add.numpy(), state["turned"]))
        edit = Edit(
            set={"weight": active.mul_(sign)},
            drop=drop,
            add=add,
            birth={"sign": signs, "weight": signs * theta[add]},
        )
        return edit, {**state, "theta": theta}
