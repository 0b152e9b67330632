"""Which weights of a torch model are synapses, and between which units they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import UninitializedParameter

from ...graph import Population, Projection, Space, square_sheet
from .declared import Kinds, Use, named_kind, registered_uses, use_of
from .group import in_shards, is_sharded
from .usable import check_memory, check_usable

# Modules that act on each unit (or channel) by itself: a population runs through them.
UNITWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten,
)  # fmt: skip
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}


class Candidate(NamedTuple):
    """A weight that could be sparse: its name, and how a module uses it."""

    name: str
    module: nn.Module
    use: Use
    parameter: nn.Parameter


@dataclass(frozen=True)
class Site:
    """Where a population's activity can be tapped: features of a module's input or output."""

    module: nn.Module
    kind: str
    tap: str
    size: int
    at: int = 0


def uses(module: nn.Module) -> Iterator[Use]:
    """The weights of a module that are synapses; nothing for norms, biases and containers."""
    registered = list(registered_uses(module))
    if registered:
        yield from registered
    elif isinstance(module, NonDynamicallyQuantizableLinear):  # attention's; never called itself
        yield Use("weight", "linear", module.in_features, module.out_features, tap=None)
    elif isinstance(module, nn.Linear):
        yield Use("weight", "linear", module.in_features, module.out_features)
    elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # Hugging Face's
        n_pre, n_post = module._parameters["weight"].shape  # type: ignore[union-attr]
        yield Use("weight", "transposed", n_pre, n_post)
    elif isinstance(module, CONVOLUTIONS):
        yield Use("weight", "conv", module.in_channels, module.out_channels, module.groups)
    elif isinstance(module, TRANSPOSED):
        yield Use("weight", "conv_transpose", module.in_channels, module.out_channels,
                  module.groups)  # fmt: skip
    elif isinstance(module, EMBEDDINGS):
        yield Use("weight", "embedding", module.num_embeddings, module.embedding_dim)
    elif isinstance(module, nn.RNNBase):
        yield from _recurrent(module)
    elif isinstance(module, nn.RNNCellBase):
        n, gates = module.hidden_size, _gates(module)
        yield Use("weight_ih", "rnn", module.input_size, n, gates)
        yield Use("weight_hh", "rnn", n, n, gates, source_part="", tap="output")
    elif isinstance(module, nn.MultiheadAttention):
        e = module.embed_dim
        if module._qkv_same_embed_dim:
            yield Use("in_proj_weight", "attention", e, e, 3, target_part="qkv")
        else:
            for letter, size in (("q", e), ("k", module.kdim), ("v", module.vdim)):
                yield Use(f"{letter}_proj_weight", "linear", size, e,
                          source_part=f"{letter}.in", target_part=letter,
                          tap="input" if letter == "q" else None)  # fmt: skip
    elif isinstance(getattr(module, "is_transposed", None), bool):
        yield from _experts(module)
    elif any(kind.__module__.startswith("norse.torch.") for kind in type(module).__mro__):
        yield from _recurrent_spiking(module)


def _experts(module: nn.Module) -> Iterator[Use]:
    """Hugging Face's experts, which say themselves how their matrices lie."""
    kind = "stacked_transposed" if module.is_transposed else "stacked"
    for attribute, p in module._parameters.items():
        if p is not None and attribute.endswith("_proj") and p.dim() == 3:
            yield use_of(attribute, kind, p, type(module).__name__)


def _recurrent_spiking(module: nn.Module) -> Iterator[Use]:
    """norse's cells: what comes in, and what the cells send each other."""
    for attribute, parts in (("input_weights", ("in", "")), ("recurrent_weights", ("", ""))):
        p = module._parameters.get(attribute)
        if p is not None:
            n_post, n_pre = p.shape
            yield Use(attribute, "linear", n_pre, n_post, 1, *parts, None, declared=True)


def _gates(module: nn.Module) -> int:
    return next(gates for kind, gates in GATES.items() if isinstance(module, kind))


def _recurrent(module: nn.RNNBase) -> Iterator[Use]:
    """A layer's units feed the next layer; of two directions, their concatenation (``l0.out``,
    first the units of ``l0``, then of ``l0_reverse``) does, a population of its own."""
    hidden, gates = module.hidden_size, _gates(module)
    state = module.proj_size or hidden
    directions = ("", "_reverse") if module.bidirectional else ("",)
    size, below = module.input_size, "in"
    for layer in range(module.num_layers):
        top = layer == module.num_layers - 1
        for at, d in enumerate(directions):
            cells = f"l{layer}{d}"
            out = f"{cells}.state" if module.proj_size else cells
            seen = "input" if layer == 0 else None
            yield Use(f"weight_ih_{cells}", "rnn", size, hidden, gates, below, cells, seen)
            seen = "output" if top else None
            yield Use(f"weight_hh_{cells}", "rnn", state, hidden, gates, out, cells, seen,
                      at * state)  # fmt: skip
            if module.proj_size:
                yield Use(f"weight_hr_{cells}", "linear", hidden, state, 1, cells, out, None)
        size = state * len(directions)
        below = f"l{layer}.out" if module.bidirectional else out


def discover(
    model: nn.Module,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    projections: Kinds | None = None,
    positions: Mapping[str, Tensor | None] | None = None,
) -> tuple[Space, list[nn.Parameter], dict[str, Site]]:
    """The space of a model's possible synapses, its sparse parameters, and where to tap activity.

    Weights of linear, convolutional, recurrent and attention layers are sparse; embeddings where
    asked for; norms and biases never. A parameter that several modules share is one projection,
    sparse only if all its uses are. Layers of a nn.Sequential share populations, and so do children
    of a model whose ``fed_by`` says which of them takes whose output, or whose ``adds_to`` says
    whose output a later one's is added to, so that both run to the same units. ``include`` and
    ``exclude`` are patterns of parameter names (``fc*``; a trailing ``.weight`` may be left out).
    Frozen parameters stay as they are. ``projections`` says the kinds of parameters of layers that
    are not known, by such patterns.

    Raises ValueError when nothing is left, when a pattern matches nothing, and for lazy or
    parametrised weights.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            "the model is scripted, and runs its layers where no rule reaches: attach to the "
            "module that was scripted, and script net.to_dense() after the training."
        )
    weights = candidates(model, projections)
    chosen = _chosen(model, weights, include, exclude, embeddings)
    names = {id(m): clean(n) or "model" for n, m in model.named_modules()}
    passed_on, added_to = _chains(model), _sums(model)

    joined: list[Projection] = []
    parameters: list[nn.Parameter] = []
    sizes: dict[str, int] = {}
    sites: dict[str, Site] = {}

    def population(module: nn.Module, part: str, size: int) -> str:
        name = names[id(module)] + (f".{part}" if part else "")
        if part == "in":
            before = passed_on.get(id(module))
            if before is not None and sizes.get(before) == size:
                return before
        elif part == "" and sizes.get(added_to.get(id(module), "")) == size:
            return added_to[id(module)]
        if part == "in":
            if not joined and "input" not in names.values():
                name = "input"
        while sizes.setdefault(name, size) != size:
            name += "'"
        return name

    for name, module, use, p in weights:
        if id(p) not in chosen or any(p is q for q in parameters):
            continue
        check_usable(name, module, use, p)
        if getattr(module, "sparse", False):
            raise ValueError(
                f"{name!r} belongs to an {type(module).__name__} that makes sparse gradients, "
                "which cannot be masked: build it with sparse=False, or leave it out."
            )
        source = population(module, use.source_part, use.source)
        target = population(module, use.target_part, use.target)
        shape = tuple(p.shape)
        joined.append(Projection(name, source, target, use.kind, shape, groups=use.groups))
        parameters.append(p)
        if use.tap is not None:
            sites.setdefault(source, Site(module, use.kind, use.tap, use.source, use.at))

    check_memory(model, [p.name for p in joined], parameters)
    sends = {p.source for p in joined}
    places = {n: square_sheet(size) if n in sends else None for n, size in sizes.items()}
    for name, sheet in (positions or {}).items():
        if name not in sizes:
            raise ValueError(f"positions name the population {name!r}; there are {list(sizes)}.")
        if sheet is not None and tuple(sheet.shape) != (sizes[name], 2):
            raise ValueError(
                f"positions of {name!r} must have shape {(sizes[name], 2)}, got "
                f"{tuple(sheet.shape)}."
            )
        places[name] = sheet
    populations = [Population(n, size, places[n]) for n, size in sizes.items()]
    return Space(populations, joined), parameters, sites


def owners(
    model: nn.Module, parameters: Sequence[nn.Parameter], projections: Kinds | None = None
) -> list[tuple[nn.Module, str]]:
    """The module that holds each sparse parameter, and under which name.

    Raises ValueError for a parameter that several modules share.
    """
    owned: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for name, module, use, p in candidates(model, projections):
        owned.setdefault(id(p), []).append((name, module, use.attribute))
    for p in parameters:
        if len(owned[id(p)]) > 1:
            names = ", ".join(repr(name) for name, *_ in owned[id(p)])
            raise ValueError(
                f"{names} are one shared weight, which the sparse world cannot hold as edges: "
                "attach with world='masked', or leave it out with exclude=."
            )
    return [owned[id(p)][0][1:] for p in parameters]


def clean(name: str) -> str:
    """The name without the prefix that torch.compile and DDP put before it."""
    return name.replace("_orig_mod.", "").replace("_orig_mod", "").removeprefix("module.")


def candidates(model: nn.Module, projections: Kinds | None = None) -> list[Candidate]:
    """Every weight that could be sparse; what none can hold is refused only if it is chosen.

    Raises ValueError for ``projections`` that name no parameter, or one of a layer that is known.
    """
    out, names = [], set[str]()
    for prefix, module in model.named_modules(remove_duplicate=True):
        known = list(uses(module))
        for attribute, p in module._parameters.items():
            name = clean(f"{prefix}.{attribute}" if prefix else attribute)
            kind = named_kind(name, projections)
            if p is None or kind is None:
                continue
            names.add(name)
            own = [use.kind for use in known if use.attribute == attribute]
            if own and own[0] != kind:
                raise ValueError(
                    f"projections say that {name!r} is {kind!r}, and it is known to be {own[0]!r} "
                    f"from its {type(module).__name__}: leave it out of projections=."
                )
            if not own:
                known.append(use_of(attribute, kind, p, type(module).__name__))
        for use in known:
            name = clean(f"{prefix}.{use.attribute}" if prefix else use.attribute)
            p = module._parameters.get(use.attribute)
            p = _stand_in(module, use) if p is None else p
            out.append(Candidate(name, module, use, p))
    for pattern in projections or {}:
        if all(named_kind(name, {pattern: ""}) is None for name in names):
            raise ValueError(
                f"projections name {pattern!r}, which matches no parameter; there are "
                f"{', '.join(clean(name) for name, _ in model.named_parameters())}."
            )
    return out


def origins_of(module: nn.Module, use: Use) -> list[nn.Parameter]:
    """The parameters that a weight is recomputed from; none where it is a parameter itself."""
    if module._parameters.get(use.attribute) is not None:
        return []
    return [p for name, p in module.named_parameters() if use.attribute in name]


def _stand_in(module: nn.Module, use: Use) -> nn.Parameter:
    """In place of a weight that is recomputed from other parameters; frozen if all of them are."""
    trains = any(p.requires_grad for p in origins_of(module, use))
    return nn.Parameter(torch.empty(0), requires_grad=trains)


def _patterns(option: str, patterns: Sequence[str] | None) -> Sequence[str]:
    if isinstance(patterns, str):
        raise ValueError(
            f"{option} is a sequence of patterns, got the string {patterns!r}: write "
            f"{option}=[{patterns!r}]."
        )
    return patterns or ()


def matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.weight")


def left_out_by(
    candidate: Candidate,
    include: Sequence[str] | None,
    exclude: Sequence[str],
    embeddings: bool,
) -> str | None:
    """Why a weight of a known layer is not to be sparse, or None."""
    name, _, use, p = candidate
    if any(matches(name, pattern) for pattern in exclude):
        return "excluded by pattern"
    named = include is not None and any(matches(name, pattern) for pattern in include)
    if include is not None and not named:
        return "not included by pattern"
    if not p.requires_grad:
        return "frozen"
    if not isinstance(p, UninitializedParameter) and p.dim() > 1 and not p.numel():
        return "without numbers"
    if use.kind == "embedding" and not (embeddings or named):
        return "embedding"
    return None


def _chosen(
    model: nn.Module,
    weights: list[Candidate],
    include: Sequence[str] | None,
    exclude: Sequence[str],
    embeddings: bool,
) -> set[int]:
    names = [weight.name for weight in weights]
    others = [clean(name) for name, _ in model.named_parameters() if clean(name) not in names]
    excluding = _patterns("exclude", exclude)
    for pattern in [*_patterns("include", include), *excluding]:
        if any(matches(n, pattern) for n in names):
            continue
        unknown = [n for n in others if matches(n, pattern)]
        if unknown and pattern in excluding:
            continue
        raise ValueError(
            f"the pattern {pattern!r} matches no weight; there are {', '.join(names)}."
            + (f" {unknown[0]!r} is of no known kind: name it with projections=." if unknown
               else "")
        )  # fmt: skip
    chosen = {id(weight.parameter) for weight in weights}
    reasons = dict[str, str]()
    for weight in weights:
        reason = left_out_by(weight, include, exclude, embeddings)
        if reason is not None:
            reasons[weight.name] = reason
            chosen.discard(id(weight.parameter))
    if not chosen:
        raise ValueError(_none_left(names, others, reasons))
    return chosen


def _none_left(names: list[str], others: list[str], reasons: dict[str, str]) -> str:
    """What to say of a model without a weight that can be sparse."""
    if names:
        why = ", ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return (
            f"the model has no weight that can be sparse among {', '.join(names)} under these "
            f"patterns ({why})."
        )
    return (
        "the model has no weight that can be sparse: it has no linear, convolutional, recurrent "
        "or attention layer."
        + (f" Weights of other layers are named with projections=: there are {', '.join(others)}."
           if others else " It has no parameter at all.")
    )  # fmt: skip


def sparse_in_shards(
    model: nn.Module,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    projections: Kinds | None = None,
    **others: object,
) -> bool:
    """Whether ``fully_shard`` was called on weights that are to be sparse."""
    if not in_shards(model):
        return False
    weights = candidates(model, projections)
    chosen = _chosen(model, weights, include, exclude, embeddings)
    return any(is_sharded(w.parameter) for w in weights if id(w.parameter) in chosen)


def _sums(model: nn.Module) -> dict[int, str]:
    """The population of the child that a layer's output is added to, by ``adds_to`` = {name of a
    child: that of the child}."""
    sums: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for name, other in getattr(module, "adds_to", {}).items():
            path = clean(f"{prefix}.{other}" if prefix else other)
            sums[id(module.get_submodule(name))] = path
    return sums


def _chains(model: nn.Module) -> dict[int, str]:
    """The population that feeds a layer, where nn.Sequential makes that certain, or its model says
    so: ``fed_by`` = {name of a child: that of the child whose output it takes}."""
    names = {id(m): clean(n) or "model" for n, m in model.named_modules()}
    feeds: dict[int, str] = {}

    def walk(module: nn.Module, before: str | None) -> str | None:
        if isinstance(module, nn.Sequential):
            for child in module:
                before = walk(child, before)
            return before
        if isinstance(module, UNITWISE):
            return before
        fed_by, made = getattr(module, "fed_by", {}), dict[str, str | None]()
        for name, child in module.named_children():
            made[name] = walk(child, made.get(fed_by.get(name, "")))
        weights = list(uses(module))
        if not weights or isinstance(module, nn.MultiheadAttention):
            return None
        if before is not None:
            feeds.setdefault(id(module), before)
        if isinstance(module, nn.RNNBase):  # of two, the next layer sees both
            top = f"{names[id(module)]}.l{module.num_layers - 1}"
            return None if module.bidirectional or module.proj_size else top
        return names[id(module)]

    walk(model, None)
    return feeds
