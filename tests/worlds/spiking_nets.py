"""Small spiking networks for the tests, and an independent numpy form of their synapses."""

import brian2 as b2
import numpy as np
from brian2 import ms

from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

G_MAX, A_PLUS, A_MINUS, TAU_PLUS, TAU_MINUS = 0.2, 0.02, 0.0075, 20.0, 64.0
NEURONS = """dr/dt = -r / (20*ms) : 1
             do/dt = -o / (64*ms) : 1
             g : 1
             fire : 1"""
ON_PRE = "g_post += w\nw = clip(w - 0.0075*o_post, 0, 0.2)"
ON_POST = "w = clip(w + 0.02*r_pre, 0, 0.2)"


class Scripted:
    """Sources 0-3, targets 4-5 with ``slots`` each, null 6; spikes come at the steps of a script.

    arrivals: (step, target, sum of weights) of all that arrived; weights: of all slots, by step.
    """

    def __init__(self, spikes, *, delay=1, slots=3, pre=None, period=None, w=0.1, dt=1 * ms):
        self.spikes, self.arrivals, self.weights = spikes, [], []
        self.neurons = b2.NeuronGroup(
            7, NEURONS, threshold="fire > 0", reset="fire = 0\nr += 1\no += 1", method="exact",
            dt=dt, name="scripted_neurons",
        )  # fmt: skip
        self.synapses = b2.Synapses(
            self.neurons, self.neurons, "w : 1", on_pre=ON_PRE, on_post=ON_POST, delay=delay * ms,
            clock=self.neurons.clock, name="scripted_synapses",
        )  # fmt: skip
        pre = np.full(2 * slots, 6) if pre is None else np.asarray(pre)
        self.synapses.connect(i=pre, j=np.repeat([4, 5], slots))
        self.synapses.w = np.where(pre == 6, 0.0, w)
        clock = self.neurons.clock
        self.network = b2.Network(
            self.neurons, self.synapses,
            b2.NetworkOperation(self._start, clock=clock, when="start", name="script"),
            b2.NetworkOperation(self._end, clock=clock, when="end", name="record"),
        )  # fmt: skip
        self.wiring = Wiring(
            self.network, self.synapses, null=6, w_max=G_MAX, traces=("r", "o"), period=period
        )
        self.world = Brian(
            self.wiring,
            sources={"in": slice(0, 4), "out": slice(4, 6)},
            targets={"out": slice(4, 6)},
            projections={"ff": ("in", "out"), "lat": ("out", "out")},
        )

    def _value(self, name):
        return self.neurons.variables[name].get_value()

    def _step(self):
        return int(self.neurons.clock.variables["timestep"].get_value()[0])

    def _start(self):
        self._value("fire")[self.spikes.get(self._step(), [])] = 1

    def _end(self):
        g = self._value("g")
        for target in np.flatnonzero(g):
            self.arrivals.append((self._step(), int(target), round(float(g[target]), 12)))
        g[:] = 0
        self.weights.append(self.synapses.variables["w"].get_value().copy())


class NumpySynapses:
    """The synapses of a topographic map in numpy alone: propagation, delay, STDP, slots.

    Built from the pieces of a map whose own Synapses are left out of the network; nothing here
    uses Brian2's queues, pathways or generated code.
    """

    def __init__(self, built, changes):
        p = built.parameters
        self.pre = built.synapses.variables["_synaptic_pre"].get_value().copy()
        self.post = built.synapses.variables["_synaptic_post"].get_value().copy()
        self.w = built.synapses.variables["w"].get_value().copy()
        self.changes = changes  # step -> [(slots, pre, w)], made at the end of that step
        self.delay = round(p.delay / p.dt)
        self.arriving = {}  # step -> slots
        self.neurons = built.neurons
        names = ("ge", "r", "o", "_spikespace")
        self.value = {name: built.neurons.variables[name].get_value() for name in names}
        space = built.synapses.namespace
        self.factor, self.g_max = space["factor"], space["g_max"]
        self.a_plus, self.a_minus = space["a_plus"], space["a_minus"]
        clock = built.neurons.clock
        self.step = clock.variables["timestep"].get_value()
        built.network.remove(built.synapses)
        built.network.add(
            b2.NetworkOperation(self.transmit, clock=clock, when="synapses", name="by_hand"),
            b2.NetworkOperation(self.rewire, clock=clock, when="end", name="rewire_by_hand"),
        )

    def transmit(self):
        now, v = int(self.step[0]), self.value
        spikes = v["_spikespace"][: v["_spikespace"][-1]]
        sent = [np.flatnonzero(self.pre == neuron) for neuron in spikes]
        if sent:
            self.arriving[now + self.delay] = np.concatenate(sent)
        at = self.arriving.pop(now, np.empty(0, int))
        depressed = self.w[at] - self.a_minus * v["o"][self.post[at]]
        self.w[at] = np.clip(depressed, 0, self.g_max)
        np.add.at(v["ge"], self.post[at], self.factor * self.w[at])
        ends = np.flatnonzero(np.isin(self.post, spikes))
        potentiated = self.w[ends] + self.a_plus * v["r"][self.pre[ends]]
        self.w[ends] = np.clip(potentiated, 0, self.g_max)

    def rewire(self):
        for slots, pre, w in self.changes.get(int(self.step[0]), []):
            self.pre[slots], self.w[slots] = pre, w
            gone = set(slots.tolist())
            self.arriving = {
                step: np.array([k for k in at if k not in gone], int)
                for step, at in self.arriving.items()
            }
