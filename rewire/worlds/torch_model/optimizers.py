"""Which optimisers keep absent synapses at zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from .trial import Tried, tried

# Optimisers that treat each weight by itself: masked gradients keep their state clean. The value
# is a state's birth value where that is not 0.
ELEMENTWISE: Mapping[type, Mapping[str, Callable[[dict[str, Any]], float]]] = {
    torch.optim.SGD: {},
    torch.optim.Adam: {},
    torch.optim.AdamW: {},
    torch.optim.NAdam: {},
    torch.optim.RAdam: {},
    torch.optim.Adamax: {},
    torch.optim.RMSprop: {},
    torch.optim.Adadelta: {},
    torch.optim.ASGD: {},
    torch.optim.Adagrad: {"sum": lambda group: group.get("initial_accumulator_value", 0.0)},
    torch.optim.Rprop: {"step_size": lambda group: float(group["lr"])},
}
# Those of them whose state moves, or starts, where there is no gradient: it is masked at each step.
DRIFTING = (torch.optim.Adamax, torch.optim.Rprop)
REFUSED = {
    "Adafactor": "it keeps factored moments, from which one synapse's share cannot be removed",
    "LBFGS": "it keeps one flat history of all weights, from which one synapse cannot be removed",
    "ZeroRedundancyOptimizer": (
        "each process keeps the moments of some weights alone, from which the others cannot remove "
        "those of a synapse that rules drop"
    ),
    "PostLocalSGDOptimizer": (
        "its processes train apart between averages, so that rules would see other weights on each"
    ),
    "SparseAdam": "it wants sparse gradients; the masked world's are dense",
}


class Traits(NamedTuple):
    """How an optimiser treats single weights.

    births: values of state where those are not 0, by name, as functions of the parameter's group.
    mixed: names of state of the weight's shape that is in another basis, and stays as it is.
    exact: whether what has no gradient keeps weight 0 and its state by itself.
    elementwise: whether each weight is stepped by itself, however weights are laid out.
    derives: whether it derives gradients again, of a pass with ``create_graph=True``.
    """

    births: Mapping[str, Callable[[dict[str, Any]], float]]
    mixed: frozenset[str] = frozenset()
    exact: bool = True
    elementwise: bool = True
    derives: bool = False


def check_optimizer(optimizer: object) -> None:
    """Refuse what is no torch optimiser, or has no learning rate. Raises TypeError, ValueError.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> check_optimizer(torch.optim.SGD([weight], lr=0.1))
    >>> check_optimizer([torch.optim.SGD([weight], lr=0.1)])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    TypeError: attach takes one optimizer, got a list of 1: ...
    """
    if isinstance(optimizer, list | tuple | set | dict):
        raise TypeError(
            f"attach takes one optimizer, got a {type(optimizer).__name__} of {len(optimizer)}: "
            "give one optimizer all the weights that are to be sparse, in several groups of "
            "parameters if they differ in their settings; the others step their own parameters "
            "in your loop."
        )
    if not isinstance(optimizer, torch.optim.Optimizer):
        name = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
        what = "the class" if isinstance(optimizer, type) else "an object of type"
        raise TypeError(
            f"attach takes a torch.optim.Optimizer, got {what} {name}: make one, as "
            "torch.optim.SGD(model.parameters(), lr=0.1), or give the torch optimizer that it "
            "wraps."
        )
    for i, group in enumerate(optimizer.param_groups):
        if "lr" not in group:
            raise ValueError(
                f"group {i} of {type(optimizer).__name__} has no 'lr', which rules read: set "
                f"optimizer.param_groups[{i}]['lr'] before attach, to 1.0 if it has no rate."
            )


def chain(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """An optimiser and those that it wraps, from the outermost to the innermost.

    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    >>> chain(inner) == [inner]
    True
    """
    links = [optimizer]
    while True:
        own = {id(p) for p in _parameters(links[-1])}
        inner = (getattr(links[-1], name, None) for name in ("optimizer", "base_optimizer"))
        following = [
            o for o in inner
            if isinstance(o, torch.optim.Optimizer) and all(o is not link for link in links)
            and own & {id(p) for p in _parameters(o)}
        ]  # fmt: skip
        if not following:
            return links
        links.append(following[0])


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser that others wrap, which holds the parameters: itself where none does."""
    return chain(optimizer)[-1]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def sort_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], groups: Sequence[int]
) -> Traits:
    """How an optimiser treats the weights that are to be sparse, by its type or by a trial.

    groups: the number of the group that each of the parameters is in. Raises ValueError by name
    for one whose state cannot be kept clean.
    """
    links = chain(optimizer)
    for link in links:
        for kind in type(link).__mro__:
            if kind.__name__ in REFUSED:
                raise ValueError(
                    f"{type(link).__name__} cannot train sparse weights: "
                    f"{REFUSED[kind.__name__]}. Use SGD, Adam, AdamW or another optimizer that "
                    "treats each weight by itself."
                )
    for link in links:
        if type(link) in ELEMENTWISE:
            return Traits(ELEMENTWISE[type(link)], exact=type(link) not in DRIFTING)
        if {"param_groups", "state"} & vars(link).keys():  # else it hands on to the one inside
            traits = _by_trial(link, parameters, groups)
            inside = link is not links[-1]  # whose state is no state of the list's parameter
            return traits._replace(elementwise=False) if inside else traits
    return _by_trial(links[-1], parameters, groups)


def _by_trial(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], groups: Sequence[int]
) -> Traits:
    name = type(optimizer).__name__
    cases = {(g, p.dim()): p for g, p in zip(groups, parameters, strict=True)}
    births: dict[str, Callable[[dict[str, Any]], float]] = {}
    mixed, elementwise, derives = set[str](), True, False
    for (group, dimensions), p in cases.items():
        shape = torch.Size([4, 6, *[2] * (dimensions - 2)] if dimensions > 1 else [24])
        try:
            trial = tried(optimizer, group, p, shape)
        except Exception as e:
            raise ValueError(
                f"{name} cannot be tried on a small weight, with a closure or without "
                f"({type(e).__name__}: {e}), so what it does to absent synapses is not known. "
                "Use SGD, Adam, AdamW or another optimizer whose step() works on its parameters' "
                "gradients alone."
            ) from e
        for state, size in trial.others.items():
            raise ValueError(
                f"{name} keeps {state!r} of shape {size} for a weight of shape {tuple(shape)}: "
                "state that is not one number for each weight cannot be kept clean. Use another "
                "optimizer."
            )
        mixed |= trial.mixed
        derives |= trial.derives
        elementwise &= trial.elementwise and _flattens(optimizer, group, p, trial)
        births |= {k: _constant(v) for k, v in trial.births.items() if v}
    return Traits(births, frozenset(mixed), False, elementwise, derives)


def _flattens(optimizer: torch.optim.Optimizer, group: int, p: Tensor, trial: Tried) -> bool:
    """Whether a list of the same weights is stepped alike."""
    try:
        flat = tried(optimizer, group, p, trial.weights[0].shape)
    except Exception:  # Muon takes matrices alone
        return False
    return flat.elementwise and torch.equal(flat.weights, trial.weights)


def _constant(value: float) -> Callable[[dict[str, Any]], float]:
    return lambda group: value


OWN_HOOKS = set[int]()  # ids of hooks on all optimisers that only look whose weights they step


def unwatched(optimizer: torch.optim.Optimizer, hooks: frozenset[int] = frozenset()) -> bool:
    """Whether nobody can tell ``optimizer.step()`` from what it computes.

    No hook on its steps but these, no scheduler's counter around its method, no graph of its own.
    """
    return not (
        optimizer._optimizer_step_pre_hooks.keys() - hooks
        or optimizer._optimizer_step_post_hooks.keys() - hooks
        or _global_optimizer_pre_hooks.keys() - OWN_HOOKS
        or _global_optimizer_post_hooks
        or "step" in vars(optimizer)
        or optimizer.defaults["differentiable"]
    )


def _unscale(scaler: Any, optimizer: torch.optim.Optimizer) -> None:
    try:
        scaler.unscale_(optimizer)
    except RuntimeError as e:  # the user's loop did it already, to clip gradients
        if "already been called" not in str(e):
            raise
