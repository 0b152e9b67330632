"""What a training costs: multiply-adds of every layer, counted dense and sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

FORWARD = 2  # FLOPs of a multiply-add
STEP = 3 * FORWARD  # backward costs twice the forward pass: gradients of inputs and of weights


@dataclass(frozen=True)
class Costs:
    """Multiply-adds of one example's forward pass.

    per_edge: how often each synapse of a sparse projection is used (1 in a linear layer, the number
    of output positions in a convolution, 0 in a table that is looked up); the mean over the
    projection where not all are used equally often. fixed: those of what is not sparse: other
    layers, and products of activations such as attention's.
    """

    per_edge: Sequence[float]
    sizes: Sequence[int]
    fixed: int

    @property
    def dense(self) -> int:
        """Multiply-adds of the network with every synapse."""
        return self.sparse(self.sizes)

    def sparse(self, counts: Sequence[int]) -> int:
        """Multiply-adds with ``counts[i]`` synapses in projection i."""
        return self.fixed + round(sum(m * n for m, n in zip(self.per_edge, counts, strict=True)))


def measure(model: nn.Module, names: Sequence[str], example: Tensor) -> Costs:
    """Count by one forward pass of ``example`` (1, C, H, W); ``names``: the sparse parameters.

    Every product of matrices and every convolution counts, in layers, in recurrent steps and in
    attention; norms, biases, activations and looking up embeddings do not. The pass runs on the
    meta device, where nothing is computed.

    >>> from torch import nn, zeros
    >>> model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> costs = measure(model, ["0.weight"], zeros(1, 6))
    >>> costs.per_edge, costs.fixed, costs.sparse([3])
    ([1], 10, 13)
    """
    import torch
    from torch.func import functional_call
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    known = dict(model.named_parameters(remove_duplicate=False))
    twins = {id(p): torch.empty_like(p, device="meta") for p in known.values()}
    tensors = {name: twins[id(p)] for name, p in known.items()}
    tensors |= {n: torch.empty_like(b, device="meta") for n, b in model.named_buffers()}
    memory = {tensors[name].untyped_storage()._cdata: i for i, name in enumerate(names)}
    used, total = [0] * len(names), [0]

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            kwargs = kwargs or {}
            formula = flop_registry.get(func._overloadpacket)
            if formula is None:
                with self:
                    out = func.decompose(*args, **kwargs)
                return func(*args, **kwargs) if out is NotImplemented else out
            out = func(*args, **kwargs)
            macs = formula(*args, **kwargs, out_val=out) // FORWARD
            of = {
                memory[key] for a in args if isinstance(a, torch.Tensor)
                if (key := a.untyped_storage()._cdata) in memory
            }  # fmt: skip
            total[0] += macs
            if len(of) == 1:  # a product of two weights is of neither's synapses
                used[of.pop()] += macs
            return out

    was_training = model.training
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # one call that hides its products
        with torch.no_grad(), Counting():
            functional_call(model, tensors, (example.to("meta"),))
    finally:
        model.train(was_training)
        torch.backends.mha.set_fastpath_enabled(fast)
    sizes = [known[name].numel() for name in names]
    per_edge = [n / size if n % size else n // size for n, size in zip(used, sizes, strict=True)]
    return Costs(per_edge, sizes, total[0] - sum(used))
