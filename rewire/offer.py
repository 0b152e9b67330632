"""What a world says of itself before anything runs: enough to know whether rules may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .signals import registered

if TYPE_CHECKING:
    from .world import World


class Offer(Protocol):
    """name: of the world. offers: names of its signals. dt: seconds that a step stands for, or
    None. births: values of newborn synapses that hold there, whatever a rule declares.

    Every `World` is one, and so is :class:`OfKind`, where none is built.
    """

    @property
    def name(self) -> str: ...
    @property
    def offers(self) -> frozenset[str]: ...
    @property
    def dt(self) -> float | None: ...
    @property
    def births(self) -> Mapping[str, Any]: ...
    @property
    def can_go_back(self) -> bool: ...
    def unsupported(self, columns: frozenset[str]) -> str | None: ...
    def remedy(self, missing: Sequence[str]) -> str: ...


class OfKind:
    """What a world of this class will offer, with data for probes and saved states to go back to.

    >>> from rewire.worlds import registry
    >>> OfKind(registry.get("bare")).unsupported(frozenset({"gain"}))
    'no forward pass to multiply a gain into'
    """

    can_go_back = True

    def __init__(self, kind: type[World]):
        self.name, self.dt, self.births = kind.name, kind.dt, kind.births
        self.offers = frozenset(registered(kind.name))
        self.unsupported, self.remedy = kind.unsupported, kind.remedy
