"""Batches of stored pixels as the numbers that a network takes in."""

from __future__ import annotations

import numpy as np

from ..native import kernels as compiled


def examples(pixels: np.ndarray, rows: np.ndarray, table: np.ndarray, into: np.ndarray) -> None:
    """Write rows of pixels (N, channels, ...) to ``into``: table[c][p] for pixel p of channel c.

    pixels: uint8; table: (channels, 256) float32; into: (rows, channels, ...) float32. Raises
    IndexError for a row that is not there.

    >>> pixels, batch = np.array([[[0, 255]], [[255, 255]]], np.uint8), np.empty((1, 1, 2), "f4")
    >>> examples(pixels, np.array([0]), np.linspace(0, 1, 256, dtype="f4")[None], batch)
    >>> batch.tolist()
    [[[0.0, 1.0]]]
    """
    if compiled is not None:
        compiled.examples(pixels, rows, table, into)
        return
    missing = rows[(rows < 0) | (rows >= len(pixels))]
    if len(missing):
        raise IndexError(f"there is no example {missing[0]}, only {len(pixels)}.")
    for channel, numbers in enumerate(table):
        into[:, channel] = numbers[pixels[rows, channel]]
