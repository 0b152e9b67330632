"""Which units feed which without a synapse, read from a program of a model's pass.

Every number of the pass carries the number of the unit that it belongs to. Where numbers of several
units add up, or where weights that are not in the graph mix them, there is a joint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .joining import Units, compact, narrowed, repeating
from .program import MOVES, OPERATIONS, Cell, Program, Step


@dataclass(frozen=True)
class Keys:
    """The keys of a matrix, row by row, from ``first`` on: of a parameter as it is, or turned.

    >>> keys = Keys(10, 2, 3).turned()
    >>> keys.whole().tolist(), keys.row(0).tolist(), keys.column(-1).tolist()
    ([[10.0, 13.0], [11.0, 14.0], [12.0, 15.0]], [10.0, 13.0], [13.0, 14.0, 15.0])
    """

    first: int
    rows: int
    columns: int
    is_turned: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return (self.columns, self.rows) if self.is_turned else (self.rows, self.columns)

    def turned(self) -> Keys:
        return replace(self, is_turned=not self.is_turned)

    def whole(self) -> Tensor:
        keys = torch.arange(self.rows * self.columns, dtype=torch.float64) + self.first
        keys = keys.view(self.rows, self.columns)
        return keys.T if self.is_turned else keys

    def row(self, at: int) -> Tensor:
        return self.turned().column(at) if self.is_turned else self._row(at)

    def column(self, at: int) -> Tensor:
        if self.is_turned:
            return self._row(at)
        steps = torch.arange(self.rows, dtype=torch.float64) * self.columns
        return steps + self.first + at % self.columns

    def _row(self, at: int) -> Tensor:
        steps = torch.arange(self.columns, dtype=torch.float64)
        return steps + self.first + at % self.rows * self.columns


class Pass(Units):
    """The units of every number of a program's values."""

    @classmethod
    def of(cls, space: Any, program: Program) -> Pass:
        """The units of a program whose weights are of the projections of a `Space`."""
        units = cls(space, program, {})
        units.follow()
        classes = units.classes()
        if any(len(of) and of.max() + 1 < len(of) for of in classes.values()):
            units = cls(space, program, classes)
            units.follow()
        return units

    # -- following ------------------------------------------------------------------------------

    def follow(self) -> None:
        """Label the numbers of every value."""
        for number, step in enumerate(self.program.steps):
            inputs = [self.values[i] for i in step.inputs]
            if step.op == "permute" and isinstance(inputs[0], Keys):
                self.of_weights.add(len(self.values))
                self.values.append(inputs[0].turned() if step.options[0] == (1, 0) else inputs[0])
                continue
            if step.op not in ("matmul", "table"):
                inputs = [x.whole() if isinstance(x, Keys) else x for x in inputs]
            special = getattr(self, f"_{step.op}", None)
            if special is not None:
                results = special(step, inputs, number)
            elif step.op in MOVES:
                results = OPERATIONS[step.op](inputs, step.options, step.shapes[0])
                if step.inputs[0] not in self.of_weights:
                    results = repeating(results)
            else:
                (x,) = inputs
                results = self.merged(*self._windows(step, x), step.shapes[0], self._sum_name(x))
            if step.op == "weight" or (step.inputs and self.of_weights.issuperset(step.inputs)):
                if step.op != "table":
                    self.of_weights.add(len(self.values))
            self.values += results if isinstance(results, list) else [results]

    def _windows(self, step: Step, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A value, and what sums up its windows; its places in one where they are all alike."""
        shape, op = step.shapes[0], OPERATIONS[step.op]
        if step.op == "sum":
            axes, keep = step.options
            x = narrowed(x, axes)
            return x, lambda y: y.sum(axes, keepdim=keep) if axes else y
        if step.op in ("pool", "adaptive", "upsample"):
            lead = 2 if step.op == "upsample" else x.dim() - len(step.options[0])
            places = tuple(range(lead, x.dim()))
            if all(x.stride(d) == 0 or x.shape[d] == 1 for d in places):
                return narrowed(x, places), lambda y: y
        return x.contiguous(), lambda y: op([y], step.options, shape)

    def _sum_name(self, x: Tensor) -> str:
        return f"{self.latest(compact(x)[0])}+"

    def _input(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        shape = step.shapes[0]
        if step.name:  # a table of embeddings that is not in the graph
            joint = self.node(step.name, shape[-1])
            self.inputs.append(joint)
            return self.units(joint).expand(shape)
        size = int(np.prod(shape))
        classes = self.classes_of.get(number)
        if classes is None:
            classes = np.arange(size)
        joint = self.node("input", int(classes.max()) + 1 if size else 0)
        self.input_joints[number] = joint
        self.inputs.append(joint)
        of = torch.from_numpy(classes + self.starts[joint]) * torch.from_numpy(classes >= 0)
        return of.to(torch.float64).view(shape)

    def _weight(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor | Keys:
        (i,) = step.options
        first, shape = self.space.bounds[i] + 1, step.shapes[0]
        if len(shape) == 2:
            return Keys(first, *shape)
        last = self.space.bounds[i + 1] + 1
        return torch.arange(first, last, dtype=torch.float64).view(shape)

    def _zeros(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        return torch.zeros((), dtype=torch.float64).expand(step.shapes[0])

    def _unknown(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        joint = self.node(f"unknown {step.name}", 1)
        self.apart.add(joint)
        return self.units(joint)[0].expand(step.shapes[0])

    def _add(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        return self.added(inputs, step.shapes[0])

    def _put(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        shape, (_, adds) = step.shapes[0], step.options
        source = inputs[-1].contiguous()

        def put(y: Tensor) -> Tensor:
            return OPERATIONS["put"]([y], step.options, shape)

        placed = self.merged(source, put, shape, f"{self.latest(source)}+")
        if len(inputs) == 1:
            return placed
        if adds:
            return self.added([inputs[0], placed], shape)
        written = put(torch.ones_like(source)) > 0
        return torch.where(written, placed, inputs[0])

    def _mix(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        a, b = inputs
        name = f"{self.latest(compact(b)[0]).rpartition('.')[0] or 'product'}.mixed"
        rows = self._over(a, -1, name)
        columns = self._over(b, -2, name)
        return self.added([rows, columns], step.shapes[0], name)

    def _over(self, x: Tensor, axis: int, name: str) -> Tensor:
        """The units of sums along one axis, which stays with length 1."""
        axis %= x.dim()
        shape = [1 if d == axis else n for d, n in enumerate(x.shape)]
        x = narrowed(x, (axis,))
        return self.merged(x, lambda y: y.sum(axis, keepdim=True), shape, name)

    def _attend(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        q, k, v = inputs
        (repeats,) = step.options
        if repeats > 1:
            k, v = (x.repeat_interleave(repeats, -3) for x in (k, v))
        parent = self.latest(compact(v)[0]).rpartition(".")[0] or "attention"
        lead = q.shape[:-2]
        heads = [x.expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (q, k)]
        score = torch.tensor(
            [
                self.hub(torch.cat([a.reshape(-1), b.reshape(-1)]), f"{parent}.scores")
                for a, b in zip(*heads, strict=True)
            ],
            dtype=torch.float64,
        ).view(*lead, 1, 1)
        mixed = self._over(v, -2, f"{parent}.values")
        return self.added([mixed, score], step.shapes[0], f"{parent}.heads")

    def _dense(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        (axis,) = step.options
        shape = step.shapes[0]
        name = step.name or f"{self.latest(compact(inputs[0])[0])}.dense"
        units = self._layer(inputs[0], shape[axis], name)
        return units.view([-1 if d == axis else 1 for d in range(len(shape))]).expand(shape)

    def _layer(self, x: Tensor, size: int, name: str) -> Tensor:
        """Units that all of ``x`` feeds, through one unit: of a layer that is not in the graph."""
        source = self.hub(x, f"{name}.sum")
        if not source:
            return torch.zeros(size, dtype=torch.float64)
        units = self.units(self.node(name, size))
        self.link(torch.tensor(source, dtype=torch.float64), units)
        return units

    # -- products with weights of the graph -----------------------------------------------------

    def _joined(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The units that each key joins, of its projection's populations."""
        flat = keys.reshape(-1).to(torch.int64)
        which, pre, post = self.space.locate((flat - 1).clamp(min=0))
        names = {p.name: n for n, p in enumerate(self.space.populations)}
        ends = [(names[p.source], names[p.target]) for p in self.space.projections]
        source = torch.tensor([self.starts[s] for s, _ in ends])[which]
        target = torch.tensor([self.starts[t] for _, t in ends])[which]
        present = flat > 0
        return (
            ((source + pre) * present).view(keys.shape).to(torch.float64),
            ((target + post) * present).view(keys.shape).to(torch.float64),
        )

    def _times(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        x, keys = inputs
        pre, post = self._joined(keys)
        self.link(x, pre)
        return post.expand(step.shapes[0])

    def _matmul(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        a, b = inputs
        shape = step.shapes[0]
        if step.inputs[0] in self.of_weights:  # weights times activations: the same, turned
            keys = a.turned() if isinstance(a, Keys) else a.transpose(-1, -2)
            out = self._contracted(b.transpose(-1, -2), keys)
            return out.transpose(-1, -2).expand(shape)
        return self._contracted(a, b).expand(shape)

    def _contracted(self, x: Tensor, keys: Tensor | Keys) -> Tensor:
        """x (..., T, K) times weights (..., K, J): units (..., 1, J)."""
        if not isinstance(keys, Keys):
            (keys,) = compact(keys, of=range(keys.dim() - 2))
        ends = self._sides(keys)
        if ends is not None:
            self.link(x, ends[0].unsqueeze(-2))
            return ends[1].unsqueeze(-2)
        return self._layer(x, keys.shape[-1], self._turned_name(keys))

    def _turned_name(self, keys: Tensor | Keys) -> str:
        """A name for a layer whose weights are used from their outputs to their inputs."""
        row = keys.row(0) if isinstance(keys, Keys) else keys[..., :1, :]
        return f"{self.latest(self._joined(row)[1])}.turned"

    def _sides(self, keys: Tensor | Keys) -> tuple[Tensor, Tensor] | None:
        """Of a matrix of keys (..., K, J) the presynaptic unit of each row and the postsynaptic one
        of each column; None where they do not depend on these alone."""
        if isinstance(keys, Keys):
            rows, columns = [keys.row(0), keys.row(-1)], [keys.column(0), keys.column(-1)]
        else:
            row, column = keys[..., :1, :], keys[..., :, :1]
            if not bool((keys - column == row - keys[..., :1, :1]).all()):
                return None
            rows, columns = [row[..., 0, :], keys[..., -1, :]], [column[..., 0], keys[..., -1]]
        pre = [self._joined(x)[0] for x in columns]
        post = [self._joined(x)[1] for x in rows]
        alike = torch.equal(*pre) and torch.equal(*post)
        return (pre[0], post[0]) if alike else None

    def _conv(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        *_, transposed, _, groups, ones = step.options
        x, shape = inputs[0], step.shapes[0]
        axes = x.dim() - 2
        blocks = x.reshape(x.shape[0], groups, -1, *x.shape[2:]) if groups > 1 else x[:, None]
        view = (1, -1, *[1] * axes)
        name = step.name or "conv"
        if len(inputs) == 1:
            units = [self._layer(blocks[:, g], shape[1] // groups, name) for g in range(groups)]
            return torch.cat(units).view(view).expand(shape)
        keys = inputs[1]
        keys = keys.flatten(2)[:, :, 0]  # one position of the kernel
        pre, post = self._joined(keys)
        if transposed:  # (in, out / groups): by group (groups, in / groups, out / groups)
            pre, post = (u.unflatten(0, (groups, -1)) for u in (pre, post))
        else:  # (out, in / groups)
            pre, post = (u.unflatten(0, (groups, -1)).transpose(1, 2) for u in (pre, post))
        if _alike(pre, -1) and _alike(post, -2):
            self.link(x, pre[..., 0].reshape(view))
            return post[:, 0].reshape(view).expand(shape)
        turned = f"{self.latest(post)}.turned"
        units = [self._layer(blocks[:, g], shape[1] // groups, turned) for g in range(groups)]
        return torch.cat(units).view(view).expand(shape)

    def _table(self, step: Step, inputs: Sequence[Tensor], number: int) -> Tensor:
        (keys,) = inputs
        shape, ends = step.shapes[0], self._sides(keys)
        if ends is not None:
            self.inputs += np.unique(self.node_of(ends[0].to(torch.int64).numpy())).tolist()
            return ends[1].expand(shape)
        joint = self.node(self._turned_name(keys), shape[-1])
        self.inputs.append(joint)
        return self.units(joint).expand(shape)

    def _recurrent(self, step: Step, inputs: Sequence[Tensor], number: int) -> list[Tensor]:
        mode, layers, directions, hidden, state, projected, places, states = step.options
        x = inputs[0]
        first_h, first_c = (inputs[at] if at is not None else None for at in states)
        last_h, last_c = [], []
        for layer in range(layers):
            ways = []
            for way in range(directions):
                k = layer * directions + way
                cell = Cell(*places[k])
                name = f"{step.name}.l{layer}{'_reverse' if way else ''}".lstrip(".")
                weights = [
                    None if at is None else self._joined(inputs[at])
                    for at in (cell.inputs, cell.hidden, cell.project)
                ]
                w_in, w_hid, w_out = weights
                known = w_in if w_in is not None else w_hid
                if known is not None:
                    units = known[1][:hidden, 0]
                elif w_out is not None:
                    units = w_out[0][0]
                else:
                    units = self.units(self.node(name, hidden))
                self._feed(x, w_in, units, name)
                out = units
                if projected and w_out is not None:
                    self.link(units, w_out[0][0])
                    out = w_out[1][:, 0]
                elif projected:
                    out = self._layer(units, state, f"{name}.state")
                self._feed(out, w_hid, units, name)
                if first_h is not None:
                    self.link(first_h[k], out)
                if first_c is not None:
                    self.link(first_c[k], units)
                ways.append(out.expand(*x.shape[:2], state))
                last_h.append(out.expand(x.shape[1], state))
                last_c.append(units.expand(x.shape[1], hidden))
            x = torch.cat(ways, -1)
        results = [x, torch.stack(last_h)]
        return [*results, torch.stack(last_c)] if mode == "lstm" else results

    def _feed(
        self, x: Tensor, weight: tuple[Tensor, Tensor] | None, units: Tensor, name: str
    ) -> None:
        """Numbers (..., features) to a cell's units, by a matrix of the graph or another one."""
        if weight is not None:
            self.link(x, weight[0][0])
        else:
            self.link(torch.tensor(self.hub(x, f"{name}.sum"), dtype=torch.float64), units)


def _alike(x: Tensor, axis: int) -> bool:
    """Whether all numbers along an axis are the same."""
    return bool((x == x.select(axis, 0).unsqueeze(axis)).all())
