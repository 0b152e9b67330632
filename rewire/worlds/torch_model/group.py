"""Several processes that train one model: they hold one topology, or the run stops.

What rules look at is made of each rank's own part of the data. The torch worlds add it up over
the ranks before a rule sees it, so that every rank's rule sees the same numbers; what the ranks
are to have in common is compared before the first step, and the edges after every edit.
"""

from __future__ import annotations

import gc
import hashlib
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ...graph import Graph

WHOLE = "rewire.attach(..., group=torch.distributed.group.WORLD)"
ADVICE = {
    "weights": (
        "Seed torch alike on every rank before the model is made, or wrap it in "
        "DistributedDataParallel before rewire.attach."
    ),
    "edges": (
        "Data that a rule looks at before the ranks are known to train together (a probe), or a "
        "signal that a package computes on each rank for itself, drives them apart: wrap the model "
        f"before it is attached, or name the group, {WHOLE}, so that what rules look at is taken "
        "over all ranks from the start; or give every rank the same data to look at."
    ),
}
ALIKE = "Give every rank the same."


class Ranks:
    """The processes that train one network together, each on its part of a batch.

    group: a process group of torch's; None is the default one. wrapper: the
    DistributedDataParallel whose it is; without one the user named it.
    """

    def __init__(self, group: Any = None, wrapper: Any = None):
        dist = torch.distributed
        if not grouped():
            raise ValueError(
                "group= names the processes that train this model together, and torch.distributed "
                "is not initialised: call torch.distributed.init_process_group before "
                "rewire.attach, or leave group= out."
            )
        self.group, self.wrapper = group, wrapper
        self.size: int = dist.get_world_size(group)
        self.rank: int = dist.get_rank(group)
        if self.rank < 0:
            raise ValueError("this process is not in the group that group= names.")
        self._compared: tuple[Tensor, Tensor] | None = None  # keys, and their digest

    # -- tensors ----------------------------------------------------------------------------------

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all ranks' tensors: the same bits on each."""
        return self._reduce(tensor, torch.distributed.ReduceOp.SUM)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of all ranks' tensors."""
        return self.sum(tensor) / self.size

    def count(self, n: int) -> int:
        """The sum of the ranks' numbers."""
        return int(self.sum(torch.tensor([n], dtype=torch.int64)))

    def sums(self, tensors: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
        """Sums of tensors of which some ranks may have none; None where none has. like: tensors of
        the same shapes."""
        has = torch.tensor([t is not None for t in tensors], dtype=torch.int64)
        anywhere = self._reduce(has, torch.distributed.ReduceOp.MAX).tolist()
        out: list[Tensor | None] = []
        for t, shaped, exists in zip(tensors, like, anywhere, strict=True):
            own = torch.zeros_like(shaped) if t is None else t
            out.append(self.sum(own) if exists else None)
        return out

    def joined(self, tensor: Tensor, dim: int) -> Tensor:
        """The ranks' tensors one after another along a dimension, in the order of the ranks."""
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = tensor.shape[dim]
        ends = self.sum(sizes).cumsum(0)
        shape = [*tensor.shape]
        shape[dim] = int(ends[-1])
        out = tensor.new_zeros(shape)
        first = int(ends[self.rank]) - tensor.shape[dim]
        out.narrow(dim, first, tensor.shape[dim]).copy_(tensor)
        return self.sum(out)

    def _reduce(self, tensor: Tensor, how: Any) -> Tensor:
        narrow = tensor.dtype in (torch.float16, torch.bfloat16)
        own = tensor.detach().to(self._device(tensor), torch.float32 if narrow else tensor.dtype)
        total = own.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total, how, group=self.group)
        return total.to(tensor)

    def _device(self, tensor: Tensor) -> torch.device:
        if tensor.is_cuda or torch.distributed.get_backend(self.group) != "nccl":
            return tensor.device
        return torch.device("cuda", torch.cuda.current_device())

    # -- do they agree ----------------------------------------------------------------------------

    def agree(self, facts: Mapping[str, Any], when: str) -> None:
        """Raise RuntimeError, on every rank, where one of these is not the same on all of them.

        facts: what it is that is compared -> its value, or a digest of it.
        """
        self._refuse_uneven()
        own = {what: _plain(value) for what, value in facts.items()}
        all_ranks: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(all_ranks, own, group=self.group)
        for what in own:
            values = [facts.get(what) for facts in all_ranks]
            if len(set(values)) > 1:
                listed = "; ".join(f"rank {r}: {value}" for r, value in enumerate(values))
                raise RuntimeError(
                    f"the ranks of this training hold other {what} {when} ({listed}). "
                    + ADVICE.get(what, ALIKE)
                )

    def agree_on_edges(self, graph: Graph, when: str) -> None:
        """Raise RuntimeError, on every rank, where the ranks hold other edges."""
        self._refuse_uneven()
        if self._compared is None or self._compared[0] is not graph.keys:
            self._compared = graph.keys, torch.tensor([int(graph.digest()[:15], 16)])
        digest = self._compared[1]
        ends = self._reduce(torch.cat([digest, -digest]), torch.distributed.ReduceOp.MAX)
        if int(ends.sum()):
            self.agree({"edges": edges_of(graph)}, when)

    def _refuse_uneven(self) -> None:
        if self.wrapper is not None and self.wrapper._join_config.enable:
            raise RuntimeError(
                "a rank of this training may run out of data before others (Join), and makes no "
                "more steps then, after which rules edit its edges: give every rank as many "
                "batches."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks | None:
        """A copy of a model is in no DistributedDataParallel; a group that was named stays."""
        return self if self.wrapper is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _pickled, (self.wrapper is None,)


class LostRanks(Ranks):
    """What is left in a pickle of a group that the user named: refused before the first step."""

    def __init__(self) -> None:
        self.wrapper, self.size, self.rank = None, 1, 0

    def agree(self, facts: Mapping[str, Any], when: str) -> None:
        raise RuntimeError(
            "this session was pickled with group=, a process group that no file holds: write it "
            "by rewire.save, and read it by rewire.load(path, model, optimizer, group=...)."
        )


def _pickled(named: bool) -> Ranks | None:
    return LostRanks() if named else None


def _plain(value: Any) -> str:
    """A value as text, tensors by their digests: equal on two ranks where the values are."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return digest_of(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return _ADDRESS.sub("", value if isinstance(value, str) else repr(value))


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function in a rule's repr: each process's own


def digest_of(tensor: Tensor) -> str:
    """A few digits for a tensor's numbers."""
    data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def edges_of(graph: Graph) -> str:
    """How many edges a graph has, and a digest of them."""
    return f"{len(graph):,} edges, {graph.digest()}"


def grouped() -> bool:
    """Whether this process is in a group of torch's, which may be one of a single process."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def wrapped(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel, or the model itself."""
    kind = nn.parallel.DistributedDataParallel
    return wrapped(model.module) if isinstance(model, kind) else model


def data_parallel(model: nn.Module) -> nn.parallel.DistributedDataParallel | None:
    """The DistributedDataParallel that is the model, or holds it: its ranks train one network.

    None for runs that are independent, each process with its own model.
    """
    kind = nn.parallel.DistributedDataParallel
    if not grouped():
        return None
    if isinstance(model, kind):
        return model
    wrappers = [o for o in gc.get_objects() if issubclass(type(o), kind)]
    return next((o for o in wrappers if any(m is model for m in o.modules())), None)


def ranks_of(model: nn.Module, group: Any = None, wrapper: Any = None) -> Ranks | None:
    """The processes that train this model with this one, or None. group: where the user names
    them. wrapper: where it is known."""
    if group is not None:
        return Ranks(group)
    wrapper = data_parallel(model) if wrapper is None else wrapper
    return None if wrapper is None else Ranks(wrapper.process_group, wrapper)


def is_sharded(p: Tensor) -> bool:
    """Whether a parameter is a part of one that lies in several processes."""
    return type(p.data).__name__ == "DTensor" or type(p).__name__ == "FlatParameter"


def of_torch(hook: Any) -> bool:
    """Whether a hook is one that ``fully_shard`` put on a module."""
    hook = getattr(hook, "hook", hook)
    owner = getattr(hook, "__self__", None)
    module = hook.__module__ if owner is None else type(owner).__module__
    return module.startswith("torch.distributed.fsdp.")


def in_shards(model: nn.Module) -> list[Any]:
    """The modules on which ``fully_shard`` was called."""
    kinds = ((m, type(m).__mro__) for m in model.modules())
    return [m for m, mro in kinds if any(kind.__name__ == "FSDPModule" for kind in mro)]


def kind_of(module: nn.Module) -> type[nn.Module]:
    """The class of a module, of before ``fully_shard`` was called on it."""
    bases = type(module).__bases__
    if not any(base.__name__ == "FSDPModule" for base in bases):
        return type(module)
    return next(base for base in bases if base.__name__ != "FSDPModule")


def reshard(model: nn.Module) -> bool:
    """Let a model hold its own rows alone, where a pass left whole weights in their places; whether
    ``fully_shard`` was called on some of it."""
    modules = in_shards(model)
    for module in modules:
        module.reshard()
    return bool(modules)


def check_shards(model: nn.Module) -> None:
    """Raise ValueError where some weights are sharded: several processes train the model, and it
    is not known which."""
    names = [name for name, p in model.named_parameters() if is_sharded(p)]
    if names:
        raise ValueError(
            f"{names[0]!r} is sharded over processes, so that several train this model, and no "
            f"wrapper says which: name them, {WHOLE}, and average the gradients of what is not "
            "sharded yourself."
        )


class Joins(Protocol):
    """What is told that a forward pass of its model begins, and which wrapper runs it."""

    def runs(self, wrapper: nn.parallel.DistributedDataParallel | None) -> None: ...


class Notice:
    """A forward hook of a model, by which its session knows who wraps it, whenever that began.

    A deep copy of the model gets an inert one.
    """

    def __init__(self, session: Joins | None):
        self._session = (lambda: None) if session is None else weakref.ref(session)

    def __call__(self, module: nn.Module, args: Any) -> None:
        wrapper, session = nn.parallel.DistributedDataParallel._active_ddp_module, self._session()
        if session is not None:
            session.runs(wrapper)

    def __deepcopy__(self, memo: dict[int, Any]) -> Notice:
        return Notice(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Notice, (None,)
