"""Running means of the rates of a group's neurons."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np

RATE_WINDOW = 1.0  # seconds over which rates are running means


def share_of(period: float) -> float:
    """The share that one period has in a running mean of rates."""
    return 1 - exp(-period / RATE_WINDOW)


class Counter:
    """Running means of the rates of a group's neurons, from a monitor that counts its spikes.

    monitor: None in a standalone program, which counts them itself.
    """

    def __init__(self, monitor: Any, size: int):
        self._monitor = monitor
        self.rates = np.zeros(size)
        self.counted = np.zeros(size, np.int64)

    def note(self, period: float) -> None:
        count = self._monitor.variables["count"].get_value()
        self.rates += share_of(period) * ((count - self.counted) / period - self.rates)
        self.counted[:] = count
