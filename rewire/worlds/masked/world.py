"""The masked world: any ``nn.Module``, dense weights and float masks, on a CPU or a GPU.

Parameters are never replaced, only written in place, so that deepcopy, state_dict, LSTM's flat
weights and torch.compile keep working. In every step the gradients are multiplied by the masks
before the optimiser; where the graph changes, weights and every moment are set to 0 once. For
optimisers that treat each weight by itself this is bit-equal to masking weights and moments in
every step, and leaks nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ...graph import Edit, Graph
from ...signals import Signals
from ..torch_model.activity import Taps
from ..torch_model.base import TorchWorld, groups_of
from ..torch_model.layers import discover
from ..torch_model.optimizers import ELEMENTWISE, _unscale, sort_optimizer, unwatched
from ..torch_model.probe import Passes, Probe, _copied, evaluate, evaluating
from .edge_step import SCARCE, Row
from .gains import Gates
from .memory import PLAIN, Addresses, Views, addresses, flat, layout, taken


class Masked(TorchWorld):
    """A torch model and its optimiser as a world; made by :func:`rewire.attach`.

    Raises ValueError for an optimiser that mixes synapses in a way that cannot be undone, and for
    sparse parameters that the optimiser does not hold.
    """

    name = "masked"
    gains = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        embeddings: bool = False,
        positions: Mapping[str, Tensor | None] | None = None,
        probe: Probe | None = None,
    ):
        self.model, self.optimizer, self.probe = model, optimizer, probe
        self.passes: Callable[[Tensor], Tensor] = model  # what learn() calls: maybe compiled
        self.space, self.parameters, sites = discover(
            model, include=include, exclude=exclude, embeddings=embeddings, positions=positions
        )
        self.taps = Taps(sites)
        self._births = sort_optimizer(optimizer)
        self._project = type(optimizer) not in ELEMENTWISE
        self._groups = groups_of(optimizer, self.space, self.parameters)
        self._one_group = len(set(self._groups)) == 1
        # bytes for the kernels, which read a quarter as much; torch wants the type of the weights
        kind = torch.bool if addresses(self.parameters) is not None else None
        self.masks = [torch.ones_like(p, dtype=kind) for p in self.parameters]
        self._lie = [layout(m) for m in self.masks]
        self._thin: list[int] = []  # projections that are not full
        self.grads: list[Tensor | None] | None = None
        self._want_grads = False
        self._checked = False
        self._elsewhere = False  # whether this is the world as if it held another graph
        self._views = Views()
        self._fast: Addresses | None = None  # of the weights, as last seen
        self._row: Row | None = None  # what the optimiser steps in their place
        self._row_keys: np.ndarray | None = None  # the keys of the row, if the last step was on it
        self._late = False  # whether the last step's weights wait in the row: ``straight``
        self.gates: Gates | None = None

    # -- what the session asks ------------------------------------------------------------------

    def watch(self, needs: frozenset[str]) -> None:
        """Set up what the signals of a run need: hooks for activity, kept gradients."""
        if "activity" in needs:
            self.taps.listen()

    def want_grads(self, wanted: bool) -> None:
        """Keep the dense gradient of the coming step, before it is masked."""
        self._want_grads = wanted

    @torch.no_grad()
    def begin(self, graph: Graph) -> None:
        """Hold this graph: set masks, and bring weights and moments onto them."""
        self._lay_moments()
        self.gates = None
        for mask in self.masks:
            mask.zero_()
        self._put(self.masks, np.unique(graph.array), 1.0)
        self._thin = self._find_thin(graph)
        if "weight" in graph.columns:
            self._write_weights(graph)
        self._mask_everything()
        if "gain" in graph.columns:
            self.gates = Gates(self.parameters, graph, self.trains)

    def advance(
        self,
        graph: Graph,
        skip: bool,
        scaler: Any = None,
        closure: Callable[[], Any] | None = None,
    ) -> tuple[bool, Any]:
        """One optimiser step on masked gradients: (whether it was made, the closure's loss).

        ``skip`` leaves the step out, biases included. With a GradScaler that finds an overflow
        there is no step.
        """
        loss = self._row_keys = None
        scale = scaler.get_scale() if scaler is not None else 0.0
        if scaler is not None:
            _unscale(scaler, self.optimizer)
        if closure is not None:
            if skip:
                loss = closure()
                self._note_gradients(graph, skip)
            else:
                loss = self.optimizer.step(lambda: self._closed(graph, closure))
        else:
            slopes = self._slopes(graph) if not skip and scaler is None else None
            if slopes is None or self._want_grads:
                self._note_gradients(graph, skip, masks=slopes is None)
            if slopes is not None:
                self._step_on_edges(graph, slopes)
                if self.straight:
                    self._late = True
                else:
                    self._lay_down()
            elif not skip:
                scaler.step(self.optimizer) if scaler is not None else self.optimizer.step()
        if self.gates is not None and not skip:
            self._stepped(graph)
        self.taps.settle()
        if scaler is not None:
            scaler.update()
            if scaler.get_scale() < scale:
                return False, loss
        if self._project and not skip and self.gates is None:
            self._mask_everything()
        if not self._checked and not skip:
            self._check_state()
        return True, loss

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now.

        While a step's weights wait in the row, the column is the row's own memory, good until the
        next step.
        """
        if self._late:
            row = self._row
            if row is not None and self._row_keys is graph.array:
                return graph.with_columns({"weight": row.held})
            self.settle()
        held = self.stored
        fast = self._weights() if self.gates is None else addresses(held)
        if fast is not None:
            weight = fast.verbs.gather(
                fast.tensors, fast.turned, self.space.ends, graph.array
            )  # fmt: skip
        else:
            weight = np.concatenate([
                self._views.gather(p, graph.local(i).numpy()) for i, p in enumerate(held)
            ])  # fmt: skip
        return graph.with_columns({"weight": weight})

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make masks, weights and moments match the graph after an edit.

        Dropped synapses get weight and moments 0, new ones their birth weight and moments 0.
        """
        gates = self.gates
        if gates is not None:
            gates.open()
        if "weight" in edit.set:  # all of them are written
            self._late = False
        self.settle()
        moved = len(edit.drop) or len(edit.add)
        if moved:
            self._replace(before, after, edit)
            if before.bounds != after.bounds:
                self._thin = self._find_thin(after)
        elif "weight" in edit.set:
            self._write_weights(after)
        self._row_keys = None  # the row is of before the edit
        if gates is not None:
            gates.close()
            if moved or {"gain", self.trains} & edit.set.keys():
                gates.set(after)

    def _write_weights(self, graph: Graph) -> None:
        self._put(self.parameters, graph.array, graph.numbers("weight"))

    def _replace(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Zeros at what was dropped, births at what was added; neither remembers anything.

        Weights that the edit sets are written as well.
        """
        drop, born = edit.drop, after.born
        weight, whole = after.numbers("weight"), "weight" in edit.set
        # a step on the row has just looked where the weights lie
        here = self._row is not None and self._row_keys is before.array
        fast = self._fast if here else self._weights()
        if fast is not None and self.masks[0].dtype is torch.bool:
            fast.verbs.replace(
                fast.tensors, [m.data_ptr() for m in self.masks], fast.turned, self.space.ends,
                before.array, drop, after.array, born, weight, whole,
            )  # fmt: skip
        else:
            gone, new = np.sort(before.array[drop]), after.array[born]
            self._put(self.parameters, gone, 0.0)
            self._put(self.parameters, new, weight[born])
            self._put(self.masks, gone, 0.0)
            self._put(self.masks, new, 1.0)
            if whole:
                self._write_weights(after)
        if self.optimizer.state:  # plain SGD has none
            self._forget(before.array[drop], after.array[born])

    def _forget(self, gone: np.ndarray, born: np.ndarray) -> None:
        """Bring the moments at these keys to where they start."""
        changed = np.sort(np.concatenate([gone, born]))
        for name, moments in self._moments().items():
            birth = self._births.get(name)
            if birth is None:
                self._put(moments, changed, 0.0)
            else:
                for i, moment in enumerate(moments):
                    only = [moment if j == i else None for j in range(len(moments))]
                    self._put(only, changed, birth(self.optimizer.param_groups[self._groups[i]]))

    def _put(
        self, tensors: Sequence[Tensor | None], keys: np.ndarray, values: np.ndarray | float
    ) -> None:
        """Write one number, or one each, at rising keys; ``tensors`` has one for each projection.

        Where one is None, what falls into its projection is left out.
        """
        if not len(keys):
            return
        fast = addresses(tensors)
        if fast is not None:
            verb = fast.verbs.scatter if isinstance(values, np.ndarray) else fast.verbs.fill
            verb(fast.tensors, fast.turned, self.space.ends, keys, values)
            return
        for i, local, here in self._split(keys):
            tensor = tensors[i]
            if tensor is not None:
                own = values[here] if isinstance(values, np.ndarray) else values
                self._views.scatter(tensor, local, own)

    def signals(self, graph: Graph) -> Signals:
        """What rules may ask, of this graph."""
        return Signals(self, graph, self.settle)

    def holding(self, graph: Graph) -> Masked:
        """The same world as if it held another graph: its probe runs under that graph's masks."""
        other = copy.copy(self)
        other.masks = [graph.mask(i).to(p) for i, p in enumerate(self.parameters)]
        if self.gates is not None:
            other.gates = self.gates.holding(graph)
        other.grads, other._elsewhere = None, True
        return other

    @contextmanager
    def deriving(self, graph: Graph) -> Iterator[Passes]:
        """Within it the model can be derived by its dense weights, masks applied."""
        assert self.probe is not None
        with evaluating(self.model):
            weights = self.effective_weights()
            yield Passes(
                self.model_with(weights), weights, lambda t: self.numbers_at(graph.keys, t),
                self.probe, self.model, {id(p): i for i, p in enumerate(self.parameters)},
            )  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """Everything of model and optimiser that training depends on, copied."""
        self.settle()
        return {
            "model": _copied(self.model.state_dict()),
            "optimiser": _copied(self.optimizer.state_dict()),
            **({} if self.gates is None else {"stored": _copied(self.gates.stored)}),
        }

    def learn(self, graph: Graph, x: Tensor, y: Tensor, rows: Tensor | None, skip: bool) -> float:
        """Both passes of mean cross-entropy and, but for ``skip``, a step: the loss."""
        if rows is not None:
            x, y = x[rows], y[rows]
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.passes(x), y)
        loss.backward()
        self.advance(graph, skip)
        return float(loss.detach())

    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
        return evaluate(self.model, x, y)

    @property
    def forms(self) -> dict[str, str]:
        """How each sparse parameter is held, by name."""
        return dict.fromkeys((p.name for p in self.space.projections), "masked")

    def model_state(self) -> dict[str, Tensor]:
        """Everything of the model, copied."""
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def show(self, state: Mapping[str, Tensor]) -> None:
        """Let the model compute with a state of :meth:`model_state`."""
        self.model.load_state_dict(state)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken; the session then begins with its graph."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(copy.deepcopy(saved["optimiser"]))
        self._views = Views()
        if self.gates is not None:
            self.gates.restore(saved.get("stored", self.parameters))

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved parts, under the masks of ``graph``."""
        self.settle()
        self._row_keys = None
        if "model" in parts:
            self.model.load_state_dict(saved["model"])
            if self.gates is not None:
                self.gates.restore(saved.get("stored", self.parameters))
        if self.gates is not None:
            self.gates.open()
        if "optimiser" in parts:
            self.optimizer.load_state_dict(copy.deepcopy(saved["optimiser"]))
            self._views = Views()  # let go of the moments that were replaced
            self._lay_moments()
        self._mask_everything()
        if self.gates is not None:
            self.gates.close()

    # -- inside ---------------------------------------------------------------------------------

    def _find_thin(self, graph: Graph) -> list[int]:
        bounds = graph.bounds
        return [i for i, size in enumerate(self.space.sizes) if bounds[i + 1] - bounds[i] < size]

    def _note_gradients(self, graph: Graph, skip: bool, *, masks: bool = True) -> None:
        """Keep the dense gradient if a rule will ask for it; mask the one that is stepped on."""
        if self._want_grads:
            self.grads = [
                None if p.grad is None else p.grad.detach() if skip else p.grad.detach().clone()
                for p in self.parameters
            ]
        if skip or not masks:
            return
        if self.gates is not None:
            self.gates.before_step(self._moments())
        here = [(g, i) for i in self._thin if (g := self.parameters[i].grad) is not None]
        if here and not self._keep_only([g for g, _ in here], graph):
            self._mask([g for g, _ in here], [i for _, i in here])

    def _stepped(self, graph: Graph) -> None:
        """After a step under gates: what it was not to move goes back, then gains multiply."""
        assert self.gates is not None
        self.gates.after_step(self._moments(), self._births, self.optimizer.param_groups,
                              self._groups)  # fmt: skip
        if self._project:
            self._mask_everything()
        self.gates.close()

    def _slopes(self, graph: Graph) -> list[int] | None:
        """Where the gradients lie, if the optimiser may step a list of the edges; else None.

        In the place of the dense weights: plain SGD, which remembers nothing, where few synapses
        exist and the kernels reach weights and gradients.
        """
        scarce = SCARCE * len(graph.array) < self.space.possible
        if not scarce or self.gates is not None or not self._one_group:
            return None
        fast = self._weights() if self._forgets() else None
        if fast is None:
            return None
        found = []
        for p, lies in zip(self.parameters, fast.layouts, strict=True):
            slope = p.grad
            if slope is None or slope.dtype is not fast.type:
                return None
            if not (slope.is_contiguous() if lies == PLAIN else layout(slope) == lies):
                return None
            found.append(slope.data_ptr())
        return found

    def _step_on_edges(self, graph: Graph, slopes: list[int]) -> None:
        """The optimiser's own step, with one parameter of the edges' weights for all sparse ones.

        Absent synapses are at 0, and stay there, whatever their gradients are.
        """
        fast, keys, row = self._fast, graph.array, self._row
        assert fast is not None
        if row is None or row.size != len(keys) or row.type is not fast.type:
            row = self._row = Row.of(len(keys), fast, self.parameters)
        fast.verbs.gather_pair(
            fast.tensors, slopes, fast.turned, self.space.ends, keys, row.weight, row.slope
        )
        if not (self._checked and unwatched(self.optimizer) and self._descend(row)):
            group, mine = self.optimizer.param_groups[self._groups[0]], row.replaces
            whole = group["params"]
            group["params"] = [row.parameter, *[p for p in whole if id(p) not in mine]]
            try:
                self.optimizer.step()
            finally:
                group["params"] = whole
        self._row_keys = keys

    def _descend(self, row: Row) -> bool:
        """What ``optimizer.step()`` of plain SGD does, with the row for the sparse weights.

        The same operations on the same numbers, by fewer calls: a step on few edges is mostly
        those. False, and nothing done, for settings that are left to the optimiser.
        """
        groups = self.optimizer.param_groups
        group = groups[0]
        rate, decay, fused = group["lr"], group["weight_decay"], group["fused"]
        plain = fused or (type(rate) is float and not decay)
        if not plain or len(groups) > 1 or group["maximize"]:
            return False
        weights, slopes = [row.parameter.detach()], [row.gradient]
        for p in group["params"]:
            if id(p) not in row.replaces and (slope := p.grad) is not None:
                weights.append(p.detach())
                slopes.append(slope)
        if fused:
            torch._fused_sgd_(
                weights, slopes, [], weight_decay=decay, momentum=0.0, lr=rate, dampening=0.0,
                nesterov=False, maximize=False, is_first_step=False,
            )  # fmt: skip
        else:
            torch._foreach_add_(weights, slopes, alpha=-rate)
        return True

    def _lay_down(self) -> None:
        """Write what was stepped in the row to the weights."""
        fast, row, keys = self._fast, self._row, self._row_keys
        assert fast is not None and row is not None and keys is not None
        fast.verbs.scatter(fast.tensors, fast.turned, self.space.ends, keys, row.weight)

    def settle(self) -> None:
        """Let the weights be what the last step made them, if they wait in the row."""
        if self._late:
            self._late = False
            self._lay_down()

    def _mask(self, tensors: list[Tensor], which: list[int]) -> None:
        """Multiply tensors of these projections by their masks, in place."""
        masks = [self.masks[i] for i in which]
        fast = addresses(tensors) if masks[0].dtype is torch.bool else None
        if fast is not None and fast.layouts == [self._lie[i] for i in which]:
            sizes = [self.space.sizes[i] for i in which]
            fast.verbs.mask(fast.tensors, [m.data_ptr() for m in masks], sizes)
        else:
            torch._foreach_mul_(tensors, masks)

    def _weights(self) -> Addresses | None:
        """The weights for the kernels, where they lie now."""
        known = self._fast
        if (
            known is None
            or known.tensors != [p.data_ptr() for p in self.parameters]
            or self.parameters[0].dtype is not known.type
        ):
            self._fast = known = addresses(self.parameters)
            if known is not None and known.layouts != self._lie:  # model.to(memory_format=...)
                pairs = zip(self.parameters, self.masks, strict=True)
                self.masks = [torch.empty_like(p, dtype=m.dtype).copy_(m) for p, m in pairs]
                self._lie = known.layouts
        return known

    def _lay_moments(self) -> None:
        """Let the optimiser's state lie as the weights do: torch's fused steps do not look, and a
        file gives it back contiguous."""
        for p, state in self.optimizer.state.items():
            for name, v in state.items():
                if isinstance(v, Tensor) and v.shape == p.shape and layout(v) != layout(p):
                    state[name] = torch.empty_like(p, dtype=v.dtype).copy_(v)

    def _forgets(self) -> bool:
        """Whether no gradient outlives the step: clearing weights after it then does as well."""
        if type(self.optimizer) is not torch.optim.SGD:
            return False
        for group in self.optimizer.param_groups:
            if group["momentum"]:
                return False
        return True

    def _scarce(self, graph: Graph) -> bool:
        """Whether so few synapses exist that gathering them beats a mask."""
        return SCARCE * len(graph) < self.space.possible

    def _keep_only(self, gradients: Sequence[Tensor], graph: Graph) -> bool:
        """Clear those of absent synapses, in place; False where a mask does it faster."""
        whole = len(gradients) == len(self.parameters)
        if not whole or not self._scarce(graph):
            return False
        fast = addresses(gradients)
        if fast is None:
            return False
        fast.verbs.keep_only(fast.tensors, fast.turned, self.space.ends, graph.array)
        return True

    def _closed(self, graph: Graph, closure: Callable[[], Any]) -> Any:
        loss = closure()
        self._note_gradients(graph, skip=False)
        return loss

    def _moments(self) -> dict[str, list[Tensor | None]]:
        """The optimiser's tensors that hold one number for each weight: name -> (P,) tensors."""
        found: dict[str, list[Tensor | None]] = {}
        for i, p in enumerate(self.parameters):
            for name, v in self.optimizer.state.get(p, {}).items():
                if isinstance(v, Tensor) and v.shape == p.shape:
                    found.setdefault(name, [None] * len(self.parameters))[i] = v
        return found

    @torch.no_grad()
    def _mask_everything(self) -> None:
        held: list[Sequence[Tensor | None]] = [self.parameters, *self._moments().values()]
        for tensors in held:
            here = [(t, i) for i in self._thin if (t := tensors[i]) is not None]
            if here:
                self._mask([t for t, _ in here], [i for _, i in here])

    def _check_state(self) -> None:
        self._checked = True
        for projection, p in zip(self.space.projections, self.parameters, strict=True):
            for name, v in self.optimizer.state.get(p, {}).items():
                if isinstance(v, Tensor) and v.numel() > 1 and v.shape != p.shape:
                    raise ValueError(
                        f"{type(self.optimizer).__name__} keeps {name!r} of shape {tuple(v.shape)} "
                        f"for {projection.name!r} of shape {tuple(p.shape)}: state that is not one "
                        "number for each weight cannot be kept clean. Use another optimizer."
                    )

    def _split(self, keys: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray | slice]]:
        """(projection, flat indices, rows of ``keys``) of the projections that keys fall in."""
        if len(self.parameters) == 1:
            return [(0, keys, slice(None))]
        ends = self.space.ends
        which = ends.searchsorted(keys, "right") - 1
        out: list[tuple[int, np.ndarray, np.ndarray | slice]] = []
        for i in np.bincount(which).nonzero()[0].tolist():
            here = (which == i).nonzero()[0]
            out.append((i, keys[here] - ends[i], here))
        return out

    @property
    def stored(self) -> Sequence[Tensor]:
        """The weights without their gains, one tensor for each projection."""
        return self.parameters if self.gates is None else self.gates.stored

    def gradients(self) -> list[Tensor | None]:
        """The dense gradient of the step just made, else that of the probe."""
        if self.grads is None:
            if self.probe is None and self._elsewhere:
                raise ValueError("gradients at another graph need data: pass probe= to attach.")
            if self.probe is None:
                raise ValueError(
                    "there is no gradient before the first step: pass probe= to attach, so that "
                    "the rule can see data at the start."
                )
            self.grads = self.probe_gradients()
        return self.grads

    def probe_gradients(self) -> list[Tensor | None]:
        """Mean gradient of the probe's loss with respect to every sparse weight, masks applied."""
        assert self.probe is not None
        weights = self.effective_weights()
        model = self.model_with(weights)
        total: list[Tensor | None] = [None] * len(weights)
        for batch in self.probe.batches:
            grads = torch.autograd.grad(self.probe.loss(model, batch), weights, allow_unused=True)
            total = [g if t is None else t if g is None else t + g
                     for t, g in zip(total, grads, strict=True)]  # fmt: skip
        return [None if t is None else t / len(self.probe.batches) for t in total]

    def effective_weights(self) -> list[Tensor]:
        """What the model computes with, weights under masks, as leaves to derive by."""
        held = self.parameters if self.gates is None else self.gates.effective()
        return [(p.detach() * m).requires_grad_()
                for p, m in zip(held, self.masks, strict=True)]  # fmt: skip

    def model_with(self, weights: Sequence[Tensor]) -> Callable[..., Any]:
        """The model as a function that computes with these sparse weights.

        With copies of the buffers: a signal's passes are none of training's (running means and
        counts).
        """
        names = {id(p): n for n, p in self.model.named_parameters()}
        held = {names[id(p)]: w for p, w in zip(self.parameters, weights, strict=True)}
        held |= {n: b.clone() for n, b in self.model.named_buffers()}

        def model(*args: Any, **kwargs: Any) -> Any:
            return functional_call(self.model, held, args, kwargs)

        return model

    def numbers_at(self, keys: Tensor, tensors: Sequence[Tensor | None]) -> Tensor:
        """The numbers at keys of tensors like the weights, one for each projection, (k,).

        On the CPU, float64 if any of them is, else float32; 0 where there is no tensor.
        """
        double = any(t is not None and t.dtype is torch.float64 for t in tensors)
        kind = torch.float64 if double else torch.float32
        if len(keys) == self.space.possible and (keys.diff() == 1).all():  # all, as they lie
            whole = zip(tensors, self.parameters, strict=True)
            return torch.cat([
                (torch.zeros_like(p) if t is None else t).detach().reshape(-1).to(kind)
                for t, p in whole
            ]).cpu()  # fmt: skip
        out = torch.zeros(len(keys), dtype=kind)
        for i, local, here in self._split(keys.numpy()):
            t = tensors[i]
            if t is not None:
                out[here] = torch.from_numpy(taken(t, local, flat(t))).to(out)
        return out
