"""What a spiking network computes in events: spikes, and the synapses that carry them.

A synaptic operation is one spike carried by one live synapse, as neuromorphic hardware counts them
(Merolla et al. 2014, doi:10.1126/science.1254642): spikes times the live fan-out of their neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rewire.graph import Graph

SPIKES, SYNOPS = "spikes_per_example", "synops_per_example"
COLUMNS = (SPIKES, SYNOPS)


class Counts:
    """Spikes and synaptic operations of the examples that a model has seen."""

    def __init__(self) -> None:
        self.examples = self.spikes = self.operations = 0

    @property
    def columns(self) -> dict[str, float]:
        """Means over the examples; empty before the first."""
        if not self.examples:
            return {}
        return {SPIKES: self.spikes / self.examples, SYNOPS: self.operations / self.examples}


def is_spiking(model: nn.Module) -> bool:
    """Whether the model says by ``takes_spikes`` which of its layers take spikes."""
    return bool(getattr(model, "takes_spikes", ()))


@contextmanager
def counted(model: nn.Module, graph: Graph | None) -> Iterator[Counts]:
    """Count within it what the model does with the live synapses of ``graph``; None: nothing.

    Spikes are those of its hidden units (`rewire.models.spiking.neurons.LIF`); synaptic operations
    those of the layers in ``takes_spikes``, for spikes of the input too. Biases, and layers that
    take currents, are not counted. Where no layer takes spikes nothing is.

    >>> import torch
    >>> from rewire import models
    >>> from rewire.graph import Graph
    >>> net = models.build("spiking-net", generator=torch.Generator().manual_seed(0),
    ...                    input_shape=(4, 6), classes=3, hidden=[5])
    >>> with counted(net, Graph.of(net)) as counts:
    ...     _ = net(torch.ones(2, 4, 6))
    >>> counts.operations == 2 * 4 * 6 * 5 + 3 * counts.spikes
    True

    Raises:
        ValueError: a layer that takes spikes is neither linear nor a convolution.
    """
    from rewire.models.spiking.neurons import LIF

    counts, hooks = Counts(), []

    def examples(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        counts.examples += len(args[0])

    def fired(module: nn.Module, args: Any, output: tuple[Tensor, Any]) -> None:
        counts.spikes += int(output[0].count_nonzero())

    if is_spiking(model) and graph is not None:
        hooks.append(model.register_forward_pre_hook(examples))
        hooks += [m.register_forward_hook(fired) for m in model.modules() if isinstance(m, LIF)]
        for name, layer in _layers(model).items():
            hooks.append(layer.register_forward_pre_hook(_carried(name, layer, graph, counts)))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _layers(model: nn.Module) -> Mapping[str, nn.Module]:
    return {name: model.get_submodule(name) for name in model.takes_spikes}  # type: ignore[union-attr]


def _carried(
    name: str, layer: nn.Module, graph: Graph, counts: Counts
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that adds the operations of a layer's inputs, exact whole numbers."""
    from torch import nn
    from torch.nn.functional import conv2d

    plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    if not (plain or isinstance(layer, nn.Linear)):
        raise ValueError(
            f"takes_spikes names {name!r}, a {type(layer).__name__}: synaptic operations are "
            "counted in linear layers and plain convolutions of two axes."
        )
    live = _live(f"{name}.weight", layer, graph)
    if isinstance(layer, nn.Linear):
        fan_out = live.sum(0).double()

        def of_linear(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            spikes = (args[0] != 0).flatten(0, -2).sum(0)
            counts.operations += int(spikes.double() @ fan_out.to(spikes.device))

        return of_linear
    assert isinstance(layer, nn.Conv2d)
    kernel = live.sum(0, keepdim=True).double()

    def of_convolution(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        spikes = (args[0] != 0).double()
        carried = conv2d(spikes, kernel.to(spikes.device), None, layer.stride, layer.padding,
                         layer.dilation)  # fmt: skip
        counts.operations += round(float(carried.sum()))

    return of_convolution


def _live(name: str, layer: nn.Module, graph: Graph) -> Tensor:
    """Which synapses of a layer are there, in the shape of its weight; all of a dense layer's."""
    import torch

    for i, projection in enumerate(graph.projections):
        if projection.name == name:
            return graph.mask(i)
    return torch.ones_like(layer.weight, dtype=torch.bool)  # type: ignore[arg-type]
