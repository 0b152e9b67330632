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

from . import connectivity_file
from .map_stimulus import runs_python, stimulate_in_code

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
           each neuron its own source and nothing else; "empty"; "bamford", read from
           ``start_file``, the user's copy of the connectivity that Bogdan et al. started all runs
           from; "matched", as "kernel", and then the feed-forward synapses of neurons chosen at
           random are drawn anew, kept where that brings the mean distance of receptive fields from
           their places (AD) nearer to .82, until it is there to .001. The formation rule draws .783
           on average, sd .017; that file happens to have .82.
    start_file: path of InitialConnectivity.mat, for "bamford".
    start_sha256: what that file must be; "" for any. Experiments fill it in when they are planned,
           so that another file is another simulation.
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

    These two are details of sPyNNaker. Without them Bogdan's rates and final numbers of
    feed-forward synapses are not met. Four more are off by default:

    lag_0: whether a postsynaptic spike in the very step of an arrival is potentiated; in sPyNNaker
           such a pair does nothing.
    deferred: what postsynaptic spikes do to a weight waits for the next presynaptic arrival, where
           it is added together with the depression and clipped once, as in sPyNNaker. Until then
           rules see the weight of the last arrival.
    dead_tick: sources are silent in the first step of each stimulus, as a Poisson source of
           varying rate on the machine seems to be. Case 3 has none of those.
    early_input: an arriving spike acts on the potential of that step, not of the next, as on the
           machine; the way through lateral synapses is a step shorter. It acts through the synapses
           that are there on arrival, also through one that formed after it was sent.
    """

    case: Literal[1, 2, 3] = 1
    start: Literal["kernel", "random", "one-to-one", "empty", "bamford", "matched"] = "kernel"
    start_file: str = ""
    start_sha256: str = ""
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
    lag_0: bool = True
    deferred: bool = False
    dead_tick: bool = False
    early_input: bool = False

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
        if (self.start == "bamford") != bool(self.start_file):
            raise ValueError(
                'start = "bamford" goes with start_file, the path of a copy of '
                "InitialConnectivity.mat (github.com/pabogdan/neurogenesis); one was given "
                "without the other."
            )
        if self.early_input and self.delay < self.dt:
            raise ValueError(f"early_input needs a delay of a step of {self.dt} ms at least.")
        if self.dead_tick and self.t_stim < 2 * self.dt:
            raise ValueError(f"dead_tick leaves no step to t_stim = {self.t_stim} ms.")
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

    def pinned(self) -> dict[str, str]:
        """Options that pin down what is read from a file: they belong to a simulation's identity.

        Raises:
            connectivity_file.ConnectivityFileError: the file cannot be read.

        >>> TopographicMap().pinned()
        {}
        """
        if self.start != "bamford":
            return {}
        return {"start_sha256": connectivity_file.digest_of(self.start_file)}

    def build(self, seed: int = 0, replicates: int = 1) -> Built:
        """The Brian2 network, not run yet, with disjoint copies of the map in it.

        Copy r starts from the connectivity of (seed, r). Only that is drawn here: set
        ``brian2.seed`` for the spikes.

        Raises:
            connectivity_file.ConnectivityFileError: ``start_file`` is no such file.
            ValueError: the start "matched" is out of reach.
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


def _of_file(p: TopographicMap) -> connectivity_file.Connectivity:
    return connectivity_file.read(
        p.start_file, size=p.size, slots=p.slots, w_max=p.g_max, sha256=p.start_sha256
    )


def _bamford(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    sources = _of_file(p).sources
    return sources if p.lateral else np.where(sources < p.size, sources, -1)


def _matched(p: TopographicMap, rng: np.random.Generator) -> np.ndarray:
    """The formation rule's draw, brought to the AD of Bamford's file neuron by neuron."""
    pre, half = _kernel(p, rng), p.slots // 2
    deviation = _deviations(p, pre[:, :half], np.arange(p.size))
    for _ in range(100 * p.size):
        missing = BAMFORD_AD - deviation.mean()
        if abs(missing) <= 1e-3:
            return pre
        j = int(rng.integers(p.size))
        d2 = p.distance_squared(np.arange(p.size), np.array(j))
        chance = np.exp(-d2 / (2 * p.sigma_form**2))
        sources = rng.choice(p.size, half, p=chance / chance.sum())
        anew = _deviations(p, sources[None], np.array([j]))[0]
        if abs(missing - (anew - deviation[j]) / p.size) < abs(missing):
            pre[j, :half], deviation[j] = sources, anew
    raise ValueError(
        f'start = "matched" cannot bring these sheets to an AD of {BAMFORD_AD} cells (it came to '
        f"{deviation.mean():.3f}): it is made for the published map, side 16 and 32 slots."
    )


def _deviations(p: TopographicMap, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Distance of receptive fields, sources (k, slots), from their targets' places, (k,) cells.

    A field lies where the mean squared distance along each axis is least, to a tenth of a cell.
    """
    tenths, half = np.arange(0, p.side, 0.1), p.side / 2
    shifts = []
    for cells, own in zip(
        np.divmod(sources, p.side), np.divmod(targets, p.side), strict=True
    ):  # rows, columns
        apart = (cells[:, None, :] - tenths[:, None] + half) % p.side - half
        at = tenths[(apart**2).mean(2).round(9).argmin(1)]
        shifts.append((at - own + half) % p.side - half)
    return np.hypot(*shifts)


BAMFORD_AD = 0.82  # by count, of InitialConnectivity.mat
# Each gives what sits in every slot, (size, slots): a source's number, a target's + size, or -1.
STARTS: dict[str, Callable[[TopographicMap, np.random.Generator], np.ndarray]] = {
    "kernel": _kernel,
    "random": _random,
    "one-to-one": _one_to_one,
    "empty": _empty,
    "bamford": _bamford,
    "matched": _matched,
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
        if replicates > 1 and not runs_python():
            raise ValueError("in a standalone program the map has one copy: build(replicates=1).")
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
        self.synapses.w = np.where(pre == self.null, 0.0, self._first_weights())
        self._chance = self.neurons.variables["p"].get_value()
        self._step = self.neurons.clock.variables["timestep"].get_value()
        # a program's map is one of the standard library
        name = "map" if runs_python() else "map_network"
        self.network = b2.Network(self.neurons, self.synapses, name=name)
        if runs_python():
            self._stimulus = b2.NetworkOperation(
                self._stimulate, clock=self.neurons.clock, when="start", name="map_stimulus"
            )
            self.network.add(self._stimulus)
        else:
            above = p.distance_squared(np.arange(p.size), np.array(0))
            stimulate_in_code(self.neurons, p, PROFILES["gaussian"](above, p.sigma_stim))

    def _first_weights(self) -> float | np.ndarray:
        """Of every slot, as if none were empty."""
        p = self.parameters
        if p.w_0 is not None:
            return p.w_0
        if p.start == "bamford":
            return np.tile(_of_file(p).weights.ravel(), self.replicates)
        return p.g_max

    def _absolute(self, table: np.ndarray, replicate: int) -> np.ndarray:
        n = self.parameters.size
        source = table + self.sources[replicate].start
        target = table - n + self.targets[replicate].start
        return np.where(table < 0, self.null, np.where(table < n, source, target)).ravel()

    def _neurons(self, first: int) -> b2.NeuronGroup:
        p = self.parameters
        inhibition = p.lateral_inhibition
        waits = self._steps_to_trace
        equations = f"""
            dv/dt = (v_rest - v + ge*(e_ex - v)
                     {"+ gi*(e_inh - v)" if inhibition else ""}) / tau_m : volt (unless refractory)
            dge/dt = -ge / tau_ex : 1
            {"dgi/dt = -gi / tau_inh : 1" if inhibition else ""}
            dr/dt = -r / tau_plus : 1
            do/dt = -o / tau_minus : 1
            p : 1
            rest : second (constant)
            {"" if runs_python() else "centre : integer (shared)"}
        """ + "\n".join(f"fresh_{k} : 1" for k in range(1, waits + 1))
        neurons = b2.NeuronGroup(
            self.null + 1,
            equations,
            threshold="v >= v_thr or rand() < p",
            # a trace counts from the arrival, which the delay puts off: it starts higher
            reset=f"v = v_rest\n{f'fresh_{waits}' if waits else 'r'} += r_0\no += 1",
            refractory="rest",
            method="exponential_euler",
            clock=b2.Clock(dt=p.dt * ms, name="map_clock"),
            name="map_neurons",
            namespace={
                "v_rest": p.v_rest * mV, "v_thr": p.v_thr * mV, "e_ex": p.e_ex * mV,
                "e_inh": p.e_inh * mV, "tau_m": p.tau_m * ms, "tau_ex": p.tau_ex * ms,
                "tau_inh": p.tau_inh * ms, "tau_plus": p.tau_plus * ms,
                "tau_minus": p.tau_minus * ms, "r_0": exp((p.delay - waits * p.dt) / p.tau_plus),
            },
        )  # fmt: skip
        if waits:
            moves = ["r += fresh_1"]
            moves += [f"fresh_{k} = fresh_{k + 1}" for k in range(1, waits)]
            neurons.run_regularly(
                "\n".join([*moves, f"fresh_{waits} = 0"]),
                when="resets", order=-1, name="map_arrivals",
            )  # fmt: skip
        neurons.v = p.v_rest * mV
        if p.t_ref:
            neurons.rest[first : 2 * first] = (p.t_ref + p.dt) * ms
        return neurons

    @property
    def _steps_to_trace(self) -> int:
        """Steps that a spike waits before the presynaptic trace counts it.

        A trace that grows at the end of a step is read from the next step on: with a delay of one
        step that is the step of the arrival.
        """
        p = self.parameters
        return max(0, round(p.delay / p.dt) - (1 if p.lag_0 else 0))

    def _synapses(self, first: int) -> b2.Synapses:
        p = self.parameters
        transmit = "ge_post += factor*w"
        if p.lateral_inhibition:
            transmit = (
                "ge_post += factor*w*int(i < n_sources)\ngi_post += factor*w*int(i >= n_sources)"
            )
        depress = "w = clip(w - a_minus*o_post, 0, g_max)"
        potentiate = "w = clip(w + a_plus*r_pre, 0, g_max)"
        model = "w : 1"
        if p.deferred:
            # a variable of an equation, so that new synapses begin without what others have due
            model += "\nddue/dt = 0*Hz : 1 (clock-driven)"
            depress = "w = clip(w + a_plus*due - a_minus*o_post, 0, g_max)\ndue = 0"
            potentiate = "due += r_pre"
        on_pre = [depress, transmit] if p.transmit_depressed else [transmit, depress]
        factor = p.tau_ex / p.dt * (1 - exp(-p.dt / p.tau_ex))
        # before potentials are updated traces are those of the step before
        decay = exp(-p.dt / p.tau_minus) if p.early_input else 1.0
        synapses = b2.Synapses(
            self.neurons,
            self.neurons,
            model,
            on_pre="\n".join(on_pre) if p.stdp else transmit,
            on_post=potentiate if p.stdp else None,
            # what is sent in a step is delivered before the potentials of the next
            delay=(p.delay - (p.dt if p.early_input else 0.0)) * ms,
            method="euler" if p.deferred else None,
            clock=self.neurons.clock,
            name="map_synapses",
            namespace={
                "g_max": p.g_max, "a_plus": p.a_plus * p.g_max,
                "a_minus": p.a_minus * p.g_max * decay,
                "factor": factor if p.input_factor else 1.0, "n_sources": first,
            },
        )  # fmt: skip
        if p.early_input:
            synapses.pre.when = "before_groups"
        return synapses

    def _stimulate(self) -> None:
        """Let the stimulus of every copy change, each t_stim."""
        p = self.parameters
        since = int(self._step[0]) % round(p.t_stim / p.dt)
        dead = p.dead_tick and p.case != 3
        if dead and since == 0:
            for copy in self.sources:
                self._chance[copy] = 0.0
        elif since == (1 if dead else 0):
            self._next_stimulus()

    def _next_stimulus(self) -> None:
        """Each copy's stimulus jumps to a random neuron's place."""
        p = self.parameters
        for copy in self.sources:
            rate = p.rates(np.random.randint(p.size))
            self._chance[copy] = 1 - np.exp(-rate * p.dt * 1e-3)
