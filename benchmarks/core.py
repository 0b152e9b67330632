"""Speed of the core on a CPU, as ratios: ``python -m benchmarks.core [--json] [--quick]``.

====================================== ==================================================== ======
name                                   what is divided by what                              bar
====================================== ==================================================== ======
``dense_step_over_dense``              two equal dense steps: the noise of this run
``masked_step_over_dense``             Static at density .1, Adam / dense fused Adam        1.06
``data_path_share``                    making a batch / the training step that it is in     .05
``data_path_share_by_difference``      (step with batches - step on one batch) / the former
``deep_r_step_over_dense``             DEEP R at density .02, SGD / dense fused SGD         1.10
``deep_r_adam_step_over_dense``        the same with Adam
``deep_r_5_step_over_dense``           DEEP R at density .05, SGD / dense fused SGD         1.20
``deep_r_5_step_deep_rewire_over_ours`` the same by deep-rewire, on dense weights / ours
``soft_deep_r_step_over_dense``        soft-DEEP R at density .02, SGD / dense fused SGD    3
``structural_plasticity_step_over_dense`` the same of structural plasticity
``rigl_update_1e6_over_np_partition``  one update of 1e6 weights / a plain one with numpy   1
``rigl_update_1e6_rigl_torch_over_ours`` rigl-torch's update of 1e6 weights / ours          25
``prune_1e7_kthvalue_over_ours``       torch.kthvalue of 1e7 |w| / the smallest 20 %, rows  10
``growth_1e7_randperm_over_ours``      nonzero, randperm / 1e4 absent of 1e7, density .5    50
``deep_r_tick_5e6_ms``                 DEEP R's whole tick, 4.9e6 edges, CPU ms             10
``deep_r_tick_5e6_over_copy``          the same / a copy of those edges' keys and columns
``conv_masked_over_dense``             Static / dense, both channels last                    1.06
``conv_deep_r_over_dense``             DEEP R at every step / dense, both channels last
``conv_contiguous_over_channels_last`` Static in the two orders of numbers
``conv_bf16_over_float32``             Static, passes under autocast / in float32
``conv_compiled_over_eager``           Static, passes by torch.compile / without
``update_slope_deep_r``                log time / log edges of an update, 1e4 to 1e7 edges  1.1
====================================== ==================================================== ======

RigL's two also for 1e7 weights, the last one also for SET, RigL and IMP, with
``update_ns_an_edge_*`` at 1e7. Steps are of LeNet-300-100 on mnist5k, batch 60, fused
optimisers; ``conv_*`` of ResNet-20 on 32 x 32 pictures, batch 32, Adam, density .1, and
``conv_dense_over_dense`` their noise. A RigL update replaces 30 % of the synapses of one linear
layer at density .1; ours is all that a session does in such a step (gradient kept, rule, graph,
masks, log). Every mask is compared with that of a full sort. rigl-torch and deep-rewire are in the
extra ``bench``; without them their ratios are null, and ``rigl_torch`` and ``deep_rewire`` say why.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks import peers
from benchmarks.passes import conv_ratios
from benchmarks.scale import RULES, deep_r_tick, selections, update_slopes
from benchmarks.suite import Result, at_least, at_most, command
from benchmarks.timing import interleaved, ratio
from rewire import models, rules
from rewire.experiments import data
from rewire.experiments.trainings.batches import Batches
from rewire.graph import Graph
from rewire.worlds.masked.world import Masked

BATCH, STEPS = 60, 10**6
BARS = {
    "masked_step_over_dense": at_most(1.06),
    "data_path_share": at_most(0.05),
    "deep_r_step_over_dense": at_most(1.10),
    "deep_r_5_step_over_dense": at_most(1.20),
    "soft_deep_r_step_over_dense": at_most(3.0),
    "rigl_update_1e6_over_np_partition": at_most(1.0),
    "rigl_update_1e7_over_np_partition": at_most(1.0),
    "rigl_update_1e6_rigl_torch_over_ours": at_least(25.0),
    "rigl_update_1e7_rigl_torch_over_ours": at_least(25.0),
    "prune_1e7_kthvalue_over_ours": at_least(10.0),
    "growth_1e7_randperm_over_ours": at_least(50.0),
    "deep_r_tick_5e6_ms": at_most(10.0),
    **{f"update_slope_{rule}": at_most(1.1) for rule in RULES},
    "conv_masked_over_dense": at_most(1.06),
}


# -- training steps -----------------------------------------------------------------------------


def _sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, fused=True)


def _adam(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1.2e-3, fused=True)


class Step:
    """One training step of LeNet-300-100 on each call, dense or under a rule.

    batches: what gives the next (x, y).
    """

    def __init__(
        self,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
        batches: Callable[[], tuple[Tensor, Tensor]],
        rule: rewire.Rule | None = None,
        density: float = 1.0,
    ):
        self.batches = batches
        self.model = models.build(
            "lenet-300-100",
            generator=torch.Generator().manual_seed(0),
            input_shape=(1, 28, 28),
            classes=10,
        )
        self.optimizer = optimizer(self.model.parameters())
        self.advance: Callable[[], Any] = self.optimizer.step
        self.net = None
        if rule is not None:
            self.net = rewire.attach(
                self.model, self.optimizer, rule, density=density, steps=STEPS, seed=0
            )
            self.advance = self.net.step

    def __call__(self) -> None:
        x, y = self.batches()
        self.optimizer.zero_grad(set_to_none=True)
        cross_entropy(self.model(x), y).backward()
        self.advance()


class DeepRewireStep(Step):
    """The same step by the package deep-rewire: its DEEP R for the weights, SGD for the biases."""

    def __init__(self, deep_rewire: Any, batches: Callable[[], tuple[Tensor, Tensor]], edges: int):
        super().__init__(_sgd, batches)
        weights, others = deep_rewire.convert(self.model, handle_biases="ignore")
        self.optimizer = deep_rewire.DEEPR(weights, nc=edges, lr=0.05, l1=1e-5)
        rest = _sgd(iter(others))

        def advance() -> None:
            self.optimizer.step()
            rest.step()
            rest.zero_grad(set_to_none=True)

        self.advance = advance


def step_ratios(repetitions: int, calls: int) -> Result:
    """Ratios of training steps; ``calls`` steps of each variant in each repetition."""
    split = data.load("mnist5k").train
    path = Batches(split, BATCH, seed=0)
    ready = [(x.clone(), y.clone()) for x, y in map(path, range(path.per_epoch - 1))]
    counter, spent = iter(range(STEPS)), list[int]()

    def prepared() -> Callable[[], tuple[Tensor, Tensor]]:
        return cycle(ready).__next__

    def timed() -> tuple[Tensor, Tensor]:
        start = time.process_time_ns()
        batch = path(next(counter))
        spent.append(time.process_time_ns() - start)
        return batch

    sparse = {
        "masked_adam": Step(_adam, prepared(), rules.get("Static")(), 0.1),
        "deep_r_sgd": Step(_sgd, prepared(), rules.get("DeepR")(), 0.02),
        "deep_r_adam": Step(_adam, prepared(), rules.get("DeepR")(), 0.02),
        "deep_r_5_sgd": Step(_sgd, prepared(), rules.get("DeepR")(), 0.05),
        "soft_deep_r_sgd": Step(_sgd, prepared(), rules.get("SoftDeepR")(), 0.02),
        "plasticity_sgd": Step(_sgd, prepared(), rules.get("StructuralPlasticity")(), 0.02),
    }
    deep_rewire, said = peers.deep_rewire()
    variants = {
        "dense_adam": Step(_adam, prepared()),
        "dense_adam_again": Step(_adam, prepared()),
        "dense_sgd": Step(_sgd, prepared()),
        "fixed_batch": Step(_adam, lambda: ready[0]),
        "data_path": Step(_adam, timed),
        **sparse,
    }
    if deep_rewire is not None:
        net = sparse["deep_r_5_sgd"].net
        assert net is not None
        variants["deep_rewire"] = DeepRewireStep(deep_rewire, prepared(), net.edges)
    times = interleaved(variants, repetitions, calls)
    for name, step in sparse.items():
        _check_masks(name, step)
    difference = (times["data_path"] - times["fixed_batch"]) / times["data_path"]
    return {
        "dense_step_over_dense": ratio(times, "dense_adam_again", "dense_adam"),
        "dense_adam_step_us": float(np.median(times["dense_adam"])) * 1e6,
        "dense_sgd_step_us": float(np.median(times["dense_sgd"])) * 1e6,
        "masked_step_over_dense": ratio(times, "masked_adam", "dense_adam"),
        "data_path_share": float(np.median(spent) * 1e-9 / np.median(times["data_path"])),
        "data_path_share_by_difference": float(np.median(difference)),
        "deep_r_step_over_dense": ratio(times, "deep_r_sgd", "dense_sgd"),
        "deep_r_adam_step_over_dense": ratio(times, "deep_r_adam", "dense_adam"),
        "deep_r_5_step_over_dense": ratio(times, "deep_r_5_sgd", "dense_sgd"),
        "deep_r_5_step_deep_rewire_over_ours": (
            None if deep_rewire is None else ratio(times, "deep_rewire", "deep_r_5_sgd")
        ),
        "deep_rewire": said,
        "soft_deep_r_step_over_dense": ratio(times, "soft_deep_r_sgd", "dense_sgd"),
        "structural_plasticity_step_over_dense": ratio(times, "plasticity_sgd", "dense_sgd"),
    }


def _check_masks(name: str, step: Step) -> None:
    """Weights are 0 wherever the graph has no synapse."""
    assert step.net is not None
    parameters = dict(step.model.named_parameters())
    for parameter, mask in step.net.masks().items():
        if parameters[parameter].detach()[~mask].count_nonzero():
            raise AssertionError(f"{name}: {parameter} is not 0 outside its mask.")


# -- RigL's update ------------------------------------------------------------------------------

FRACTION, DENSITY = 0.3, 0.1


def update_by_sort(weight: np.ndarray, grad: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask after one update, by full sorts; ties go to the smaller index, flat arrays."""
    k = int(FRACTION * np.count_nonzero(mask))
    kept = mask.copy()
    kept[np.argsort(np.where(mask, np.abs(weight), np.inf), kind="stable")[:k]] = False
    out = kept.copy()
    out[np.argsort(np.where(kept, np.inf, -np.abs(grad)), kind="stable")[:k]] = True
    return out


def update_by_partition(weight: np.ndarray, grad: np.ndarray, mask: np.ndarray) -> None:
    """The same in place, as one would write it by hand: index sets and ``np.partition``.

    Weights of synapses that are dropped, and of new ones, become 0.
    """
    active = np.flatnonzero(mask)
    k = int(FRACTION * len(active))
    drop = active[_lowest(np.abs(weight[active]), k)]
    score = -np.abs(grad)
    mask[drop] = False
    score[mask] = np.inf
    grow = _lowest(score, k)
    mask[grow] = True
    gone = np.concatenate([np.setdiff1d(drop, grow, assume_unique=True),
                           np.setdiff1d(grow, drop, assume_unique=True)])  # fmt: skip
    weight[gone] = 0


def _lowest(values: np.ndarray, k: int) -> np.ndarray:
    cut = np.partition(values, k - 1)[k - 1]
    below = np.flatnonzero(values < cut)
    return np.concatenate([below, np.flatnonzero(values == cut)[: k - len(below)]])


class Update:
    """One layer at density .1, updated by us, by plain numpy and by rigl-torch, from equal starts.

    shape: of the layer's weight.
    """

    def __init__(self, shape: tuple[int, int], peer: Any | None):
        self.rng = np.random.default_rng(0)
        n = shape[0] * shape[1]
        self.mask = np.zeros(n, bool)
        self.mask[self.rng.choice(n, int(DENSITY * n), replace=False)] = True
        self.weight, self.grad = np.empty(n, np.float32), np.empty(n, np.float32)
        self.layer = self._layer(shape)
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1)
        rule = rewire.RigL(fraction=FRACTION, when=rewire.every(1))
        world = Masked(self.layer, optimizer)
        graph = Graph.from_masks(world.space, {"weight": torch.from_numpy(self.mask).view(shape)})
        self.net = rewire.Session(world, graph, rule, span=STEPS)
        self.peer = None if peer is None else self._peer(peer, shape)
        self.variants: dict[str, Callable[[], object]] = {
            "ours": self.net.step,
            "partition": lambda: update_by_partition(self.weight, self.grad, self.mask),
        }
        if self.peer is not None:
            self.variants["rigl_torch"] = self.peer._rigl_step

    def _layer(self, shape: tuple[int, int]) -> nn.Linear:
        layer = nn.Linear(shape[1], shape[0], bias=False)
        layer.weight.grad = torch.empty(shape)
        return layer

    def _peer(self, rigl_torch: Any, shape: tuple[int, int]) -> Any:
        layer = self._layer(shape)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        scheduler = rigl_torch.RigLScheduler(
            layer, optimizer, DENSITY, T_end=STEPS, ignore_linear_layers=False, alpha=FRACTION
        )
        scheduler.backward_masks[0].copy_(torch.from_numpy(self.mask).view(shape))
        return scheduler

    def renew(self) -> None:
        """New weights on the mask, and new gradients, the same for all."""
        self.rng.standard_normal(out=self.weight, dtype=np.float32)
        self.weight *= self.mask
        self.rng.standard_normal(out=self.grad, dtype=np.float32)
        w = torch.from_numpy(self.weight).view_as(self.layer.weight)
        g = torch.from_numpy(self.grad).view_as(w)
        layers = [self.layer.weight]
        if self.peer is not None:
            layers.append(self.peer.W[0])
            self.peer.backward_hook_objects[0].dense_grad = g.clone()
        for parameter in layers:
            parameter.data.copy_(w)
            assert parameter.grad is not None
            parameter.grad.copy_(g)

    def check(self) -> None:
        """Raise AssertionError unless one more update gives all the mask of a full sort."""
        self.renew()
        want = update_by_sort(self.weight, self.grad, self.mask)
        for variant in self.variants.values():
            variant()
        found = {
            "ours": self.net.masks()["weight"].numpy().reshape(-1),
            "partition": self.mask,
        }
        if self.peer is not None:
            found["rigl_torch"] = self.peer.backward_masks[0].numpy().reshape(-1)
        for name, mask in found.items():
            if not np.array_equal(mask, want):
                wrong = np.count_nonzero(mask != want)
                raise AssertionError(f"{name}: {wrong} synapses differ from those of a full sort.")


def rigl_ratios(shapes: dict[str, tuple[int, int]], repetitions: int) -> Result:
    """Ratios of one RigL update for layers of these shapes."""
    out: Result = {}
    peer, out["rigl_torch"] = peers.rigl_torch()
    for name, shape in shapes.items():
        update = Update(shape, peer)
        update.check()
        times = interleaved(update.variants, repetitions, prepare=update.renew)
        out[f"rigl_update_{name}_over_np_partition"] = ratio(times, "ours", "partition")
        out[f"rigl_update_{name}_rigl_torch_over_ours"] = (
            None if peer is None else ratio(times, "rigl_torch", "ours")
        )
        out[f"rigl_update_{name}_ms"] = float(np.median(times["ours"])) * 1e3
    return out


# -- all of it ----------------------------------------------------------------------------------


def measure(quick: bool = False) -> Result:
    """Every ratio.

    quick: seconds instead of minutes, on small layers: shows that it runs, measures nothing.
    """
    shapes = {"1e6": (1000, 1000), "1e7": (2500, 4000)}
    if quick:
        shapes = {name: (100, 50 * i) for i, name in enumerate(shapes, 1)}
    return {
        **step_ratios(*((2, 2) if quick else (25, 40))),
        **conv_ratios(*((2, 1) if quick else (32, 15)), compiled=not quick),
        **rigl_ratios(shapes, 2 if quick else 11),
        **selections(10**5 if quick else 10**7, 2 if quick else 7),
        **deep_r_tick(256 if quick else 65_536, 2 if quick else 25),
        **update_slopes([10**e for e in ((2, 3, 4) if quick else (4, 5, 6, 7))], 2 if quick else 5),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("core", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())
