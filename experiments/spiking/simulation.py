"""A cell's network, wired for its rule, and what is measured in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewire import Session, rng_for
from rewire.analysis import topography
from rewire.compatibility import as_rules
from rewire.graph import Graph
from rewire.models.spiking.brian import brian2
from rewire.rule_budget import budget_of
from rewire.worlds.brian.loop import ORDER, drive
from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

from .cells import FORWARD, LATERAL, Settings

RASTER = 2  # seconds before the end whose spikes are kept


class Simulation:
    """A spiking model as a world, with one rule's session in it.

    Populations "source" and "target", projections "ff" and, where the model has one, "lateral".
    A rule that goes back to its start shares the ticks among its trainings, of which there is one
    more than its ladder has rungs.

    Raises ValueError for what the rule, or the network, cannot do.
    """

    def __init__(self, s: Settings):
        self.b2 = b2 = brian2()
        self.settings, self.model = s, s.model
        self.built = s.model.build(seed=s.seed)
        neurons = self.built.neurons
        self.counter = b2.SpikeMonitor(neurons, record=False, name="rewire_run_count")
        self.raster = b2.SpikeMonitor(neurons, name="rewire_run_raster")
        self.raster.active = False
        self.built.network.add(self.counter, self.raster)
        self.wiring = Wiring(
            self.built.network,
            self.built.synapses,
            null=self.built.null,
            w_max=s.model.g_max,
            traces=("r", "o"),
            period=s.period * b2.ms,
        )
        self.ends = {"source": self.built.sources[0], "target": self.built.targets[0]}
        projections = {FORWARD: ("source", "target")}
        if s.model.lateral:
            projections[LATERAL] = ("target", "target")
        world = Brian(
            self.wiring,
            sources=self.ends,
            targets={"target": self.ends["target"]},
            projections=projections,
            positions=dict.fromkeys(self.ends, s.model.positions),
        )
        graph = world.graph()
        (rule,) = as_rules(s.rule)
        trainings = 1 + _rungs(rule, graph)
        span = s.ticks // trainings
        if not span:
            raise ValueError(
                f"{s.rule.name} trains {trainings} times in {s.ticks} ticks: simulate longer."
            )
        self.session = Session(world, graph, s.rule, span=span, seed=s.seed, rewinds=True,
                               limits=s.limits)  # fmt: skip
        self.ticks = span * trainings
        self.first_weights = self._weights(self.session.graph)

    # -- time -----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return round(self.wiring.step * self.wiring.dt, 9)

    @property
    def end(self) -> float:
        """Simulated seconds after the session's last tick, if no rule ends it sooner."""
        return self.ticks * self.wiring.period

    @property
    def raster_from(self) -> int:
        """The full second at which spikes begin to be kept."""
        return max(0, math.ceil(self.end - 1e-9) - RASTER)

    def drive(self, until: float, pause: Any) -> None:
        """Simulate to ``until``, or to the first full second at which ``pause()`` is true."""
        self.raster.active = self.now >= self.raster_from
        a_second = round(1 / self.wiring.dt)

        def look() -> None:
            if (self.wiring.step + 1) % a_second == 0 and pause():
                self.built.network.stop()

        clock = self.built.neurons.clock
        operation = self.b2.NetworkOperation(
            look, clock=clock, when="end", order=ORDER + 1, name="rewire_run_pause"
        )
        self.built.network.add(operation)
        try:
            drive(self.session, duration=(until - self.now) * self.b2.second, namespace={})
        finally:
            self.built.network.remove(operation)

    # -- what is measured -----------------------------------------------------------------------

    def spikes(self) -> int:
        """Of all targets since the start."""
        return int(np.asarray(self.counter.count)[self.ends["target"]].sum())

    def structure(self, graph: Graph) -> dict[str, float | None]:
        """How sharp the map is, how true to its place, and what it is made of."""
        targets = self.model.size
        counts = {p.name: n for p, n in zip(graph.projections, self.session.counts, strict=True)}
        return {
            **{k: _number(v) for k, v in topography.quality(graph, FORWARD).items()},
            "ff_synapses": counts[FORWARD] / targets,
            "lateral_synapses": counts.get(LATERAL, 0) / targets,
            **self._proportions(graph),
        }

    def _proportions(self, graph: Graph) -> dict[str, float | None]:
        """Feed-forward weight over that at the start, by the mean of synapses and by the sum.

        The published numbers are of means. The authors' analysis has sums since May 2018, which
        also count how many synapses there are.
        """
        now, first = self._weights(graph), self.first_weights
        if not float(first.sum()):
            return {"mean_weight_proportion": None, "weight_proportion": None}
        mean = float(now.mean() / first.mean()) if len(now) else None
        return {
            "mean_weight_proportion": mean,
            "weight_proportion": float(now.sum() / first.sum()),
        }

    def controls(self, graph: Graph) -> dict[str, float | None]:
        """The map beside shuffled ones: their means, and p of the paired test over neurons.

        "conn" against as many synapses drawn from the formation kernel, "weight" against the same
        synapses with the weights of each neuron permuted.
        """
        rng = np.random.default_rng(rng_for(self.settings.seed, "controls").key)
        sigma = self.model.sigma_form / self.model.side
        shuffled = {
            "conn": topography.connectivity_control(graph, FORWARD, rng, sigma_form=sigma),
            "weight": topography.weight_control(graph, FORWARD, rng),
        }
        ideal = topography.places(graph, FORWARD)
        numbers: dict[str, float | None] = {}
        for what, column in (("conn", None), ("weight", "weight")):
            map_ = topography.topography(graph, FORWARD, column)
            control = topography.locate(shuffled[what], ideal)
            for name, of, by in (
                ("sigma_aff", map_.sigma, control.sigma),
                ("ad", map_.deviation, control.deviation),
            ):
                compared = topography.compare(of, by)
                numbers[f"control_{name}_{what}"] = _number(compared.control)
                numbers[f"p_{name}_{what}"] = compared.p
        return numbers

    def rastered(self) -> dict[str, dict[str, Tensor]]:
        """Who of each population spiked in which time step, counted from `raster_from`."""
        i, t = np.asarray(self.raster.i), np.asarray(self.raster.t / self.b2.second)
        step = np.rint((t - self.raster_from) / self.wiring.dt).astype(np.int32)
        kept = {}
        for name, where in self.ends.items():
            inside = (i >= where.start) & (i < where.stop)
            unit = (i[inside] - where.start).astype(np.int32)
            kept[name] = {"unit": torch.from_numpy(unit), "step": torch.from_numpy(step[inside])}
        return kept

    @staticmethod
    def _weights(graph: Graph) -> Tensor:
        """Of the feed-forward synapses."""
        return graph["weight"][graph.rows(graph.space.index(FORWARD))]

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Of the network and the session; the edit log is kept elsewhere."""
        return {
            "wiring": self.wiring.state_dict(),
            "session": self.session.state_dict(history=False),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.wiring.load_state_dict(state["wiring"])
        self.session.load_state_dict(state["session"])


def _rungs(rule: Any, graph: Graph) -> int:
    """How often the rule goes back to the start of its training."""
    names = [p.name for p in graph.projections]
    return len(budget_of(rule).rungs(rule, graph.counts().tolist(), names))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
