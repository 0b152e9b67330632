"""Weights of which each process holds some rows: of a model on which ``fully_shard`` was called.

Everything that makes a tensor whole, or adds numbers up, is called by all processes together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard

from ...graph import Space
from .copies import own_copy
from .group import Ranks, kind_of, of_torch, reshard
from .twin import Twin

HINT = "call fully_shard(model) on the whole model before rewire.attach"


class Locals(Sequence[Tensor]):
    """This process's rows of sharded tensors, where they lie now: torch may lay them elsewhere in
    a model's first pass."""

    def __init__(self, leaves: Sequence[Tensor]):
        self._leaves = leaves

    def __len__(self) -> int:
        return len(self._leaves)

    def __getitem__(self, i: Any) -> Any:
        return [local_of(p) for p in self._leaves[i]] if isinstance(i, slice) else local_of(
            self._leaves[i]
        )  # fmt: skip


@torch.no_grad()
def local_of(t: Tensor) -> Tensor:
    """This process's rows of a tensor: the memory itself."""
    return t.to_local() if isinstance(t, DTensor) else t


@torch.no_grad()
def whole_of(t: Tensor) -> Tensor:
    """All rows of a tensor, a copy."""
    return t.full_tensor().detach().clone() if isinstance(t, DTensor) else t.detach().clone()


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, as sharded as another of its shape."""
    if not isinstance(like, DTensor) or isinstance(whole, DTensor):
        return whole
    first, last = rows_of(like)
    return joined(whole[first:last].to(like.device, copy=True).contiguous(), like)


def joined(local: Tensor, like: Tensor) -> Tensor:
    """The sharded tensor of which these are this process's rows, laid out as another."""
    assert isinstance(like, DTensor)
    return DTensor.from_local(
        local, like.device_mesh, like.placements, run_check=False, shape=like.shape,
        stride=like.stride(),
    )  # fmt: skip


def rows_of(t: DTensor) -> tuple[int, int]:
    """The first row of this process and one past its last, by the rule of ``torch.chunk``."""
    share = -(-t.shape[0] // t.device_mesh.size())
    first = min(t.device_mesh.get_local_rank() * share, t.shape[0])
    return first, min(first + share, t.shape[0])


class Shards:
    """The sparse parameters of a sharded model, and which synapses this process holds.

    Raises ValueError by name for weights that are not all sharded by their rows, over one mesh.
    """

    def __init__(self, model: nn.Module, space: Space, leaves: Sequence[nn.Parameter]):
        check_layout(model, [p.name for p in space.projections], leaves)
        self.model, self.leaves, self.locals = model, list(leaves), Locals(leaves)
        first = leaves[0]
        assert isinstance(first, DTensor)
        self.ranks = Ranks(first.device_mesh.get_group())
        self.modules = [m for m in model.modules() if isinstance(m, FSDPModule)]
        # of each projection: its first key here and one past its last
        self._windows: list[tuple[int, int]] = []
        for start, p in zip(space.bounds, leaves, strict=False):
            assert isinstance(p, DTensor)
            row = p[:1].numel() if p.shape[0] else 0
            low, high = rows_of(p)
            self._windows.append((start + low * row, start + high * row))
        self.sizes = [high - low for low, high in self._windows]
        self.possible = sum(self.sizes)
        self.ends = np.array([0, *accumulate(self.sizes)], dtype=np.int64)

    def within(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of some rising keys are of synapses here, and how these are counted here."""
        rows, here = [], []
        for (low, high), start in zip(self._windows, self.ends.tolist(), strict=False):
            first, last = keys.searchsorted([low, high]).tolist()
            rows.append(np.arange(first, last))
            here.append(keys[first:last] + (start - low))
        return np.concatenate(rows), np.concatenate(here)

    def counts(self, keys: np.ndarray) -> list[int]:
        """How many of some rising keys, each counted once, are of synapses here, by projection."""
        ends = [keys.searchsorted(window).tolist() for window in self._windows]
        return [len(np.unique(keys[first:last])) for first, last in ends]

    def gather(self, rows: np.ndarray, numbers: np.ndarray, n: int) -> np.ndarray:
        """n numbers of which each process has those at its own rows."""
        out = torch.zeros(n, dtype=torch.from_numpy(numbers).dtype)
        out[torch.from_numpy(rows)] = torch.from_numpy(numbers)
        return self.ranks.sum(out).numpy()

    def anywhere(self, true: bool) -> bool:
        """Whether this is so on some process."""
        return bool(self.ranks.count(int(true)))

    def gradient(self, i: int) -> Tensor | None:
        """This process's rows of a gradient."""
        gradient = self.leaves[i].grad
        return None if gradient is None else local_of(gradient)

    def reshard(self) -> None:
        """Let the model hold its own rows alone: what is written into them is seen by its next
        pass, and its parameters are those that the optimizer steps."""
        for module in self.modules:
            module.reshard()


def check_layout(model: nn.Module, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
    """Raise ValueError by name for a model that is sharded otherwise than by rows, as a whole."""
    for name, p in zip(names, leaves, strict=True):
        if not isinstance(p, DTensor):
            raise ValueError(
                f"{name!r} is to be sparse and is not sharded, as other weights of this model are: "
                f"{HINT}, or leave it out with exclude=."
            )
        if p.device_mesh.ndim != 1 or p.placements != (Shard(0),):
            raise ValueError(
                f"{name!r} is sharded as {p.placements} over a mesh of {p.device_mesh.ndim} "
                "dimensions, and sparse weights can be by their rows alone, Shard(0), over a mesh "
                "of one dimension (no hybrid sharding, no tensor parallelism, no "
                "shard_placement_fn of other dimensions): leave the weight out with exclude=."
            )
        if local_of(p).device.type != p.device_mesh.device_type:
            raise ValueError(
                f"{name!r} is offloaded to {local_of(p).device}, where processes on "
                f"{p.device_mesh.device_type} cannot put it together for rules: shard the model "
                "without an offload_policy."
            )
        first = leaves[0]
        if isinstance(first, DTensor) and p.device_mesh != first.device_mesh:
            raise ValueError(
                f"{name!r} is sharded over other processes than {names[0]!r}: shard the whole "
                "model over one mesh."
            )
    for name, p in model.named_parameters():
        if p.requires_grad and not isinstance(p, DTensor):
            raise ValueError(
                f"{name!r} is trained and not sharded, while sparse weights are, so that nobody "
                f"averages its gradient over the processes: {HINT}, or freeze it."
            )


# -- whole copies ---------------------------------------------------------------------------------


def plain_copy(model: nn.Module, known: Mapping[int, nn.Parameter] | None = None) -> nn.Module:
    """A copy of a sharded model with whole parameters, of the classes of before ``fully_shard``.

    known: parameters of the copy, by the ids of the model's.
    """
    reshard(model)
    memo: dict[int, Any] = {
        id(p): nn.Parameter(whole_of(p), requires_grad=p.requires_grad)
        for p in model.parameters() if known is None or id(p) not in known
    }  # fmt: skip
    memo.update(known or {})
    with own_copy(), _copying(list(model.modules())):
        copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        for table in _hooks(vars(module)):
            for k in [k for k, hook in table.items() if of_torch(hook)]:
                del table[k]
    return copied


def _hooks(state: Mapping[str, Any]) -> Iterator[dict[int, Any]]:
    for name, table in state.items():
        if name.endswith("_hooks") and isinstance(table, dict):
            yield table


@contextmanager
def _copying(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it sharded modules can be copied, which torch refuses, and those around them that
    pass on what they are asked for (checkpoint_wrapper)."""
    own = [m for m in modules if isinstance(m, FSDPModule) or not hasattr(type(m), "__deepcopy__")]
    for module in own:
        vars(module)["__deepcopy__"] = partial(_unsharded, module)
    try:
        yield
    finally:
        for module in own:
            del vars(module)["__deepcopy__"]


def _unsharded(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    memo[id(module)] = copied = object.__new__(kind_of(module))
    state = {n: v for n, v in module.__getstate__().items()
             if n != "__deepcopy__" and not n.startswith("__composable_api")}  # fmt: skip
    for name, table in state.items():
        if name.endswith("_hooks") and isinstance(table, dict):
            state[name] = type(table)((k, h) for k, h in table.items() if not of_torch(h))
    copied.__setstate__(copy.deepcopy(state, memo))
    return copied


class WholeTwin(Twin):
    """A copy, with whole parameters on each process, of a sharded model."""

    def copied(self) -> nn.Module:
        """A copy of the model."""
        return plain_copy(self.source)

    def now(self, p: Tensor) -> Tensor:
        """The whole of a parameter of the model."""
        return whole_of(p)


def mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested tables and lists of tensors, each of them changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {k: mapped(v, change) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(v, change) for v in tree)
    return copy.deepcopy(tree)
