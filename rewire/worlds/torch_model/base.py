"""What the worlds of a torch model and its optimiser share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...graph import Graph, Space
from ...world import Loss, Trainable
from .clipping import clipped
from .covering import coverage_of
from .group import Ranks
from .layers import Site, discover
from .mask_state import MaskState
from .optimizers import check_optimizer
from .probe import Passes, evaluate, outputs
from .standing import AGAIN, Standing
from .timesteps import Timesteps
from .tracing import Trace
from .twin import Twin


class TorchWorld(Trainable):
    """A model whose sparse weights are parameters that one torch optimiser steps.

    space: a projection for each sparse weight. probe: a :class:`rewire.Probe`, or None.
    """

    can_skip = True
    sharded = False  # whether each process holds some rows of the weights

    model: nn.Module
    passes: Callable[[Tensor], Tensor]  # what learn() calls: the model, maybe compiled
    optimizer: torch.optim.Optimizer
    _groups: list[int]  # the optimiser's group of parameters that each projection is in
    _one_group: bool  # whether all are in the same
    standing: Standing | None = None  # of the model, while a session listens
    ranks: Ranks | None = None
    again: str = AGAIN  # how to attach to the same model again
    _laid: list[tuple[int, int]] = []  # how the optimiser's groups were at the last look
    listens: bool = False  # whether steps that somebody else makes can be the session's
    trace: Trace | None = None  # of the model: how the space's populations are joined
    states: MaskState | None = None  # hooks on the model's states, while a session listens
    _hidden: Sequence[tuple[Tensor, Tensor | None]] = ()  # gradients of a step that is left out

    @classmethod
    def attached(
        cls, model: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int, **options: Any
    ) -> Self:
        """The world of a model and its optimiser, with the options of :func:`rewire.attach`."""
        return cls(model, optimizer, **options)  # type: ignore[call-arg]

    def _discover(self, **options: Any) -> tuple[list[nn.Parameter], dict[str, Site]]:
        """Find the model's sparse weights: the space, what it covers, and where to tap activity."""
        self.space, parameters, sites = discover(self.model, **options)
        self._follow(self.model, parameters, options)
        return parameters, sites

    def _follow(
        self, model: nn.Module, parameters: Sequence[Tensor], options: Mapping[str, Any]
    ) -> None:
        """See how a model joins the populations of the space, and what stays dense in it."""
        self.trace = Trace(model, self.space, parameters)
        self.trace.probe = self.probe
        self.space.wired = self.trace
        self.coverage = coverage_of(model, self.space, parameters, **options)

    # -- steps that somebody else makes: hooks of the optimiser call these ------------------------

    def listen(self, *, dense: bool, hooks: frozenset[int]) -> None:
        """Hook into the parameters, so that passes and writes of others are noticed. dense: whether
        some rule asks for gradients at absent synapses. hooks: ids of the session's own hooks on
        the optimiser."""
        self.stand()
        self.states = MaskState(self)

    def stand(self) -> None:
        """From now on :meth:`verify` compares the model with what it is now."""
        names = [p.name for p in self.space.projections]
        self.standing = Standing(self.model, names, self.left(), self.again)
        self._laid = self._layout()

    def _layout(self) -> list[tuple[int, int]]:
        """What changes where a group of the optimiser's gets another list of parameters."""
        return [(id(g["params"]), len(g["params"])) for g in self.optimizer.param_groups]

    def left(self) -> Sequence[Tensor]:
        """The sparse parameters, as this world left them."""
        return self.sparse_parameters()

    def verify(self) -> None:
        """Raise RuntimeError where the model is no longer the one that was attached."""
        if self.standing is None:
            return
        problem = self.standing.problem(self.left())
        if problem is None and self._laid != (laid := self._layout()):
            problem = self._regrouped()
            if problem is None:
                self._laid = laid
        if problem is not None:
            raise RuntimeError(problem)

    def _regrouped(self) -> str | None:
        """Which sparse weight the optimiser holds elsewhere than at attach, and what to do."""
        groups = self.optimizer.param_groups
        for projection, p, g in zip(self.space.projections, self.left(), self._groups, strict=True):
            if g >= len(groups) or all(p is not q for q in groups[g]["params"]):
                return (
                    f"{projection.name!r} is no longer in group {g} of the optimizer, where it was "
                    "at attach: it would be rewired, and not trained or by another group's rate. "
                    f"Append groups with add_param_group, or {self.again}."
                )
        return None

    def join_ranks(self, ranks: Ranks) -> None:
        """Several processes train the model, each on its part of a batch: what rules look at is
        taken over all of them. A group of one changes nothing."""
        self.ranks = ranks if ranks.size > 1 else None

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Tensors added up over the ranks, or as they are where this process trains alone."""
        return [*tensors] if self.ranks is None else [self.ranks.sum(t) for t in tensors]

    def counted(self, n: int) -> int:
        """A number of examples or batches, added up over the ranks."""
        return n if self.ranks is None else self.ranks.count(n)

    def guard(self) -> None:
        """Project what others wrote into the weights since the last step, and say so."""
        return

    def holds(self, edges: Any) -> bool:
        """Whether a weight of this world is the list of these edges."""
        return False

    @cached_property
    def time(self) -> Timesteps:
        """How many time steps the model simulates."""
        return Timesteps(self.model)

    def simulate(self, timesteps: int) -> None:
        """Let the model simulate so many time steps, 0: its own number."""
        self.time.set(timesteps)

    def unlisten(self) -> None:
        """Take the hooks off."""
        if "time" in vars(self):  # somebody asked for it
            self.simulate(0)
        if self.states is not None:
            self.states.close()
        self.standing = self.states = None

    def look(self) -> None:
        """Somebody reads the weights: project what others wrote into them, and say so."""
        return

    def mask_of(self, i: int) -> Tensor | None:
        """The mask of a sparse weight, not 0 where there is a synapse; None of a list of edges."""
        return None

    def before_step(
        self, graph: Graph, skip: bool, closure: Callable[[], Any] | None
    ) -> Callable[[], Any] | None:
        """The optimiser is about to step, or to be left without gradients by ``skip``: returns the
        closure that it is to call in the place of this one."""
        self.guard()
        if closure is not None:
            return self.closed(graph, skip, closure)
        self._prepare(graph, skip)
        return None

    def closed(self, graph: Graph, skip: bool, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure after which the optimiser may step."""

        def call() -> Any:
            loss = closure()
            self._prepare(graph, skip)
            return loss

        return call

    def _prepare(self, graph: Graph, skip: bool) -> None:
        self.prepare(graph, skip)
        if skip:  # an optimiser leaves parameters without a gradient alone
            steps = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._hidden = [(p, p.grad) for p in steps]
            for p in steps:
                p.grad = None

    def after_step(self, graph: Graph, skip: bool) -> None:
        """The optimiser stepped."""
        for p, gradient in self._hidden:
            p.grad = gradient
        self._hidden = []
        self.stepped(graph, skip)

    def prepare(self, graph: Graph, skip: bool) -> None:
        """Clear what the optimiser is not to step by."""
        raise NotImplementedError

    def stepped(self, graph: Graph, skip: bool) -> None:
        """Put right what the optimiser moved, but for ``skip``; this step is over."""
        raise NotImplementedError

    def learn_by_layers(
        self,
        passes: Callable[[Tensor], Tensor],
        graph: Graph,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        skip: bool,
        loss: Loss = cross_entropy,
    ) -> float:
        """Forward pass, loss, backward pass and, unless ``skip``, a step: the loss."""
        if rows is not None:
            x, y = x[rows], y[rows]
        self.optimizer.zero_grad(set_to_none=True)
        total = loss(passes(x), y)
        total.backward()
        if self.clips is not None and not skip:
            self.clip_gradients(self.clips)
        self.advance(graph, skip)
        return float(total.detach())

    def clip_gradients(self, most: float) -> float | Tensor:
        """Bring the joint norm of what the optimiser steps by down to ``most``: the factor."""
        masks = {id(p): mask for i, p in enumerate(self.sparse_parameters())
                 if (mask := self.mask_of(i)) is not None}  # fmt: skip
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return clipped(parameters, masks, most)

    def learn(
        self,
        graph: Graph,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        skip: bool,
        loss: Loss | None = None,
    ) -> float:
        """Both passes of a loss and, but for ``skip``, a step: the loss of outputs and ``y``, mean
        cross-entropy of classes unless it is given."""
        return self.learn_by_layers(self.passes, graph, x, y, rows, skip, loss or cross_entropy)

    def outputs(self, x: Tensor) -> Tensor:
        """What the model computes of ``x`` in evaluation mode, without gradients."""
        return outputs(self.model, x)

    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
        return evaluate(self.model, x, y)

    def model_state(self) -> dict[str, Tensor]:
        """Everything of the model, copied."""
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def show(self, state: Mapping[str, Tensor]) -> None:
        """Let the model compute with a state of :meth:`model_state`."""
        self.model.load_state_dict(state)

    def sparse_parameters(self) -> list[Tensor]:
        """The parameters that are sparse."""
        raise NotImplementedError

    def check_group(self, group: Any) -> None:
        """Raise ValueError for a group, if any, that is not of those who hold this model."""

    def whole_weights(self) -> Iterator[Tensor]:
        """The sparse parameters, each of all its rows."""
        return iter(self.sparse_parameters())

    def written(self, write: Callable[[], None]) -> None:
        """Write a file of what :meth:`snapshot` returned."""
        write()

    def twin(self, *, dense: bool) -> Twin:
        """A copy of the model, in whose sparse weights others can be put; dense: in layers of
        torch's own."""
        return Twin(self.model, self.sparse_parameters())

    def deriving(self, graph: Graph) -> AbstractContextManager[Passes]:
        """Within it the model can be derived by the weights of this graph's edges, in passes of
        the probe's that training and other rules do not notice."""
        raise NotImplementedError(f"the {self.name} world has no passes of a probe.")

    def lr(self, graph: Graph, keys: Tensor | None) -> float | Tensor:
        """The learning rate of these synapses now, by the optimiser's groups of parameters."""
        groups = self.optimizer.param_groups
        if self._one_group:
            return float(groups[self._groups[0]]["lr"])
        rates = [float(groups[g]["lr"]) for g in self._groups]
        if len(set(rates)) == 1:
            return rates[0]
        return torch.tensor(rates)[graph.space.which(graph.keys if keys is None else keys)]


def groups_of(
    optimizer: torch.optim.Optimizer, space: Space, parameters: Sequence[Tensor]
) -> list[int]:
    """The optimiser's group that each projection's parameter is in. Raises ValueError for none, and
    TypeError for what is no optimiser."""
    check_optimizer(optimizer)
    place = {id(p): g for g, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for projection, p in zip(space.projections, parameters, strict=True):
        if id(p) not in place:
            raise ValueError(
                f"the optimizer does not hold {projection.name!r}, which is to be sparse. Give the "
                "optimizer this model's parameters, freeze the weight, or leave it out with "
                "exclude=."
            )
    return [place[id(p)] for p in parameters]


def check_born(model: nn.Module) -> None:
    """Raise ValueError for a model of which a part has no numbers yet."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f"{name!r} is on the meta device, without numbers, which the masked world needs of "
                "every weight: call model.to_empty(device='cpu') and initialise it first, or "
                "attach with world='sparse', which makes the weights of edges alone."
            )
