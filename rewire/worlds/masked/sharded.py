"""The masked world of a model on which ``fully_shard`` was called.

Edges, random streams and what rules decide are the whole network's, the same on every process;
weights, gradients, moments and masks are this process's rows. What rules look at is made whole
when one asks; what an edit changes is written by the process that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Edit, Graph
from ...signals import Signal, Signals
from ..torch_model.activity import Taps
from ..torch_model.base import check_born, groups_of
from ..torch_model.layers import discover
from ..torch_model.optimizers import ELEMENTWISE, chain, sort_optimizer
from ..torch_model.probe import Probe
from ..torch_model.shards import (
    Shards,
    WholeTwin,
    joined,
    local_of,
    mapped,
    part_of,
    plain_copy,
    whole_of,
)  # fmt: skip
from ..torch_model.twin import Twin
from .backward import Backward
from .edge_step import EdgeStep
from .gains import Gates
from .local_rows import LocalBackward, LocalGates, LocalMoments, LocalWeights
from .weights import MaskedWeights
from .world import Masked


class WholeSignals(Signals):
    """Signals of the whole network, which is put together when the first is asked for."""

    def __init__(self, shards: ShardedMasked, graph: Graph):
        super().__init__(None, graph)
        self._shards = shards

    def _see(self) -> None:
        if self._world is None:
            self._world = Whole(self._shards)

    def _get(self, name: str, kind: str) -> Signal:
        self._see()
        return super()._get(name, kind)

    def at(self, graph: Graph) -> Signals:
        """The same signals as if the world held another graph."""
        self._see()
        return super().at(graph)

    def lr(self, keys: Tensor | None = None) -> float | Tensor | None:
        """The learning rate of these synapses."""
        return self._shards.lr(self._graph, keys)


class ShardedMasked(Masked):
    """A torch model under masks of which each process holds some rows.

    Raises ValueError by name for other layouts, and for an optimizer whose steps of one row need
    the others.
    """

    sharded = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        probe: Probe | None = None,
        **options: Any,
    ):
        self.model, self.optimizer, self.probe = model, optimizer, probe
        self.passes = model
        check_born(model)
        whole = plain_copy(model)
        self.space, copies, sites = discover(whole, **options)
        self._follow(whole, copies, options)
        modules = dict(zip(whole.modules(), model.modules(), strict=True))
        numbers = {id(p): i for i, p in enumerate(copies)}
        leaves = {
            numbers[id(p)]: own
            for copied, module in modules.items()
            for (_, p), own in zip(
                copied._parameters.items(), module._parameters.values(), strict=True
            )
            if id(p) in numbers
        }
        self.shards = Shards(model, self.space, [leaves[i] for i in range(len(copies))])  # type: ignore[misc]
        self.parameters = self.shards.locals  # type: ignore[assignment]
        self.taps = Taps({n: replace(s, module=modules[s.module]) for n, s in sites.items()})
        own = self.shards.leaves
        self._groups = groups_of(optimizer, self.space, own)
        check_elementwise(optimizer)
        traits = sort_optimizer(optimizer, own, self._groups)
        self._one_group = len(set(self._groups)) == 1
        self.weights: LocalWeights = LocalWeights(self.shards)
        self.moments = LocalMoments(optimizer, self.weights, traits, self._groups, own)
        self._holds: Graph | None = None
        self._begin_with(EdgeStep(optimizer, self.weights, None), traits.exact)
        self.join_ranks(self.shards.ranks)

    def check_group(self, group: Any) -> None:
        """Raise ValueError for a group, if any, that is not of those who hold this model."""
        if group is None:
            return
        groups = (self.shards.ranks.group, group)
        own, other = map(torch.distributed.get_process_group_ranks, groups)
        if own != other:
            raise ValueError(
                f"group= names the processes {other}, and fully_shard spread this model over {own}:"
                " leave group= out."
            )

    # -- what is of this process ------------------------------------------------------------------

    def sparse_parameters(self) -> list[Tensor]:
        """The sharded weights, which the optimizer steps."""
        return list(self.shards.leaves)

    def left(self) -> Sequence[Tensor]:
        """The same, not in a list of their own."""
        return self.shards.leaves

    def whole_weights(self) -> Iterator[Tensor]:
        """The weights, each made whole when it is come to."""
        return map(whole_of, self.shards.leaves)

    def mask_of(self, i: int) -> Tensor:
        """The mask of a whole weight."""
        assert self._holds is not None
        return self._holds.mask(i)

    def begin(self, graph: Graph) -> None:
        """Hold this graph."""
        self.shards.reshard()
        super().begin(graph)
        self._holds = graph

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make what this process holds match the graph after an edit."""
        self.shards.reshard()
        super().write(before, after, edit)
        self._holds = after

    def _gates_of(self, graph: Graph) -> Gates:
        return LocalGates(self.shards, graph, self.trains)

    def _new_backward(self) -> Backward:
        return LocalBackward(self.shards, self.weights)

    def verify(self) -> None:
        """Raise RuntimeError where the model is no longer the one that was attached."""
        self.shards.reshard()
        super().verify()

    def _marks(self) -> list[int]:
        return [n for p, t in zip(self.shards.leaves, self.parameters, strict=True)
                for n in (p._version, t._version, t.data_ptr())]  # fmt: skip

    # -- what is of all processes together --------------------------------------------------------

    def check(self) -> list[str]:
        """Absent weights and moments that are not 0, on any process."""
        self.shards.reshard()
        own, ranks = self._strays(), self.shards.ranks
        lists: list[Any] = [None] * ranks.size
        torch.distributed.all_gather_object(lists, own, group=ranks.group)
        return [f"Rank {r}: {problem}" for r, problems in enumerate(lists) for problem in problems]

    def enforce(self) -> int:
        """Set absent weights and moments to 0; returns how many absent weights were not."""
        self.shards.reshard()
        return self.shards.ranks.count(self._project_all())

    def signals(self, graph: Graph) -> Signals:
        """What rules may ask, of this graph: the whole network's."""
        return WholeSignals(self, graph)

    def holding(self, graph: Graph) -> Masked:
        """The whole network as if it held another graph."""
        return Whole(self).holding(graph)

    def _dense_gradients(self, skip: bool) -> list[Tensor | None]:
        kept = [None] * len(self.parameters) if self.backward is None else self.backward.dense()
        whole: list[Tensor | None] = [*kept]
        for i, p in enumerate(self.shards.leaves):
            if whole[i] is None and p.grad is not None:
                whole[i] = whole_of(p.grad)
        return whole

    def twin(self, *, dense: bool) -> Twin:
        """A copy of the model with whole parameters on each process."""
        self.shards.reshard()
        return WholeTwin(self.model, self.shards.leaves)

    # -- saving it --------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything of model and optimiser that training depends on, whole on each process."""
        self.settle()
        self.shards.reshard()
        stored = {}
        if self.gates is not None:
            pairs = zip(self.gates.stored, self.shards.leaves, strict=True)
            stored = {"stored": [whole_of(joined(t, p)) for t, p in pairs]}
        return {
            "model": mapped(self.model.state_dict(), whole_of),
            "optimiser": mapped(self.optimizer.state_dict(), whole_of),
            **stored,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken, of any number of processes."""
        super().load(self._own_of(saved))

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved parts, under the masks of ``graph``."""
        super().restore(self._own_of(saved), parts, graph)

    def _own_state(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        return dict(saved)

    def _own_of(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Of a snapshot, which is whole, the rows of this process."""
        self.shards.reshard()
        own, leaves = self.model.state_dict(), self.shards.leaves
        steps = [p for group in self.optimizer.param_groups for p in group["params"]]
        states = {
            number: {
                name: part_of(v, steps[number]) if _is_like(v, steps[number]) else v
                for name, v in state.items()
            }
            for number, state in saved["optimiser"]["state"].items()
        }
        out: dict[str, Any] = {
            "model": {n: part_of(v, own[n]) if n in own else v for n, v in saved["model"].items()},
            "optimiser": {**saved["optimiser"], "state": states},
        }
        if "stored" in saved:
            pairs = zip(saved["stored"], leaves, strict=True)
            out["stored"] = [local_of(part_of(t, p)) for t, p in pairs]
        return out

    def written(self, write: Callable[[], None]) -> None:
        """Let the first process write a file. Raises on all of them where it cannot."""
        error: Exception | None = None
        if self.shards.ranks.rank == 0:
            try:
                write()
            except Exception as e:
                error = e
        failed = self.shards.anywhere(error is not None)
        if error is not None:
            raise error
        if failed:
            raise RuntimeError("the first rank of this training could not write the file.")

    def __deepcopy__(self, memo: dict[int, Any]) -> ShardedMasked:
        raise TypeError(NO_COPY)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(NO_COPY)


NO_COPY = (
    "a session of a sharded model (fully_shard) cannot be copied or pickled, since each process "
    "holds a part of it: rewire.save writes one file, net.to_dense() makes a whole model."
)


def _is_like(value: object, p: Tensor) -> bool:
    """Whether a value of an optimizer's state is one number for each of a parameter."""
    return isinstance(value, Tensor) and value.shape == p.shape


def check_elementwise(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError for an optimizer that is not known to step each weight by itself."""
    known = [
        kind for kind in ELEMENTWISE if kind is not torch.optim.Rprop
    ]  # torch's refuses shards
    for link in chain(optimizer):
        if type(link) not in known and {"param_groups", "state"} & vars(link).keys():
            names = ", ".join(kind.__name__ for kind in known)
            raise ValueError(
                f"{type(link).__name__} may need the whole of a weight, and each process holds "
                f"some rows of it (fully_shard). Optimizers that step each weight by itself can "
                f"train it: {names}."
            )


class Whole(Masked):
    """The network that a sharded world is a part of, put together to be looked at.

    Its model is a copy with whole parameters, made when a signal's own passes ask for it.
    """

    def __init__(self, source: ShardedMasked):
        shards = source.shards
        vars(self).update({
            name: value for name, value in vars(source).items()
            if name in ("space", "optimizer", "probe", "taps", "ranks", "trains", "coverage",
                        "_groups", "_one_group", "_project")
        })  # fmt: skip
        self._source = source
        self._copy: nn.Module | None = None
        self._elsewhere = self._want_grads = False
        self.backward = self._versions = self.standing = self.states = None
        self.parameters = [nn.Parameter(whole_of(p)) for p in shards.leaves]
        self.weights = MaskedWeights(self.space, self.parameters)
        graph = source._holds
        if graph is not None:
            self.weights.cover(graph)
        self.masks, self.grads, self.gates = self.weights.masks, source.grads, None
        if source.gates is not None and graph is not None:
            pairs = zip(source.gates.stored, shards.leaves, strict=True)
            stored = [whole_of(joined(t, p)) for t, p in pairs]
            self.gates = Gates(stored, graph, source.trains)

    @property
    def model(self) -> nn.Module:  # type: ignore[override]
        """A copy of the model, of this network's weights."""
        if self._copy is None:
            pairs = zip(self._source.shards.leaves, self.parameters, strict=True)
            self._copy = plain_copy(self._source.model, {id(p): own for p, own in pairs})
        return self._copy

    def holding(self, graph: Graph) -> Masked:
        """The same network as if it held another graph."""
        self.model  # noqa: B018  # one copy for all
        return super().holding(graph)

    def gradients(self) -> list[Tensor | None]:
        """The dense gradient of the step just made, else that of the probe."""
        out = super().gradients()
        if not self._elsewhere:
            self._source.grads = out
        return out

    def settle(self) -> None:
        """Nothing waits here."""
