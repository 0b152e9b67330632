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

    >>> from types import SimpleNamespace as Record
    >>> exploration([1, 2, 3], [Record(add=[7]), Record(add=[1])], possible=10)
    array([0.3, 0.4, 0.4])
    """
    existed = np.zeros(possible, bool)
    new = [_mark(existed, np.asarray(start))]
    new += [_mark(existed, np.asarray(r.add)) for r in records]
    return np.cumsum(new) / possible


def _mark(existed: np.ndarray, keys: np.ndarray) -> int:
    """Mark these keys in ``existed``, (possible,) bool; how many of them were not marked before."""
    if len(keys) and not 0 <= keys.min() <= keys.max() < len(existed):
        raise ValueError(f"keys up to {keys.max()} do not fit {len(existed)} possible synapses.")
    new = np.unique(keys[~existed[keys]])
    existed[new] = True
    return len(new)
