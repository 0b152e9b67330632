"""Properties of a pair of units that are functions of seed and key."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE
from ..kernels.random import GOLDEN, hash_keys, hash_signs


def pair_hash(keys: Tensor, seed: int) -> Tensor:
    """63 random bits for each key, a function of key and seed (splitmix64), int64 >= 0.

    >>> one, two = pair_hash(torch.tensor([5, 8]), seed=0), pair_hash(torch.tensor([8]), seed=0)
    >>> bool(one[1] == two[0])
    True
    """
    return torch.from_numpy(hash_keys(keys.numpy(), salt(seed)).astype(np.int64))


@cache
def salt(seed: int) -> int:
    """What is added to keys before they are hashed."""
    return (GOLDEN * (2 * seed + 1)) % 2**64


def pair_sign(keys: Tensor, seed: int, turned: Tensor | None = None) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, int8.

    A function of key and seed: a synapse that is dropped and woken again finds its own. Those among
    ``turned``, ascending keys, have the other sign.

    >>> keys = torch.tensor([3, 4, 9])
    >>> signs = pair_sign(keys, seed=1)
    >>> (signs * pair_sign(keys, seed=1, turned=torch.tensor([4]))).tolist()
    [1, -1, 1]
    """
    other = NONE if turned is None else turned.numpy()
    return torch.from_numpy(hash_signs(keys.numpy(), salt(seed), other))
