"""The topographic map of Bamford, Murray & Willshaw (2010) as run by Bogdan et al. (2018).

Two square sheets of neurons on a torus. Sources fire at random around a stimulus that jumps; each
target neuron owns a number of synaptic slots, each empty or holding a feed-forward or a lateral
synapse with additive STDP. An empty slot points at one null neuron that never spikes, so that it
neither transmits nor learns. Which slots point where is for something outside to change.

>>> from rewire.models.spiking.topographic_map import TopographicMap
>>> net = TopographicMap(side=4, slots=8).build(seed=1)
>>> net.network.run(0.1 * second)                                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Literal

import brian2 as b2
import numpy as np
from brian2 import ms, mV

Shape = Literal["gaussian", "pointy", "scaled pointy", "square"]

# Rates above f_base at a squared distance, in grid units, before any scaling (the authors'
# generate_*_rates); the profile's mean is then scaled to f_mean - f_base, but for "pointy".
PROFILES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "gaussian": lambda d2, sigma: np.exp(-d2 / (2 * sigma**2)),
    "pointy": lambda d2, sigma: np.exp(-2 * np.sqrt(d2) / sigma**2),
    "scaled pointy": lambda d2, sigma: np.exp(-2 * np.sqrt(d2) / sigma**2),
    "square": lambda d2, sigma: (d2 <= sigma**2).astype(float),
}


@dataclass(frozen=True, kw_only=True)
class TopographicMap:
    """Parameters of the map; the defaults are those of Bogdan et al.'s code and data.

    Times in ms, voltages in mV, rates in Hz, lengths in grid units, conductances in units of the
    leak (so that a weight is one too).

    case:  1, input correlated in space; 2, the same network, which is then not to be rewired;
           3, flat input of ``f_mean``.
    start: "kernel", half of the slots feed-forward and half lateral, drawn by the formation rule,
           parallel synapses allowed; "random", every pair with probability ``p_random``, both
           ways of input alike (what exceeds a neuron's slots is left out at random); "one-to-one",
           each neuron its own source and nothing else; "empty".
    lateral_inhibition: lateral synapses are inhibitory (reversal ``e_inh``).
    v_thr: -50 in the authors' code, -54 in their text and in Bamford's model.
    t_ref: full rest after the step of a spike; 0 for none (Bamford), where a step of 1 ms lets
           the net run away.
    a_plus, b: additive STDP over all pairs, +a_plus g_max exp(-t / tau_plus) where the
           presynaptic spike arrived t before the postsynaptic one, and
           -b a_plus tau_plus / tau_minus g_max exp(-t / tau_minus) where it came after.
    stdp:  False leaves all weights as they are.
    w_0:   weight of every synapse at the start; None for g_max. Without STDP all stay at it, and at
           g_max the targets fire at four times the rate that they have with STDP.
    input_factor: the simulator scales an input by tau/dt (1 - exp(-dt/tau)), .906 at 1 ms.
    transmit_depressed: the weight after a presynaptic spike's depression is what transmits.

    The last two are details of sPyNNaker. Without them Bogdan's rates and final numbers of
    feed-forward synapses are not met.
    """

    case: Literal[1, 2, 3] = 1
    start: Literal["kernel", "random", "one-to-one", "empty"] = "kernel"
    side: int = 16
    slots: int = 32
    dt: float = 1.0
    delay: float = 1.0
    lateral: bool = True
    lateral_inhibition: bool = False

    g_max: float = 0.2
    w_0: float | None = None
    v_rest: float = -70.0
    v_thr: float = -50.0
    e_ex: float = 0.0
    e_inh: float = -80.0
    tau_m: float = 20.0
    tau_ex: float = 5.0
    tau_inh: float = 5.0
    t_ref: float = 5.0

    stdp: bool = True
    a_plus: float = 0.1
    b: float = 1.2
    tau_plus: float = 20.0
    tau_minus: float = 64.0
    input_factor: bool = True
    transmit_depressed: bool = True

    shape: Shape = "gaussian"
    f_base: float = 5.0
    f_mean: float = 20.0
    f_peak: float = 152.8
    sigma_stim: float = 2.0
    t_stim: float = 20.0

    p_random: float = 0.05
    p_form: float = 0.16
    sigma_form: float = 2.5
    p_form_lateral: float = 1.0
    sigma_form_lateral: float = 1.0

    def __post_init__(self) -> None:
        if self.case not in (1, 2, 3):
            raise ValueError(f"TopographicMap.case is 1, 2 or 3, got {self.case!r}.")
        if self.shape not in PROFILES:
            raise ValueError(f"shape is one of {', '.join(PROFILES)}, got {self.shape!r}.")
        if self.start not in STARTS:
            raise ValueError(f"start is one of {', '.join(STARTS)}, got {self.start!r}.")
        if self.w_0 is not None and not 0 <= self.w_0 <= self.g_max:
            raise ValueError(f"w_0 is a weight from 0 to g_max = {self.g_max}, got {self.w_0}.")
        for name in ("delay", "t_stim", "t_ref"):
            steps = getattr(self, name) / self.dt
            if abs(steps - round(steps)) > 1e-9:
                raise ValueError(f"{name} = {getattr(self, name)} ms is no multiple of {self.dt}.")

    @property
    def size(self) -> int:
        """Neurons of each sheet."""
        return self.side**2

    @property
    def a_minus(self) -> float:
        """Depression of a pair at lag 0, as a fraction of g_max."""
        return self.b * self.a_plus * self.tau_plus / self.tau_minus

    @property
    def positions(self) -> np.ndarray:
        """Places of a sheet's neurons in sides of the sheet, a torus, (size, 2)."""
        index = np.arange(self.size)
        return (np.stack([index // self.side, index % self.side], 1) + 0.5) / self.side

    def distance_squared(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Between neurons of two sheets laid over each other, in grid units, periodic."""
        apart = np.abs(np.stack([i // self.side - j // self.side, i % self.side - j % self.side]))
        return (np.minimum(apart, self.side - apart) ** 2).sum(0)

    def rates(self, centre: int) -> np.ndarray:
        """Rates of the sources, (size,) Hz, for a stimulus at one neuron's place."""
        if self.case == 3:
            return np.full(self.size, self.f_mean)
        above = PROFILES[self.shape](
            self.distance_squared(np.arange(self.size), np.array(centre)), self.sigma_stim
        )
        if self.shape == "pointy":
            return self.f_base + self.f_peak * above
        return self.f_base + (self.f_mean - self.f_base) * above / above.mean()

    def build(self, seed: int = 0, replicates: int = 1) -> Built:
        """The Brian2 network, not run yet, with disjoint copies of the map in it.

        Copy r starts from the connectivity of (seed, r). Only that is drawn here: set
        ``brian2.seed`` for the spikes.
        """
        return Built(self, seed, replicates)


def _kernel(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    """Partners drawn by the formation rule, half of the slots each way, with replacement."""
    n = p.size
    ways = [(p.p_form, p.sigma_form), (p.p_form_lateral, p.sigma_form_lateral)]
    half = [p.slots // 2] * 2 if p.lateral else [p.slots // 2, 0]
    pre = np.full((n, p.slots), -1)
    for j in range(n):
        d2 = p.distance_squared(np.arange(n), np.array(j))
        drawn = []
        for way, ((p_form, sigma), many) in enumerate(zip(ways, half, strict=True)):
            chance = p_form * np.exp(-d2 / (2 * sigma**2))
            drawn.append(rng.choice(n, many, p=chance / chance.sum()) + way * n)
        sources = np.concatenate(drawn)
        pre[j, : len(sources)] = sources
    return pre


def _random(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    n, pre = p.size, np.full((p.size, p.slots), -1)
    for j in range(n):
        sources = np.flatnonzero(rng.random(2 * n if p.lateral else n) < p.p_random)
        sources = np.sort(rng.permutation(sources)[: p.slots])
        pre[j, : len(sources)] = sources
    return pre


def _one_to_one(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    pre = np.full((p.size, p.slots), -1)
    pre[:, 0] = np.arange(p.size)
    return pre


def _empty(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    return np.full((p.size, p.slots), -1)


# Each gives what sits in every slot, (size, slots): a source's number, a target's + size, or -1.
STARTS: dict[str, Callable[[TopographicMap, np.random.Generator], np.ndarray]] = {
    "kernel": _kernel,
    "random": _random,
    "one-to-one": _one_to_one,
    "empty": _empty,
}


class Built:
    """A map in Brian2: ``network``, and in it ``neurons`` and ``synapses``.

    neurons:  one group: the sources of all copies, their targets, then the null neuron; variables
              v, ge, (gi), r and o (traces of pre- and postsynaptic spikes), p (chance of a
              source's spike in one step).
    synapses: ``slots`` for each target, in order; variable w.
    null:     number of the null neuron.
    sources, targets: slices of ``neurons``, one for each copy.
    """

    def __init__(self, parameters: TopographicMap, seed: int, replicates: int):
        self.parameters = p = parameters
        n, self.replicates = p.size, replicates
        first = n * replicates  # the first target
        self.null = 2 * first
        self.sources = [slice(r * n, r * n + n) for r in range(replicates)]
        self.targets = [slice(first + r * n, first + r * n + n) for r in range(replicates)]
        tables = [STARTS[p.start](p, np.random.default_rng([seed, r])) for r in range(replicates)]
        pre = np.concatenate([self._absolute(table, r) for r, table in enumerate(tables)])

        self.neurons = self._neurons(first)
        self.synapses = self._synapses(first)
        self.synapses.connect(i=pre, j=np.repeat(np.arange(first, 2 * first), p.slots))
        self.synapses.w = np.where(pre == self.null, 0.0, p.g_max if p.w_0 is None else p.w_0)
        self._chance = self.neurons.variables["p"].get_value()
        self._step = self.neurons.clock.variables["timestep"].get_value()
        self._stimulus = b2.NetworkOperation(
            self._stimulate, clock=self.neurons.clock, when="start", name="map_stimulus"
        )
        self.network = b2.Network(self.neurons, self.synapses, self._stimulus, name="map")

    def _absolute(self, table: np.ndarray, replicate: int) -> np.ndarray:
        n = self.parameters.size
        source = table + self.sources[replicate].start
        target = table - n + self.targets[replicate].start
        return np.where(table < 0, self.null, np.where(table < n, source, target)).ravel()

    def _neurons(self, first: int) -> b2.NeuronGroup:
        p = self.parameters
        inhibition = p.lateral_inhibition
        equations = f"""
            dv/dt = (v_rest - v + ge*(e_ex - v)
                     {"+ gi*(e_inh - v)" if inhibition else ""}) / tau_m : volt (unless refractory)
            dge/dt = -ge / tau_ex : 1
            {"dgi/dt = -gi / tau_inh : 1" if inhibition else ""}
            dr/dt = -r / tau_plus : 1
            do/dt = -o / tau_minus : 1
            p : 1
            rest : second (constant)
        """
        neurons = b2.NeuronGroup(
            self.null + 1,
            equations,
            threshold="v >= v_thr or rand() < p",
            # a trace counts from the arrival, which the delay puts off: it starts higher
            reset="v = v_rest\nr += r_0\no += 1",
            refractory="rest",
            method="exponential_euler",
            clock=b2.Clock(dt=p.dt * ms, name="map_clock"),
            name="map_neurons",
            namespace={
                "v_rest": p.v_rest * mV, "v_thr": p.v_thr * mV, "e_ex": p.e_ex * mV,
                "e_inh": p.e_inh * mV, "tau_m": p.tau_m * ms, "tau_ex": p.tau_ex * ms,
                "tau_inh": p.tau_inh * ms, "tau_plus": p.tau_plus * ms,
                "tau_minus": p.tau_minus * ms, "r_0": exp(p.delay / p.tau_plus),
            },
        )  # fmt: skip
        neurons.v = p.v_rest * mV
        if p.t_ref:
            neurons.rest[first : 2 * first] = (p.t_ref + p.dt) * ms
        return neurons

    def _synapses(self, first: int) -> b2.Synapses:
        p = self.parameters
        transmit = "ge_post += factor*w"
        if p.lateral_inhibition:
            transmit = (
                "ge_post += factor*w*int(i < n_sources)\ngi_post += factor*w*int(i >= n_sources)"
            )
        depress = "w = clip(w - a_minus*o_post, 0, g_max)"
        on_pre = [depress, transmit] if p.transmit_depressed else [transmit, depress]
        factor = p.tau_ex / p.dt * (1 - exp(-p.dt / p.tau_ex))
        return b2.Synapses(
            self.neurons,
            self.neurons,
            "w : 1",
            on_pre="\n".join(on_pre) if p.stdp else transmit,
            on_post="w = clip(w + a_plus*r_pre, 0, g_max)" if p.stdp else None,
            delay=p.delay * ms,
            clock=self.neurons.clock,
            name="map_synapses",
            namespace={
                "g_max": p.g_max, "a_plus": p.a_plus * p.g_max, "a_minus": p.a_minus * p.g_max,
                "factor": factor if p.input_factor else 1.0, "n_sources": first,
            },
        )  # fmt: skip

    def _stimulate(self) -> None:
        """Let the stimulus of every copy jump to a random neuron's place, each t_stim."""
        p = self.parameters
        if self._step[0] % round(p.t_stim / p.dt) == 0:
            for copy in self.sources:
                rate = p.rates(np.random.randint(p.size))
                self._chance[copy] = 1 - np.exp(-rate * p.dt * 1e-3)
