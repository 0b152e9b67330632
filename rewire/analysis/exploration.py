"""How much of the possible network a run has tried, from its edit log.

A record is anything with ``add`` (keys), as in ``net.history.records``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def exploration(start: ArrayLike, records: Iterable[Any], possible: int) -> np.ndarray:
    """The in-time over-parameterisation rate R_s (Liu et al. 2021, arXiv:2102.02887, section 3).

    The fraction of ``possible`` synapses that have existed at any time, at the start and after each
    record, shape (R + 1,), never falling; the last entry is the run's R_s. start: keys, (E,), as
    in ``net.history.start``. Raises ValueError for keys outside [0, possible).
    """
    seen = np.zeros(possible, bool)
    found = [_mark(seen, np.asarray(start))]
    found += [_mark(seen, np.asarray(r.add)) for r in records]
    return np.cumsum(found) / possible


def _mark(seen: np.ndarray, keys: np.ndarray) -> int:
    """How many of these keys had not been seen; they are now."""
    if len(keys) and not 0 <= keys.min() <= keys.max() < len(seen):
        raise ValueError(f"keys up to {keys.max()} do not fit {len(seen)} possible synapses.")
    new = np.unique(keys[~seen[keys]])
    seen[new] = True
    return len(new)
