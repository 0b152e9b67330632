"""The masked world: any ``nn.Module``, dense weights and masks, on a CPU or a GPU.

Parameters are never replaced, only written in place, so that deepcopy, state_dict, LSTM's flat
weights and torch.compile keep working. In every step the gradients of absent synapses are cleared
before the optimiser; where the graph changes, weights and every moment are set to 0 once. For
optimisers that treat each weight by itself this is bit-equal to masking weights and moments in
every step, and leaks nothing.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Edit, Graph
from ...signals import Signals
from ..torch_model.activity import Taps
from ..torch_model.base import TorchWorld, check_born, groups_of
from ..torch_model.declared import Kinds
from ..torch_model.group import Ranks
from ..torch_model.optimizers import _unscale, innermost, sort_optimizer
from ..torch_model.probe import Passes, Probe, _copied, evaluating
from . import passes
from .backward import Backward
from .edge_step import EdgeStep
from .gains import Gates
from .memory import Views, addresses
from .moments import Moments
from .weights import MaskedWeights

WRITTEN = (  # numbers at absent synapses
    " They were written from outside (a state that was loaded, reset_parameters, an assignment) "
    "and are set to 0. To take the topology of a saved state, load the session as well: "
    "net.load_state_dict."
)


class Masked(TorchWorld):
    """A torch model with dense weights under masks, on a CPU or a GPU.

    Raises ValueError for an optimiser that mixes synapses in a way that cannot be undone, and for
    sparse parameters that the optimiser does not hold.
    """

    name = "masked"
    gains = True
    listens = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        embeddings: bool = False,
        projections: Kinds | None = None,
        positions: Mapping[str, Tensor | None] | None = None,
        probe: Probe | None = None,
    ):
        self.model, self.optimizer, self.probe = model, optimizer, probe
        self.passes = model
        self.parameters, sites = self._discover(
            include=include, exclude=exclude, embeddings=embeddings, projections=projections,
            positions=positions,
        )  # fmt: skip
        check_born(model)
        self.taps = Taps(sites)
        self._groups = groups_of(optimizer, self.space, self.parameters)
        traits = sort_optimizer(optimizer, self.parameters, self._groups)
        self._one_group = len(set(self._groups)) == 1
        self.weights = MaskedWeights(self.space, self.parameters)
        self.moments = Moments(optimizer, self.weights, traits.births, self._groups, traits.mixed)
        group = self._groups[0] if self._one_group else None
        self._begin_with(EdgeStep(optimizer, self.weights, group), traits.exact)

    def _begin_with(self, edge_step: EdgeStep, exact: bool) -> None:
        """What every world under masks begins with. exact: whether the optimiser keeps absent
        synapses at 0 by itself."""
        self._project = not exact
        self.masks = self.weights.masks
        self.edge_step = edge_step
        self.grads: list[Tensor | None] | None = None
        self._want_grads = False
        self._elsewhere = False  # whether this is the world as if it held another graph
        self.gates: Gates | None = None
        self.backward: Backward | None = None  # hooks, while a session listens
        self._versions: list[int] | None = None  # of the parameters as the session left them

    # -- what the session asks ------------------------------------------------------------------

    def watch(self, needs: frozenset[str]) -> None:
        """Set up what the signals of a run need: hooks for activity, kept gradients."""
        if "activity" in needs:
            self.taps.listen()

    def want_grads(self, wanted: bool) -> None:
        """Keep the dense gradient of the coming step, before it is masked."""
        self._want_grads = wanted
        if self.backward is not None:
            self.backward.wanted = wanted

    @torch.no_grad()
    def begin(self, graph: Graph) -> None:
        """Hold this graph: set masks, and bring weights and moments onto them."""
        self.moments.lay()
        self.gates = None
        self.weights.cover(graph)
        if "weight" in graph.columns:
            self.weights.put(self.parameters, graph.array, graph.numbers("weight"))
        self._mask_everything()
        if "gain" in graph.columns:
            self.gates = self._gates_of(graph)

    def _gates_of(self, graph: Graph) -> Gates:
        return Gates(self.parameters, graph, self.trains)

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
        self.guard()
        loss = self.edge_step.keys = None
        scale = scaler.get_scale() if scaler is not None else 0.0
        if scaler is not None:
            _unscale(scaler, self.optimizer)
        if closure is not None:
            if skip:
                loss = closure()
                self._note_gradients(graph, skip)
            else:
                loss = self.optimizer.step(self.closed(graph, skip, closure))
        else:
            on_edges = not skip and scaler is None and self.gates is None
            slopes = self.edge_step.slopes(graph) if on_edges else None
            if slopes is None or self._want_grads:
                self._note_gradients(graph, skip, masks=slopes is None)
            if slopes is not None:
                self.edge_step.step(graph, slopes, quick=self.moments.checked)
                if self.straight:
                    self.edge_step.waits = True
                else:
                    self.edge_step.lay_down()
            elif not skip:
                scaler.step(self.optimizer) if scaler is not None else self.optimizer.step()
        made = True
        if scaler is not None:
            scaler.update()
            made = scaler.get_scale() >= scale
        self.stepped(graph, skip or not made)
        return made, loss

    # -- steps that somebody else makes, and what others write ----------------------------------

    def listen(self, *, dense: bool, hooks: frozenset[int]) -> None:
        """Clear gradients of absent synapses as soon as they are made, and watch for writes."""
        super().listen(dense=dense, hooks=hooks)
        self.edge_step.hooks = hooks
        self.backward = self._new_backward()
        self.backward.wanted, self.backward.ranks = self._want_grads, self.ranks
        self.backward.listen(dense=dense)
        self._reloads = innermost(self.optimizer).register_load_state_dict_post_hook(self._reloaded)
        self.note()

    def _new_backward(self) -> Backward:
        return Backward(self.parameters, self.weights)

    def join_ranks(self, ranks: Ranks) -> None:
        """What rules look at, gradients and activity, is taken over all ranks."""
        if ranks.size == 1:
            return
        self.ranks = self.taps.ranks = ranks
        if self.backward is not None:
            self.backward.ranks = ranks

    def unlisten(self) -> None:
        """Take the hooks off."""
        super().unlisten()
        if self.backward is not None:
            self.backward.close()
            self._reloads.remove()
        self.backward = self._versions = None
        self.edge_step.hooks = frozenset()

    def prepare(self, graph: Graph, skip: bool) -> None:
        """Masked gradients, and what rules will see of them kept."""
        self.edge_step.keys = None
        self._note_gradients(graph, skip)

    def stepped(self, graph: Graph, skip: bool) -> None:
        """Absent weights at 0, whatever the optimiser did, and weights times their gains."""
        if self.gates is not None and self.gates.is_open:
            self._stepped(graph)
        self.taps.settle()
        if self.backward is not None:
            self.backward.settle()
        if skip:
            return
        if self._project and self.gates is None:
            self._mask_everything()
        if not self.moments.checked:
            self.moments.check([p.name for p in self.space.projections])

    def sparse_parameters(self) -> list[Tensor]:
        """The dense weights under masks."""
        return list(self.parameters)

    def left(self) -> Sequence[Tensor]:
        """The same, not in a list of their own: this is asked in every step."""
        return self.parameters

    def _reloaded(self, optimizer: torch.optim.Optimizer) -> None:
        """Somebody loaded a state of the optimiser's."""
        self._versions = []  # no longer as the session left them
        self.weights.views = Views()

    @torch.no_grad()
    def note(self) -> None:
        """What the parameters hold now is the session's."""
        if self.backward is not None:
            self._versions = self._marks()

    def _marks(self) -> list[int]:
        """What changes where somebody writes into a parameter, or gives it other memory."""
        return [n for p in self.parameters for n in (p._version, p.data_ptr())]

    def guard(self) -> None:
        """Project what others wrote since the last step, and say so."""
        if self.backward is None:
            return
        hooked = self.standing is not None and self.standing.hooked  # writes may leave no mark
        if self._versions == self._marks() and not (hooked and self._strays()):
            return
        problems = self._strays()
        if self.gates is not None:
            self.gates.take()
        self.moments.lay()
        self._project_all()
        if problems:
            warnings.warn(" ".join(problems) + WRITTEN, stacklevel=4)

    def look(self) -> None:
        """Writes that leave no mark (``p.data``) are looked for where somebody reads."""
        if self.backward is not None and self.weights.strays(self.parameters):
            self._versions = []
            self.guard()
            self.note()

    def mask_of(self, i: int) -> Tensor:
        """The mask of a weight."""
        return self.masks[i]

    def check(self) -> list[str]:
        """Absent weights and moments that are not 0."""
        return self._strays()

    def _strays(self) -> list[str]:
        names, out = [p.name for p in self.space.projections], []
        stacks: dict[str, Sequence[Tensor | None]] = {"weights": self.parameters}
        if not self._project:
            births = self.moments.births
            moments = self.moments.tensors().items()
            stacks |= {name: tensors for name, tensors in moments if name not in births}
        for what, tensors in stacks.items():
            for i, n in self.weights.strays(tensors).items():
                out.append(f"{n:,} absent synapses of {names[i]!r} have {what} other than 0.")
        return out

    def enforce(self) -> int:
        """Set absent weights and moments to 0; returns how many absent weights were not."""
        return self._project_all()

    @torch.no_grad()
    def _project_all(self) -> int:
        self.settle()
        n = sum(self.weights.strays(self.parameters).values())
        if self.gates is not None:
            self.weights.mask_all([self.gates.stored])
        self._mask_everything()
        if self.gates is not None:
            self.gates.restore(self.gates.stored)
        return n

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now.

        While a step's weights wait in the row, the column is the row's own memory, good until the
        next step.
        """
        if self.edge_step.waits:
            waiting = self.edge_step.weights_of(graph)
            if waiting is not None:
                return graph.with_columns({"weight": waiting})
            self.settle()
        stored = self.stored
        fast = self.weights.addresses() if self.gates is None else addresses(stored)
        return graph.with_columns({"weight": self.weights.gather(stored, graph, fast)})

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make masks, weights and moments match the graph after an edit.

        Dropped synapses get weight and moments 0, new ones their birth weight and moments 0.
        """
        gates = self.gates
        if gates is not None:
            gates.open()
        if "weight" in edit.set:  # all of them are written
            self.edge_step.waits = False
        self.settle()
        moved = len(edit.drop) or len(edit.add)
        if moved:
            self._replace(before, after, edit)
            if before.bounds != after.bounds:
                self.weights.find_thin(after)
        elif "weight" in edit.set:
            self.weights.put(self.parameters, after.array, after.numbers("weight"))
        self.edge_step.keys = None  # the row is of before the edit
        if gates is not None:
            gates.close()
            if moved or {"gain", "slope", self.trains} & edit.set.keys():
                gates.set(after)

    def _replace(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Zeros at what was dropped, births at what was added; neither remembers anything.

        Weights that the edit sets are written as well.
        """
        fast, whole = self.edge_step.fast(before), "weight" in edit.set
        self.weights.replace(before, after, edit.drop, whole=whole, fast=fast)
        if self.moments:  # plain SGD has none
            self.moments.forget(before.array[edit.drop], after.array[after.born])

    def signals(self, graph: Graph) -> Signals:
        """What rules may ask, of this graph."""
        return Signals(self, graph, self.settle)

    def holding(self, graph: Graph) -> Masked:
        """The same world as if it held another graph: its probe runs under that graph's masks."""
        other = copy.copy(self)
        other.masks = [graph.mask(i).to(p) for i, p in enumerate(self.parameters)]
        other.weights = self.weights.under(other.masks)
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

    @property
    def forms(self) -> dict[str, str]:
        """How each sparse parameter is held, by name."""
        return dict.fromkeys((p.name for p in self.space.projections), "masked")

    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken; the session then begins with its graph."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(self._own_state(saved["optimiser"]))
        self.weights.views = Views()
        if self.gates is not None:
            self.gates.restore(saved.get("stored", self.parameters))

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved parts, under the masks of ``graph``."""
        self.settle()
        self.edge_step.keys = None
        if "model" in parts:
            self.model.load_state_dict(saved["model"])
            if self.gates is not None:
                self.gates.restore(saved.get("stored", self.parameters))
        if self.gates is not None:
            self.gates.open()
        if "optimiser" in parts:
            self.optimizer.load_state_dict(self._own_state(saved["optimiser"]))
            self.weights.views = Views()  # let go of the moments that were replaced
            self.moments.lay()
        self._mask_everything()
        if self.gates is not None:
            self.gates.close()

    def _own_state(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """A state of the optimiser that it may write into."""
        return copy.deepcopy(dict(saved))

    # -- inside ---------------------------------------------------------------------------------

    def _note_gradients(self, graph: Graph, skip: bool, *, masks: bool = True) -> None:
        """Keep the dense gradient if a rule will ask for it; mask the one that is stepped on."""
        if self._want_grads:
            self.grads = self._dense_gradients(skip)
        if skip or not masks:
            return
        if self.gates is not None:
            self.gates.before_step(self.moments.tensors())
        if self.backward is None:
            self.weights.mask_gradients(graph)
        else:
            self.weights.mask_gradients(graph, self.backward.unmasked)

    def _dense_gradients(self, skip: bool) -> list[Tensor | None]:
        """The gradient of each projection before it was masked."""
        kept = [None] * len(self.parameters) if self.backward is None else self.backward.dense()
        whole: list[Tensor | None] = [*kept]
        for i, p in enumerate(self.parameters):
            if whole[i] is None and p.grad is not None:
                whole[i] = p.grad.detach() if skip else p.grad.detach().clone()
        return whole

    def _stepped(self, graph: Graph) -> None:
        """After a step under gates: what it was not to move goes back, then gains multiply."""
        assert self.gates is not None
        births, groups = self.moments.births, self.optimizer.param_groups
        self.gates.after_step(self.moments.tensors(), births, groups, self._groups)
        if self._project:
            self._mask_everything()
        self.gates.close()

    def settle(self) -> None:
        """Let the weights be what the last step made them, if they wait in the row."""
        if self.edge_step.waits:
            self.edge_step.lay_down()

    def _mask_everything(self) -> None:
        self.weights.mask_all([self.parameters, *self.moments.tensors().values()])

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
        return passes.mean_gradients(self.model_with(weights), weights, self.probe, self.ranks)

    def effective_weights(self) -> list[Tensor]:
        """What the model computes with, weights under masks, as leaves to derive by."""
        weights = self.parameters if self.gates is None else self.gates.effective()
        return passes.effective(weights, self.masks)

    def model_with(self, weights: Sequence[Tensor]) -> Callable[..., Any]:
        """The model as a function that computes with these sparse weights."""
        return passes.model_with(self.model, self.parameters, weights)

    def numbers_at(self, keys: Tensor, tensors: Sequence[Tensor | None]) -> Tensor:
        """The numbers at keys of tensors like the weights, one for each projection, (k,)."""
        return self.weights.numbers_at(keys, tensors)
