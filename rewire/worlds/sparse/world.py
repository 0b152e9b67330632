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

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...graph import Edit, Graph
from ...native import sparse as engine
from ...select.pairs import pair_hash
from ..masked.world import Masked
from ..torch_model.activity import Taps
from ..torch_model.base import TorchWorld, groups_of
from ..torch_model.layers import discover, owners
from ..torch_model.optimizers import ELEMENTWISE, sort_optimizer
from ..torch_model.probe import Passes, Probe, evaluate, evaluating
from . import edge_layers
from .edge_layers import Wires, can_wire, unwire, wire
from .moments import _matched, _spliced
from .native_step import SMALL, _options
from .plan import plan, tracing
from .plan.fingerprint import Outline
from .saving import KEYS
from .weights import CROSSOVER, RECURRENT, Form, Weight, _csr, _first, _replace

FEW = 2**17  # edges whose weights are copied sooner than all parameters are told of other memory


class Sparse(TorchWorld):
    """A torch model and its optimiser as a world; made by ``rewire.attach(world="sparse")``.

    choose: "sparse" holds every weight as edges that has such a layer (linear, convolutional,
        recurrent); "auto" those of layers whose density is at most CROSSOVER, or RECURRENT, each
        layer by itself. The rest is dense under a mask.
    seed: of the first weights of a model on the ``meta`` device: uniform, of variance 2 / fan-in,
        the fan-in being the mean number of edges of a unit; biases start at 0.

    Raises ValueError for an optimiser that mixes synapses, and for a model off the CPU.
    """

    name = "sparse"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        choose: Literal["sparse", "auto"] = "sparse",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        embeddings: bool = False,
        positions: Mapping[str, Tensor | None] | None = None,
        probe: Probe | None = None,
        seed: int = 0,
    ):
        self.model, self.optimizer, self.choose, self.seed = model, optimizer, choose, seed
        self.probe = probe
        self._chosen: dict[str, Any] = {
            "include": include, "exclude": exclude, "embeddings": embeddings, "positions": positions
        }  # fmt: skip
        self.space, parameters, sites = discover(model, **self._chosen)
        self._births = sort_optimizer(optimizer)
        if type(optimizer) not in ELEMENTWISE:
            raise ValueError(
                f"the sparse world cannot know how {type(optimizer).__name__} mixes weights, which "
                f"are lists of edges here; it takes {', '.join(t.__name__ for t in ELEMENTWISE)}. "
                "The masked world takes any optimizer."
            )
        self._check_device()
        self._unborn = any(p.is_meta for p in parameters)  # its weights are made for edges alone
        self.weights = self._find(parameters)
        self._give_memory()
        self.taps = Taps(sites)
        self._begun = False
        self._keeping = False  # activations and output gradients, from which gradients come
        self._keys = torch.empty(0, dtype=torch.int64)
        self._bounds = [0] * (len(self.weights) + 1)  # rows where each weight's edges begin
        self._flat = torch.empty(0)
        self._options: list[dict[str, Any]] = []  # of the optimiser, as the plan follows them
        self._state: Any = None  # of the optimiser, as the plan holds it
        self.plan: plan.Plan | None = None
        self._edges: dict[str, tracing.Edges] = {}  # as the plan holds them
        self._held: dict[str, nn.Parameter] | None = None  # what it steps
        self._viewer: plan.Plan | None = None  # for evaluations
        self._outdated = False  # whether it holds other edges than the plan
        self._wanted, self._whole = False, dict[str, Tensor]()  # gradients before they are masked
        self._stale = True  # whether the plan holds other state than the optimiser
        self._fused = False  # whether the plan makes the optimiser's step
        self.untraceable: str | None = None  # why the model runs layer by layer
        self._outline: Outline | None = None  # of the model when a plan of it was made, or tried
        self._viewed: Outline | None = None  # and one for evaluations

    def _check_device(self) -> None:
        found = {p.device.type for p in self.model.parameters()} - {"cpu", "meta"}
        if found:
            raise ValueError(
                f"the sparse world runs on the CPU, and the model is on {sorted(found)[0]!r}: "
                "attach with world='masked' there."
            )

    def _find(self, parameters: Sequence[nn.Parameter]) -> list[Weight]:
        self._groups = groups_of(self.optimizer, self.space, parameters)
        self._one_group = len(set(self._groups)) == 1
        found = zip(self.space.projections, parameters, owners(self.model, parameters), strict=True)
        return [Weight(projection.name, *owner, p.shape) for projection, p, owner in found]

    def _give_memory(self) -> None:
        """Real memory for what is on the meta device; sparse weights get theirs later."""
        mine = {id(w.parameter) for w in self.weights}
        for module in self.model.modules():
            for name, p in list(module._parameters.items()):
                if p is None or not p.is_meta:
                    continue
                made = torch.empty(0, dtype=p.dtype) if id(p) in mine else _first(module, name, p)
                fresh = nn.Parameter(made, requires_grad=p.requires_grad)
                _replace(self.optimizer, p, fresh)
                setattr(module, name, fresh)
            for name, b in list(module._buffers.items()):
                if b is not None and b.is_meta:
                    ones = name == "running_var"
                    module._buffers[name] = torch.full(b.shape, int(ones), dtype=b.dtype)

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
        self._keeping = self._keeping or bool({"grad", "growth"} & needs)
        if "activity" in needs:
            self.taps.listen()
            self.untraceable = "a rule asks for the activity of units"

    def want_grads(self, wanted: bool) -> None:
        """Whether a rule will ask for gradients: those of masked layers are kept whole then.

        What the gradient at absent synapses of lists of edges is made of is kept in any case.
        """
        self._wanted = wanted
        self._whole.clear()

    @property
    def forms(self) -> dict[str, Form]:
        """How each sparse parameter is held now, by name."""
        return {w.name: w.form for w in self.weights}

    @torch.no_grad()
    def begin(self, graph: Graph) -> None:
        """Hold this graph; moments of edges that were there already stay."""
        before, moments = self._keys, self._moments() if self._begun else {}
        if self._begun and torch.equal(before, graph.keys):
            self._flat.copy_(graph["weight"])
            self._point(graph)
            return
        self._hold(graph, graph["weight"].clone())
        for name, flat in moments.items():
            self._set_moments(name, _matched(before, flat, graph.keys, 0.0))
        self._rewire_plan()
        self._begun = True

    def _hold(
        self, graph: Graph, flat: Tensor, same: Sequence[int] = (), drop: np.ndarray | None = None
    ) -> None:
        """Let every parameter hold its part of ``flat``, in the form that suits its density.

        same: projections whose edges are those of before. drop: rows, rising, that one edit of
        what is held dropped; its newborns are those of ``graph``.
        """
        before = self._bounds
        plain = [w.form == "masked" for w in self.weights]
        self._keys, self._flat, self._bounds = graph.keys, flat, graph.bounds
        for i, (w, form) in enumerate(zip(self.weights, self._suitable(graph), strict=True)):
            rows = graph.rows(i)
            if form == "edges":
                if w.wires is None or i not in same:
                    passes = [] if w.wires is None else w.wires.passes
                    held = None if drop is None or w.wires is None else (w.wires, before[i], drop)
                    csr = _csr(graph, i, w.shape, held)
                    w.wires = Wires(tuple(w.shape), *csr, self._keeping, True, passes)
                if w.form == "masked":
                    self._forget(w, graph.local(i))
                w.form, w.mask = form, None
                self._set_data(w, flat[rows])
                wire(w.module, w.attribute, w.wires)
            else:
                if w.form == "edges":
                    unwire(w.module, w.attribute)
                w.form, w.wires, w.mask = form, None, graph.mask(i)
                dense = torch.zeros(w.shape.numel(), dtype=flat.dtype)
                dense[graph.local(i)] = flat[rows]
                if w.parameter.shape == w.shape:
                    w.parameter.copy_(dense.view(w.shape))
                    self._mask_state(w)
                else:
                    self._set_data(w, dense.view(w.shape))
            w.parameter.grad = None
        if plain != [w.form == "masked" for w in self.weights]:
            self.plan = self._viewer = None

    def _set_data(self, w: Weight, values: Tensor) -> None:
        """Let a weight hold other numbers. Of another shape it is another parameter: autograd
        remembers the shape of the one that a loss was computed with."""
        old = w.parameter
        if old.shape == values.shape:
            old.data = values
            return
        fresh = nn.Parameter(values, requires_grad=old.requires_grad)
        _replace(self.optimizer, old, fresh)
        setattr(w.module, w.attribute, fresh)
        self._held = None
        for outline in (self._outline, self._viewed):
            if outline is not None:
                outline.replace(old, fresh)

    def _suitable(self, graph: Graph) -> Iterator[Form]:
        """The form for each weight; those of one layer share it."""
        room, bounds = dict[nn.Module, float](), graph.bounds
        for i, w in enumerate(self.weights):
            crossover = RECURRENT if isinstance(w.module, nn.RNNBase) else CROSSOVER
            left = crossover * w.shape.numel() - (bounds[i + 1] - bounds[i])
            room[w.module] = room.get(w.module, 0.0) + left
        for w in self.weights:
            few = self.choose == "sparse" or room[w.module] >= 0
            yield "edges" if few and can_wire(w.module) else "masked"

    def _forget(self, w: Weight, local: Tensor) -> None:
        """Of a dense weight's moments keep those of the edges."""
        for name, v in self.optimizer.state.get(w.parameter, {}).items():
            if isinstance(v, Tensor) and v.shape == w.shape:
                self.optimizer.state[w.parameter][name] = v.reshape(-1)[local].clone()

    def _mask_state(self, w: Weight) -> None:
        assert w.mask is not None
        for v in self.optimizer.state.get(w.parameter, {}).values():
            if isinstance(v, Tensor) and v.shape == w.shape:
                v.mul_(w.mask)

    def _point(self, graph: Graph) -> None:
        """Bring the dense weights in line with the flat one."""
        for i, w in enumerate(self.weights):
            if w.form == "masked":
                w.parameter.data.view(-1)[graph.local(i)] = self._flat[graph.rows(i)]

    # -- a step ---------------------------------------------------------------------------------

    def advance(
        self, graph: Graph, skip: bool, scaler: Any = None, closure: Callable[[], Any] | None = None
    ) -> tuple[bool, Any]:
        """One optimiser step on the gradients that are there: (True, the closure's loss)."""
        if scaler is not None:
            raise ValueError("the sparse world runs in full precision: call step() with no scaler.")
        loss = closure() if closure is not None else None
        if not skip:
            self._mask_gradients()
            self.optimizer.step()
        for w in self.weights:
            if w.wires is not None:
                w.wires.over = True
        self.taps.settle()
        return True, loss

    def learn(self, graph: Graph, x: Tensor, y: Tensor, rows: Tensor | None, skip: bool) -> float:
        """Forward pass, mean cross-entropy, backward pass and, unless ``skip``, a step: the loss.

        In one native call where the model can be traced, else layer by layer. A model that is
        another one than was traced (a norm frozen since, a layer replaced) is traced anew.
        """
        if self._outline is not None and not self._outline.holds():
            self.plan = self._outline = self.untraceable = None
        self._trace_if_due(x)
        if self.plan is None:
            loss = self._learn_by_layers(x, y, rows, skip)
            if self._outline is not None:  # what a forward pass changes is no other model
                self._outline.renew()
            return loss
        if self._stale or self.optimizer.state is not self._state:  # load_state_dict makes another
            self._adopt()
        elif self._fused and self._options != (now := _options(self.optimizer)):
            self._follow(now)
        own = not self._fused  # an optimiser of torch's that the engine does not have
        loss = self.plan.train_step(x, y, rows, step=not skip and not own)
        if own and not skip:
            self._give_gradients()
            self._mask_gradients()
            self.optimizer.step()
        elif not skip:
            for w in self.weights:
                if w.mask is not None and not w.mask.all():
                    w.parameter.data.mul_(w.mask)
                    self._mask_state(w)
        return loss

    def _learn_by_layers(self, x: Tensor, y: Tensor, rows: Tensor | None, skip: bool) -> float:
        if rows is not None:
            x, y = x[rows], y[rows]
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(x), y)
        loss.backward()
        self.advance(None, skip)  # type: ignore[arg-type]
        return float(loss.detach())

    def _mask_gradients(self) -> None:
        for w in self.weights:
            if w.mask is not None and w.parameter.grad is not None:
                if self._wanted:
                    self._whole[w.name] = w.parameter.grad.clone()
                w.parameter.grad.mul_(w.mask)

    def _give_gradients(self) -> None:
        assert self.plan is not None
        self.optimizer.zero_grad(set_to_none=True)
        known = dict(self.model.named_parameters())
        given = {n: e.gradient for n, e in self._edges.items()} | self.plan.gradients
        for name, gradient in given.items():
            if known[name].requires_grad:
                known[name].grad = gradient

    # -- the plan -------------------------------------------------------------------------------

    def _trace_if_due(self, x: Tensor) -> None:
        """A plan pays where some weight is a list of edges, or all are those of small layers."""
        if self.plan is not None or self.untraceable is not None:
            return
        small = all(
            isinstance(w.module, nn.Linear) and w.shape.numel() <= SMALL for w in self.weights
        )
        if small or "edges" in self.forms.values():
            self._trace(x)

    def _trace(self, x: Tensor) -> None:
        """Make the native plan of the model, or note why there can be none."""
        try:
            self._edges = {w.name: self._edges_of(w) for w in self.weights if w.wires is not None}
            self._check_gradients()
            self.plan = self._traced(x, training=True)
            self._stale, self._held, self._viewer = True, None, None
        except tracing.NotTraceable as error:
            self.plan, self.untraceable = None, str(error)
        self._outline = self._outlined()

    def _viewing_plan(self, x: Tensor) -> plan.Plan:
        """A plan for evaluations alone, so that what the last training pass left stays there for
        rules that ask for gradients. Raises NotTraceable."""
        if self._viewed is not None and not self._viewed.holds():
            self._viewer = None
        if self._viewer is None:
            self._viewer = self._traced(x, training=False)
            self._viewed = self._outlined()
        elif self._outdated:
            for name, edges in self._edges.items():
                self._viewer.rewire(name, edges, trusted=True)
        self._outdated = False
        return self._viewer

    def _outlined(self) -> Outline:
        return Outline(self.model, frozenset(id(w.parameter) for w in self.weights))

    def _check_gradients(self) -> None:
        """Layer by layer a frozen weight has no gradient: no plan may give rules another one."""
        frozen = [w.name for w in self.weights if not w.parameter.requires_grad]
        if frozen and self._keeping:
            raise tracing.NotTraceable(f"a rule asks for gradients, and {frozen[0]!r} is frozen.")

    def _check_places(self) -> None:
        """Lists of edges stand for the weights of the layers that they were made for."""
        modules = dict(self.model.named_modules())
        for w in self.weights:
            if w.wires is not None and modules.get(w.name.rpartition(".")[0]) is not w.module:
                raise tracing.NotTraceable(
                    f"the layer of {w.name!r} was replaced, and its edges with it: attach anew to "
                    "make the new one sparse."
                )

    def _traced(self, x: Tensor, *, training: bool) -> plan.Plan:
        self._check_places()
        shape, dtype = tuple(x.shape[1:]), self._flat.dtype
        return plan.trace(
            self.model, self._edges, shape, dtype=dtype, training=training, engine=engine
        )

    def _edges_of(self, w: Weight) -> tracing.Edges:
        assert w.wires is not None
        value, before = w.parameter.detach(), self._edges.get(w.name)
        fits = before is not None and before.gradient.shape == value.shape
        gradient = before.gradient if fits else torch.zeros_like(value)  # type: ignore[union-attr]
        return tracing.Edges(w.wires.indptr, w.wires.index, value, gradient)

    def _adopt(self) -> None:
        """Let the plan step the optimiser's parameters, if it has such an optimiser."""
        assert self.plan is not None
        self._stale, self._state = False, self.optimizer.state
        if self._held is None:
            named = self.model.named_parameters()
            self._held = {n: p for n, p in named if n in self.plan.places and p.requires_grad}
        try:
            self.plan.adopt(self.optimizer, self._held)
            self._fused, self._options = True, _options(self.optimizer)
        except tracing.NotTraceable:
            self._fused = False

    def _follow(self, now: list[dict[str, Any]]) -> None:
        """Let the plan step with the optimiser's options of now; all but a rate may need state."""
        assert self.plan is not None
        if [{**g, "lr": 0.0} for g in now] == [{**g, "lr": 0.0} for g in self._options]:
            self.plan.follow(self.optimizer)
            self._options = now
        else:
            self._adopt()

    def _rewire_plan(self) -> None:
        if self.plan is None:
            return
        for w in self.weights:
            if w.wires is not None:
                self._edges[w.name] = self._edges_of(w)
                self.plan.rewire(w.name, self._edges[w.name], trusted=True)
        self._stale = self._outdated = True

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
        self._trace_if_due(x)
        if self.plan is not None:
            try:
                return self._viewing_plan(x).evaluate(x, y)
            except tracing.NotTraceable:  # another model since the last step: the next one says why
                pass
        return evaluate(self.model, x, y)

    # -- reading and writing --------------------------------------------------------------------

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now: this world's own memory, not a copy."""
        if not self._begun:
            return graph.with_columns({"weight": self._first_weights(graph)})
        for i, w in enumerate(self.weights):
            if w.form == "masked":
                self._flat[graph.rows(i)] = w.parameter.detach().view(-1)[graph.local(i)]
        return graph.with_columns({"weight": self._flat})

    def _first_weights(self, graph: Graph) -> Tensor:
        """The model's own, or, for one on the meta device, uniform ones of variance 2 / fan-in."""
        return torch.cat([
            self._made(i, graph) if w.parameter.shape != w.shape
            else w.parameter.detach().reshape(-1)[graph.local(i)].clone()
            for i, w in enumerate(self.weights)
        ])  # fmt: skip

    def _made(self, i: int, graph: Graph) -> Tensor:
        w, keys = self.weights[i], graph.keys[graph.rows(i)]
        fan_in = max(len(keys) / w.shape[0], 1.0)
        u = pair_hash(keys, self.seed).double() * 2.0**-62 - 1  # in [-1, 1)
        return (u * sqrt(6 / fan_in)).to(w.parameter.dtype)

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make edges, weights and moments match the graph after an edit; newborns remember nothing.

        Where the topology changed, the graph's column becomes this world's memory, or a copy of it.
        """
        drop, born = edit.drop, after.born
        if not len(drop) and not len(edit.add):
            if "weight" in edit.set:
                self._flat.copy_(after["weight"])
                self._point(after)
            return
        drop = np.sort(drop) if len(drop) > 1 else drop
        ends = self.space.ends
        weight_of = ends.searchsorted(after.array[born], "right") - 1  # the weights of the newborns
        weight_was = ends.searchsorted(before.array[drop], "right") - 1
        touched = {*weight_of.tolist(), *weight_was.tolist()}
        lists = all(self.weights[i].wires is not None for i in touched)
        if lists and len(after) <= FEW and before.bounds == after.bounds:
            self._exchange(after, drop, born, touched)
            return
        with torch.no_grad():
            moments = self._moments()
            same = [i for i in range(len(self.weights)) if i not in touched]
            self._hold(after, after["weight"], same, drop)
            groups = self.optimizer.param_groups
            for name, held in moments.items():
                birth = self._births.get(name)
                spliced = _spliced(held, drop, born, 0.0)
                if birth is not None and len(born):
                    each = torch.tensor([birth(groups[g]) for g in self._groups], dtype=held.dtype)
                    spliced[torch.from_numpy(born)] = each[torch.from_numpy(weight_of)]
                self._set_moments(name, spliced)
            self._rewire_plan()

    def _exchange(
        self, after: Graph, drop: np.ndarray, born: np.ndarray, touched: Iterable[int]
    ) -> None:
        """An edit of lists after which each projection has as many edges as before: what is held
        stays where it is, and only lists that changed are handed on."""
        np.copyto(self._flat.numpy(), after.numbers("weight"))
        self._point(after)
        self._keys, bounds = after.keys, after.bounds
        for i in touched:
            w, rows = self.weights[i], bounds[i : i + 2]
            assert w.wires is not None
            csr = _csr(after, i, w.shape, (w.wires, rows[0], drop))
            w.wires = Wires(w.wires.shape, *csr, self._keeping, True, w.wires.passes)
            wire(w.module, w.attribute, w.wires)
            gone, new = (x[slice(*x.searchsorted(rows))] - rows[0] for x in (drop, born))
            parameter, group = w.parameter, self.optimizer.param_groups[self._groups[i]]
            for name, v in self.optimizer.state.get(parameter, {}).items():
                if isinstance(v, Tensor) and v.dim() and v.shape == parameter.shape:
                    birth = self._births.get(name)
                    v.copy_(_spliced(v, gone, new, 0.0 if birth is None else birth(group)))
            if self.plan is not None:
                held = self._edges[w.name]
                edges = self._edges[w.name] = tracing.Edges(*csr, held.value, held.gradient)
                self.plan.rewire(w.name, edges, trusted=True)
        for w in self.weights:
            w.parameter.grad = None
        self._outdated = True

    # -- moments, laid out as the graph's keys --------------------------------------------------

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's numbers of each edge now: name -> (E,)."""
        found: dict[str, list[Tensor]] = {}
        sizes = [w.parameter.numel() if w.wires is not None else None for w in self.weights]
        for i, w in enumerate(self.weights):
            for name, v in self.optimizer.state.get(w.parameter, {}).items():
                if isinstance(v, Tensor) and v.shape == w.parameter.shape and v.dim():
                    found.setdefault(name, [torch.empty(0)] * len(self.weights))[i] = v
        out = {}
        for name, parts in found.items():
            flat = []
            for i, part in enumerate(parts):
                rows = self._rows(i)
                if sizes[i] is not None or not len(part):
                    flat.append(part if len(part) else torch.zeros(rows.stop - rows.start))
                else:
                    local = self._keys[rows] - self.space.bounds[i]
                    flat.append(part.reshape(-1)[local])
            out[name] = torch.cat(flat)
        return out

    def _rows(self, i: int) -> slice:
        return slice(self._bounds[i], self._bounds[i + 1])

    def _set_moments(self, name: str, flat: Tensor) -> None:
        for i, w in enumerate(self.weights):
            state = self.optimizer.state.get(w.parameter)
            if not state or name not in state:
                continue
            part = flat[self._rows(i)]
            if w.form == "edges":
                state[name] = part.contiguous()
            else:
                dense = torch.zeros(w.shape.numel(), dtype=part.dtype)
                dense[self._keys[self._rows(i)] - self.space.bounds[i]] = part
                state[name] = dense.view(w.shape)

    # -- saved states ---------------------------------------------------------------------------

    def model_state(self) -> dict[str, Tensor]:
        """Everything of the model, copied: keys and weights of edges for its sparse parameters."""
        mine = {w.name for w in self.weights}
        out = {k: v.detach().clone() for k, v in self.model.state_dict().items() if k not in mine}
        self.read(Graph(self.space, self._keys))
        return {**out, KEYS: self._keys, "rewire.weight": self._flat.clone()}

    @torch.no_grad()
    def show(self, state: Mapping[str, Tensor]) -> None:
        """Let the model compute with a state of :meth:`model_state`, edges included.

        The optimiser is left as it is: show the state of before again before the next step.
        """
        self._load_rest(state)
        graph = Graph(self.space, state[KEYS])
        self._hold(graph, state["rewire.weight"].clone())
        self._rewire_plan()

    @contextmanager
    def showing(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the model computes with a saved state."""
        now = self.model_state()
        self.show(state)
        try:
            yield
        finally:
            self.show(now)

    def _load_rest(self, state: Mapping[str, Tensor]) -> None:
        own = self.model.state_dict()
        for name, value in state.items():
            if name in own and not name.startswith("rewire."):
                own[name].copy_(value)

    def snapshot(self) -> dict[str, Any]:
        """Everything of model and optimiser that training depends on, copied."""
        mine = {id(w.parameter) for w in self.weights}
        order = [p for g in self.optimizer.param_groups for p in g["params"]]
        saved = self.optimizer.state_dict()
        rest = {k: copy.deepcopy(v) for k, v in saved["state"].items() if id(order[k]) not in mine}
        sparse_scalars = {
            w.name: {
                k: copy.deepcopy(v)
                for k, v in self.optimizer.state.get(w.parameter, {}).items()
                if not (isinstance(v, Tensor) and v.dim())
            }
            for w in self.weights
        }
        return {
            "model": self.model_state(),
            "optimiser": {
                "state": {str(k): v for k, v in rest.items()},
                "groups": copy.deepcopy(
                    [{k: v for k, v in g.items() if k != "params"} for g in saved["param_groups"]]
                ),
                "edges": self._moments(),
                "scalars": sparse_scalars,
            },
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken, with the edges that it held."""
        keys = saved["model"][KEYS]
        self._take(saved, frozenset({"model", "optimiser"}), Graph(self.space, keys))
        self._begun = True

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved parts, for the edges of ``graph``."""
        self._take(saved, parts, graph)

    def _take(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        keys = saved["model"][KEYS]
        kept = self._moments() if self._begun else {}
        if "model" in parts:
            self._load_rest(saved["model"])
            flat = _matched(keys, saved["model"]["rewire.weight"], graph.keys, 0.0)
        else:
            flat = self._flat.clone()
        with torch.no_grad():
            self._hold(graph, flat)
        if "optimiser" in parts:
            self._take_optimiser(saved["optimiser"], keys, graph)
        else:
            for name, held in kept.items():
                self._set_moments(name, held)
        self._rewire_plan()

    def _take_optimiser(self, saved: Mapping[str, Any], keys: Tensor, graph: Graph) -> None:
        optimizer = self.optimizer
        order = [p for g in optimizer.param_groups for p in g["params"]]
        for group, held in zip(optimizer.param_groups, saved["groups"], strict=True):
            group.update(copy.deepcopy(held))
        optimizer.state.clear()
        for k, v in saved["state"].items():
            optimizer.state[order[int(k)]] = copy.deepcopy(v)
        for w in self.weights:
            scalars = saved["scalars"].get(w.name, {})
            if scalars or saved["edges"]:
                optimizer.state[w.parameter] = copy.deepcopy(scalars)
                for name in saved["edges"]:
                    optimizer.state[w.parameter][name] = torch.empty(0)
        for name, flat in saved["edges"].items():
            self._set_moments(name, _matched(keys, flat, graph.keys, 0.0))

    # -- signals --------------------------------------------------------------------------------

    def holding(self, graph: Graph) -> Masked:
        """This world as if it were a masked one that held another graph: its probe runs dense,
        under that graph's masks, whatever the layers are here.

        For as long as it is used it takes the masked world's time and memory: a mask, and in a
        pass a weight and a gradient, of every possible synapse. Rules that prune at the start
        begin with all of those as edges. Nothing of it stays, and this world does not notice.
        """
        model, optimizer = self._as_dense(graph)
        world = Masked(model, optimizer, **self._chosen, probe=self.probe)
        world.space, world.taps = self.space, self.taps
        return world.holding(graph)

    def _as_dense(self, graph: Graph) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Model and optimiser with a dense weight in the place of each list of edges; the rest is
        shared. Before step 0 they are as they came, but for weights on the meta device: those are
        made for the graph's edges."""
        listed = [i for i, w in enumerate(self.weights) if w.parameter.shape != w.shape]
        if not listed:
            return self.model, self.optimizer
        if self._begun:
            held = self.read(Graph(self.space, self._keys))
        else:
            held = graph if "weight" in graph.columns else self.read(graph)
        memo: dict[int, Any] = {id(t): t for t in (*self.model.parameters(), *self.model.buffers())}
        for i in listed:
            w, rows = self.weights[i], held.rows(i)
            dense = torch.zeros(w.shape.numel(), dtype=w.parameter.dtype)
            dense[held.local(i)] = held["weight"][rows]
            memo[id(w.parameter)] = nn.Parameter(dense.view(w.shape))
            if w.wires is not None:
                lists: Any = w.module.wires
                memo.setdefault(id(lists), dict(lists))
        model = copy.deepcopy(self.model, memo)
        for i in listed:
            unwire(memo[id(self.weights[i].module)], self.weights[i].attribute)
        groups = [{**g, "params": [memo.get(id(p), p) for p in g["params"]]}
                  for g in self.optimizer.param_groups]  # fmt: skip
        kind: Any = type(self.optimizer)
        return model, kind(groups)

    @contextmanager
    def deriving(self, graph: Graph) -> Iterator[Passes]:
        """Within it the model can be derived by its weights, of edges alone where it holds those.

        The lists of edges keep what they noted in the last training pass, from which the signals
        of gradients come.
        """
        assert self.probe is not None
        weights = [w.parameter for w in self.weights]

        def at(tensors: Sequence[Tensor | None]) -> Tensor:
            parts = []
            for i, (t, w) in enumerate(zip(tensors, self.weights, strict=True)):
                if t is None:
                    t = torch.zeros_like(w.parameter)
                parts.append(t if w.form == "edges" else t.reshape(-1)[graph.local(i)])
            return torch.cat(parts)

        lists = [w.wires for w in self.weights if w.wires is not None]
        with evaluating(self.model), edge_layers.unheard(lists):
            owner = {id(p): i for i, p in enumerate(weights)}
            yield Passes(self.model, weights, at, self.probe, self.model, owner)

    def gradient(self, i: int, keys: Tensor) -> Tensor:
        """dL/dw of the last backward pass at keys of projection i, existing or absent, (k,)."""
        w, local = self.weights[i], keys - self.space.bounds[i]
        if w.wires is None:
            return self.dense_gradient(i)[local]
        width = w.wires.width
        rows, columns = local // width, local % width
        if self.plan is not None:
            return self.plan.sddmm(w.name, rows, columns)
        return edge_layers.gradient_at(w.wires, rows, columns)

    def dense_gradient(self, i: int) -> Tensor:
        """dL/dw of the last backward pass at every key of projection i, (size,)."""
        w = self.weights[i]
        if w.wires is not None:
            made = (
                edge_layers.dense_gradient(w.wires)
                if self.plan is None
                else self.plan.dense_gradient(w.name)
            )
            return made.reshape(-1)
        grad = self._whole.get(w.name)
        if grad is None:
            grad = w.parameter.grad if self.plan is None else self.plan.gradients[w.name]
        if grad is None:
            raise ValueError("there is no gradient yet: it is known after a backward pass.")
        return grad.reshape(-1)

    def top_absent(self, i: int, k: int, leaving: Tensor | None) -> tuple[Tensor, ...]:
        """Flat indices of the k absent synapses of projection i with the largest |dL/dw|, |dL/dw|
        there, how many are absent, and how many of these gradients are NaN."""
        w = self.weights[i]
        assert w.wires is not None
        if self.plan is not None:
            return self.plan.top_absent(w.name, k, leaving)  # type: ignore[return-value]
        return edge_layers.top_absent(w.wires, k, leaving)  # type: ignore[return-value]
