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

    per_edge: how often each synapse of a sparse projection is used (1 in a linear layer, the
    number of output positions in a convolution). fixed: those of the layers that are not sparse.
    """

    per_edge: Sequence[int]
    sizes: Sequence[int]
    fixed: int

    @property
    def dense(self) -> int:
        """Multiply-adds of the network with every synapse."""
        return self.sparse(self.sizes)

    def sparse(self, counts: Sequence[int]) -> int:
        """Multiply-adds with ``counts[i]`` synapses in projection i."""
        return self.fixed + sum(m * n for m, n in zip(self.per_edge, counts, strict=True))


def measure(model: nn.Module, names: Sequence[str], example: Tensor) -> Costs:
    """Count by one forward pass of ``example`` (1, C, H, W); ``names``: the sparse parameters.

    Linear layers, convolutions and recurrent layers count; norms, biases and activations do not.
    """
    import torch

    used: dict[str, list[int]] = {}  # parameter -> [uses of each entry, entries]

    def note(name: str, times: int, entries: int) -> None:
        at = used.setdefault(name, [0, entries])
        at[0] += times

    def hook(prefix: str) -> Any:
        def count(module: nn.Module, inputs: Any, output: Any) -> None:
            for attribute, p in module._parameters.items():
                if p is None or "weight" not in attribute:
                    continue
                name = f"{prefix}.{attribute}" if prefix else attribute
                if isinstance(module, torch.nn.Linear):
                    note(name, output.numel() // module.out_features, p.numel())
                elif isinstance(module, torch.nn.modules.conv._ConvNd):
                    at = inputs[0] if module.transposed else output  # where each weight is used
                    note(name, at[0, 0].numel(), p.numel())
                elif isinstance(module, torch.nn.RNNBase):
                    note(name, inputs[0].numel() // module.input_size, p.numel())

        return count

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd, torch.nn.RNNBase)
    hooks = [
        m.register_forward_hook(hook(name))
        for name, m in model.named_modules()
        if isinstance(m, kinds)
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(example)
    finally:
        model.train(was_training)
        for h in hooks:
            h.remove()
    sparse = [used.get(name, [0, 0]) for name in names]
    fixed = sum(times * n for name, (times, n) in used.items() if name not in set(names))
    return Costs([times for times, _ in sparse], [n for _, n in sparse], fixed)
