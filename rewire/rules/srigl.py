"""SRigL: structured RigL, with constant fan-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph, Projection
from ..rule import Rule, State
from ..select.rows import matrix_of, place_of
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Clock, Cosine, Every, value

PAPER = """
@misc{lasby2023dynamic,
  title = {Dynamic Sparse Training with Structured Sparsity},
  author = {Lasby, Mike and Golubeva, Anna and Evci, Utku and Nica, Mihai and Ioannou, Yani},
  eprint = {2305.02299},
  archiveprefix = {arXiv},
  year = {2023},
}
"""


@dataclass(frozen=True, kw_only=True)
class SRigL(Rule):
    """Structured RigL (Lasby et al. 2023, arXiv:2305.02299, section 3.1): every unit of a layer has
    the same number of incoming synapses, and units with too few salient ones are ablated.

    On its ticks the rule takes the place of the optimiser step. In each projection of K synapses,
    with f = int(fraction K): salient are the K - f synapses of largest |w| and, among all others
    including those just dropped, the f of largest |dL/dw|. A unit with fewer than ``min_salient``
    times the fan-in of salient ones is ablated; the K synapses are divided evenly among the other
    units. Each unit keeps the largest |w| of those that were kept, up to its fan-in, and grows the
    rest where its |dL/dw| is largest. A synapse that is dropped and grown in one tick keeps its
    value and moments; new ones start at weight 0 with moments 0.

    fraction, when: as for RigL.
    min_salient: the paper's gamma_sal: .3 for convolutional nets, .95 for vision transformers; 0
        ablates no unit with a salient synapse. The units of the network's last projection are never
        ablated (under `On` those of the part's last one are). Above 1 - fraction, units into which
        nothing grows are ablated, and a layer may shrink to the few units that its K synapses need.

    A unit is a row of the parameter: an output unit, an output channel, a gate of a recurrent unit.
    K is kept exactly, so that the fan-ins of the remaining units differ by at most 1; units with
    more salient synapses get the larger ones. At least as many units remain as K synapses need. An
    ablated unit returns if gradients make it salient again.

    Deviations:
    - If a unit has kept more than its fan-in, those of smallest |w| are dropped; the authors' code
      sorts a boolean row, which makes the choice arbitrary.
    - The number of edges is exact, and fan-ins differ by at most 1; the paper rounds K to a
      multiple.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SRigL(fraction=0.25, min_salient=0.0, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.masks()["weight"].sum(1).unique().tolist()  # one fan-in for all units
    [4]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth", "weight"})
    skips_step: ClassVar[bool] = True
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Lasby et al. 2023, arXiv:2305.02299"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent pairs itself
    keeps_slots: ClassVar[bool] = False

    fraction: Replaced = Cosine(0.3)
    min_salient: Annotated[float, Tunable(0.05, 0.95)] = 0.3
    when: Period = Every(100, stop=0.75)

    def __post_init__(self) -> None:
        if not 0 <= self.min_salient <= 1:
            raise ValueError(
                f"SRigL's min_salient is a fraction of the fan-in, got {self.min_salient}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        """Even the fan-ins out: units with too many lose random ones, others gain random ones."""
        keep, grow = [], []
        for i, p in enumerate(graph.projections):
            if p.multapses:
                raise ValueError(
                    f"SRigL gives every unit the same number of sources, and {p.name!r} may join "
                    "a pair twice. Use a projection without multapses."
                )
            _, width = rows_of(p)
            local = graph.local(i).numpy()
            drawn = rng.permutation(p.size).numpy()
            exists = _at(local, p.size)[drawn]
            fan_in = _even(len(local), np.zeros(p.size // width, np.int64), width)
            order = np.concatenate([drawn[exists], drawn[~exists]])  # edges there are come first
            chosen = first_of_each(units_of(p), order, fan_in)
            keep.append(torch.from_numpy(np.intersect1d(local, chosen)) + graph.space.bounds[i])
            grow.append(torch.from_numpy(np.setdiff1d(chosen, local)) + graph.space.bounds[i])
        stays = graph.find(torch.cat(keep))[0]
        leaves = torch.ones(len(graph), dtype=torch.bool)
        leaves[stays] = False
        added = torch.cat(grow)
        birth = {"weight": signals.pair("weight", added).to(graph["weight"])}
        return Edit(drop=leaves.nonzero().squeeze(1), add=added, birth=birth), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, parts = value(self.fraction, clock), []
        slopes = signals.whole("growth").numpy()
        for i in range(len(graph.projections)):
            gradient = slopes[slice(*graph.space.bounds[i : i + 2])]
            weight = graph["weight"][graph.rows(i)].abs().numpy()
            if np.isnan(weight).any() or np.isnan(gradient).any():
                raise ValueError(
                    f"SRigL found NaN among the weights or gradients of "
                    f"{graph.projections[i].name!r}; edges cannot be ranked by them. Training has "
                    "diverged."
                )
            parts.append(self._chosen(graph, i, weight, gradient, fraction))
        chosen = torch.cat(parts)
        row, exists = graph.find(chosen)
        leaves = torch.ones(len(graph), dtype=torch.bool)
        leaves[row[exists]] = False
        return Edit(drop=leaves.nonzero().squeeze(1), add=chosen[~exists]), state

    def _chosen(
        self, graph: Graph, i: int, weight: np.ndarray, gradient: np.ndarray, fraction: float
    ) -> Tensor:
        """Keys of projection i's synapses after the update, from |w| (K,) and |dL/dw| (size,)."""
        p, local = graph.projections[i], graph.local(i).numpy()
        unit, (n, width) = units_of(p), rows_of(p)
        # salient: the K - f largest |w|, and of all others the f largest |dL/dw|
        swapped = int(fraction * len(local))
        strong = local[(-weight).argsort(kind="stable")]  # the smaller key first among equals
        largest = strong[: len(local) - swapped]
        others = np.flatnonzero(~_at(largest, p.size))
        others = others[(-gradient[others]).argsort(kind="stable")]
        salient = np.bincount(unit[largest], minlength=n)
        salient += np.bincount(unit[others[:swapped]], minlength=n)
        # units with too few salient ones, against the fan-in of those that live, are ablated
        before = int((np.bincount(unit[local], minlength=n) > 0).sum())
        least = self.min_salient * len(local) / max(before, 1)
        lives = (salient >= least) & (salient > 0)
        if i == graph.space.last:  # outputs are never ablated
            lives[:] = True
        # one fan-in for the others, filled by |w| first, then by gradient
        fan_in = _even(len(local), np.where(lives, salient, -1), width)
        chosen = first_of_each(unit, np.concatenate([largest, others]), fan_in)
        return torch.from_numpy(chosen) + graph.space.bounds[i]


def rows_of(p: Projection) -> tuple[int, int]:
    """Units that a projection leads to, as its parameter counts them, and places of each."""
    n = matrix_of(p).rows
    return n, p.size // n


def units_of(p: Projection) -> np.ndarray:
    """The unit of each place of the parameter, (size,): its row, or where rows are sources its
    postsynaptic unit."""
    return place_of(p, torch.arange(p.size))[0].numpy()


def first_of_each(unit: np.ndarray, order: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Of every unit j the ``k[j]`` of its places that come first in ``order``, ascending."""
    of = unit[order].astype(np.uint16 if len(k) <= 2**16 else np.int64)  # sorted by radix
    by = of.argsort(kind="stable")
    have = np.bincount(of, minlength=len(k))
    place = np.arange(len(order)) - np.repeat(have.cumsum() - have, have)
    return np.sort(order[by[place < np.repeat(k, have)]])


def _even(total: int, salient: np.ndarray, width: int) -> np.ndarray:
    """Fan-ins that add up to ``total`` and differ by at most 1 among the units that stay, (n,).

    salient: of each unit, -1 where it is to go, which it does as far as ``width`` allows. The
    larger fan-ins go to the more salient, the smaller unit first among equals.
    """
    # no more units may go than leave places for all synapses
    order = np.lexsort((np.arange(len(salient)), -salient))
    stay = max(int((salient >= 0).sum()), -(-total // width), 1)
    out = np.zeros(len(salient), np.int64)
    out[order[:stay]] = total // stay
    out[order[: total - total // stay * stay]] += 1
    return out


def _at(places: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros(size, bool)
    out[places] = True
    return out
