"""Random numbers by name: one independent stream for each (seed, label, tick).

Adding a rule never shifts another's draws, and a resumed run needs no generator's state.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


class Stream:
    """A source of random numbers, on the CPU; the same numbers whatever device the world uses."""

    def __init__(self, key: int):
        self.key = key  # 128 bits
        self._numpy: np.random.Generator | None = None
        self._torch: torch.Generator | None = None

    @property
    def numpy(self) -> np.random.Generator:
        """The numpy generator of this stream (counter-based Philox)."""
        if self._numpy is None:
            self._numpy = np.random.Generator(np.random.Philox(key=self.key))
        return self._numpy

    @property
    def torch(self) -> torch.Generator:
        """The torch generator of this stream, behind normal() and doubles(): the faster one."""
        if self._torch is None:
            self._torch = torch.Generator().manual_seed(self.key >> 65)
        return self._torch

    def normal(self, n: int) -> Tensor:
        """``n`` standard normal numbers, float32."""
        return torch.randn(n, generator=self.torch)

    def doubles(self, n: int) -> np.ndarray:
        """``n`` numbers uniform in [0, 1), float64."""
        return torch.rand(n, generator=self.torch, dtype=torch.float64).numpy()

    def uniform(self, n: int) -> Tensor:
        """``n`` numbers uniform in [0, 1), float32."""
        return torch.from_numpy(self.numpy.random(n, dtype=np.float32))

    def integers(self, high: int, n: int) -> Tensor:
        """``n`` integers uniform in [0, high), int64."""
        return torch.from_numpy(self.numpy.integers(high, size=n))

    def permutation(self, n: int) -> Tensor:
        """The integers 0 .. n - 1 in random order."""
        return torch.from_numpy(self.numpy.permutation(n))


def rng_for(seed: int, label: str, tick: int = 0) -> Stream:
    """The stream of one purpose at one tick: a pure function of its three arguments."""
    digest = hashlib.blake2b(f"{seed}/{label}/{tick}".encode(), digest_size=16).digest()
    return Stream(int.from_bytes(digest, "little"))
