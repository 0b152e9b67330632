"""Layers of spiking units, without weights: currents in, spikes out, one time step a call.

A layer is called with the currents of a step and its state, a tuple that begins empty, and returns
spikes and the state after the step. Potentials are in the units of currents; ``leak`` is the part
of a potential that stays from step to step, exp(-dt / tau) of a time constant tau.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .surrogates import SURROGATES, Spike

State = tuple[Tensor, ...]
Reset = Literal["zero", "subtract"]
RESETS = ("zero", "subtract")
READINGS = ("mean", "max", "last")


class LIF(nn.Module):
    """Leaky integrate-and-fire units (Neftci, Mostafa & Zenke 2019, arXiv:1901.09948).

    u = leak v + current; a unit spikes where u > threshold, and v is then 0 (``reset`` "zero") or
    u - threshold ("subtract"). The reset is made at the step of the spike, so that what is
    subtracted leaks, where the paper subtracts it a step later; it carries no gradient.

    surrogate, steepness: the slope of a spike by (u - threshold) / threshold: see
        :data:`.surrogates.SURROGATES`.

    >>> units, state, spikes = LIF(leak=0.5), (), []
    >>> for _ in range(5):
    ...     z, state = units(torch.tensor([0.7]), state)
    ...     spikes.append(int(z))
    >>> spikes  # 0.7, 1.05, and from 0 again
    [0, 1, 0, 1, 0]

    Raises:
        ValueError: a leak outside 0 to 1, a threshold or steepness that is not above 0, an unknown
            reset or surrogate.
    """

    def __init__(
        self,
        *,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "zero",
        surrogate: str = "arctan",
        steepness: float = 1.0,
    ):
        super().__init__()
        part("leak", leak, "the part of a potential that stays")
        for name, value in (("threshold", threshold), ("steepness", steepness)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value}: choose a number above 0.")
        one_of("reset", reset, RESETS)
        one_of("surrogate", surrogate, tuple(SURROGATES))
        self.leak, self.threshold, self.reset = leak, threshold, reset
        self.surrogate, self.steepness = surrogate, steepness

    @property
    def equations(self) -> dict[str, Any]:
        """What says how the units fire: for whoever computes all steps of theirs at once."""
        return {"leak": self.leak, "threshold": self.threshold,
                "subtracts": self.reset == "subtract", "surrogate": self.surrogate,
                "steepness": self.steepness, "recovery": 0.0, "adaptation": None}  # fmt: skip

    def forward(self, current: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """Spikes and state after a step of currents (N, ...)."""
        u = self.leak * (state[0] if state else 0.0) + current
        spikes = self._spike(u - self.threshold)
        return spikes, (self._after(u, spikes),)

    def _spike(self, above: Tensor) -> Tensor:
        scaled = above if self.threshold == 1.0 else above / self.threshold
        return Spike.apply(scaled, self.surrogate, self.steepness)

    def _after(self, u: Tensor, spikes: Tensor) -> Tensor:
        fired = spikes.detach()
        return u * (1 - fired) if self.reset == "zero" else u - fired * self.threshold

    def extra_repr(self) -> str:
        return f"leak={self.leak}, threshold={self.threshold}, reset={self.reset!r}"


class ALIF(LIF):
    """LIF units of which some raise their threshold with each spike: those of an LSNN (Bellec et
    al. 2018, arXiv:1803.09574; in the form of Bellec et al. 2020, doi:10.1038/s41467-020-17236-y).

    A unit spikes where u > threshold + adaptation a; then a = recovery a + spike.

    units: how many; the last ``adaptive`` part of them, rounded, adapts. adaptation: the rise of
        the threshold with a spike, 0 or more. recovery: the part of a that stays.

    >>> units, state, spikes = ALIF(2, leak=0.0, adaptation=0.5, recovery=0.5, adaptive=0.5), (), []
    >>> for _ in range(3):
    ...     z, state = units(torch.tensor([[1.4, 1.4]]), state)
    ...     spikes.append(z[0].tolist())
    >>> spikes  # a spike raises the second threshold to 1.5, then 1.25
    [[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> float(state[1][0, 1])
    1.25

    Raises:
        ValueError: as `LIF`, an ``adaptive`` or ``recovery`` outside 0 to 1, a negative adaptation.
    """

    adaptation: Tensor

    def __init__(
        self,
        units: int,
        *,
        adaptation: float = 0.2,
        recovery: float = 0.97,
        adaptive: float = 1.0,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: str = "triangle",
        steepness: float = 1.0,
    ):
        super().__init__(leak=leak, threshold=threshold, reset=reset, surrogate=surrogate,
                         steepness=steepness)  # fmt: skip
        part("recovery", recovery, "the part of a raised threshold that stays")
        part("adaptive", adaptive, "the part of the units that adapts")
        if not 0 <= adaptation < math.inf:
            raise ValueError(f"adaptation = {adaptation}: choose 0 or a number above it.")
        self.recovery = recovery
        rise = torch.zeros(units)
        rise[units - round(adaptive * units) :] = adaptation
        self.register_buffer("adaptation", rise, persistent=False)

    @property
    def equations(self) -> dict[str, Any]:
        return super().equations | {"recovery": self.recovery, "adaptation": self.adaptation}

    def forward(self, current: Tensor, state: State = ()) -> tuple[Tensor, State]:
        v, a = state or (torch.zeros_like(current), torch.zeros_like(current))
        u = self.leak * v + current
        spikes = self._spike(u - (self.threshold + self.adaptation * a))
        return spikes, (self._after(u, spikes), self.recovery * a + spikes)


class Readout(nn.Module):
    """Leaky units that do not spike: y = leak y + current at each step, and one value of all steps.

    leak 0 reads the currents themselves. over: the "mean" of y over the steps (Bellec et al. 2020),
    its "max" (Zenke & Vogels 2021, doi:10.1162/neco_a_01367), or the "last".

    >>> currents = torch.tensor([1.0, 0.0, 4.0]).view(3, 1, 1)
    >>> [float(Readout(leak=0.5, over=over)(currents)) for over in ("max", "last")]
    [4.25, 4.25]
    >>> float(Readout(leak=0.0, over="mean")(currents))
    1.6666666269302368

    Raises:
        ValueError: a leak outside 0 to 1, or another ``over``.
    """

    def __init__(self, *, leak: float = 0.0, over: Literal["mean", "max", "last"] = "mean"):
        super().__init__()
        part("readout_leak", leak, "the part of an output that stays")
        one_of("readout", over, READINGS)
        self.leak, self.over = leak, over

    def forward(self, currents: Tensor) -> Tensor:
        """Outputs (N, ...) of currents (T, N, ...)."""
        y = self.traces(currents)
        if self.over == "last":
            return y[-1]
        return y.mean(0) if self.over == "mean" else y.amax(0)

    def traces(self, currents: Tensor) -> Tensor:
        """y at every step, (T, N, ...)."""
        if self.leak == 0:
            return currents
        steps = [currents[0]]
        for current in currents.unbind(0)[1:]:
            steps.append(self.leak * steps[-1] + current)
        return torch.stack(steps)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, over={self.over!r}"


def part(name: str, value: float, what: str) -> None:
    """Refuse a part of something that is not from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} = {value}: {what}, from 0 to 1.")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of those known."""
    if value not in known:
        raise ValueError(f"there is no {name} {value!r}; there are {', '.join(known)}.")
