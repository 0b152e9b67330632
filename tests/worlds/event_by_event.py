"""A spiking network simulated one event at a time, in plain Python: the oracle of the Brian2 world.

Nothing here knows rewire or Brian2. A synapse is an object of its own; a spike in flight is a pair
of a time and that object, which is dropped where the synapse has died. Times are whole tenths of a
millisecond.
"""

from dataclasses import dataclass, field
from math import exp

from numpy import clip

PARTS_OF_MS = 10  # units of time in a millisecond


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network, its neurons numbered from 0 on both sides.

    kind: where the traces of plasticity live: "event" or "clock" (in synapses, by their own spikes
        or at every step) or "neuron".
    source_dt, target_dt, synapse_dt: units of time of the two groups' steps and of the synapses'.
    shared: the neurons of targets are also those of sources: number of target 0 among the sources.
    spikes: step -> sources, where they are scripted; else sources are neurons like the targets.
    drive: what each neuron's v goes to, of the sources (unless scripted) and the targets.
    pairs: projection by projection the (sources, targets) of it, ranges (first, end).
    births: whether u and the delays are functions of the pair; else all have u_0 and the delays.
    """

    kind: str
    source_dt: int
    target_dt: int
    synapse_dt: int
    shared: int | None
    spikes: dict | None
    source_drive: list
    target_drive: list
    pairs: list
    births: bool
    u_0: float
    delays: tuple
    w_max: float
    period: int

    tau_v = 10.0
    tau_r, tau_o = 20.0, 30.0
    tau_p, tau_q = 15.0, 25.0
    up, down = 0.02, 0.015

    def u(self, pre, post):
        return 0.5 + 0.01 * pre + 0.02 * post if self.births else self.u_0 + 0 * pre

    def delay(self, name, pre, post):
        """In units of time, of the pathways "pre", "late" (of sources' spikes) and "post"."""
        steps = self.source_dt if name != "post" else self.target_dt
        at = ("pre", "late", "post").index(name)
        if not self.births:
            return steps * self.delays[at] + 0 * pre
        return steps * ((3 * pre + 5 * post + at) % (4 + 3 * at))


@dataclass(eq=False)
class Synapse:
    pre: int
    post: int
    w: float
    u: float
    delays: dict
    count: float = 0.0
    p: float = 0.0  # trace of presynaptic spikes
    q: float = 0.0  # of postsynaptic ones
    last: float = 0.0  # when they were brought up to date, in ms
    alive: bool = True


@dataclass(eq=False)
class Neuron:
    drive: float
    v: float = 0.0
    r: float = 0.0
    o: float = 0.0
    spiked: list = field(default_factory=list)


class Simulation:
    """start: (pre, post, w) of the synapses at the start, parallel ones in their order.

    spikes: (time, neuron) of the sources and of the targets.
    """

    def __init__(self, net, start):
        self.net = net
        self.targets = [Neuron(drive) for drive in net.target_drive]
        self.sources = [Neuron(drive) for drive in net.source_drive]
        if net.shared is not None:
            for at, neuron in enumerate(self.targets):
                self.sources[net.shared + at] = neuron
        self.synapses = []
        for pre, post, w in start:
            self.form(pre, post, w, 0.0)
        self.flying = {}  # (time, pathway) -> synapses
        self.spikes = [], []

    def form(self, pre, post, w, now):
        delays = {name: self.net.delay(name, pre, post) for name in ("pre", "late", "post")}
        w = float(clip(w, 0, self.net.w_max))
        self.synapses.append(Synapse(pre, post, w, self.net.u(pre, post), delays, last=now))

    def in_order(self):
        """As an edit numbers them: by projection, target, source, and age."""

        def key(s):
            for at, (sources, targets) in enumerate(self.net.pairs):
                if sources[0] <= s.pre < sources[1] and targets[0] <= s.post < targets[1]:
                    return at, s.post, s.pre
            raise AssertionError(s)

        return sorted(self.synapses, key=key)

    def edit(self, now, weights, drop, add):
        """weights: of all synapses in order, or None; drop: numbers; add: (pre, post, w) each."""
        ordered = self.in_order()
        if weights is not None:
            for synapse, w in zip(ordered, weights, strict=True):
                synapse.w = float(clip(w, 0, self.net.w_max))
        for number in drop:
            ordered[number].alive = False
        self.synapses = [s for s in self.synapses if s.alive]
        for pre, post, w in add:
            self.form(pre, post, w, self.clock(now))

    def clock(self, now):
        """The synapses' own time in ms: of their next step, between two of them."""
        dt = self.net.synapse_dt
        return -(-now // dt) * dt / PARTS_OF_MS

    def run(self, until, edits):
        """Simulate the steps before a time; edits: time -> the arguments of each edit then."""
        net = self.net
        for now in range(until):
            source, target = now % net.source_dt == 0, now % net.target_dt == 0
            if net.kind == "clock" and now % net.synapse_dt == 0:
                self.decay_synapses()
            groups = ([self.sources] if source and net.spikes is None else []) + (
                [self.targets] if target and net.shared is None else []
            )
            for group in groups:
                self.decay(group, net.source_dt if group is self.sources else net.target_dt)
            fired = self.fired(now, source, target)
            if source:
                self.arrive(now, "late", fired[0])
                self.arrive(now, "pre", fired[0])
            if target:
                self.arrive(now, "post", fired[1])
            self.reset(fired)
            for edit in edits.get(now, ()) if source else ():
                self.edit(now, *edit)

    def decay(self, neurons, dt):
        net, dt = self.net, dt / PARTS_OF_MS
        for n in neurons:
            n.v = n.drive + (n.v - n.drive) * exp(-dt / net.tau_v)
            n.r *= exp(-dt / net.tau_r)
            n.o *= exp(-dt / net.tau_o)

    def decay_synapses(self):
        dt = self.net.synapse_dt / PARTS_OF_MS
        for s in self.synapses:
            s.p *= exp(-dt / self.net.tau_p)
            s.q *= exp(-dt / self.net.tau_q)

    def fired(self, now, source, target):
        net = self.net
        fired = [], []
        if source and net.spikes is not None:
            fired[0].extend(net.spikes.get(now // net.source_dt, ()))
        elif source:
            fired[0].extend(i for i, n in enumerate(self.sources) if n.v > 1)
        if target:
            fired[1].extend(j for j, n in enumerate(self.targets) if n.v > 1)
        for spikes, neurons in zip(self.spikes, fired, strict=True):
            spikes.extend((now, neuron) for neuron in neurons)
        return fired

    def arrive(self, now, pathway, fired):
        """Send the spikes of one pathway, and let take effect what arrives now."""
        for s in self.synapses:
            if (s.post if pathway == "post" else s.pre) in fired:
                self.flying.setdefault((now + s.delays[pathway], pathway), []).append(s)
        for s in self.flying.pop((now, pathway), ()):
            if s.alive:
                if self.net.kind == "event":
                    self.bring_up(s, self.clock(now))
                getattr(self, pathway)(s)

    def bring_up(self, s, now):
        s.p *= exp(-(now - s.last) / self.net.tau_p)
        s.q *= exp(-(now - s.last) / self.net.tau_q)
        s.last = now

    def pre(self, s):
        net, target = self.net, self.targets[s.post]
        target.v += s.w * s.u
        if net.kind == "neuron":
            s.w = float(clip(s.w - net.down * target.o, 0, net.w_max))
        else:
            s.p += 1
            s.w = float(clip(s.w - net.down * s.q, 0, net.w_max))

    def late(self, s):
        s.count += 0.25
        self.targets[s.post].v += 0.125 * s.w

    def post(self, s):
        net = self.net
        if net.kind == "neuron":
            s.w = float(clip(s.w + net.up * self.sources[s.pre].r, 0, net.w_max))
        else:
            s.q += 1
            s.w = float(clip(s.w + net.up * s.p, 0, net.w_max))

    def reset(self, fired):
        groups = [] if self.net.spikes is not None else [(self.sources, fired[0])]
        if self.net.shared is None:
            groups.append((self.targets, fired[1]))
        for neurons, numbers in groups:
            for number in numbers:
                n = neurons[number]
                n.v = 0.0
                n.r += 1
                n.o += 1
