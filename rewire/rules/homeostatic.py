"""Homeostatic growth: neurons grow and retract synaptic elements until they are active enough."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..compiled import Ahead, Compiled
from ..fields import NonNegative
from ..graph import NOTHING, Edit, Graph, Space
from ..rule import Budget, Rule, State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock, Every, When

PAPER = """
@article{butz2013simple,
  title = {A simple rule for dendritic spine and axonal bouton formation can account for cortical
    reorganization after focal retinal lesions},
  author = {Butz, Markus and van Ooyen, Arjen},
  journal = {PLoS Computational Biology},
  volume = {9},
  number = {10},
  pages = {e1003259},
  doi = {10.1371/journal.pcbi.1003259},
  year = {2013},
}
"""
GROWN = "it starts there, and the activity of its units decides"


@dataclass(frozen=True, kw_only=True)
class HomeostaticGrowth(Rule):
    """Homeostatic structural plasticity (Butz & van Ooyen 2013, PLoS Comput Biol 9:e1003259; as a
    framework for spiking networks Diaz-Pier et al. 2016, Frontiers in Neuroanatomy 10:57, in NEST).

    In each projection every presynaptic unit has axonal elements (boutons) and every postsynaptic
    unit dendritic ones (spines). A unit's calcium C follows its activity with the time constant
    ``tau``, and its elements z the growth curve

        dz/dt = growth (2 exp(-((C - xi) / zeta)^2) - 1),   curve = "gaussian",
        xi = (eta + epsilon) / 2,   zeta = (epsilon - eta) / (2 sqrt(ln 2)),

    which is 0 at ``eta`` and ``epsilon``, positive between and negative outside: the set point of a
    unit is ``epsilon``, and units below ``eta`` lose all elements. "linear" is growth (1 - C /
    epsilon): inactive units grow. A unit with fewer elements, rounded down, than synapses loses the
    difference in synapses, drawn at random. Vacant elements are then paired at random, as many as
    there are of the less frequent kind, and a fraction ``tau_vacant`` of the whole elements that
    remain vacant is lost (as in NEST; a partly grown element loses nothing).

    signal: of units, what calcium follows: "activity" (artificial networks: the standard deviation
        of a unit's value over the last batch) or "rate" (spiking ones, Hz).
    tau: in steps, or in seconds in worlds with a time of their own; so is ``growth``, elements a
        step or a second.
    epsilon, eta: in units of the signal.
    birth: weight of a new synapse; 0 leaves it to the world.
    when: when to rewire; calcium and elements are updated for all steps since the last tick at once
    (Euler).

    At the start every element holds a synapse. The final number of synapses is a result, and is
    reported. NEST deletes by axonal elements first, then by dendritic ones, as this does.

    Deviations:
    - A pair that is connected already gets no new synapse, unless multapses are allowed, and no
      unit connects to itself; if units have slots, these bound the pairing.
    - Each projection has its own kind of elements; in NEST elements have names, and projections may
      share them.
    - Calcium follows a rate or an activity as a low-pass filter, by Euler steps between ticks; NEST
      adds beta at each spike.
    - Weights play no part, as in NEST; new synapses take ``birth``.

    >>> import numpy as np
    >>> rule = HomeostaticGrowth(eta=0.1, epsilon=0.7)
    >>> rule.speed(np.array([0.0, 0.1, 0.4, 0.7, 1.0])).round(3)  # elements a step
    array([-0.004,  0.   ,  0.01 ,  0.   , -0.009])
    """

    budget: ClassVar[Budget] = Budget("reported", outcome=GROWN)
    version: ClassVar[int] = 3
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Butz & van Ooyen 2013, doi:10.1371/journal.pcbi.1003259"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset({"distance", "autapse"})

    signal: str = "activity"
    epsilon: Annotated[float, Tunable(0.2, 2.0, log=True)] = 0.7
    eta: float = 0.1
    growth: Annotated[NonNegative, Tunable(1e-3, 0.3, log=True)] = 0.01
    tau: float = 100.0
    curve: Literal["gaussian", "linear"] = "gaussian"
    tau_vacant: float = 0.1
    birth: float = 0.0
    when: When = Every(10)

    def __post_init__(self) -> None:
        if self.curve == "gaussian" and not self.eta < self.epsilon:
            raise ValueError(
                f"a Gaussian growth curve grows between eta and epsilon: eta = {self.eta} must be "
                f"below epsilon = {self.epsilon}."
            )
        if self.curve == "linear" and not self.epsilon > 0:
            raise ValueError(f"epsilon is above 0 for a linear growth curve, got {self.epsilon}.")
        if not 0 <= self.tau_vacant <= 1:
            raise ValueError(f"tau_vacant is a fraction, got {self.tau_vacant}.")
        if not self.tau > 0:
            raise ValueError(f"tau is a time above 0, got {self.tau}.")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({self.signal})

    @property
    def _peak(self) -> tuple[float, float]:
        """xi and zeta of the growth curve."""
        zeta = (self.epsilon - self.eta) / (2 * sqrt(log(2)))
        return (self.eta + self.epsilon) / 2, zeta

    def speed(self, calcium: np.ndarray) -> np.ndarray:
        """dz/dt of units with this calcium (their figure 2)."""
        if self.curve == "linear":
            return self.growth * (1 - calcium / self.epsilon)
        xi, zeta = self._peak
        off = (calcium - xi) / zeta
        # one by one: numpy's own differs in the last bit from processor to processor
        bell = np.array([exp(x) for x in (-(off * off)).ravel().tolist()]).reshape(off.shape)
        return self.growth * (2 * bell - 1)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        state: dict[str, Tensor] = {}
        for i, p in enumerate(graph.projections):
            for population in (p.source, p.target):
                signals.require(self.signal, population)
            for end, counts in zip(("pre", "post"), _synapses(graph, i), strict=True):
                state[f"{end}/{p.name}"] = torch.from_numpy(counts.astype(np.float64))
        return Edit(), state

    def _decay(self, clock: Clock) -> tuple[float, float]:
        """The time from a tick to the next, and what is left of calcium after it."""
        n = self.when.n if isinstance(self.when, Every) else 1
        span = n * (1.0 if clock.dt is None else clock.dt)
        return span, exp(-span / self.tau)

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        span, decay = self._decay(clock)
        after, speed = dict(state), dict[str, np.ndarray]()
        # dC/dt = (activity - C) / tau, and dz/dt by the growth curve, of both kinds of elements
        for name in _joined(graph.space):
            now = signals.node(self.signal, name).double()
            before = state.get(f"calcium/{name}", now)  # as if it had been so all along
            after[f"calcium/{name}"] = calcium = before * decay + now * (1 - decay)
            speed[name] = self.speed(calcium.numpy())
        drop, add = [], list[int]()
        room = _Free(graph)
        for i, p in enumerate(graph.projections):
            elements = [
                np.maximum(state[f"{end}/{p.name}"].numpy() + span * speed[population], 0)
                for end, population in (("pre", p.source), ("post", p.target))
            ]
            # synapses without an element break, then vacant elements are paired
            surplus = self._surplus(graph, i, elements, rng)
            drop.append(surplus)
            room.leave(i, surplus)
            add += self._pair(graph, i, elements, surplus, room, rng)
            for end, z in zip(("pre", "post"), elements, strict=True):
                after[f"{end}/{p.name}"] = torch.from_numpy(z)
        # most ticks change nothing
        rows = np.sort(np.concatenate(drop))
        if not len(rows) and not add:
            return NOTHING, after
        edit = Edit(
            drop=torch.from_numpy(rows),
            add=torch.from_numpy(np.sort(np.array(add, np.int64))),
            birth={"weight": self.birth} if self.birth else {},
        )
        return edit, after

    @staticmethod
    def _surplus(graph: Graph, i: int, elements: list[np.ndarray], rng: Stream) -> np.ndarray:
        """Rows of the synapses that have lost their axonal or their dendritic element."""
        first, end = graph.bounds[i : i + 2]
        rows = np.arange(first, end)
        for unit, z in zip(graph.locate()[1:], elements, strict=True):
            of, whole = unit.numpy()[first:end], np.floor(z)
            # most ticks leave every unit what it has
            more = np.bincount(of[rows - first], minlength=len(z)) > whole
            if not more.any():
                continue
            # the first of each unit that has too many, in random order, stay
            many = more[of[rows - first]]
            some = rows[many]
            order = np.lexsort((rng.doubles(len(some)), of[some - first]))
            ranked = of[some[order] - first]
            rank = np.arange(len(some)) - ranked.searchsorted(ranked)
            rows = np.sort(np.concatenate([rows[~many], some[order[rank < whole[ranked]]]]))
        return np.setdiff1d(np.arange(first, end), rows, assume_unique=True)

    def _pair(
        self,
        graph: Graph,
        i: int,
        elements: list[np.ndarray],
        surplus: np.ndarray,
        room: _Free,
        rng: Stream,
    ) -> list[int]:
        """Keys of the synapses that vacant elements form; ``elements`` decay where they stay so."""
        p, space = graph.projections[i], graph.space
        broken = _synapses(graph, i, surplus)
        bound = [n - b for n, b in zip(_synapses(graph, i), broken, strict=True)]
        vacant = [np.maximum(np.floor(z) - n, 0).astype(np.int64)
                  for z, n in zip(elements, bound, strict=True)]  # fmt: skip
        vacant[1] = np.minimum(vacant[1], room.free(i))
        # both kinds in random order: the k-th of one meets the k-th of the other
        ends = [np.repeat(np.arange(len(v)), v)[rng.order(int(v.sum()))] for v in vacant]
        many = min(map(len, ends))
        formed = dict[int, int]()  # how often each key
        for pre, post, luck in zip(ends[0], ends[1], rng.doubles(many), strict=False):
            if p.source == p.target and pre == post:
                continue
            key = graph.topology.new_key(i, int(pre), int(post), int(luck * p.taps))
            if key is not None and (key not in formed or p.multapses):
                formed[key] = formed.get(key, 0) + 1
        keys = [key for key, times in formed.items() for _ in range(times)]
        _, pre, post = space.locate(torch.tensor(keys, dtype=torch.int64))
        for z, n, unit in zip(elements, bound, (pre, post), strict=True):
            n += np.bincount(unit.numpy(), minlength=len(n))
            # whole elements that are still vacant decay, the one that is growing does not
            z -= self.tau_vacant * np.maximum(np.floor(z) - n, 0)
        room.take(i, post.numpy())
        return keys

    def compiled(self, space: Space) -> Compiled:
        others, names = [], _joined(space)
        if self.signal != "rate":
            others.append(f"HomeostaticGrowth's signal={self.signal!r} is not compiled, 'rate' is")
        ends = [f"{end}/{p.name}" for p in space.projections for end in ("pre", "post")]

        def settings(ahead: Ahead) -> list[Any]:
            span, decay = self._decay(ahead.clock)
            curve = [decay, span, self.growth, *self._peak, self.epsilon, self.tau_vacant]
            where = [ahead.place(name) for name in names]
            return [
                np.array(curve, float), [self.curve == "linear"],
                np.array(ahead.newborn(self.birth)), *zip(*where, strict=True),
                [space.population[name].size for name in names],
                [names.index(p.source) for p in space.projections],
                [names.index(p.target) for p in space.projections],
                *(ahead.state[end].numpy() for end in ends), ahead.keys,
            ]  # fmt: skip

        def state(ahead: Ahead, arrays: list[np.ndarray]) -> State:
            keys = [*(f"calcium/{name}" for name in names), *ends]
            found = zip(keys, arrays, strict=True)
            return {**ahead.state, **{k: torch.from_numpy(x) for k, x in found if len(x)}}

        return Compiled(settings, state, tuple(names) if not others else (), others)


def _joined(space: Space) -> list[str]:
    """The populations that synapses join, in the order of the space."""
    ends = {name for p in space.projections for name in (p.source, p.target)}
    return [p.name for p in space.populations if p.name in ends]


def _synapses(
    graph: Graph, i: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Synapses of each presynaptic and each postsynaptic unit of a projection, or some rows'."""
    p, (_, pre, post) = graph.projections[i], graph.locate()
    at = np.arange(*graph.bounds[i : i + 2]) if rows is None else rows
    size = [graph.space.population[name].size for name in (p.source, p.target)]
    return (
        np.bincount(pre.numpy()[at], minlength=size[0]),
        np.bincount(post.numpy()[at], minlength=size[1]),
    )


class _Free:
    """The free slots of the units of each population, as synapses come and go."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._slots = {
            p.name: None if p.slots is None else p.slots - graph.fan_in(p.name).numpy()
            for p in graph.space.receiving
        }

    def _of(self, i: int) -> np.ndarray | None:
        return self._slots[self._graph.projections[i].target]

    def free(self, i: int) -> np.ndarray | int:
        slots = self._of(i)
        return 2**31 if slots is None else slots

    def leave(self, i: int, rows: np.ndarray) -> None:
        if (slots := self._of(i)) is not None:
            slots += _synapses(self._graph, i, rows)[1]

    def take(self, i: int, units: np.ndarray) -> None:
        if (slots := self._of(i)) is not None:
            slots -= np.bincount(units, minlength=len(slots))
