"""Early-Time tickets: tickets of spiking networks, searched for in fewer time steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from ..fields import Count, Positive
from ..graph import Edit, Graph
from ..rule import State
from ..signals import Signals, signal
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock
from .early_bird import EarlyBird

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{kim2022exploring,
  title = {Exploring Lottery Ticket Hypothesis in Spiking Neural Networks},
  author = {Kim, Youngeun and Li, Yuhang and Park, Hyoungseob and Venkatesha, Yeshwanth and Yin,
    Ruokai and Panda, Priyadarshini},
  booktitle = {European Conference on Computer Vision},
  eprint = {2207.01382},
  archiveprefix = {arXiv},
  year = {2022},
}
"""


@dataclass(frozen=True, kw_only=True)
class EarlyTime(EarlyBird):
    """An Early-Time ticket, found by Early-Bird (Kim et al. 2022, arXiv:2207.01382): the ticket of
    a spiking network is searched with fewer time steps than the network has, and trained with all.

    At the ``look``-th tick the outputs p_T of the network, softmax of their mean over its own T
    time steps, are compared with those of fewer: d_t = KL(p_T || p_t), a mean over the probe. The
    first of the candidates with d_t / max d below ``threshold`` is the number of time steps with
    which the network is trained from then on (T if there is none), until the ticket is drawn as by
    `EarlyBird`; then it has all T again.

    candidates: numbers of time steps, ascending, fewer than the model's own: the authors' 2, 3 and
        4 for T = 5.
    threshold:  the authors' 0.6.
    look:       the paper's second epoch, where ``when`` is an epoch.

    The model, or its modules, must have an attribute ``timesteps`` that the forward pass reads, and
    return the mean of the outputs over the time steps. Masked world only: the sparse world compiles
    a pass for a fixed number of steps.

    Deviations:
    - Those of `EarlyBird`, but for the penalty.
    - Training continues from the current weights; the authors rewind them to the start and train
      anew.
    - The authors compare masks by the share of all weights in which they differ, below 0.02
      (``of="network", distance=0.02``), and one batch of 1,000 is their probe.
    - Their other search, in rounds, is `IMP` on a model with fewer time steps.

    >>> import torch, rewire
    >>> class Leaky(torch.nn.Linear):  # a mean over time of a leaky integrator
    ...     timesteps = 5
    ...     def forward(self, x):
    ...         return super().forward(x) * sum(1 - 0.5**t for t in range(1, self.timesteps + 1))
    >>> layer = Leaky(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    >>> probe = rewire.Probe([torch.randn(8, 20)], lambda model, x: model(x).square().mean())
    >>> rule = rewire.EarlyTime(when=rewire.every(2), history=1, until=None)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8, probe=probe)
    >>> times = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     times.append(layer.timesteps)
    >>> times[0], times[3] < 5, times[-1], net.edges
    (5, True, 5, 20)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"time_divergence"})
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Kim et al. 2022, arXiv:2207.01382"
    bibtex: ClassVar[str] = PAPER

    candidates: tuple[Count, ...] = (2, 3, 4)
    threshold: Annotated[Positive, Tunable(0.1, 1.0)] = 0.6
    look: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.candidates or list(self.candidates) != sorted(set(self.candidates)):
            raise ValueError(
                "EarlyTime.candidates: one number of time steps or more, ascending, got "
                f"{self.candidates}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        self._divergence(signals.at(graph))  # refused before step 0 for a model without time
        edit, state = super().start(graph, signals, rng)
        return edit, {**state, "ticks": 0, "timesteps": 0}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        if state["drawn"]:
            return super().update(graph, signals, state, rng, clock)
        edit, after = super().update(graph, signals, state, rng, clock)
        ticks, timesteps = state["ticks"] + 1, state["timesteps"]
        if after["drawn"]:
            timesteps = 0
        elif ticks == self.look:
            timesteps = self._chosen(self._divergence(signals))
        return edit, {**after, "ticks": ticks, "timesteps": timesteps}

    def _divergence(self, signals: Signals) -> Tensor:
        return signals.pair("time_divergence", torch.tensor(self.candidates))

    def _chosen(self, divergence: Tensor) -> int:
        """The first candidate whose divergence is a small part of the largest; 0 for none."""
        near = divergence <= 0 if not divergence.max() > 0 else (
            divergence / divergence.max() < self.threshold
        )  # fmt: skip
        return next((n for n, yes in zip(self.candidates, near.tolist(), strict=True) if yes), 0)


@signal("masked", "time_divergence", needs_probe=True)
@torch.no_grad()
def time_divergence(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """KL(p_T || p_t) of the model's outputs with its own T time steps and with fewer, a mean over
    the examples of the probe; not of synapses: in the place of keys stand the numbers t, (k,)."""
    time = world.time
    if time.own <= int(keys.max()):
        raise ValueError(
            "EarlyTime looks for fewer time steps than the model's own, which its attribute "
            f"'timesteps' says: it is {time.own or 'missing'}, the candidates are {keys.tolist()}."
        )
    sums, n = torch.zeros(len(keys), dtype=torch.float64), 0
    for batch in range(len(world.probe.batches)):
        with time.of(0):
            whole = _outputs(world, batch).softmax(-1)
        n += whole.numel() // whole.shape[-1]
        for i, t in enumerate(keys.tolist()):
            with time.of(t):
                fewer = _outputs(world, batch).log_softmax(-1)
            sums[i] += float(kl_div(fewer, whole, reduction="sum"))
    (total,) = world.summed([sums])
    return total / world.counted(n)


def _outputs(world: DenseModel, batch: int) -> Tensor:
    """What the model computes of a probe's batch, as the probe's loss calls it."""
    seen: list[Tensor] = []
    forward = world.model_with(world.effective_weights())

    def model(*args: object, **kwargs: object) -> Tensor:
        seen.append(forward(*args, **kwargs))
        return seen[-1]

    with torch.random.fork_rng(list({p.device for p in world.parameters if p.is_cuda})):
        world.probe.loss(model, world.probe.batches[batch])
    if len(seen) != 1 or not isinstance(seen[0], Tensor):
        raise ValueError("EarlyTime needs a model whose output, called once, is one tensor.")
    return seen[0].double()
