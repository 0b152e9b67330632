"""Replicates stacked on one device: ``python -m benchmarks.gpu [--json] [--quick]``.

Replicate-steps per second of R = 1, 8, 32 and 128 replicates of LeNet-300-100 and of a small
convolutional net with BatchNorm, under RigL at every hundredth step, Adam, batch 60:
``..._serial_per_s``: a loop over R sessions of the masked world, fused Adam, each with its own
batches; ``..._stacked_per_s``: ``rewire.worlds.stacked``; ``..._graphs_per_s``: the same,
replaying CUDA graphs. Then their ratios to the loop. All on the same device in the same run, wall
time, synchronised. On a CPU the numbers of graphs are null; ``--quick`` measures nothing there
(every rate is null) and only checks, as every run does, that gradients and edits of stacked
replicates are those of runs of their own, in float64: ``..._gradients_differ_by``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks.suite import Result, command
from rewire import models
from rewire.rule import Rule
from rewire.session import Session
from rewire.starting_graph import first_graph
from rewire.worlds.masked.world import Masked
from rewire.worlds.stacked.loop import Batches, drive
from rewire.worlds.stacked.stack import Stacked

BATCH, EXAMPLES, DENSITY, EVERY = 60, 6000, 0.1, 100
REPLICATES = (1, 8, 32, 128)
TOLERANCE = 1e-9  # of a gradient in float64, against one of up to 1


def lenet(seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed)
    return models.build("lenet-300-100", generator=g, input_shape=(1, 28, 28), classes=10)


def small_conv(seed: int) -> nn.Module:
    """Two 3x3 convolutions of 16 and 32 with BatchNorm, then linear: 20,432 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


NETS: dict[str, Callable[[int], nn.Module]] = {"lenet": lenet, "conv": small_conv}


def loss(model: Callable[..., Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def examples(device: torch.device, dtype: torch.dtype, n: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    """Noise: speed does not depend on what is learned."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 1, 28, 28, generator=g), torch.randint(10, (n,), generator=g)
    return x.to(device, dtype), y.to(device)


def stack_of(
    net: str, n: int, device: torch.device, dtype: torch.dtype, rule: Rule
) -> tuple[Stacked, list[Session]]:
    own = [NETS[net](r).to(device, dtype) for r in range(n)]
    stack = Stacked(own, [torch.optim.Adam(m.parameters(), lr=1e-3) for m in own])
    return stack, [session(world, r, rule) for r, world in enumerate(stack.worlds)]


def session(world: Masked, r: int, rule: Rule) -> Session:
    return Session(world, first_graph(world, DENSITY, "erk", "random", r), rule, span=10**9, seed=r)


def alone(net: str, r: int, device: torch.device, dtype: torch.dtype, rule: Rule) -> Session:
    model = NETS[net](r).to(device, dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return session(Masked(model, optimizer), r, rule)


def one_step(net: Session, batch: tuple[Tensor, Tensor]) -> None:
    world = net.world
    assert isinstance(world, Masked)
    world.optimizer.zero_grad(set_to_none=True)
    loss(world.model, batch).backward()
    net.step()


# -- correctness --------------------------------------------------------------------------------


def disagreement(net: str, device: torch.device, n: int = 2, steps: int = 3) -> float:
    """The largest difference of a dense gradient between stacked and separate runs, in float64.

    Raises AssertionError where edits differ, or gradients by more than rounding.
    """
    rule = rewire.SET(when=rewire.every(2))
    stack, nets = stack_of(net, n, device, torch.float64, rule)
    data = Batches(*examples(device, torch.float64, 4 * BATCH), BATCH, range(n))
    seen: list[dict[str, Tensor]] = []
    drive(*nets, loss=loss, data=data, steps=steps, on_step=lambda _: seen.append(stack.grads),
          graphs=False)  # fmt: skip
    worst = 0.0
    for r, held in enumerate(nets):
        own, batches = alone(net, r, device, torch.float64, rule), data.of(r)
        assert isinstance(own.world, Masked)
        for step in range(steps):
            batch = batches(step)
            want = torch.autograd.grad(loss(own.world.model, batch),
                                       list(own.world.model.parameters()))  # fmt: skip
            pairs = zip(seen[step].values(), want, strict=True)
            worst = max(worst, *(float((a[r] - b).abs().max()) for a, b in pairs))
            one_step(own, batch)
        if not torch.equal(own.topology, held.topology) or not len(own.history):
            raise AssertionError(f"{net}: the edits of replicate {r} are not those of its own run.")
    if not worst <= TOLERANCE:
        raise AssertionError(f"{net}: gradients in a stack differ by {worst:.3g} from those alone.")
    return worst


# -- speed --------------------------------------------------------------------------------------


def rate(advance: Callable[[int], None], replicates: int, device: torch.device,
         seconds: float) -> float:  # fmt: skip
    """Replicate-steps per second: ``advance(k)`` makes k steps of all; the median of 5 runs."""

    def timed(k: int) -> float:
        wait(device)
        start = time.perf_counter()
        advance(k)
        wait(device)
        return time.perf_counter() - start

    timed(3)  # kernels are chosen, graphs captured
    k = max(1, int(seconds / 5 / max(timed(1), 1e-6)))
    return replicates * k / sorted(timed(k) for _ in range(5))[2]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rates(net: str, n: int, device: torch.device, seconds: float) -> Result:
    """The three rates of ``n`` replicates and their ratios; None for graphs on a CPU."""
    rule = rewire.RigL(when=rewire.every(EVERY))
    data = Batches(*examples(device, torch.float32), BATCH, range(n))
    own = [alone(net, r, device, torch.float32, rule) for r in range(n)]

    def serial(k: int) -> None:
        for _ in range(k):
            x, y = data([s.data_step for s in own])
            for r, s in enumerate(own):
                one_step(s, (x[r], y[r]))

    found: dict[str, float | None] = {"serial": rate(serial, n, device, seconds)}
    for name, graphs in (("stacked", False), ("graphs", True)):
        if graphs and device.type != "cuda":
            found[name] = None
            continue
        _, nets = stack_of(net, n, device, torch.float32, rule)

        def stacked(k: int, nets: list[Session] = nets, graphs: bool = graphs) -> None:
            drive(*nets, loss=loss, data=data, steps=k, graphs=graphs)

        found[name] = rate(stacked, n, device, seconds)
    return _named(net, n, found)


def _named(net: str, n: int, found: dict[str, float | None]) -> Result:
    out: Result = {f"{net}_{n}_{name}_per_s": value for name, value in found.items()}
    base = found["serial"]
    for name in ("stacked", "graphs"):
        value = found[name]
        out[f"{net}_{n}_{name}_over_serial"] = None if value is None or not base else value / base
    return out


# -- all of it ----------------------------------------------------------------------------------


def measure(quick: bool = False, device: str | None = None) -> Result:
    """Every rate, and the device.

    quick: on a CPU only the checks, on a GPU small numbers of replicates for seconds.
    """
    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out: Result = {f"{net}_gradients_differ_by": disagreement(net, on) for net in NETS}
    replicates = REPLICATES[:2] if quick else REPLICATES
    for net in NETS:
        for n in replicates:
            if quick and on.type == "cpu":
                out |= _named(net, n, dict.fromkeys(("serial", "stacked", "graphs")))
            else:
                out |= rates(net, n, on, 1.0 if quick else 5.0)
    name = torch.cuda.get_device_name(on) if on.type == "cuda" else "cpu"
    return {**out, "device": name}


def main(arguments: Sequence[str] | None = None) -> int:
    where = {"help": "cpu, cuda, cuda:1 ...; a GPU where there is one"}
    return command("gpu", __doc__, measure, {}, arguments, device=where)


if __name__ == "__main__":
    sys.exit(main())
