"""Target networks: copies of a network, beside it in one module, that follow it by position.

A module whose children are ``critic`` and ``critic_target`` (or ``target_critic``) says so itself.
stable-baselines3's policies do, which need not be part of the model that is attached.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

NAMES = ("{}_target", "target_{}")  # of the network that follows the one of a name


class Follower(NamedTuple):
    """A network that follows another: its name, whose child it is, and both."""

    name: str
    parent: nn.Module
    network: nn.Module
    target: nn.Module


def followers(model: nn.Module, parameters: Collection[Tensor]) -> list[Follower]:
    """The networks that follow one with some of these parameters.

    >>> both = nn.ModuleDict({"q": nn.Linear(2, 2), "q_target": nn.Linear(2, 2)})
    >>> [(f.name, f.network is both["q"]) for f in followers(both, list(both["q"].parameters()))]
    [('q_target', True)]
    >>> followers(both["q"], list(both["q"].parameters()))  # of whose target nobody knows
    []
    """
    numbers = {id(p) for p in parameters}
    out: dict[int, Follower] = {}
    for parent in (*model.modules(), *_policies()):
        for name, child in parent._modules.items():
            targets = [parent._modules.get(pattern.format(name)) for pattern in NAMES]
            for pattern, target in zip(NAMES, targets, strict=True):
                if child is None or target is None or id(target) in out:
                    continue
                if any(id(p) in numbers for p in child.parameters()):
                    out[id(target)] = Follower(pattern.format(name), parent, child, target)
    return list(out.values())


def _policies() -> Iterator[nn.Module]:
    """The live policies of stable-baselines3's, where it was imported."""
    policies = sys.modules.get("stable_baselines3.common.policies")
    if policies is None:
        return
    for thing in gc.get_objects():
        if issubclass(type(thing), policies.BaseModel):
            yield thing


def refuse_followers(model: nn.Module, parameters: Sequence[Tensor]) -> None:
    """Raise ValueError where a network follows one that is to be lists of edges."""
    for follower in followers(model, parameters):
        raise ValueError(
            f"{follower.name!r} of this {type(follower.parent).__name__} follows a network that is "
            "to be lists of edges, by position, and is dense (stable-baselines3's polyak_update, "
            "for one, would fail in its own words): attach with world='masked'."
        )
