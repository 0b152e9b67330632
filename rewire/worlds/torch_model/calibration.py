"""Signals of what reaches each weight: statistics of inputs over the probe's batches.

In both torch worlds, of a layer written as a matrix (:mod:`rewire.select.rows`) whose column j
multiplies the number x_j of every sample (a token, a place of a convolution, a step of a sequence):
``input_norm``, the norm of x_j over the samples; ``input_moments``, (k, n), the row of X X^T that
belongs to x_j; ``synaptic_operations``, of layers that take spikes, how many of the samples of an
example x_j is a spike in. In float64. The model is in evaluation mode meanwhile, with the weights
of the graph that the signals are asked of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...graph import Graph, Projection
from ...select.rows import matrix_of, place_of
from ...signals import dense_signal
from ...world import DenseModel
from .layers import CONVOLUTIONS, EMBEDDINGS, TRANSPOSED, uses
from .probe import evaluating

Inputs = Iterator[tuple[str, int, Tensor]]  # attribute, part of its rows, (samples, columns)
Kept = dict[tuple[int, int], Tensor]  # projection, part of its rows -> sums over the samples


@dense_signal("input_norm", needs_probe=True)
@torch.no_grad()
def input_norm(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """The norm, over the probe's samples, of what each synapse's weight multiplies, (k,)."""
    sums = _summed(world, graph, keys, lambda x: x.square().sum(0))
    return _at(graph, keys, sums).sqrt()


@dense_signal("synaptic_operations", needs_probe=True)
@torch.no_grad()
def synaptic_operations(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """The spikes that each synapse carries, or would, in a pass over one example, (k,): a mean over
    the probe's examples. A spike is an input that is not 0, of a layer that the model, or a part of
    it, names in its attribute ``takes_spikes``; synapses of others have 0.

    Raises ValueError for a model that names none with synapses of the graph.
    """
    names = {
        f"{prefix}.{layer}.weight" if prefix else f"{layer}.weight"
        for prefix, module in world.model.named_modules()
        for layer in getattr(module, "takes_spikes", ())
    }
    spiking = [i for i, p in enumerate(graph.projections) if p.name in names]
    if not spiking:
        raise ValueError(
            "SynOpsBudget counts the spikes that synapses carry, and no layer here is known to "
            "take spikes: the model names those that do in its attribute 'takes_spikes', a tuple; "
            f"projections are {', '.join(p.name for p in graph.projections)}."
        )
    out, examples = torch.zeros(len(keys), dtype=torch.float64), []

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        examples.append(len(next(inputs)))

    known = torch.isin(graph.space.which(keys), torch.tensor(spiking))
    if known.any():
        hook = world.model.register_forward_pre_hook(count, with_kwargs=True)
        try:
            sums = _summed(world, graph, keys[known], lambda x: (x != 0).double().sum(0))
        finally:
            hook.remove()
        out[known] = _at(graph, keys[known], sums) / world.counted(sum(examples))
    return out


@dense_signal("input_moments", needs_probe=True)
@torch.no_grad()
def input_moments(world: DenseModel, graph: Graph, keys: Tensor) -> Tensor:
    """The sum, over the probe's samples, of what each synapse's weight multiplies times each of the
    numbers that its row does, (k, n); n is the most columns of the matrices asked for, and those
    that a narrower one lacks are 0."""
    sums = _summed(world, graph, keys, lambda x: x.mT @ x)
    wide = max((s.shape[1] for s in sums.values()), default=0)
    out = torch.zeros(len(keys), wide, dtype=torch.float64)
    for i, rows, part, column in _asked(graph, keys):
        for b in part.unique().tolist():
            within = part == b
            moments = sums[i, b]
            out[rows[within], : moments.shape[1]] = moments[column[within]]
    return out


def _at(graph: Graph, keys: Tensor, sums: Kept) -> Tensor:
    """At each key what was added up of its column, (k,)."""
    out = torch.zeros(len(keys), dtype=torch.float64)
    for i, rows, part, column in _asked(graph, keys):
        for b in part.unique().tolist():
            within = part == b
            out[rows[within]] = sums[i, b][column[within]]
    return out


def _asked(graph: Graph, keys: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Of each projection that keys lie in: its number, the places of its keys, and of each the part
    of the matrix's rows and the column."""
    which = graph.space.which(keys)
    for i in which.unique().tolist():
        rows = (which == i).nonzero().squeeze(1)
        p = graph.projections[i]
        row, column = place_of(p, keys[rows] - graph.space.bounds[i])
        shape = matrix_of(p)
        yield i, rows, row // (shape.rows // shape.parts), column


def _summed(
    world: DenseModel, graph: Graph, keys: Tensor, form: Callable[[Tensor], Tensor]
) -> Kept:
    """``form`` of the inputs of those projections that keys lie in, added up over the batches."""
    projections = {i: graph.projections[i] for i in graph.space.which(keys).unique().tolist()}
    sums: Kept = {}

    def add(i: int, part: int, x: Tensor) -> None:
        new = form(x.detach().double()).cpu()
        sums[i, part] = sums[i, part] + new if (i, part) in sums else new

    with evaluating(world.model), torch.no_grad(), _watched(world, projections, add):
        model = world.model_with(_weights(world, graph))
        for batch in world.probe.batches:
            world.probe.loss(model, batch)
    for i, p in projections.items():
        if not world.counted(int((i, 0) in sums)):
            raise ValueError(
                f"no batch of the probe reached {p.name!r}, so that its inputs are not known: let "
                "the probe's loss run the layer, or leave the weight out with exclude=."
            )
    blanks = {(i, part): form(torch.zeros(1, matrix_of(p).columns, dtype=torch.float64))
              for i, p in projections.items() for part in range(matrix_of(p).parts)}  # fmt: skip
    totals = world.summed([sums.get(place, blank) for place, blank in blanks.items()])
    return dict(zip(blanks, totals, strict=True))


def _weights(world: DenseModel, graph: Graph) -> list[Tensor]:
    """What the model computes with under this graph, one dense tensor for each projection."""
    if "weight" not in graph.columns:
        return [w.detach() for w in world.effective_weights()]
    effective = graph.effective()
    return [effective.dense(i).to(p) for i, p in enumerate(world.parameters)]


@contextmanager
def _watched(
    world: DenseModel, projections: dict[int, Projection], add: Callable[[int, int, Tensor], None]
) -> Iterator[None]:
    """Within it the inputs of every layer that holds one of these projections are handed on."""
    place = {id(world.parameters[i]): i for i in projections}
    unseen = dict(projections)
    with ExitStack() as stack:
        for module in list(world.model.modules()):
            if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
                module.use_nested_tensor = False  # its layers are to see one tensor, as in training
                stack.callback(setattr, module, "use_nested_tensor", True)
            places = {use.attribute: place[id(p)] for use in uses(module)
                    if (p := module._parameters.get(use.attribute)) is not None
                    and id(p) in place}  # fmt: skip
            if isinstance(module, nn.MultiheadAttention):
                places |= _output_of(module, place)
            elif isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
                continue  # attention's: seen by the attention that computes with it
            places = {a: i for a, i in places.items() if _sees(module, a)}
            if places:
                unseen = {i: p for i, p in unseen.items() if i not in places.values()}
                names = {i: projections[i].name for i in places.values()}
                hook = _Watch(places, names, add)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for p in unseen.values():
            raise ValueError(
                f"the inputs of {p.name!r} cannot be measured: "
                + ("it stacks the matrices of several experts, whose inputs are chosen inside of "
                   "their layer" if p.kind.startswith("stacked") else
                   "it belongs to a layer of a kind of its own, which does not say what it "
                   "multiplies")
                + ". Leave it out with exclude=, or prune by weights alone (Magnitude without "
                "OWL)."
            )  # fmt: skip
        yield


def _sees(module: nn.Module, attribute: str) -> bool:
    """Whether it is known what reaches a weight of a module: of layers of torch's, and of others
    one matrix of the name ``weight``, which multiplies what they are called with."""
    known = (*EMBEDDINGS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    return attribute == "weight" or isinstance(module, known)


def _output_of(module: nn.MultiheadAttention, place: dict[int, int]) -> dict[str, int]:
    weight = module.out_proj.weight
    return {"out_proj.weight": place[id(weight)]} if id(weight) in place else {}


class _Watch:
    """A hook before a layer's forward pass that hands on what reaches some of its weights."""

    def __init__(
        self,
        places: dict[str, int],
        names: dict[int, str],
        add: Callable[[int, int, Tensor], None],
    ):
        self.places, self.names, self.add = places, names, add
        self.asking = False  # the layer is run once more to see what is inside it

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.asking:
            return
        self.asking = True
        try:
            for attribute, part, x in self._inputs(module, args, kwargs):
                if attribute in self.places:
                    self.add(self.places[attribute], part, x)
        finally:
            self.asking = False

    def _inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        if isinstance(module, nn.MultiheadAttention):
            yield from _of_attention(module, args, kwargs)
            return
        x = args[0] if args else kwargs.get("input", kwargs.get("x"))
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        if isinstance(module, EMBEDDINGS):
            raise self._refused("is a table, whose entries multiply no input")
        if not isinstance(x, Tensor) or x.is_nested:
            raise self._refused(f"was handed a {type(x).__name__}, not one dense tensor")
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            yield from _of_convolution(module, x)
        elif isinstance(module, nn.RNNBase):
            if module.proj_size:
                raise self._refused("belongs to a recurrent layer with projected states")
            yield from _of_recurrent(module, x, state)
        elif isinstance(module, nn.RNNCellBase):
            yield from _of_cell(module, x, state)
        else:
            yield "weight", 0, x.reshape(-1, x.shape[-1])

    def _refused(self, why: str) -> ValueError:
        name = next(iter(self.names.values()))
        return ValueError(
            f"the inputs of {name!r} cannot be measured: it {why}. Leave it out with exclude=."
        )


def _of_convolution(module: Any, x: Tensor) -> Inputs:
    """Patches of the input: each place of the kernel, moved to where its output lies."""
    spatial = len(module.kernel_size)
    if x.dim() == spatial + 1:  # one example without a batch
        x = x[None]
    taps, channels = prod(module.kernel_size), module.in_channels
    # one filter for each place of the kernel, of each channel by itself
    one = torch.eye(taps, dtype=x.dtype, device=x.device).view(taps, *module.kernel_size)
    if isinstance(module, TRANSPOSED):
        filters = one.expand(channels, *one.shape)
        run = getattr(nn.functional, f"conv_transpose{spatial}d")
        patches = run(
            x, filters, None, module.stride, module.padding, module.output_padding, channels,
            module.dilation,
        )  # fmt: skip
    else:
        filters = one[:, None].repeat(channels, *[1] * (spatial + 1))
        run = getattr(nn.functional, f"conv{spatial}d")
        padding = module.padding
        if module.padding_mode != "zeros":
            x = nn.functional.pad(
                x, module._reversed_padding_repeated_twice, mode=module.padding_mode
            )
            padding = 0
        patches = run(x, filters, None, module.stride, padding, module.dilation, channels)
    flat = patches.movedim(1, -1).reshape(-1, channels * taps)
    for part, columns in enumerate(flat.chunk(module.groups, 1)):
        yield "weight", part, columns


def _of_recurrent(module: nn.RNNBase, x: Tensor, state: Any) -> Inputs:
    """What reaches each layer and direction: its input, and its own states of the step before."""
    if x.dim() == 2:  # one sequence without a batch
        x = x.unsqueeze(1)
        state = _each(state, lambda s: s.unsqueeze(1))
    elif module.batch_first:
        x = x.transpose(0, 1)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    for layer in range(module.num_layers):
        outputs = []
        for d, direction in enumerate(directions):
            steps = x.flip(0) if direction else x
            k = layer * len(directions) + d
            start = _each(state, _of_direction(k))
            out = _one_layer(module, f"_l{layer}{direction}", steps, start)
            yield f"weight_ih_l{layer}{direction}", 0, steps.flatten(0, 1)
            first = start[0] if isinstance(start, tuple) else start
            first = torch.zeros_like(out[:1]) if first is None else first
            before = torch.cat([first, out[:-1]])
            yield f"weight_hh_l{layer}{direction}", 0, before.flatten(0, 1)
            outputs.append(out.flip(0) if direction else out)
        x = torch.cat(outputs, 2)


def _each(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, tuple | list):
        return tuple(change(s) for s in state)
    return None if state is None else change(state)


def _of_direction(k: int) -> Callable[[Tensor], Tensor]:
    return lambda states: states[k : k + 1].contiguous()


def _one_layer(module: nn.RNNBase, suffix: str, x: Tensor, state: Any) -> Tensor:
    """The states (T, N, hidden) of one layer and direction of a recurrent module, alone."""
    options: dict[str, Any] = {"bias": module.bias, "device": "meta", "dtype": x.dtype}
    if isinstance(module, nn.RNN):
        options["nonlinearity"] = module.nonlinearity
    kind: Any = type(module)
    alone = kind(x.shape[2], module.hidden_size, **options)
    weights = {
        name: getattr(module, name.removesuffix("_l0") + suffix)
        for name, _ in alone.named_parameters()
    }
    return functional_call(alone, weights, (x,) if state is None else (x, state))[0]


def _of_cell(module: Any, x: Tensor, state: Any) -> Inputs:
    x = x.reshape(-1, module.input_size)
    yield "weight_ih", 0, x
    hidden = state[0] if isinstance(state, tuple | list) else state
    if hidden is None:
        hidden = x.new_zeros(len(x), module.hidden_size)
    yield "weight_hh", 0, hidden.reshape(-1, module.hidden_size)


def _of_attention(
    module: nn.MultiheadAttention, args: Sequence[Any], kwargs: dict[str, Any]
) -> Inputs:
    """Query, key and value; and the heads' outputs, by an attention whose last layer is 1."""
    names = ("query", "key", "value")
    streams = {**dict(zip(names, args, strict=False)), **kwargs}
    for part, name in enumerate(names):
        x = streams[name]
        x = x.reshape(-1, x.shape[-1])
        yield "in_proj_weight", part, x
        yield f"{name[0]}_proj_weight", 0, x
    e = module.embed_dim
    identity = {"out_proj.weight": torch.eye(e, dtype=x.dtype, device=x.device)}
    if module.out_proj.bias is not None:
        identity["out_proj.bias"] = torch.zeros(e, dtype=x.dtype, device=x.device)
    heads = functional_call(module, identity, tuple(args), dict(kwargs))[0]
    yield "out_proj.weight", 0, heads.reshape(-1, e)
