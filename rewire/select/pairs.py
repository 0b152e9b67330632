"""Properties of a pair of units that are functions of seed and key."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE
from ..native import kernels
from ..streams import GOLDEN, splitmix


def pair_hash(keys: Tensor, seed: int) -> Tensor:
    """63 random bits for each key, a function of key and seed (splitmix64), int64 >= 0."""
    return torch.from_numpy(_hash(keys, seed).astype(np.int64))


@cache
def salt(seed: int) -> int:
    """What is added to keys before they are hashed."""
    return (GOLDEN * (2 * seed + 1)) % 2**64


def _hash(keys: Tensor, seed: int) -> np.ndarray:
    z = keys.numpy().astype(np.uint64)
    z += np.uint64(salt(seed))  # arrays wrap around, and say nothing
    splitmix(z)
    z >>= np.uint64(1)
    return z


def pair_sign(keys: Tensor, seed: int, turned: Tensor | None = None) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, int8.

    A function of key and seed: a synapse that is dropped and woken again finds its own. Those among
    ``turned``, ascending keys, have the other sign.
    """
    other = NONE if turned is None else turned.numpy()
    if kernels is not None:
        return torch.from_numpy(kernels.hash_sign(keys.numpy(), salt(seed), other))
    bit = (_hash(keys, seed) >> np.uint64(40)) & np.uint64(1)
    sign = bit.astype(np.int8) * np.int8(2) - np.int8(1)
    if len(other):
        at = np.minimum(other.searchsorted(keys.numpy()), len(other) - 1)
        sign[other[at] == keys.numpy()] *= -1
    return torch.from_numpy(sign)
