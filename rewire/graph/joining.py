"""Units of populations and joints under one numbering, and which are linked without a synapse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .program import Program

MOST_SETS = 100_000_000  # entries of a table of sets; beyond it they count as one set


class Units:
    """Numbers of units, from 1 on (0: none), and the pairs of them that are linked.

    An input has one unit for each of its numbers, merged where they feed the same units of
    populations; where it only repeats one population, that is the input. A layer that is not in the
    graph is a joint of one unit that all its inputs feed and one of its outputs.
    """

    def __init__(self, space: Any, program: Program, classes: dict[int, np.ndarray]):
        self.space, self.program, self.classes_of = space, program, classes
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.starts: list[int] = []
        self.total = 1
        for p in space.populations:
            self.node(p.name, p.size)
        self.populations = len(self.names)
        self.pre: list[np.ndarray] = []
        self.post: list[np.ndarray] = []
        self.input_joints: dict[int, int] = {}  # number of an input's step -> its joint
        self.inputs: list[int] = []  # nodes
        self.apart: set[int] = set()  # nodes of what could not be followed
        self.values: list[Any] = []  # units of each number; of weights their keys, from 1 on
        self.of_weights: set[int] = set()

    # -- units ----------------------------------------------------------------------------------

    def node(self, name: str, size: int) -> int:
        """A population or joint; its number."""
        while name in self.names:
            name += "'"
        self.names.append(name)
        self.sizes.append(size)
        self.starts.append(self.total)
        self.total += size
        return len(self.names) - 1

    def units(self, node: int) -> Tensor:
        start = self.starts[node]
        return torch.arange(start, start + self.sizes[node], dtype=torch.float64)

    def node_of(self, units: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, units, "right") - 1

    def link(self, pre: Tensor, post: Tensor) -> None:
        """Each unit of ``pre`` to that of ``post`` at its place; the shapes broadcast."""
        pre, post = compact(*torch.broadcast_tensors(pre, post))
        pairs = torch.stack([pre.reshape(-1), post.reshape(-1)])
        pairs = pairs[:, (pairs > 0).all(0) & (pairs[0] != pairs[1])].to(torch.int64)
        if pairs.shape[1]:
            key = np.unique(pairs[0].numpy() * (2**32) + pairs[1].numpy())
            self.pre.append(key >> 32)
            self.post.append(key & (2**32 - 1))

    # -- sums -----------------------------------------------------------------------------------

    def added(self, labels: Sequence[Tensor], shape: Sequence[int], name: str = "") -> Tensor:
        """The unit of a sum of numbers: of their own one, or of a joint where they differ."""
        parts = [x for x in labels if bool((x > 0).any())]
        if not parts:
            return torch.zeros((), dtype=torch.float64).expand(tuple(shape))
        parts = compact(*(x.expand(tuple(shape)) for x in parts))
        size = torch.broadcast_shapes(*(x.shape for x in parts))
        table = torch.stack([x.expand(size).reshape(-1) for x in parts], 1)
        most = table.amax(1)
        least = torch.where(table > 0, table, most[:, None]).amin(1)
        if bool((most == least).all()):
            return most.view(size).expand(tuple(shape))
        rows, which = torch.unique(table, dim=0, return_inverse=True)
        whole = _completed(rows.numpy())
        rows, which = rows[whole], torch.from_numpy(whole)[which]
        rows, again = torch.unique(rows, dim=0, return_inverse=True)
        which = again[which]
        filled = (rows > 0).any(1)
        number = filled.cumsum(0) - 1
        joint = self.node(name or f"{self.latest(rows)}+", int(filled.sum()))
        unit = torch.where(filled, number + self.starts[joint], torch.zeros_like(number))
        unit = unit.to(torch.float64)
        self.link(rows, unit[:, None])
        return unit[which].view(size).expand(tuple(shape))

    def latest(self, labels: Tensor) -> str:
        """The name of the last node among units."""
        nodes = np.unique(self.node_of(labels[labels > 0].to(torch.int64).numpy()))
        own = [n for n in nodes if n < self.populations]
        return (
            self.names[int(max(own) if own else max(nodes))].rstrip("+'") if len(nodes) else "sum"
        )

    def hub(self, labels: Tensor, name: str) -> float:
        """A joint of one unit that all these feed; 0 where there are none."""
        units = torch.unique(compact(labels)[0])
        units = units[units > 0]
        if not len(units):
            return 0.0
        if len(units) == 1:
            return float(units[0])
        start = float(self.starts[self.node(name, 1)])
        self.link(units, torch.tensor(start, dtype=torch.float64))
        return start

    def merged(
        self, x: Tensor, sums: Callable[[Tensor], Tensor], shape: Sequence[int], name: str
    ) -> Tensor:
        """The unit of each sum of several numbers of one value."""
        units, rank = torch.unique(x, return_inverse=True)
        if len(units) == 1:
            return units[0].expand(tuple(shape))
        present = (x > 0).to(torch.float64)
        rank = (rank + 1).to(torch.float64) * present
        n, first, second = sums(present), sums(rank), sums(rank * rank)
        apart = n * second - first * first > 1e-12 * n * second
        if not bool(apart.any()):
            mean = (first / n.clamp(min=1e-300)).round().to(torch.int64).clamp(min=1) - 1
            return torch.where(n > 0, units[mean], 0.0).expand(tuple(shape))
        units = units[units > 0]
        if len(units) * n.numel() > MOST_SETS:
            return torch.full((), self.hub(x, name), dtype=torch.float64).expand(tuple(shape))
        sets = torch.stack([sums((x == u).to(torch.float64)).reshape(-1) > 0 for u in units], 1)
        rows, which = torch.unique(sets, dim=0, return_inverse=True)
        filled = rows.any(1)
        joint = self.node(name, int(filled.sum()))
        number = torch.where(filled, filled.cumsum(0) - 1 + self.starts[joint], 0)
        unit = number.to(torch.float64)
        self.link(torch.where(rows, units, 0.0), unit[:, None])
        return unit[which].view(n.shape).expand(tuple(shape))

    # -- the result -----------------------------------------------------------------------------

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Linked units, each pair once."""
        none = np.empty(0, np.int64)
        key = np.unique(
            np.concatenate([none, *self.pre]) * 2**32 + np.concatenate([none, *self.post])
        )
        return key >> 32, key & (2**32 - 1)

    def classes(self) -> dict[int, np.ndarray]:
        """For each input its numbers' classes: those that feed the same units of populations."""
        import scipy.sparse as sp

        pre, post = self.pairs()
        ends = {u for value in self.program.outputs for u in self.values[value].unique().tolist()}
        first = self.starts[self.populations] if self.populations < len(self.starts) else self.total
        final = (post < first) | np.isin(post, [u for u in ends if u >= first])
        n, joints = self.total, [*self.input_joints.values()]
        own = np.concatenate(
            [np.empty(0, np.int64), *(self.starts[j] + np.arange(self.sizes[j]) for j in joints)]
        )
        onward = post >= first

        def links(of: np.ndarray) -> sp.csr_array:
            return sp.csr_array((np.ones(of.sum()), (pre[of], post[of])), shape=(n, n))

        direct, between = links(final), links(onward)
        at = sp.csr_array((np.ones(len(own)), (np.arange(len(own)), own)), shape=(len(own), n))
        nodes = at
        while True:
            more = nodes + nodes @ between
            more.data[:] = 1
            if more.nnz == nodes.nnz:
                break
            nodes = more
        reach = (nodes @ direct).tocsr()
        reach.sort_indices()
        out, start = {}, 0
        for number, joint in self.input_joints.items():
            rows = [
                reach.indices[reach.indptr[u] : reach.indptr[u + 1]].tobytes()
                for u in range(start, start + self.sizes[joint])
            ]
            start += self.sizes[joint]
            kinds = {row: at for at, row in enumerate(dict.fromkeys(r for r in rows if r))}
            out[number] = np.array([kinds.get(row, -1) for row in rows], np.int64)
        return out

    def joined(self) -> tuple[list, list, tuple[str, ...], tuple[str, ...]]:
        """Joints (name, size), links (source, target, pre, post), names of inputs and outputs."""
        outputs = self._outputs()
        pre, post = self.pairs()
        source, target = self.node_of(pre), self.node_of(post)
        links: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for s, t in sorted({*zip(source.tolist(), target.tolist(), strict=True)}):
            rows = (source == s) & (target == t)
            links[s, t] = pre[rows] - self.starts[s], post[rows] - self.starts[t]
        links = self._folded(links)
        inputs = self._shortened([*dict.fromkeys(self.inputs)], links)
        joints = {*range(self.populations, len(self.names))}
        idle = joints - self.apart
        while True:  # what leads nowhere, or comes from nowhere
            sends, gets = {s for s, _ in links}, {t for _, t in links}
            idle = {j for j in joints if (j not in sends and j not in outputs)
                    or (j not in gets and j not in inputs and j not in self.apart)}  # fmt: skip
            if not idle:
                break
            joints -= idle
            links = {k: v for k, v in links.items() if not idle & {*k}}
        return (
            [(self.names[j], self.sizes[j]) for j in sorted(joints)],
            [(self.names[s], self.names[t], *ends) for (s, t), ends in links.items()],
            tuple(self.names[n] for n in inputs if n < self.populations or n in joints),
            tuple(self.names[n] for n in outputs),
        )

    def _folded(
        self, links: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
    ) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """Links without joints that a population feeds unit by unit and that feed it back so."""

        def repeats(a: int, b: int) -> bool:
            own, size = np.arange(self.sizes[a]), self.sizes[b]
            return (
                (a, b) in links
                and len(own) == size
                and all(np.array_equal(end, own) for end in links[a, b])
            )

        same = {
            joint: p for joint, p in links
            if joint >= self.populations > p and repeats(joint, p) and repeats(p, joint)
        }  # fmt: skip
        out: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for (s, t), (pre, post) in links.items():
            ends = same.get(s, s), same.get(t, t)
            if ends[0] == ends[1] and ends != (s, t):
                continue
            before = out.get(ends, (np.empty(0, np.int64),) * 2)
            pairs = np.unique(
                np.stack([*map(np.concatenate, zip(before, (pre, post), strict=True))]), axis=1
            )
            out[ends] = pairs[0], pairs[1]
        return out

    def _shortened(
        self, inputs: list[int], links: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
    ) -> list[int]:
        """Inputs, and in the place of one that only repeats a population that population."""
        out = []
        for joint in inputs:
            after = [t for s, t in links if s == joint]
            if joint >= self.populations and len(after) == 1 and after[0] < self.populations:
                pre, post = links[joint, after[0]]
                others = [s for s, t in links if t == after[0] and s != joint]
                if not others and len(pre) == len(np.unique(pre)) == len(np.unique(post)):
                    del links[joint, after[0]]
                    joint = after[0]
            out.append(joint)
        return [*dict.fromkeys(out)]

    def _outputs(self) -> list[int]:
        """Nodes whose units the model returns; a joint of those where it returns a part."""
        none = torch.empty(0, dtype=torch.float64)
        units = torch.unique(
            torch.cat(
                [none, *(compact(self.values[v])[0].reshape(-1) for v in self.program.outputs)]
            )
        )
        units = units[units > 0]
        nodes, counts = np.unique(self.node_of(units.to(torch.int64).numpy()), return_counts=True)
        if all(c == self.sizes[n] for n, c in zip(nodes.tolist(), counts.tolist(), strict=True)):
            return nodes.tolist()
        joint = self.node("output", len(units))
        self.link(units, self.units(joint))
        return [joint]


def compact(*parts: Tensor, of: Sequence[int] | range | None = None) -> list[Tensor]:
    """The same without repetitions: length 1 along each axis in which all of them repeat."""
    out = list(parts)
    for axis in range(parts[0].dim()) if of is None else of:
        if all(x.stride(axis) == 0 or x.shape[axis] == 1 for x in out):
            out = [x.narrow(axis, 0, min(1, x.shape[axis])) for x in out]
    return out


def _completed(rows: np.ndarray) -> np.ndarray:
    """For each row the one that it is a part of, if there is just one such, else itself.

    A row names the units that add up at some place, 0 where a constant is added: at another place
    of the same units something else may be.

    >>> _completed(np.array([[0, 5], [3, 5], [0, 6]])).tolist()
    [1, 1, 2]
    """
    out = np.arange(len(rows))
    patterns = np.unique(rows > 0, axis=0)
    for part in patterns[~patterns.all(1) & patterns.any(1)]:
        larger = (rows[:, part] > 0).all(1) & ((rows > 0).sum(1) > part.sum())
        at: dict[bytes, list[int]] = {}
        for row in np.flatnonzero(larger).tolist():
            at.setdefault(rows[row, part].tobytes(), []).append(row)
        for row in np.flatnonzero(((rows > 0) == part).all(1)).tolist():
            wholes = at.get(rows[row, part].tobytes(), [])
            if len(wholes) == 1:
                out[row] = wholes[0]
    return out


def repeating(x: Tensor) -> Tensor:
    """The same numbers, stored once along each axis in which they repeat."""
    for axis in range(x.dim()):
        if x.shape[axis] > 1 and x.stride(axis):
            first = x.narrow(axis, 0, 1)
            if torch.equal(first, x.narrow(axis, -1, 1)) and bool((x == first).all()):
                x = first.expand(x.shape)
    return x


def narrowed(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The same with length 1 along those of the axes in which it repeats."""
    for axis in axes:
        if x.shape[axis] and x.stride(axis) == 0:
            x = x.narrow(axis, 0, 1)
    return x
