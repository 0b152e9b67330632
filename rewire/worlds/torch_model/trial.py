"""An optimiser tried on small weights: what it keeps of each weight, and in which basis.

A twin of the optimiser steps a weight of a few numbers with seeded gradients, then again with one
number's weight and gradients changed. What changes with it, and what an element holds whose weight
and gradients are 0, says how far the optimiser treats each weight by itself.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

STEPS = 12  # some wait for ten before they compute with what they collected
EMPTY, CHANGED = 2, 7  # the element that has nothing, and the one that is changed
HOOKS = (
    "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)  # fmt: skip


class Tried(NamedTuple):
    """What a trial shows.

    births: the numbers that state of one number for each weight starts with, by name.
    mixed: names of state of the weight's shape whose numbers are not those of single weights.
    others: shapes, by name, of state of another shape and more than one number.
    elementwise: whether no number of weights or state depends on another weight or gradient.
    weights: the weights after each step.
    derives: whether it needs gradients that can be derived again.
    """

    births: Mapping[str, float]
    mixed: frozenset[str]
    others: Mapping[str, tuple[int, ...]]
    elementwise: bool
    weights: Tensor
    derives: bool


class Course(NamedTuple):
    """The weights, (steps, numbers), and the states after each step, of the first weight and of
    the second beside it. settings: of their group, after the last step."""

    weights: tuple[Tensor, Tensor]
    states: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    settings: dict[str, Any]
    derives: bool = False


def tried(optimizer: torch.optim.Optimizer, group: int, like: Tensor, shape: torch.Size) -> Tried:
    """How the optimiser steps weights of this shape under the settings of a group.

    like: a weight of that group, for its type, device, and the state that it may have already.
    Raises whatever the optimiser raises where it can be stepped neither with a closure nor without.
    """
    with _same_random_numbers():
        plain = _course(optimizer, group, like, shape, changed=False)
    with _same_random_numbers():
        other = _course(optimizer, group, like, shape, changed=True)
    births, mixed = dict[str, float](), set[str]()
    last = plain.states[0][-1]
    by_itself = _others_equal(plain.weights[0], other.weights[0])
    by_itself &= _same(plain.weights[1], other.weights[1])
    by_itself &= _same(plain.settings, other.settings)  # a rate that all gradients make
    for name, value in last.items():
        if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
            by_itself &= _same(value, other.states[0][-1].get(name))
            continue
        a, b = (_rows(course, name) for course in (plain, other))
        alone = _others_equal(a, b)
        by_itself &= alone
        held = torch.cat([a[:, EMPTY], b[:, EMPTY]])
        if (held == held[0]).all():
            births[name] = float(held[0])
        elif alone or _moves_its_own(optimizer, group, like, shape, name, plain):
            births[name] = 0.0
        else:
            mixed.add(name)
    by_itself &= all(map(_same, plain.states[1][-1].values(), other.states[1][-1].values()))
    others = {
        name: tuple(v.shape) for name, v in last.items()
        if isinstance(v, Tensor) and v.numel() > 1 and v.shape != shape
    }  # fmt: skip
    odd = any(isinstance(v, Collection) and not isinstance(v, Tensor | str) for v in last.values())
    clean = by_itself and not mixed and not others and not odd
    return Tried(births, frozenset(mixed), others, clean, plain.weights[0], plain.derives)


def _moves_its_own(
    optimizer: torch.optim.Optimizer,
    group: int,
    like: Tensor,
    shape: torch.Size,
    name: str,
    plain: Course,
) -> bool:
    """Whether a number of a state moves its own weight alone, so that it may be cleared."""
    with _same_random_numbers():
        poked = _course(optimizer, group, like, shape, changed=False, poke=name)
    return _others_equal(plain.weights[0], poked.weights[0])


def _rows(course: Course, name: str) -> Tensor:
    """A state after each step in which it was there, (steps, numbers)."""
    states = [s[name] for s in course.states[0] if isinstance(s.get(name), Tensor)]
    return torch.stack([s.reshape(-1) for s in states if s.shape == states[-1].shape])


def _others_equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    others = torch.arange(a.shape[1], device=a.device) != CHANGED
    return torch.equal(a[:, others].nan_to_num(), b[:, others].nan_to_num())


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, Collection) and isinstance(b, Collection) and not isinstance(a, str):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _course(
    optimizer: torch.optim.Optimizer,
    group: int,
    like: Tensor,
    shape: torch.Size,
    *,
    changed: bool,
    poke: str = "",
) -> Course:
    """Several steps: with a closure, the state of before the first step, or gradients that can be
    derived again, where it needs them."""
    first, course = None, None
    for derives, closes, seeded in product((False, True), repeat=3):
        try:
            made = _steps(optimizer, group, like, shape, changed, poke, derives, closes, seeded)
        except Exception as e:
            first = first or e
            if course is not None:
                return course
            continue
        if seeded or not _lacks(made.states[0][-1], optimizer.state.get(like, {}), like.shape):
            return made
        course = course or made
    if course is not None:
        return course
    assert first is not None
    raise first


def _lacks(state: Mapping[str, Any], before: Mapping[str, Any], shape: torch.Size) -> bool:
    """Whether a twin does without what the optimiser made for the weight before its first step."""
    made = {n for n, v in before.items() if isinstance(v, Tensor) and v.shape == shape}
    return bool(made - state.keys())


def _steps(
    optimizer: torch.optim.Optimizer,
    group: int,
    like: Tensor,
    shape: torch.Size,
    changed: bool,
    poke: str,
    derives: bool,
    closes: bool,
    seeded: bool,
) -> Course:
    draw = torch.Generator().manual_seed(0)
    kind = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
    device = "cpu" if like.is_meta else like.device
    numbers = torch.randn(STEPS + 1, 2, shape.numel(), generator=draw, dtype=torch.float64)
    numbers[:, 0, EMPTY] = 0.0
    if changed:
        numbers[:, 0, CHANGED] = 0.3 - 1.7 * numbers[:, 0, CHANGED]
    numbers = numbers.to(device, kind)
    curves = torch.ones_like(numbers[0, 0])
    curves[EMPTY] = 0.0  # what has no gradient has no curvature either
    curves = curves.reshape(shape)
    pair = [nn.Parameter(numbers[0, i].reshape(shape).clone()) for i in range(2)]
    twin, step = twin_of(optimizer, group, pair)
    if seeded:
        for p in pair:
            twin.state[p] = _small(optimizer.state[like], like.shape, p)
    weights: tuple[list[Tensor], list[Tensor]] = ([], [])
    states: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for number, now in enumerate(numbers[1:]):
        if number == STEPS // 2 and poke in (known := _state(twin, pair[0])):
            known[poke].view(-1)[CHANGED].mul_(1.5).add_(0.5)

        def closure(now: Tensor = now) -> Tensor:
            for p, gradient in zip(pair, now, strict=True):
                p.grad = gradient.reshape(shape).clone()
                if derives:
                    with torch.enable_grad():
                        bent = (p**2 * curves).sum()
                        p.grad += torch.autograd.grad(bent, p, create_graph=True)[0]
            return now.new_ones(())

        closure()
        step(closure) if closes else step()
        for i, p in enumerate(pair):
            weights[i].append(p.detach().reshape(-1).clone())
            states[i].append(copy.deepcopy(dict(_state(twin, p))))
    settings = {k: v for k, v in twin.param_groups[0].items() if k != "params"}
    return Course((torch.stack(weights[0]), torch.stack(weights[1])), states, settings, derives)


def _state(twin: Any, p: Tensor) -> Mapping[str, Any]:
    """What a twin, and the optimisers in it, remember of a weight."""
    inside = [v for v in vars(twin).values() if isinstance(v, torch.optim.Optimizer)]
    whole: dict[str, Any] = {}
    for each in [*inside, twin]:
        whole.update(each.state.get(p, {}))
    return whole


def _small(state: Mapping[str, Any], shape: torch.Size, p: Tensor) -> dict[str, Any]:
    """The state of a weight, as it is before the first step, for a smaller one."""
    return {
        name: torch.full_like(p, float(v.reshape(-1)[0]), dtype=v.dtype)
        if isinstance(v, Tensor) and v.shape == shape else copy.deepcopy(v)
        for name, v in state.items()
    }  # fmt: skip


def twin_of(
    optimizer: torch.optim.Optimizer, group: int, parameters: Sequence[nn.Parameter]
) -> tuple[Any, Callable[..., Any]]:
    """An optimiser with the same settings of other parameters, and its step, without hooks."""
    memo: dict[int, Any] = {}
    for each in optimizer.param_groups:
        memo.update((id(p), parameters[0]) for p in each["params"])
    settings = {
        name: copy.deepcopy(v, memo) for name, v in optimizer.param_groups[group].items()
        if name != "params"
    }  # fmt: skip
    if "lr" in settings and not settings["lr"]:  # a schedule that begins at 0
        settings["lr"] = type(settings["lr"])(0.01) if isinstance(settings["lr"], float) else 0.01
    groups = [{**settings, "params": list(parameters)}]
    state = defaultdict[Any, Any](dict)  # some count their steps in it
    whole = {k: v for k, v in optimizer.state.items() if not isinstance(k, Tensor)}
    state.update(copy.deepcopy(whole, memo))
    twin = _copied(optimizer, groups, state, memo)
    step = type(twin).step
    if getattr(step, "hooked", False):  # without the hooks of all optimisers
        step = step.__wrapped__
    return twin, lambda *closure: step(twin, *closure)


def _copied(
    optimizer: torch.optim.Optimizer, groups: list[Any], state: Any, memo: dict[int, Any]
) -> Any:
    twin = type(optimizer).__new__(type(optimizer))
    own: dict[str, Any] = {}
    for name, value in vars(optimizer).items():
        if name in HOOKS:
            own[name] = type(value)()
        elif name == "param_groups":
            own[name] = groups
        elif name == "state":
            own[name] = state
        elif isinstance(value, torch.optim.Optimizer):
            shared = vars(optimizer).get("state") is value.state
            own[name] = _copied(value, groups, state if shared else defaultdict(dict), memo)
        elif name != "step":  # a scheduler's, of the optimiser itself
            try:
                own[name] = copy.deepcopy(value, memo)
            except Exception:  # what cannot be copied is no state of numbers
                own[name] = value
    vars(twin).update(own)
    return twin


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """The same random numbers each time, and nobody's own moved."""
    before, in_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(before)
        np.random.set_state(in_numpy)
