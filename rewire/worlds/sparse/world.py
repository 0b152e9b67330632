"""The sparse world: a torch model on the CPU that computes with the edges alone.

Each sparse weight is the list of its edges: one number each in the parameter, its gradient and
the optimiser's moments, which all lie in the order of the graph's keys. The graph's column
``weight`` is that memory. Nothing is as large as a dense weight, so that a model may be built on
the ``meta`` device and be wider than any memory; but for what a rule looks at under another graph
(:meth:`Sparse.holding`), as those do that begin with every edge and prune. A whole model of known
layers runs as one native plan (:mod:`rewire.worlds.sparse.plan`); others run layer by layer
(:mod:`rewire.worlds.sparse.edge_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...graph import Edit, Graph
from ...world import Loss
from ..masked.world import Masked
from ..torch_model.activity import Taps
from ..torch_model.base import groups_of
from ..torch_model.declared import Kinds
from ..torch_model.followers import refuse_followers
from ..torch_model.optimizers import ELEMENTWISE, sort_optimizer
from ..torch_model.probe import Probe, evaluate
from . import saving
from .admission import check_tensors
from .copying import CopiedWhole
from .dense_forms import DenseForms
from .edge_layers import unwire, wire
from .edge_numbers import stepping
from .edge_weight import EdgeWeight, ReplacedWeight, lay
from .gradients import Gradients
from .guarding import Guarded
from .looking import Looking
from .moments import Moments, matched
from .native_step import NativeStep
from .optimizer_state import OptimizerEdges
from .plan.plan import Plan
from .plan.tracing import NotTraceable
from .weights import Form, Held, Weight, csr, drawn, give_memory, replace, suitable, weights_of
from .wires import Wires

FEW = 2**17  # edges whose weights are copied sooner than all parameters are told of other memory


class Sparse(CopiedWhole, Looking, Guarded):
    """A torch model on the CPU whose sparse weights are lists of their edges.

    choose: "sparse" holds every weight as edges that has such a layer (linear, convolutional,
        recurrent, attention); "auto" those of layers whose density is at most CROSSOVER, or
        RECURRENT, each layer by itself. The rest is dense under a mask.
    seed: of the first weights of a model on the ``meta`` device: uniform, of variance 2 / fan-in,
        the fan-in being the mean number of edges of a unit; biases start at 0.

    Raises ValueError for an optimiser that mixes synapses, and for a model off the CPU.
    """

    name = "sparse"
    listens = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        choose: Literal["sparse", "auto"] = "sparse",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        embeddings: bool = False,
        projections: Kinds | None = None,
        positions: Mapping[str, Tensor | None] | None = None,
        probe: Probe | None = None,
        seed: int = 0,
    ):
        self.model, self.optimizer, self.choose, self.seed = model, optimizer, choose, seed
        self.probe = probe
        self._chosen: dict[str, Any] = {
            "include": include, "exclude": exclude, "embeddings": embeddings,
            "projections": projections, "positions": positions,
        }  # fmt: skip
        parameters, sites = self._discover(**self._chosen)
        self._groups = groups_of(optimizer, self.space, parameters)
        self._one_group = len(set(self._groups)) == 1
        traits = sort_optimizer(optimizer, parameters, self._groups)
        if not traits.elementwise:
            raise ValueError(
                f"the sparse world cannot know how {type(optimizer).__name__} mixes weights, which "
                f"are lists of edges here; it takes {', '.join(t.__name__ for t in ELEMENTWISE)}. "
                "The masked world takes any optimizer."
            )
        if traits.derives:
            raise ValueError(
                f"{type(optimizer).__name__} derives gradients again, and the layers of the sparse "
                "world are derived once: attach with world='masked'."
            )
        check_tensors(model, self.space.projections, parameters)
        refuse_followers(model, parameters)
        self._unborn = any(p.is_meta for p in parameters)  # its weights are made for edges alone
        self.weights = weights_of(model, self.space, parameters, projections)
        give_memory(model, optimizer, self.weights)
        self.taps = Taps(sites)
        self.begun = False
        none, rows = torch.empty(0, dtype=torch.int64), [0] * (len(self.weights) + 1)
        self.held = Held(none, torch.empty(0), rows, self.space.bounds)
        self.moments = Moments(optimizer, self.weights, traits.births, self._groups)
        self._project = not traits.exact
        self.native = NativeStep(model, optimizer, self.weights)
        OptimizerEdges(optimizer, self.weights)
        self.dense_forms = DenseForms(self.weights, self.moments)
        self.gradients = Gradients(self.weights, self.native)

    @classmethod
    def attached(
        cls, model: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int, **options: Any
    ) -> Sparse:
        """The world of a model and its optimiser, with the options of :func:`rewire.attach`."""
        return cls(model, optimizer, seed=seed, **options)

    # -- what the session asks ------------------------------------------------------------------

    @classmethod
    def unsupported(cls, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        if "gain" in columns:
            return (
                "silent edges are edges, and it computes with every edge there is: nothing would "
                "be gained. Use world='masked'"
            )
        return None

    @classmethod
    def remedy(cls, missing: Sequence[str]) -> str:
        """Data, or the masked world, where that has the signals."""
        if cls.can_serve(frozenset(missing), frozenset()):
            return super().remedy(missing)
        masked = Masked.can_serve(frozenset(missing), frozenset())
        return " The masked world does: use world='masked'." if masked else ""

    def watch(self, needs: frozenset[str]) -> None:
        """Set up what the signals of a run need."""
        if {"grad", "growth"} & needs:
            self.gradients.keeping = True
        if "activity" in needs:
            self.taps.listen()
            self.native.untraceable = "a rule asks for the activity of units"

    def want_grads(self, wanted: bool) -> None:
        """Whether a rule will ask for gradients: those of masked layers are kept whole then.

        What the gradient at absent synapses of lists of edges is made of is kept in any case.
        """
        self.gradients.want(wanted)

    @property
    def plan(self) -> Plan | None:
        """The native plan of the training step, where there is one."""
        return self.native.plan

    @property
    def untraceable(self) -> str | None:
        """Why the model runs layer by layer, where it must."""
        return self.native.untraceable

    @property
    def forms(self) -> dict[str, Form]:
        """How each sparse parameter is held now, by name."""
        return {w.name: w.form for w in self.weights}

    @torch.no_grad()
    def begin(self, graph: Graph) -> None:
        """Hold this graph; moments of edges that were there already stay."""
        before, moments = self.held.keys, self.moments.read(self.held) if self.begun else {}
        if self.begun and torch.equal(before, graph.keys):
            self.held.keys = graph.keys
            self.held.flat.copy_(graph["weight"])
            self._point(graph)
            return
        self._hold(graph, graph["weight"].clone())
        for name, flat in moments.items():
            self.moments.write(self.held, name, matched(before, flat, graph.keys, 0.0))
        self.native.rewire()
        self.begun = True

    def _hold(
        self, graph: Graph, flat: Tensor, same: Sequence[int] = (), drop: np.ndarray | None = None
    ) -> None:
        """Let every parameter hold its part of ``flat``, in the form that suits its density.

        same: projections whose edges are those of before. drop: rows, rising, that one edit of
        what is held dropped; its newborns are those of ``graph``.
        """
        before, forms = self.held.bounds, self.forms
        self.held = Held(graph.keys, flat, graph.bounds, self.space.bounds)
        choice = suitable(self.weights, graph.bounds, self.choose)
        for i, (w, form) in enumerate(zip(self.weights, choice, strict=True)):
            if form == "edges":
                if w.wires is None or i not in same:
                    passes = [] if w.wires is None else w.wires.passes
                    edited = drop is not None and w.wires is not None
                    last = (w.wires, before[i], drop) if edited else None
                    rows = csr(graph, i, w.shape, last)  # type: ignore[arg-type]
                    keeping = self.gradients.keeping
                    wires = Wires(tuple(w.shape), *rows, keeping, True, passes)
                    w.rewire(wires)
                else:
                    wires = w.wires
                if w.form == "masked":
                    self.moments.shrink(w, graph.local(i))
                w.form, w.mask = form, None
                self._set_data(w, flat[graph.rows(i)])
                wire(w.module, w.attribute, wires)
            else:
                self._hold_dense(graph, i, flat)
            w.last, w.parameter.grad = w.parameter, None
        self.dense_forms.renew()
        if forms != self.forms:
            self.native.drop()
        self.gradients.follow()

    def _hold_dense(self, graph: Graph, i: int, flat: Tensor) -> None:
        w = self.weights[i]
        if w.form == "edges":
            unwire(w.module, w.attribute)
        w.rewire(None)
        w.form, w.mask = "masked", graph.mask(i)
        dense = torch.zeros(w.shape.numel(), dtype=flat.dtype)
        dense[graph.local(i)] = flat[graph.rows(i)]
        if w.parameter.shape == w.shape:
            w.parameter.copy_(dense.view(w.shape))
            self.moments.mask(w)
        else:
            self._set_data(w, dense.view(w.shape))

    def _set_data(self, w: Weight, values: Tensor) -> None:
        """Let a weight hold other numbers. Of another shape it is another parameter: autograd
        remembers the shape of the one that a loss was computed with."""
        old = w.parameter
        if old.shape == values.shape:
            lay(old, values)
            return
        kind = EdgeWeight if w.form == "edges" else nn.Parameter
        fresh = kind(values, requires_grad=old.requires_grad)
        replace(self.optimizer, old, fresh)
        setattr(w.module, w.attribute, fresh)
        self.native.replaced(old, fresh)
        old.__class__ = ReplacedWeight

    def _point(self, graph: Graph) -> None:
        """Bring the dense weights in line with the flat one."""
        for i, w in enumerate(self.weights):
            if w.form == "masked":
                w.parameter.data.view(-1)[graph.local(i)] = self.held.flat[graph.rows(i)]

    # -- a step ---------------------------------------------------------------------------------

    def advance(
        self, graph: Graph, skip: bool, scaler: Any = None, closure: Callable[[], Any] | None = None
    ) -> tuple[bool, Any]:
        """One optimiser step on the gradients that are there: (True, the closure's loss)."""
        if scaler is not None:
            raise ValueError("the sparse world runs in full precision: call step() with no scaler.")
        self.guard()
        loss = closure() if closure is not None else None
        self.prepare(graph, skip)
        if not skip:
            self.optimizer.step()
        self.stepped(graph, skip)
        return True, loss

    def prepare(self, graph: Graph, skip: bool) -> None:
        """Masked gradients of the weights that are dense."""
        self.gradients.keep() if skip else self.gradients.mask()
        stepping(True)

    def clip_gradients(self, most: float) -> float | Tensor:
        """As in every world; gradients at absent synapses, which rules may ask for, with it."""
        factor = super().clip_gradients(most)
        self.gradients.factor = float(factor)
        return factor

    def stepped(self, graph: Graph, skip: bool) -> None:
        """The passes of this step are over."""
        stepping(False)
        for w in self.weights:
            if w.wires is not None:
                w.wires.over = True
        self.taps.settle()
        if self._project and not skip:
            self.dense_forms.clear()
        self.gradients.settle()

    def sparse_parameters(self) -> list[Tensor]:
        """Lists of edges, and dense weights, as this world left them."""
        return [w.parameter if w.last is None else w.last for w in self.weights]

    def learn(
        self,
        graph: Graph,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        skip: bool,
        loss: Loss | None = None,
    ) -> float:
        """Forward pass, loss, backward pass and, unless ``skip``, a step: the loss.

        Mean cross-entropy, where no other loss is given, in one native call where the model can be
        traced; else layer by layer.
        """
        self.guard()
        native = self.native
        native.fuses = self.clips is None
        if loss is not None:
            return self.learn_by_layers(self.model, graph, x, y, rows, skip, loss)
        if not native.ready(x, self.held.flat.dtype, self.gradients.keeping):
            mean = self.learn_by_layers(self.model, graph, x, y, rows, skip)
            native.passed()
            return mean
        mean = native.step(x, y, rows, skip)
        if skip:
            return mean
        if native.fused:
            self.dense_forms.clear()
        else:  # an optimiser of torch's that the engine does not have, or clipped gradients
            native.give_gradients()
            if self.clips is not None:
                self.clip_gradients(self.clips)
            self.prepare(graph, skip)
            self.optimizer.step()
            stepping(False)
        return mean

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
        self.take_up()
        dtype = self.held.flat.dtype
        if self.native.trace_if_due(x, dtype, self.gradients.keeping):
            try:
                return self.native.viewing(x, dtype).evaluate(x, y)
            except NotTraceable:  # another model since the last step: the next one says why
                pass
        return evaluate(self.model, x, y)

    # -- reading and writing --------------------------------------------------------------------

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now: this world's own memory, not a copy.

        Of other edges than are held (a session that is loaded) those that are new weigh 0.
        """
        if not self.begun:
            return graph.with_columns({"weight": self.first_weights(graph)})
        self.take_up()
        for i, w in enumerate(self.weights):
            if w.form == "masked":
                part = w.parameter.detach().view(-1)[self.held.local(i)]
                self.held.flat[self.held.rows(i)] = part
        keys, flat = self.held.keys, self.held.flat
        if graph.keys is not keys and not torch.equal(graph.keys, keys):
            flat = matched(keys, flat, graph.keys, 0.0)
        return graph.with_columns({"weight": flat})

    def first_weights(self, graph: Graph) -> Tensor:
        """The model's own, or, for one on the meta device, uniform ones of variance 2 / fan-in."""
        return torch.cat([
            drawn(w, graph.keys[graph.rows(i)], self.seed) if w.parameter.shape != w.shape
            else w.parameter.detach().reshape(-1)[graph.local(i)].clone()
            for i, w in enumerate(self.weights)
        ])  # fmt: skip

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make edges, weights and moments match the graph after an edit; newborns remember nothing.

        Where the topology changed, the graph's column becomes this world's memory, or a copy of it.
        """
        drop, born = edit.drop, after.born
        if not len(drop) and not len(edit.add):
            if "weight" in edit.set:
                self.held.flat.copy_(after["weight"])
                self._point(after)
            return
        drop = np.sort(drop) if len(drop) > 1 else drop
        ends = self.space.ends
        born_in = ends.searchsorted(after.array[born], "right") - 1  # the weights of the newborns
        dropped_from = ends.searchsorted(before.array[drop], "right") - 1
        touched = {*born_in.tolist(), *dropped_from.tolist()}
        lists = all(self.weights[i].wires is not None for i in touched)
        if lists and len(after) <= FEW and before.bounds == after.bounds:
            self._exchange(after, drop, born, touched)
            return
        with torch.no_grad():
            moments = self.moments.read(self.held)
            same = [i for i in range(len(self.weights)) if i not in touched]
            self._hold(after, after["weight"], same, drop)
            for name, flat in moments.items():
                edited = self.moments.edited(name, flat, drop, born, born_in)
                self.moments.write(self.held, name, edited)
            self.native.rewire()

    def _exchange(
        self, after: Graph, drop: np.ndarray, born: np.ndarray, touched: Iterable[int]
    ) -> None:
        """An edit of lists after which each projection has as many edges as before: what is held
        stays where it is, and only lists that changed are handed on."""
        np.copyto(self.held.flat.numpy(), after.numbers("weight"))
        self._point(after)
        bounds = after.bounds
        self.held.keys, self.held.bounds = after.keys, bounds
        for i in touched:
            w, rows = self.weights[i], bounds[i : i + 2]
            assert w.wires is not None
            lists = csr(after, i, w.shape, (w.wires, rows[0], drop))
            fresh = Wires(w.wires.shape, *lists, self.gradients.keeping, True, w.wires.passes)
            w.rewire(fresh)
            wire(w.module, w.attribute, fresh)
            gone, new = (x[slice(*x.searchsorted(rows))] - rows[0] for x in (drop, born))
            self.moments.edit_in_place(i, gone, new)
            self.native.rewire_in_place(w)
        for w in self.weights:
            w.parameter.grad = None

    # -- saved states ---------------------------------------------------------------------------

    def model_state(self) -> dict[str, Tensor]:
        """Everything of the model, copied: keys and weights of edges for its sparse parameters."""
        self.read(Graph(self.space, self.held.keys))
        return saving.model_state(self.model, self.weights, self.held)

    @torch.no_grad()
    def show(self, state: Mapping[str, Tensor]) -> None:
        """Let the model compute with a state of :meth:`model_state`, edges included.

        The optimiser is left as it is: show the state of before again before the next step.
        """
        saving.load_rest(self.model, state)
        graph = Graph(self.space, state[saving.KEYS])
        self._hold(graph, state[saving.WEIGHT].clone())
        self.native.rewire()

    @contextmanager
    def showing(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the model computes with a saved state."""
        now = self.model_state()
        self.show(state)
        try:
            yield
        finally:
            self.show(now)

    def snapshot(self) -> dict[str, Any]:
        """Everything of model and optimiser that training depends on, copied."""
        edges = self.moments.read(self.held)
        state = saving.optimizer_state(self.optimizer, self.weights, edges)
        return {"model": self.model_state(), "optimiser": state}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken, with the edges that it held."""
        keys = saved["model"][saving.KEYS]
        self.restore(saved, frozenset({"model", "optimiser"}), Graph(self.space, keys))
        self.begun = True

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved parts, for the edges of ``graph``."""
        keys, flat = saved["model"][saving.KEYS], self.held.flat.clone()
        moments = self.moments.read(self.held) if self.begun else {}
        if "model" in parts:
            saving.load_rest(self.model, saved["model"])
            flat = matched(keys, saved["model"][saving.WEIGHT], graph.keys, 0.0)
        self._hold(graph, flat)
        if "optimiser" in parts:
            saving.load_optimizer(
                self.optimizer, self.weights, self.moments, saved["optimiser"], keys, self.held
            )
        else:
            for name, values in moments.items():
                self.moments.write(self.held, name, values)
        self.native.rewire()
