"""Models that simulate time: how many time steps a pass makes, where the model says so.

Such a model, or modules of it, has an attribute ``timesteps``, a whole number that its forward pass
reads, and returns the mean of its outputs over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

ATTRIBUTE = "timesteps"


class Timesteps:
    """The numbers of time steps of a model's modules, and fewer for a while.

    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> model.timesteps = 5
    >>> time = Timesteps(model)
    >>> time.own, time.set(2), model.timesteps, time.set(0), model.timesteps
    (5, None, 2, None, 5)
    """

    def __init__(self, model: nn.Module) -> None:
        numbers = ((m, getattr(m, ATTRIBUTE, None)) for m in model.modules())
        self._own = [(m, n) for m, n in numbers if isinstance(n, int) and not isinstance(n, bool)]

    @property
    def own(self) -> int:
        """The model's own number, the largest of its modules'; 0 where it has none."""
        return max((n for _, n in self._own), default=0)

    def set(self, timesteps: int) -> None:
        """Simulate no more than this many time steps, 0: the model's own number."""
        for module, own in self._own:
            setattr(module, ATTRIBUTE, min(timesteps or own, own))

    @contextmanager
    def of(self, timesteps: int) -> Iterator[None]:
        """Within it the model simulates this many."""
        before = [getattr(m, ATTRIBUTE) for m, _ in self._own]
        self.set(timesteps)
        try:
            yield
        finally:
            for (module, _), number in zip(self._own, before, strict=True):
                setattr(module, ATTRIBUTE, number)
