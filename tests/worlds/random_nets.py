"""Spiking networks drawn at random, in Brian2 under a rule and as the oracle has them."""

import brian2 as b2
import numpy as np
import torch
from brian2 import ms, second
from event_by_event import PARTS_OF_MS, Net, Simulation

import rewire
from rewire import when
from rewire.graph import Edit
from rewire.worlds.brian.from_synapses import rewirable
from rewire.worlds.brian.loop import drive
from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

W_MAX, TICKS = 0.4, 40
NEURONS = """dv/dt = (drive - v) / (10*ms) : 1
             dr/dt = -r / (20*ms) : 1
             do/dt = -o / (30*ms) : 1
             drive : 1"""
TRACES = """
             dp/dt = -p / (15*ms) : 1 ({0}-driven)
             dq/dt = -q / (25*ms) : 1 ({0}-driven)"""
LAYOUTS = ("generator", "groups", "parts", "recurrent")


class Scripted(rewire.Rule):
    """Every other tick some synapses go and others come, at random."""

    budget = "reported"

    def update(self, graph, signals, state, rng, clock):
        draw = rng.numpy
        if draw.random() < 0.5:
            return Edit(), state
        many = min(len(graph), int(draw.integers(0, 4)))
        drop = np.sort(draw.choice(len(graph), many, replace=False))
        post = graph.locate()[2].numpy()
        slots = {p.name: p.slots for p in graph.space.populations}
        free = slots["out"] - np.bincount(np.delete(post, drop), minlength=post.max(initial=0) + 1)
        add = []
        staying = np.delete(graph.keys.numpy(), drop)
        for _ in range(int(draw.integers(0, 5))):
            i = int(draw.integers(len(graph.projections)))
            local = int(draw.integers(graph.projections[i].size))
            unit, key = local // graph.projections[i].shape[1], local + graph.space.bounds[i]
            room = free[unit] if unit < len(free) else slots["out"]
            taken = sum(graph.space.locate(torch.tensor([k]))[2].item() == unit for k in add)
            if room > taken and (graph.space.multapses or (key not in add and key not in staying)):
                add.append(key)
        births = draw.uniform(-0.1, 0.6, len(add))
        weights = {"weight": graph["weight"].numpy() + draw.normal(0, 0.1, len(graph))}
        edit = Edit(drop=drop, add=np.sort(np.array(add, np.int64)), birth={"weight": births},
                    set=weights)  # fmt: skip
        return edit, state


RULES = {
    "scripted": Scripted(),
    "plasticity": rewire.StructuralPlasticity(
        attempts=0.3, initial="given", partner="spiked", threshold=W_MAX / 2, birth=0.3,
        p_form=1.0, p_elim_dep=0.5, p_elim_pot=0.2,
    ),
    "deep-r": rewire.DeepR(eta=1e-2, l1=1.0, temperature=1e-2),
    "set": rewire.SET(when=when.every(3)),
    "rigl": rewire.RigL(when=when.every(4), fraction=0.4),
    "sampling": rewire.SynapticSampling(eta=0.05, prior=0.5),
    "homeostatic": rewire.HomeostaticGrowth(
        signal="rate", epsilon=8.0, eta=-1.0, growth=300.0, tau=0.02, when=when.every(2)
    ),
}  # fmt: skip


class Drawn:
    """One network, drawn from a seed: what it is made of, in Brian2, and what the oracle says.

    padded: it is connected without empty slots, which `rewirable` adds.
    """

    def __init__(self, seed, padded=False):
        self.padded = padded
        self.seed, self.rng = seed, np.random.default_rng([seed, 17])
        rng = self.rng
        self.layout = LAYOUTS[seed % 4]
        self.rule = list(RULES)[(seed // 4 + 2 * (seed % 4)) % len(RULES)]
        self.sources, self.outputs = int(rng.integers(7, 12)), int(rng.integers(4, 7))
        self.slots = int(rng.integers(3, 6))
        self.multapses = self.rule != "sampling" and bool(rng.random() < 0.5)
        self.first = 0 if self.layout in ("generator", "groups") else int(rng.integers(1, 6))
        self.null = self._null()
        self.net = self._net()
        self.start = self._start()

    def _null(self):
        if self.layout == "recurrent":  # the targets are the last of the sources before it
            return self.sources - 1
        return int(self.rng.integers(self.sources))

    def _net(self):
        rng = self.rng
        dts = [(10, 10), (5, 5), (1, 1), (10, 5), (5, 10)]
        if self.layout in ("parts", "recurrent"):
            dts = dts[:3] if self.layout == "recurrent" else dts
        source_dt, target_dt = dts[rng.integers(len(dts))]
        scripted = self.layout == "generator"
        source_drive = np.where(rng.random(self.sources) < 0.8,
                                rng.uniform(1.5, 5, self.sources), 0)  # fmt: skip
        target_drive = rng.uniform(0.8, 2.5, self.outputs)
        shared = None
        if self.layout == "recurrent":
            shared = self.sources - 1 - self.outputs
            source_drive[shared : shared + self.outputs] = target_drive
        source_drive[self.null] = 0
        whole = (0, self.outputs)
        self.ends = self._ends(shared)
        return Net(
            kind=str(rng.choice(["event", "clock"] if scripted else ["event", "clock", "neuron"])),
            source_dt=source_dt, target_dt=target_dt,
            synapse_dt=int(rng.choice([source_dt, target_dt])), shared=shared,
            spikes={} if scripted else None, source_drive=source_drive.tolist(),
            target_drive=target_drive.tolist(),
            pairs=[((where.start, where.stop), whole) for where in self.ends.values()],
            births=bool(rng.random() < 0.6), u_0=0.7,
            delays=tuple(rng.integers(0, 6, 3).tolist()), w_max=W_MAX,
            period=source_dt * int(rng.choice([1, 2, 5] if source_dt > 1 else [8, 10, 20])),
        )  # fmt: skip

    def _ends(self, shared):
        """The populations of the sources, around the null neuron and the targets."""
        if shared is not None:
            return {"in": slice(0, shared), "out": slice(shared, shared + self.outputs)}
        ends = {"before": slice(0, self.null), "after": slice(self.null + 1, self.sources)}
        return {name: where for name, where in ends.items() if where.start < where.stop}

    def _start(self):
        """(pre, post) of each slot, in an order that is not that of the targets."""
        rng = self.rng
        pairs = []
        others = [i for i in range(self.sources) if i != self.null]
        for post in range(self.outputs):
            filled = int(rng.integers(1, self.slots + 1))
            pre = rng.choice(others, filled, replace=self.multapses)
            pairs += [(int(i), post) for i in pre] + [(self.null, post)] * (self.slots - filled)
        return [pairs[at] for at in rng.permutation(len(pairs))]

    # -- in Brian2 ------------------------------------------------------------------------------

    def in_brian(self):
        """Build it, with a session of its rule that notes its edits."""
        net = self.net
        source, target, others = self._groups()
        traces = "" if net.kind == "neuron" else TRACES.format(net.kind)
        depress, learn = {
            "neuron": ("w = clip(w - down * o_post, 0, w_max)",
                       "w = clip(w + up * r_pre, 0, w_max)"),
        }.get(net.kind, ("p += 1\nw = clip(w - down * q, 0, w_max)",
                         "q += 1\nw = clip(w + up * p, 0, w_max)"))  # fmt: skip
        self.synapses = b2.Synapses(
            source, target, "w : 1\nu : 1 (constant)\ncount : 1" + traces,
            on_pre={"pre": "v_post += w * u\n" + depress,
                    "late": "count += 0.25\nv_post += 0.125 * w"},
            on_post=learn, method="exact", dt=net.synapse_dt / PARTS_OF_MS * ms,
            namespace={"w_max": W_MAX, "up": net.up, "down": net.down},
        )  # fmt: skip
        pre, post = np.array(self.start).T
        if self.padded:
            pre, post = pre[pre != self.null], post[pre != self.null]
        self.synapses.connect(i=pre, j=post)
        used = pre != self.null
        self.synapses.w = np.where(used, self.rng.uniform(0, W_MAX, len(pre)), 0)
        self.synapses.u = np.where(used, net.u(pre, post), 0)
        for name in ("pre", "late", "post"):
            pathway = getattr(self.synapses, name)
            pathway.delay = np.where(used, self._seconds(name)(pre, post), 0) * second
        births = {"u": net.u} | {
            "delay" if name == "pre" else f"{name}.delay": self._seconds(name)
            for name in ("pre", "late", "post")
        }  # fmt: skip
        self.monitors = [b2.SpikeMonitor(group) for group in (source, target)]
        self.network = b2.Network(*others, self.synapses, *self.monitors)
        neural = self.layout != "generator"
        self.world = self._world(
            w_max=W_MAX, traces=("r", "o") if neural else None,
            period=net.period / PARTS_OF_MS * ms, births=births if net.births else None,
        )  # fmt: skip
        self.wiring = self.world.wiring
        self.session = rewire.Session(self.world, self.world.graph(), RULES[self.rule], span=TICKS,
                                      seed=self.seed)  # fmt: skip
        self.edits = {}
        carry_out = self.session._edit

        def noted(shown, edit):
            now = self.wiring.step * net.source_dt
            self.edits.setdefault(now, []).append(self._edit(shown, edit))
            carry_out(shown, edit)

        self.session._edit = noted
        return self

    def _world(self, **options):
        ends = dict(sources=self.ends, targets={"out": slice(0, self.outputs)},
                    multapses=self.multapses)  # fmt: skip
        if self.padded:
            return rewirable(
                self.synapses, network=self.network, slots=self.slots, **options, **ends
            )
        projections = {f"{s}-out": (s, "out") for s in self.ends}
        wiring = Wiring(self.network, self.synapses, null=self.null, **options)
        return Brian(wiring, projections=projections, **ends)

    @property
    def used(self):
        """Which synapses are no empty slots, (N,) bool."""
        return self.world.filled if self.padded else np.array(self.synapses.i) != self.null

    def _seconds(self, name):
        return lambda pre, post: self.net.delay(name, pre, post) / PARTS_OF_MS * 1e-3

    def _groups(self):
        """Source, target, and what the network is made of."""
        net = self.net
        dts = [dt / PARTS_OF_MS * ms for dt in (net.source_dt, net.target_dt)]

        def neurons(size, first, drive, dt):
            group = b2.NeuronGroup(size, NEURONS, threshold="v > 1", method="exact", dt=dt,
                                   reset="v = 0\nr += 1\no += 1")  # fmt: skip
            group.drive[first : first + len(drive)] = drive
            return group

        if self.layout == "recurrent":
            whole = neurons(self.first + self.sources + 3, self.first, net.source_drive, dts[0])
            at = self.first + net.shared
            parts = whole[self.first : self.first + self.sources], whole[at : at + self.outputs]
            return *parts, [whole]
        first = self.first
        target = neurons(self.outputs + 2 * first, first, net.target_drive, dts[1])
        part = target[first : first + self.outputs] if first else target
        if self.layout == "generator":
            source = self._generator(dts[0])
            return source, part, [source, target]
        source = neurons(self.sources + 2 * first, first, net.source_drive, dts[0])
        of_source = source[first : first + self.sources] if first else source
        return of_source, part, [source, target]

    def _generator(self, dt):
        """Spikes between the steps, at most one of each neuron in a step, none of the null's."""
        steps = TICKS * self.net.period // self.net.source_dt
        spiking = self.rng.random((steps, self.sources)) < min(0.3, 0.02 * self.net.source_dt)
        spiking[:, self.null] = False
        step, neuron = spiking.nonzero()
        times = (step + self.rng.uniform(0.01, 0.98, len(step))) * dt
        for k, i in zip(step.tolist(), neuron.tolist(), strict=True):
            self.net.spikes.setdefault(k, []).append(i)
        return b2.SpikeGeneratorGroup(self.sources, neuron, times, dt=dt)

    def _edit(self, shown, edit):
        weights = edit.set.get("weight")
        born = np.broadcast_to(shown.newborn("weight", edit), len(edit.add)).tolist()
        add, first = [], np.cumsum([0, *((s[1] - s[0]) * self.outputs for s, _ in self.net.pairs)])
        for key, w in zip(edit.add.tolist(), born, strict=True):
            at = int(first.searchsorted(key, "right")) - 1
            sources = self.net.pairs[at][0]
            post, pre = divmod(key - int(first[at]), sources[1] - sources[0])
            add.append((pre + sources[0], post, w))
        weights = None if weights is None else np.array(weights).tolist()
        return weights, np.array(edit.drop).tolist(), add

    # -- both -----------------------------------------------------------------------------------

    def values(self, *names):
        """Of the synapses in use, by source, target and weight: pre, post, and these variables."""
        s = self.synapses
        columns = [np.array(s.i), np.array(s.j), *(np.array(getattr(s, n)) for n in names)]
        return sorted(zip(*(c[self.used].tolist() for c in columns), strict=True))

    def run(self):
        """Simulate in Brian2, then by the oracle with the edits that were made."""
        ends = (np.array(getattr(self.synapses, name))[self.used].tolist() for name in "ijw")
        start = list(zip(*ends, strict=True))
        drive(self.session)
        self.oracle = Simulation(self.net, start)
        last = TICKS * self.net.period - self.net.source_dt
        self.oracle.run(last + 1, self.edits)
        return self
