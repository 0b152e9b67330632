"""DEEP R's walk of the strengths theta = sign * weight, and the synapses that it wakes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..native import kernels as compiled
from .absent import EMPTY, free_keys
from .random import hash_signs, intervals, normal

INT8 = np.dtype(np.int8)
STILL = np.empty(0, np.float32)  # a table of normal numbers that is empty: no noise


class Walked(NamedTuple):
    """weight: (E,) after the move; dormant: rows whose theta is below 0, ascending.

    woken: as many absent keys, ascending, drawn in the same pass, and their signs; else None.
    """

    weight: np.ndarray
    dormant: np.ndarray
    woken: np.ndarray | None = None
    signs: np.ndarray | None = None


def walk(
    weight: np.ndarray,
    sign: np.ndarray,
    drift: float | Tensor,
    spread: float | Tensor,
    counter: int | None,
) -> Walked:
    """theta <- theta - drift + spread * N(0, 1) of every edge, and who falls below 0.

    drift, spread: one number for all edges, or one each. counter: where the normal numbers begin
    (:func:`~rewire.kernels.random.normal`); None: there is no noise.
    """
    if compiled is not None and sign.dtype == INT8 and not isinstance(drift, Tensor):
        table, first = (STILL, 0) if counter is None else (intervals(), counter)
        moved, dormant, _, _ = compiled.walk_and_draw(
            weight, sign, table, first, drift, spread, EMPTY, [], [], 0, 0, EMPTY
        )
        return Walked(moved, dormant)
    signs = torch.from_numpy(sign)
    theta = (signs * torch.from_numpy(weight)).sub_(drift)
    if counter is not None:
        theta += torch.from_numpy(normal(len(weight), counter)).mul_(spread)
    dormant = (theta.numpy() < 0).nonzero()[0]
    return Walked(theta.mul_(signs).numpy(), dormant)


def walk_and_draw(
    weight: np.ndarray,
    sign: np.ndarray,
    drift: float,
    spread: float,
    counter: int | None,
    keys: np.ndarray,
    ends: Sequence[int],
    bounds: Sequence[int],
    start: int,
    salt: int,
    turned: np.ndarray,
) -> Walked:
    """:func:`walk`, and in the same pass an absent key for each edge that falls below 0.

    keys, ends, bounds, start: as in :func:`~rewire.kernels.absent.free_keys`, no key held twice; in
    each range as many are drawn as fall. salt, turned: of the drawn keys' signs, as in
    :func:`~rewire.kernels.random.hash_signs`. The draw is part of the pass because at a few
    thousand edges each call of its own costs as much as the walk.
    """
    if compiled is not None and sign.dtype == INT8:
        table, first = (STILL, 0) if counter is None else (intervals(), counter)
        return Walked(*compiled.walk_and_draw(
            weight, sign, table, first, drift, spread, keys, ends, bounds, start, salt, turned
        ))  # fmt: skip
    walked = walk(weight, sign, drift, spread, counter)
    if not len(walked.dormant):
        return walked
    counts = [b - a for a, b in pairwise(walked.dormant.searchsorted(bounds).tolist())]
    woken = free_keys(keys, walked.dormant, start, ends, bounds, counts, parallel=False)
    return Walked(walked.weight, walked.dormant, woken, hash_signs(woken, salt, turned))
