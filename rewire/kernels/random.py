"""Random numbers and hashes by splitmix64 (Steele, Lea & Flood 2014), as functions of a counter."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np

from ..native import kernels as compiled

GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_A, _B = np.uint64(MIX_A), np.uint64(MIX_B)
_BITS = [np.uint64(n) for n in range(64)]


def mix(z: int) -> int:
    """The hash of splitmix64, of one number modulo 2^64."""
    z %= 2**64
    z = (z ^ (z >> 30)) * MIX_A % 2**64
    z = (z ^ (z >> 27)) * MIX_B % 2**64
    return z ^ (z >> 31)


def splitmix(z: np.ndarray) -> np.ndarray:
    """The hash of splitmix64, (n,) uint64, in place."""
    z ^= z >> _BITS[30]
    z *= _A
    z ^= z >> _BITS[27]
    z *= _B
    z ^= z >> _BITS[31]
    return z


def doubles(n: int, counter: int) -> np.ndarray:
    """``n`` numbers uniform in [0, 1), float64: the first 53 bits of the hashes after a counter.

    >>> doubles(2, counter=7).tolist() == doubles(3, counter=7)[:2].tolist()
    True
    """
    if compiled is not None:
        return compiled.doubles(n, counter)
    return doubles_in_numpy(n, counter)


def doubles_in_numpy(n: int, counter: int) -> np.ndarray:
    """The same numbers by numpy, for those who draw within a form without compiled code."""
    return (_hashes(n, counter) >> _BITS[11]) * 2.0**-53


def normal(n: int, counter: int) -> np.ndarray:
    """``n`` standard normal numbers, float32, by inversion over :func:`intervals`."""
    if compiled is not None:
        return compiled.normal(n, counter, intervals())
    starts, widths = np.moveaxis(intervals(), 2, 0)
    bits = _hashes((n + 1) // 2, counter)
    half = np.stack([bits & np.uint64(0xFFFFFFFF), bits >> _BITS[32]], 1).ravel()[:n]
    half = half.astype(np.uint32)
    interval = half >> 20  # 12 bits choose the interval, 20 the place in it
    out = (
        starts[0][interval]
        + (half & 0xFFFFF).astype(np.float32) * np.float32(2**-20) * widths[0][interval]
    )
    # the two outermost intervals reach to 6.3: their 20 bits choose once more, 12 and 8 of them
    outer = (interval == 0) | (interval == 4095)
    rest = half[outer]
    within = (rest >> 8) & 0xFFF
    low = (
        starts[1][within] + (rest & 0xFF).astype(np.float32) * np.float32(2**-8) * widths[1][within]
    )
    out[outer] = np.where(interval[outer] == 0, low, -low)  # the line is symmetric
    return out


@cache
def intervals() -> np.ndarray:
    """Where 4,096 equally likely intervals of a standard normal begin, and their widths, float32.

    Shape (2, 4096, 2): those of the whole line, and of its lowest interval once more.
    """
    quantile = NormalDist().inv_cdf
    tail = np.array([quantile(max(j, 2**-8) / 2**24) for j in range(4097)])
    line = np.array([tail[0], *(quantile(j / 4096) for j in range(1, 4096)), -tail[0]])
    # uniform within each interval: scaled to variance 1
    second = [(x[:-1] ** 2 + x[:-1] * x[1:] + x[1:] ** 2) / 3 for x in (line[1:-1], tail)]
    scale = ((second[0].sum() + 2 * second[1].mean()) / 4096) ** -0.5
    both = [np.stack([x[:-1], np.diff(x)], 1) * scale for x in (line, tail)]
    return np.stack(both).astype(np.float32)


def hash_keys(keys: np.ndarray, salt: int) -> np.ndarray:
    """63 random bits for each key, a function of key and salt, (k,) uint64."""
    z = keys.astype(np.uint64)
    z += np.uint64(salt)  # arrays wrap around without a warning, single numbers would warn
    splitmix(z)
    z >>= np.uint64(1)
    return z


def hash_signs(keys: np.ndarray, salt: int, turned: np.ndarray) -> np.ndarray:
    """+1 or -1 for each key, int8, by one bit of its hash; the other sign for keys in ``turned``.

    turned: ascending. A synapse that is dropped and drawn again finds its own sign.
    """
    if compiled is not None:
        return compiled.hash_sign(keys, salt, turned)
    bit = (hash_keys(keys, salt) >> np.uint64(40)) & np.uint64(1)
    sign = bit.astype(np.int8) * np.int8(2) - np.int8(1)
    if len(turned):
        at = np.minimum(turned.searchsorted(keys), len(turned) - 1)
        sign[turned[at] == keys] *= -1
    return sign


def _hashes(n: int, counter: int) -> np.ndarray:
    """64 random bits for each of the ``n`` places after the counter, (n,) uint64."""
    return splitmix(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(counter))
