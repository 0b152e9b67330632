"""What rules may ask of a world: signals, registered by name and world.

A signal is a function of the world, registered by the decorator :func:`signal` where the function
stands: in the world's own package, in the file of the rule that reads it, or in a user's package
that names its module by the entry point ``rewire.signals``. Every world has the signal ``weight``.

The growth signal has one name in every world, ``growth``: |dense gradient| in masked networks,
coincidence of pre- and postsynaptic traces in spiking ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .graph import NONE
from .kernels.attempts import draw_evenly
from .kernels.ranking import first_of
from .select.choose import largest

if TYPE_CHECKING:
    from .graph import Graph

Among = tuple[np.ndarray, np.ndarray]  # numbers of units, ascending, int32; ranges of them, int64


@dataclass(frozen=True)
class Signal:
    """One named observation in one world.

    kind: "pair" functions take (world, graph, keys, **how) and return (k,); "node" functions take
    (world, graph, population) and return (size,).
    """

    world: str
    name: str
    compute: Callable[..., Tensor]
    kind: Literal["pair", "node"] = "pair"
    needs_probe: bool = False


def _weight(world: Any, graph: Graph, keys: Tensor) -> Tensor:
    """The weights of the graph's edges; at absent synapses what a new one starts with here."""
    row, exists = graph.find(keys)
    birth, weight = graph.births.get("weight", 0.0), graph["weight"]
    at_birth = birth(keys).to(weight) if callable(birth) else weight.new_full((len(keys),), birth)
    return torch.where(exists, weight[row.where(exists, 0)], at_birth) if len(weight) else at_birth


_REGISTRY: dict[str, dict[str, Signal]] = {}  # world -> name -> signal


def _signals_of(world: str) -> dict[str, Signal]:
    """The table of a world's signals; a new one knows the weights."""
    if world not in _REGISTRY:
        _REGISTRY[world] = {"weight": Signal(world, "weight", _weight)}
    return _REGISTRY[world]


def signal(
    world: str, name: str, *, kind: Literal["pair", "node"] = "pair", needs_probe: bool = False
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the decorated function as a signal of a world.

    kind: "pair" functions take (world, graph, keys) and return (k,), numbers of existing or absent
    synapses; "node" functions take (world, graph, population) and return (size,). needs_probe: it
    is offered only where the world has data for passes of its own.

    >>> from rewire.signals import registered, signal
    >>> @signal("least-squares", "growth")
    ... def growth(world, graph, keys):
    ...     return world.gradient()[keys].abs()
    >>> sorted(registered("least-squares"))
    ['growth', 'weight']
    """

    def register(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _signals_of(world)[name] = Signal(world, name, compute, kind, needs_probe)
        return compute

    return register


def dense_signal(
    name: str, *, needs_probe: bool = False
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the decorated function of a masked world as a pair signal of both torch worlds.

    It is handed the sparse world as a masked one that holds the same graph, and so costs there
    what it costs under masks, O(possible synapses), for as long as it computes.
    """

    def register(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def of_edges(world: Any, graph: Graph, keys: Tensor, **how: Any) -> Tensor:
            return compute(world.holding(graph), graph, keys, **how)

        signal("sparse", name, needs_probe=needs_probe)(of_edges)
        return signal("masked", name, needs_probe=needs_probe)(compute)

    return register


_installed_known = False


def registered(world: str) -> Mapping[str, Signal]:
    """The signals registered for a world so far, by name, those of installed packages included.

    A rule's own file brings its signals when it is imported, and a world's package its own.
    """
    global _installed_known
    if not _installed_known:
        _installed_known = True
        for point in entry_points(group="rewire.signals"):
            point.load()  # registers as it is imported
    return _signals_of(world)


class Signals:
    """What a rule observes besides the graph; computed only when asked for."""

    def __init__(self, world: Any, graph: Graph, settle: Callable[[], object] | None = None):
        """``settle``: to be called before anything of the world is looked at."""
        self._world = world
        self._graph = graph
        self._settle = settle

    def pair(self, name: str, keys: Tensor, **how: Any) -> Tensor:
        """A signal at existing or absent synapses, shape (k,), on the CPU.

        float32, or float64 where the signal is computed in it. (k, n) for the few that are of n
        numbers for each synapse (``example_gradients``).
        """
        return self._get(name, "pair").compute(self._world, self._graph, keys, **how)

    def whole(self, name: str) -> Tensor:
        """A pair signal at every possible synapse, (possible,), on the CPU: as large as the dense
        network, and faster than :meth:`pair` of all keys. float32, or float64 as for it."""
        offered = self._get(name, "pair")
        parts = [self._block(offered, i).cpu() for i in range(len(self._graph.projections))]
        values = torch.cat(parts)
        return values.abs() if getattr(offered.compute, "magnitude", False) else values

    def node(self, name: str, population: str) -> Tensor:
        """A signal of each unit of a population, shape (size,)."""
        return self._get(name, "node").compute(self._world, self._graph, population)

    def require(self, name: str, population: str) -> None:
        """Raise ValueError where the units of a population never have this signal."""
        self._world.require(name, population)

    def sample(self, name: str, populations: Sequence[str], u: Sequence[float]) -> list[int]:
        """Units drawn in proportion to a signal, one for each uniform number in ``u``.

        Numbered over the populations laid in a row; none at all where the signal is 0 everywhere.
        """
        evenly = self.among(name, populations)
        if evenly is not None:
            return draw_evenly(*evenly, u)
        compute = self._get(name, "node").compute
        values = [compute(self._world, self._graph, p).numpy() for p in populations]
        upto = np.concatenate(values).cumsum(dtype=np.float64)
        if not upto[-1] > 0:
            return []
        drawn = upto.searchsorted(np.multiply(u, upto[-1]), "right")
        return np.minimum(drawn, len(upto) - 1).tolist()

    def among(self, name: str, populations: Sequence[str]) -> Among | None:
        """The units of these populations where a signal is 1, if it is 1 for some and 0 for others.

        None for signals that do not say so. Numbers of units, ascending, and the range of numbers
        that each population has, (populations, 2).
        """
        among = getattr(self._get(name, "node").compute, "among", None)
        return None if among is None else among(self._world, populations)

    def lr(self, keys: Tensor | None = None) -> float | Tensor | None:
        """The learning rate of these synapses: one number where they share it, else (k,).

        Of the graph's own edges where no keys are given. None where the world has no learning rate.
        """
        return self._world.lr(self._graph, keys)

    @property
    def w_max(self) -> float | None:
        """The largest magnitude of a weight in this world; None: there is no bound."""
        return getattr(self._world, "w_max", None)

    def largest(
        self,
        name: str,
        k: int | Sequence[int],
        *,
        without: Tensor | None = None,
    ) -> Tensor:
        """Keys of the ``k[i]`` **absent** synapses of projection i where a signal is largest.

        A single ``k`` ranks over all projections. ``without``: rows that count as absent (the
        edges about to be dropped). Ascending, exactly that many, the smaller key first among
        equals. Ranked projection by projection, in O(block + k) memory. Where units have slots,
        only those with a free one gain. Raises ValueError for NaN and when too few synapses are
        absent.
        """
        offered = self._get(name, "pair")
        if self._graph.space.capped:
            return self._largest_with_room(offered, k, without)
        graph, space = self._graph, self._graph.space
        magnitude = getattr(offered.compute, "magnitude", False)
        gone = NONE if without is None else without.numpy()
        wide = isinstance(k, int)
        counts = [k] * len(space.sizes) if isinstance(k, int) else [int(x) for x in k]
        keys, scores = [], []
        for i, n in enumerate(counts):
            if not n:
                continue
            best = getattr(offered.compute, "best", None)
            ranked = best and best(self._world, graph, i, n, _leaving(graph.rows(i), gone))
            if ranked:
                at, values, absent, nan = ranked
                where = space.projections[i].name
                if nan:
                    raise _nan(nan, absent, name, where)
                if absent < n and not wide:
                    raise _too_few(n, where, absent)
                keys.append(at + space.bounds[i])
                scores.append(values)
                continue
            values = self._block(offered, i)
            present = torch.from_numpy(graph.local_without(i, gone))
            n = min(n, len(values) - len(present)) if wide else n
            picked = top_absent(
                values, present, n, name, space.projections[i].name, magnitude=magnitude
            )
            keys.append(picked + space.bounds[i])
            if wide:
                scores.append(values[picked.to(values.device)].cpu())
        if not keys:
            return torch.empty(0, dtype=torch.int64)
        chosen = torch.cat(keys)
        if not isinstance(k, int):
            return chosen
        return chosen[largest(torch.cat(scores), k, magnitude=magnitude, what=name)]

    def _largest_with_room(
        self, offered: Signal, k: int | Sequence[int], without: Tensor | None
    ) -> Tensor:
        from .select.capacity import Room, largest_with_room

        space = self._graph.space
        ends, counts = ([0, space.possible], [k]) if isinstance(k, int) else (space.bounds, [*k])
        blocks = [self._block(offered, i).cpu().numpy() for i in range(len(space.sizes))]
        scores = np.concatenate(blocks)
        if getattr(offered.compute, "magnitude", False):
            scores = np.abs(scores)

        def ranked(lo: int, hi: int, room: Room) -> np.ndarray:
            absent = room.absent(np.arange(lo, hi))
            if lost := int(np.isnan(scores[absent]).sum()):
                raise _nan(lost, hi - lo, offered.name, f"keys [{lo}, {hi})")
            return absent[np.argsort(-scores[absent], kind="stable")]

        return largest_with_room(self._graph, ends, counts, without, ranked)

    def at(self, graph: Graph) -> Signals:
        """The same signals as if the world held another graph.

        A sparse world computes them as a masked one would, with dense weights.
        """
        if self._settle is not None:
            self._settle()
        return Signals(self._world.holding(graph), graph)

    def _block(self, offered: Signal, i: int) -> Tensor:
        """The signal at every possible synapse of projection ``i``, on the world's device.

        Where the signal is the magnitude of what its block holds: that, with its signs.
        """
        block = getattr(offered.compute, "block", None)
        if block is not None:
            values = block(self._world, self._graph, i)
        else:
            keys = torch.arange(*self._graph.space.bounds[i : i + 2])
            values = offered.compute(self._world, self._graph, keys)
        return values if values.dtype is torch.float64 else values.float()

    def _get(self, name: str, kind: str) -> Signal:
        if self._settle is not None:
            self._settle()
        offered = self._world.offered.get(name)
        if offered is None:
            raise KeyError(
                f"the {self._world.name} world does not offer the signal {name!r} here; it offers "
                f"{sorted(self._world.offers)}."
            )
        if offered.kind != kind:
            raise KeyError(f"{name!r} is a {offered.kind} signal: ask {offered.kind}().")
        return offered


def blockwise(
    block: Callable[..., Tensor], *, magnitude: bool = False
) -> Callable[[Callable[..., Tensor]], Any]:
    """Give a pair signal the faster form that :meth:`Signals.largest` uses.

    ``block(world, graph, i)`` returns the signal at every possible synapse of projection i, or,
    with ``magnitude``, numbers whose magnitude it is: nobody has to write them down.
    """

    def attach(compute: Any) -> Any:
        compute.block, compute.magnitude = block, magnitude
        return compute

    return attach


def evenly(among: Callable[..., Among]) -> Callable[[Callable[..., Tensor]], Any]:
    """Give a node signal of zeros and ones the faster form that :meth:`Signals.among` uses.

    ``among(world, populations)`` returns what that is to return.
    """

    def attach(compute: Any) -> Any:
        compute.among = among
        return compute

    return attach


def top_absent(
    values: Tensor, held: Tensor, k: int, signal: str, where: str, *, magnitude: bool = False
) -> Tensor:
    """Flat indices of the ``k`` largest ``values`` outside ``held``, ascending, on the CPU.

    held: ascending. magnitude: the largest |value|. Exact: the smaller index first among equals.
    NaN is refused.
    """
    if k > len(values) - len(held):
        raise _too_few(k, where, len(values) - len(held))
    if k == 0:
        return torch.empty(0, dtype=torch.int64)
    if values.device.type == "cpu":
        host = (values.float() if values.dtype is torch.bfloat16 else values).numpy()
        order = "strongest" if magnitude else "largest"
        rows = first_of(host, [(0, len(host))], [k], order, held.numpy())
        if rows is None:
            free = np.ones(len(host), bool)
            free[held.numpy()] = False
            raise _nan(int(np.isnan(host[free]).sum()), len(host), signal, where)
        return torch.from_numpy(rows)
    scores = values.abs() if magnitude else values.clone()
    scores[held.to(values.device)] = -torch.inf
    top = scores.topk(k, sorted=False).values
    if top.isnan().any():  # NaN ranks above every number
        raise _nan(int(scores.isnan().sum()), len(values), signal, where)
    cut = top.min()
    chosen = scores > cut
    ties = (scores == cut).nonzero().squeeze(1)[: k - int(chosen.sum())]
    chosen[ties] = True
    return chosen.nonzero().squeeze(1).cpu()


def _leaving(rows: slice, gone: np.ndarray) -> Tensor:
    """Which of a projection's rows are among those about to be dropped, (E_i,) bool."""
    out = torch.zeros(rows.stop - rows.start, dtype=torch.bool)
    within = gone[(gone >= rows.start) & (gone < rows.stop)]
    out[torch.from_numpy(within - rows.start)] = True
    return out


def _too_few(k: int, where: str, absent: int) -> ValueError:
    return ValueError(f"cannot grow {k} edges in {where!r}: only {absent} are absent.")


def _nan(lost: int, n: int, signal: str, where: str) -> ValueError:
    return ValueError(
        f"the signal {signal!r} is NaN at {lost} of {n} synapses of {where!r}; absent synapses "
        "cannot be ranked by it. Training has diverged."
    )
